//! Attention that has become rigid.
//!
//! Zhai et al. ("Stabilizing Transformer training by preventing attention entropy collapse", ICML 2023) find that runs become unstable
//! where the entropy of the attention rows falls towards 0: the products of queries and keys have grown so large that each row looks at
//! one position, and the softmax passes no gradient. A norm over queries and keys bounds them (Dehghani et al. 2023).

use super::case::{Case, median, series};
use super::finding::{Finding, Severity, Trouble};
use super::{rate, remedy};
use crate::settings::Settings;

/// Mean entropy of a block's heads, of 1 for an even spread, below which its attention has collapsed. A head that copies the token
/// before is as sharp as this by intention; a block whose heads are all so is not.
const COLLAPSED: f64 = 0.1;
/// The same, above which attention has not begun: an untrained block is at 0.99 and more, the evenest of healthy runs at 0.9.
const EVEN: f64 = 0.99;
/// Updates after which attention should have begun.
const LEAST_UPDATES: usize = 150;

/// Late median entropy of each block's attention.
pub(crate) fn entropies(case: &Case) -> Vec<(String, f64)> {
    let Some(last) = case.records.last() else { return Vec::new() };
    let with = last.activations.iter().filter(|a| a.entropy.is_some());
    with.map(|a| (a.name.clone(), median(series(case.late(), &a.name, |a| a.entropy).map(|x| x.1)))).collect()
}

pub(super) fn collapsed(case: &Case) -> Option<Finding> {
    let entropies = entropies(case);
    rigid(case, &entropies).or_else(|| even(case, &entropies))
}

/// Rows that look at one position.
fn rigid(case: &Case, entropies: &[(String, f64)]) -> Option<Finding> {
    let (place, entropy) = entropies.iter().min_by(|a, b| a.1.total_cmp(&b.1)).filter(|e| e.1 < COLLAPSED)?;
    let first_step = series(&case.records, place, |a| a.entropy).find(|(_, e)| *e < COLLAPSED)?.0;
    let mut remedy = Settings { qk_norm: Some(true), ..remedy::usual_start(case) };
    if case.records.first().is_some_and(|r| r.step != first_step) {
        remedy = remedy.or(&remedy::calmer_rate(case));
    }
    Some(Finding {
        trouble: Trouble::AttentionCollapse,
        severity: if case.stands_still() { Severity::Ruins } else { Severity::Hampers },
        place: place.clone(),
        first_step,
        evidence: format!("the entropy of the attention rows is {entropy:.2} of that of an even spread: each looks at one position"),
        advice: "norm queries and keys, so that their products stay bounded, and begin with smaller weights or a smaller rate".into(),
        remedy,
    })
}

/// Rows that look at all positions alike, in every block, of a run that otherwise learns.
fn even(case: &Case, entropies: &[(String, f64)]) -> Option<Finding> {
    let (_, least) = entropies.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    if least.is_nan()
        || *least <= EVEN
        || case.history.updates.len() < LEAST_UPDATES
        || case.stands_still()
        || rate::is_idle(case)
    {
        return None;
    }
    let decays = case.settings.weight_decay.is_some_and(|decay| decay > 1.0);
    let (advice, remedy) = match decays {
        true => (
            "decay the weights less: the products of queries and keys are kept near 0",
            Settings { weight_decay: Some(0.1), ..Default::default() },
        ),
        false => (
            "raise the rate, so that queries and keys leave the neighbourhood of 0",
            remedy::scaled_rate(case, 3.0),
        ),
    };
    Some(Finding {
        trouble: Trouble::AttentionCollapse,
        severity: Severity::Hampers,
        place: "every block".into(),
        first_step: case.records.first().map_or(0, |r| r.step),
        evidence: format!(
            "the entropy of the attention rows never leaves that of an even spread ({least:.3} of it): they tell no position from another"
        ),
        advice: advice.into(),
        remedy,
    })
}
