//! Gradients over time: how far back in a window the loss of its last step is felt.
//!
//! Backpropagation through time multiplies by the recurrent Jacobian once per step (Bengio, Simard & Frasconi, "Learning long-term
//! dependencies with gradient descent is difficult", 1994): with singular values below 1 the gradient fades exponentially, above 1 it
//! explodes (Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks", ICML 2013, §2).

use super::case::{Case, median};
use super::finding::{Finding, Severity, Trouble};
use super::remedy;
use crate::observe::record::Record;
use crate::settings::Settings;

/// A step is felt where the gradient there is at least this share of that at the step of the loss.
const FELT: f64 = 0.01;
/// A block that feels fewer steps back than this has no memory to speak of: about a syllable of characters.
const LEAST_STEPS: f64 = 4.0;
/// Somewhere in the window the gradient is so many times that at the step of the loss.
const EXPLODES: f64 = 30.0;

/// Gradient of block number `index` at each time step of its window, the step of the loss last.
fn gradients(record: &Record, index: usize) -> Option<&[f64]> {
    record.times.get(index).map(|t| t.gradient.as_slice()).filter(|g| g.len() > 1)
}

/// How many steps back from the loss, that of the loss not counted, the gradient is felt without a gap.
pub(crate) fn reach(gradient: &[f64]) -> f64 {
    let Some((last, earlier)) = gradient.split_last() else { return f64::NAN };
    earlier.iter().rev().take_while(|g| **g >= FELT * last).count() as f64
}

/// The largest gradient of a window over that at the step of the loss.
pub(crate) fn growth(gradient: &[f64]) -> f64 {
    let Some((last, earlier)) = gradient.split_last() else { return f64::NAN };
    earlier.iter().fold(0.0, |most: f64, g| most.max(*g)) / last
}

/// Median over `records` of what `of` finds in block number `index`.
fn over(records: &[Record], index: usize, of: fn(&[f64]) -> f64) -> f64 {
    median(records.iter().filter_map(|r| gradients(r, index)).map(of))
}

/// Number of recurrent blocks.
fn blocks(case: &Case) -> usize {
    case.records.last().map_or(0, |r| r.times.len())
}

pub(super) fn vanishing(case: &Case) -> Option<Finding> {
    // The whole stack forgets only if its most retentive block does.
    let reaches = (0..blocks(case)).map(|i| (i, over(case.late(), i, reach)));
    let (index, steps) = reaches.filter(|(_, r)| !r.is_nan()).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let window = gradients(case.records.last()?, index)?.len();
    let enough = LEAST_STEPS.min(window as f64 / 4.0);
    let first = case.records.iter().find(|r| gradients(r, index).is_some_and(|g| reach(g) < enough))?;
    if steps >= enough {
        return None;
    }
    let name = &first.times[index].name;
    let lstm = case.settings.model.as_deref() == Some("lstm");
    let (advice, remedy) = if lstm {
        (
            "begin with open forget gates (Jozefowicz et al. 2015)",
            Settings { forget_bias: Some(1.0), ..remedy::usual_start(case) },
        )
    } else {
        (
            "begin with an orthogonal recurrent matrix, which passes the gradient on in full, or take gates (--model lstm)",
            remedy::usual_start(case),
        )
    };
    Some(Finding {
        trouble: Trouble::VanishingTime,
        severity: if case.stands_still() { Severity::Ruins } else { Severity::Hampers },
        place: name.clone(),
        first_step: first.step,
        evidence: format!(
            "{steps:.0} steps before the loss its gradient is below {:.0} % of what it is there, in windows of {window}",
            100.0 * FELT
        ),
        advice: advice.into(),
        remedy,
    })
}

pub(super) fn exploding(case: &Case) -> Option<Finding> {
    let growths = (0..blocks(case)).map(|i| (i, over(case.late(), i, growth)));
    let (index, most) = growths.filter(|(_, g)| !g.is_nan()).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let first = case.records.iter().find(|r| gradients(r, index).is_some_and(|g| growth(g) > EXPLODES))?;
    (most > EXPLODES).then(|| Finding {
        trouble: Trouble::Exploding,
        severity: Severity::Hampers,
        place: first.times[index].name.clone(),
        first_step: first.step,
        evidence: format!(
            "earlier in the window the gradient is {most:.0} times what it is at the step of the loss"
        ),
        advice:
            "begin with an orthogonal recurrent matrix of gain 1 and clip the gradient (Pascanu et al. 2013)"
                .into(),
        remedy: Settings { clip_norm: Some(1.0), ..remedy::usual_start(case) },
    })
}
