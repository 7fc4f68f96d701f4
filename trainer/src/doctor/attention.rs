//! Attention that has become rigid.
//!
//! Zhai et al. ("Stabilizing Transformer training by preventing attention entropy collapse", ICML 2023) find that runs become unstable
//! where the entropy of the attention rows falls towards 0: the products of queries and keys have grown so large that each row looks at
//! one position, and the softmax passes no gradient. A norm over queries and keys bounds them (Dehghani et al. 2023).

use super::case::{Case, median, series};
use super::finding::{Finding, Severity, Trouble};
use super::remedy;
use crate::settings::Settings;

/// Mean entropy of a block's heads, of 1 for an even spread, below which its attention has collapsed. A head that copies the token
/// before is as sharp as this by intention; a block whose heads are all so is not.
const COLLAPSED: f64 = 0.1;

/// Late median entropy of each block's attention.
pub(crate) fn entropies(case: &Case) -> Vec<(String, f64)> {
    let Some(last) = case.records.last() else { return Vec::new() };
    let with = last.activations.iter().filter(|a| a.entropy.is_some());
    with.map(|a| (a.name.clone(), median(series(case.late(), &a.name, |a| a.entropy).map(|x| x.1)))).collect()
}

pub(super) fn collapsed(case: &Case) -> Option<Finding> {
    let (place, entropy) = entropies(case).into_iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    if entropy >= COLLAPSED {
        return None;
    }
    let first_step = series(&case.records, &place, |a| a.entropy).find(|(_, e)| *e < COLLAPSED)?.0;
    let mut remedy = Settings { qk_norm: Some(true), ..remedy::usual_start(case) };
    if case.records.first().is_some_and(|r| r.step != first_step) {
        remedy = remedy.or(&remedy::scaled_rate(case, 0.1));
    }
    Some(Finding {
        trouble: Trouble::AttentionCollapse,
        severity: if case.stands_still() { Severity::Ruins } else { Severity::Hampers },
        place,
        first_step,
        evidence: format!("entropy of the attention rows is {entropy:.2} of that of an even spread: each looks at one position"),
        advice: "norm queries and keys, so that their products stay bounded, and begin with smaller weights or a smaller rate".into(),
        remedy,
    })
}
