//! Softmax in one fixed order of operations, without libm and without fused operations.

/// Replaces logits, of which at least one is finite and none NaN, by their softmax.
pub(super) fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    for x in x.iter_mut() {
        *x = exp(*x - max);
        sum += f64::from(*x);
    }
    let inverse = (1.0 / sum) as f32;
    for x in x.iter_mut() {
        *x *= inverse;
    }
}

/// `e^x` for x <= 0 (Cephes, Moshier); 0 below -87.
fn exp(x: f32) -> f32 {
    let clamped = x.max(-87.0);
    let n = (clamped * std::f32::consts::LOG2_E + 0.5).floor();
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + c;
    }
    let y = p * (r * r) + r + 1.0;
    let scale = f32::from_bits(((n as i32 + 127) as u32) << 23);
    if x < -87.0 { 0.0 } else { y * scale }
}
