//! Units that pass no gradient: ReLUs that never answer, cells at the ends of their nonlinearity.

use super::case::{Case, median, series};
use super::finding::{Finding, Severity, Trouble};
use super::remedy;
use crate::observe::record::{ActivationRecord, Record};
use crate::settings::Settings;

/// Share of dead ReLUs that is a trouble. Sparse answers are what ReLUs are for (Glorot, Bordes & Bengio 2011), and some units die in
/// every run; where most are silent in 99 % of all rows, the layer is not trained (Lu et al., "Dying ReLU and
/// initialization", 2019). Healthy runs had up to 0.42.
const DEAD: f64 = 0.6;
/// Share of saturated cells that is a trouble: |tanh| beyond 0.97 passes less than 6 % of the gradient (Glorot & Bengio 2010, §3.2). Trained
/// RNNs use their ends (Karpathy, Johnson & Fei-Fei 2015): healthy runs had up to 0.55.
const SATURATED: f64 = 0.8;

/// The activation with the largest late median of `of`, if it is above `bound`: its name, the median, and the first step above.
fn worst(case: &Case, bound: f64, of: fn(&ActivationRecord) -> Option<f64>) -> Option<(String, f64, u64)> {
    let last: &Record = case.records.last()?;
    let late =
        |a: &ActivationRecord| Some((a.name.clone(), median(series(case.late(), &a.name, of).map(|x| x.1))));
    let all = last.activations.iter().filter(|a| of(a).is_some()).filter_map(late);
    let (name, share) = all.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, share)| *share > bound)?;
    let first = series(&case.records, &name, of).find(|(_, share)| *share > bound)?.0;
    Some((name, share, first))
}

/// How bad units are that pass nothing.
fn severity(case: &Case, share: f64) -> Severity {
    if share > 0.95 || case.stands_still() { Severity::Ruins } else { Severity::Hampers }
}

pub(super) fn dead(case: &Case) -> Option<Finding> {
    let (place, share, first_step) = worst(case, DEAD, |a| a.dead)?;
    let mut remedy = remedy::calmer_rate(case);
    match place.ends_with(".ffn") {
        true => remedy.ffn = Some("gelu".into()),
        false => remedy.activation = Some("leaky-relu".into()),
    }
    if case.settings.clip_norm.is_none_or(|norm| norm <= 0.0) {
        remedy.clip_norm = Some(1.0);
    }
    Some(Finding {
        trouble: Trouble::DeadUnits,
        severity: severity(case, share),
        evidence: format!("{:.0} % of the units are 0 in at least 99 % of the rows: no gradient reaches their weights", 100.0 * share),
        advice: "take a nonlinearity with a slope below zero, and a smaller rate: large updates push units below zero for good".into(),
        place,
        first_step,
        remedy,
    })
}

pub(super) fn saturated(case: &Case) -> Option<Finding> {
    let (place, share, first_step) = worst(case, SATURATED, |a| a.saturated)?;
    let mut remedy = remedy::usual_start(case);
    let from_the_start = case.records.first().is_some_and(|r| r.step == first_step);
    if !from_the_start || remedy == Settings::default() {
        remedy = remedy::calmer_rate(case).or(&remedy);
    }
    let advice = match from_the_start {
        true => "begin with smaller weights: Xavier's keep tanh where it is steep (Glorot & Bengio 2010)",
        false => "take a smaller rate: large updates drove the cells to their ends",
    };
    Some(Finding {
        trouble: Trouble::Saturation,
        severity: severity(case, share),
        evidence: format!(
            "{:.0} % of what the cells give out lies beyond ±0.97, where a tanh passes less than 6 % of the gradient",
            100.0 * share
        ),
        advice: advice.into(),
        place,
        first_step,
        remedy,
    })
}
