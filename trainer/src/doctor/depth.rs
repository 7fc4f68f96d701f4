//! Gradients over depth: what of the loss' gradient comes down to the first block.
//!
//! On its way down the gradient is multiplied by the Jacobian of every block (Hochreiter 1991; Bengio, Simard & Frasconi 1994). Where
//! these shrink it, the lower blocks learn nothing; where they stretch it, their updates are noise. Glorot & Bengio ("Understanding the
//! difficulty of training deep feedforward neural networks", AISTATS 2010, figs. 7 and 8) read it off as here: by the size of the
//! gradient at what each layer gives out.

use super::case::{Case, median};
use super::finding::{Finding, Severity, Trouble};
use super::remedy;
use crate::observe::record::{ActivationRecord, Record};
use crate::settings::Settings;

/// The gradient at the first block is less than this share of that at the last: with a common rate, the first block moves a
/// hundred times less.
const VANISHES: f64 = 1e-2;
/// The same per block: deep stacks that train lose less than half from block to block (Glorot & Bengio 2010 saw a fifth over five).
const FADES_PER_BLOCK: f64 = 0.5;
/// The gradient at the first block is so many times that at the last. In healthy Transformers it grows, too, up to thirtyfold, as every
/// block adds its own to the stream.
const EXPLODES: f64 = 300.0;

/// What the parts of the blocks give out, first block first.
fn parts(record: &Record) -> impl DoubleEndedIterator<Item = &ActivationRecord> {
    record.activations.iter().filter(|a| a.name.starts_with("blocks."))
}

/// Gradient at the first part of the first block over that at the last part of the last; NaN for a single part.
pub(crate) fn first_to_last(record: &Record) -> f64 {
    match (parts(record).next(), parts(record).next_back()) {
        (Some(first), Some(last)) if first.name != last.name => first.gradient / last.gradient,
        _ => f64::NAN,
    }
}

/// Whether a ratio of first to last is that of a gradient that vanishes over `blocks` blocks.
fn vanishes(ratio: f64, blocks: usize) -> bool {
    ratio < VANISHES && ratio < FADES_PER_BLOCK.powi(blocks as i32 - 1)
}

pub(super) fn vanishing(case: &Case) -> Option<Finding> {
    let blocks = blocks(case.records.last()?);
    let ratio = median(case.late().iter().map(first_to_last));
    if !vanishes(ratio, blocks) {
        return None;
    }
    let first = case.records.iter().find(|r| vanishes(first_to_last(r), blocks))?;
    let (bottom, top) = ends(case)?;
    let per_block = ratio.powf(1.0 / (blocks as f64 - 1.0).max(1.0));
    let evidence = format!(
        "of the gradient at {top} a share of {ratio:.1e} arrives at {bottom}: each block passes on {per_block:.2} of it"
    );
    let mut remedy = Settings::default();
    let advice = match case.settings.residual {
        Some(true) => {
            remedy.norm = Some(remedy::norm_of(case));
            "norm what enters each block, so that its products keep the size of what passes"
        }
        _ => {
            remedy = remedy::residual(case);
            "let blocks add to their input (He et al. 2016), so that the gradient has a way past each, and norm what enters"
        }
    };
    Some(Finding {
        trouble: Trouble::VanishingDepth,
        severity: if case.stands_still() { Severity::Ruins } else { Severity::Hampers },
        place: format!("{bottom} to {top}"),
        first_step: first.step,
        evidence,
        advice: advice.into(),
        remedy,
    })
}

pub(super) fn exploding(case: &Case) -> Option<Finding> {
    let explodes = |ratio: f64| ratio > EXPLODES;
    let ratio = median(case.late().iter().map(first_to_last));
    let first = case.records.iter().find(|r| explodes(first_to_last(r)))?;
    let (bottom, top) = ends(case)?;
    explodes(ratio).then(|| Finding {
        trouble: Trouble::Exploding,
        severity: Severity::Hampers,
        place: format!("{bottom} to {top}"),
        first_step: first.step,
        evidence: format!("the gradient at {bottom} is {ratio:.0} times that at {top}"),
        advice: "begin with smaller weights, norm what enters each block, and clip the gradient".into(),
        remedy: Settings {
            norm: Some(remedy::norm_of(case)),
            clip_norm: Some(1.0),
            ..remedy::usual_start(case)
        },
    })
}

/// Number of blocks that a record tells of.
pub(super) fn blocks(record: &Record) -> usize {
    let last = parts(record).next_back().and_then(|a| a.name.split('.').nth(1)?.parse::<usize>().ok());
    last.map_or(0, |index| index + 1)
}

/// Names of the first and the last part.
fn ends(case: &Case) -> Option<(String, String)> {
    let record = case.records.last()?;
    Some((parts(record).next()?.name.clone(), parts(record).next_back()?.name.clone()))
}
