//! `rope_scaling` as divisors of RoPE's frequencies.

use serde_json::{Value, json};
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

/// The keys of Llama 3's scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Llama3 {
    factor: f64,
    low: f64,
    high: f64,
    context: f64,
}

impl Llama3 {
    /// Llama 3.1's scaling: wavelengths that fit often into the original context stay, those that do not fit into it are divided by the
    /// factor, and between them the share of each goes over linearly (`_compute_llama3_parameters` in transformers).
    fn divisors(self, theta: f64, head_dim: usize) -> Vec<f32> {
        let divisor = |pair: usize| {
            let frequency = theta.powf(-2.0 * pair as f64 / head_dim as f64);
            let turns = self.context * frequency / TAU; // how often the wavelength fits into the original context
            let kept = ((turns - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
            (1.0 / ((1.0 - kept) / self.factor + kept)) as f32
        };
        (0..head_dim / 2).map(divisor).collect()
    }
}

fn llama3(scaling: &Keys<'_>, theta: f64, head_dim: usize) -> Result<Vec<f32>> {
    let keys = Llama3 {
        factor: scaling.require_number("factor")?,
        low: scaling.require_number("low_freq_factor")?,
        high: scaling.require_number("high_freq_factor")?,
        context: scaling.require_number("original_max_position_embeddings")?,
    };
    if keys.high > keys.low {
        return Ok(keys.divisors(theta, head_dim));
    }
    let expected = format!("more than low_freq_factor, {}", keys.low);
    Err(scaling.unsupported("high_freq_factor", &keys.high.to_string(), &expected))
}

/// `rope_scaling` of divisors: none, linear, or Llama 3's with the bounds of Llama 3.1 and 3.2, any factor, and any power of two for the
/// original context.
pub(super) fn scaling_of(
    divisors: &[f32],
    theta: f32,
    head_dim: usize,
) -> std::result::Result<Value, String> {
    let Some(&last) = divisors.last() else { return Ok(Value::Null) };
    if divisors.iter().all(|&divisor| divisor == last) {
        return Ok(json!({ "rope_type": "linear", "type": "linear", "factor": exact(last) }));
    }
    for context in (5..=20).map(|power| 1u32 << power) {
        let keys = Llama3 { factor: exact(last), low: 1.0, high: 4.0, context: f64::from(context) };
        if keys.divisors(exact(theta), head_dim) == divisors {
            return Ok(json!({
                "rope_type": "llama3",
                "factor": keys.factor,
                "low_freq_factor": keys.low,
                "high_freq_factor": keys.high,
                "original_max_position_embeddings": context,
            }));
        }
    }
    Err("rope_divisors: rope_scaling can express equal ones and those of Llama 3, but not these".to_string())
}

/// The shortest decimal that is read as this f32: 1e-5 and not 0.000009999999747378752.
pub(super) fn exact(value: f32) -> f64 {
    value.to_string().parse().expect("a number's own text")
}
