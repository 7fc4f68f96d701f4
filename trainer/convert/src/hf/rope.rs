//! `rope_scaling` as divisors of RoPE's frequencies.

use std::f64::consts::TAU;

use super::keys::Keys;
use crate::error::Result;

/// The base of the angles and what each pair's frequency is divided by; empty for nothing.
pub(super) struct Rope {
    pub(super) theta: f32,
    pub(super) divisors: Vec<f32>,
}

/// Reads `rope_theta` and `rope_scaling`, or `rope_parameters`, which holds both since transformers 5.
pub(super) fn read(keys: &Keys<'_>, head_dim: usize) -> Result<Rope> {
    let parameters = keys.object("rope_parameters", "rope_parameters.")?;
    let scaling = keys.object("rope_scaling", "rope_scaling.")?;
    let newer = parameters.as_ref().map(|p| p.number("rope_theta")).transpose()?.flatten();
    let theta = newer.or(keys.number("rope_theta")?).unwrap_or(10_000.0);
    for keys in [Some(keys), parameters.as_ref()].into_iter().flatten() {
        if let Some(part) = keys.number("partial_rotary_factor")?.filter(|part| *part != 1.0) {
            return Err(keys.unsupported("partial_rotary_factor", &part.to_string(), "1"));
        }
    }
    let divisors = match parameters.or(scaling).filter(|scaling| !scaling.is_empty()) {
        Some(scaling) => divisors(&scaling, theta, head_dim)?,
        None => Vec::new(),
    };
    Ok(Rope { theta: theta as f32, divisors })
}

fn divisors(scaling: &Keys<'_>, theta: f64, head_dim: usize) -> Result<Vec<f32>> {
    let key = if scaling.has("rope_type") { "rope_type" } else { "type" };
    let kind = scaling.word(key)?;
    match kind.as_deref() {
        None | Some("default") => Ok(Vec::new()),
        Some("linear") => Ok(vec![scaling.require_number("factor")? as f32; head_dim / 2]),
        Some("llama3") => llama3(scaling, theta, head_dim),
        Some(other) => Err(scaling.unsupported(key, other, "linear, llama3 or default")),
    }
}

/// Llama 3.1's scaling: wavelengths that fit often into the original context stay, those that do not fit into it are divided by the
/// factor, and between them the share of each goes over linearly (`_compute_llama3_parameters` in transformers).
fn llama3(scaling: &Keys<'_>, theta: f64, head_dim: usize) -> Result<Vec<f32>> {
    let factor = scaling.require_number("factor")?;
    let (low, high) =
        (scaling.require_number("low_freq_factor")?, scaling.require_number("high_freq_factor")?);
    let context = scaling.require_number("original_max_position_embeddings")?;
    if high <= low {
        return Err(scaling.unsupported(
            "high_freq_factor",
            &high.to_string(),
            &format!("more than low_freq_factor, {low}"),
        ));
    }
    let divisor = |pair: usize| {
        let frequency = theta.powf(-2.0 * pair as f64 / head_dim as f64);
        let turns = context * frequency / TAU; // how often the wavelength fits into the original context
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 / ((1.0 - kept) / factor + kept)) as f32
    };
    Ok((0..head_dim / 2).map(divisor).collect())
}
