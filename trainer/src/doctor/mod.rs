//! The doctor: names what goes wrong in a run, shows the evidence, and knows a remedy.
//!
//! It reads what every run writes down anyway: losses, rates and gradient norms of each update (`log.jsonl`), and now and then the
//! inside of a run (`observations.jsonl`, [`crate::observe`]). Each rule lives beside its trouble: `depth` and `time` follow gradients
//! back through layers and time steps, `units` and `attention` look at what passes nothing on, `rate` at updates beside weights, `loss`
//! at the losses alone. Every threshold is a named constant with its reason; all judge medians, most of them over the last quarter of a
//! run, so that a trouble that training itself overcame is none. Of what follows from a trouble that was found, nothing is said. [`diagnose`] asks them all, `live` does so while a run goes on, [`trial`] trains
//! with and without a remedy side by side, and [`planted`] holds the rules to runs whose trouble is known.

mod attention;
mod case;
mod depth;
mod finding;
mod layers;
pub(crate) mod live;
mod loss;
pub mod planted;
mod rate;
mod remedy;
#[cfg(test)]
mod tests;
mod text;
mod time;
pub mod trial;
mod units;

pub use case::Case;
pub use finding::{Finding, Severity, Trouble, flags};
pub use layers::{Examination, LayerRow, TimeRow};

/// Every rule.
const RULES: [fn(&Case) -> Option<Finding>; 12] = [
    loss::divergence,
    depth::exploding,
    time::exploding,
    attention::collapsed,
    units::saturated,
    units::dead,
    depth::vanishing,
    time::vanishing,
    rate::too_high,
    loss::plateau,
    rate::too_low,
    loss::overfitting,
];

/// The troubles of a run, the likeliest cause first; none for a healthy one.
pub fn diagnose(case: &Case) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES.iter().filter_map(|rule| rule(case)).collect();
    findings.sort_by_key(|f| f.trouble);
    let named: Vec<Trouble> = findings.iter().map(|f| f.trouble).collect();
    findings.retain(|f| !named.iter().any(|cause| cause.explains(f.trouble)));
    findings
}
