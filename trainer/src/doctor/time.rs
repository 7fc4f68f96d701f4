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
/// A block that feels fewer steps back than this has no memory to speak of: less than a short word of characters. Healthy recurrent
/// models begin at tens of steps and settle at 7 and more, as most of a text's order is near.
const LEAST_STEPS: f64 = 5.0;
/// Somewhere in the window the gradient is so many times that at the step of the loss: none of the healthy runs reached 3.
const EXPLODES: f64 = 30.0;
/// A gradient norm of so many times the usual one is a cliff (Pascanu et al. 2013, fig. 6) ...
const CLIFF: f64 = 100.0;
/// ... and so large a share of them is no accident.
const CLIFFS: f64 = 0.03;

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
    // The whole stack forgets only if its most retentive block does. The whole run counts: how far back a trained model feels is
    // what the text asks for, how far back an untrained one does is what it can learn from.
    let reaches = (0..blocks(case)).map(|i| (i, over(&case.records, i, reach)));
    let (index, steps) = reaches.filter(|(_, r)| !r.is_nan()).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let window = gradients(case.records.last()?, index)?.len();
    let enough = LEAST_STEPS.min(window as f64 / 4.0);
    let first = case.records.iter().find(|r| gradients(r, index).is_some_and(|g| reach(g) < enough))?;
    if steps >= enough {
        return None;
    }
    let name = &first.times[index].name;
    let lstm = case.settings.model.as_deref() == Some("lstm");
    let (advice, remedy) = if case.settings.weight_decay.is_some_and(|decay| decay > 1.0) {
        (
            "decay the weights less: the recurrent matrix is kept near 0",
            Settings { weight_decay: Some(0.01), ..Default::default() },
        )
    } else if lstm {
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
            "further than {steps:.0} steps before the loss its gradient is below {:.0} % of what it is there, in windows of {window}",
            100.0 * FELT
        ),
        advice: advice.into(),
        remedy,
    })
}

pub(super) fn exploding(case: &Case) -> Option<Finding> {
    let (place, first_step, evidence) = growing(case).or_else(|| cliffs(case))?;
    let remedy = Settings { clip_norm: Some(1.0), ..remedy::usual_start(case) };
    Some(Finding {
        trouble: Trouble::Exploding,
        severity: if case.stands_still() { Severity::Ruins } else { Severity::Hampers },
        place,
        first_step,
        evidence,
        advice:
            "begin with an orthogonal recurrent matrix of gain 1 and clip the gradient (Pascanu et al. 2013)"
                .into(),
        remedy,
    })
}

/// A gradient that grows on its way back through the window.
fn growing(case: &Case) -> Option<(String, u64, String)> {
    let growths = (0..blocks(case)).map(|i| (i, over(case.late(), i, growth)));
    let (index, most) = growths.filter(|(_, g)| !g.is_nan()).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let first = case.records.iter().find(|r| gradients(r, index).is_some_and(|g| growth(g) > EXPLODES))?;
    let evidence =
        format!("earlier in the window the gradient is {most:.0} times what it is at the step of the loss");
    (most > EXPLODES).then(|| (first.times[index].name.clone(), first.step, evidence))
}

/// Single gradients far above the usual ones.
fn cliffs(case: &Case) -> Option<(String, u64, String)> {
    let updates = &case.history.updates;
    let usual = median(updates.iter().map(|u| u.grad_norm));
    // A norm that overflowed is written as none.
    let cliff = |norm: f64| norm > CLIFF * usual || norm.is_nan();
    let all: Vec<f64> = updates.iter().filter(|u| cliff(u.grad_norm)).map(|u| u.step).collect();
    let first = *all.first()?;
    let recurrent = blocks(case) > 0 && all.len() as f64 > CLIFFS * updates.len() as f64;
    let most = updates.iter().map(|u| u.grad_norm).fold(0.0, f64::max);
    recurrent.then(|| {
        let n = updates.len();
        let evidence = format!(
            "{} of {n} gradients are more than {CLIFF} times the usual norm {usual:.2}, up to {most:.1e}",
            all.len()
        );
        (String::new(), first as u64, evidence)
    })
}
