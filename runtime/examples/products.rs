//! Speed of the matrix products alone, per instruction set, on one thread:
//! `cargo run --release -p siskin --example products -- 2048 2048 64`
//!
//! Arguments: rows, columns, tokens. Prints billions of multiply-adds a second for each kind of weights, and for one token
//! the bytes of weights that are read in a second. Weights are small enough to stay in a cache if rows times columns is.

use half::f16;
use siskin::kernels::simd::{GROUP, LANES, Q4_GROUP, Q8_GROUP};
use siskin::kernels::{Input, Isa, Kernels, Matrix, Panels, Strip};
use std::time::{Duration, Instant};

/// How long each product is repeated.
const SPAN: Duration = Duration::from_millis(300);

fn main() {
    let mut sizes = std::env::args().skip(1).map(|arg| arg.parse::<usize>().expect("a number"));
    let mut next = |default: usize| sizes.next().unwrap_or(default);
    let (rows, cols, tokens) = (next(2048), next(2048), next(64));
    let (panels, groups) = (rows.div_ceil(LANES), cols.div_ceil(GROUP));
    let byte = |i: usize| ((i * 2_654_435_761) >> 7) as u8;
    let scales = vec![[f16::from_f32(0.01); LANES]; panels * groups];
    let q8: Vec<[i8; Q8_GROUP]> = (0..panels * groups)
        .map(|g| std::array::from_fn(|i| (byte(g * Q8_GROUP + i) as i8).max(-127)))
        .collect();
    let q4: Vec<[u8; Q4_GROUP]> =
        (0..panels * groups).map(|g| std::array::from_fn(|i| byte(g * Q4_GROUP + i))).collect();
    let halfs = vec![[f16::from_f32(0.5); LANES]; panels * cols];
    let floats = vec![[0.5f32; LANES]; panels * cols];
    let x: Vec<f32> = (0..tokens * cols).map(|i| byte(i) as f32 / 128.0 - 1.0).collect();
    let weights = [
        ("q8", Panels::Q8 { scales: &scales, codes: &q8 }),
        ("q4", Panels::Q4 { scales: &scales, codes: &q4 }),
        ("f16", Panels::F16(&halfs)),
        ("f32", Panels::F32(&floats)),
    ];
    println!("{rows} x {cols}, {tokens} tokens, one thread");
    for kernels in Isa::available().filter_map(Isa::kernels) {
        for (name, data) in weights {
            let w = Matrix::new(rows, cols, data).expect("the slices have the lengths of the shape");
            let seconds = time(kernels, &w, &x, tokens);
            let rate = (rows * cols * tokens) as f64 / seconds / 1e9;
            let bytes = (w.panel_bytes() * panels) as f64 / seconds / 1e9;
            println!("{:<8} {name:<4} {rate:8.1} G multiply-adds/s {bytes:8.1} GB/s", kernels.isa.name());
        }
    }
}

/// Seconds of one product; the best of many, since whatever else runs here only makes it longer.
fn time(kernels: &Kernels, w: &Matrix, x: &[f32], tokens: usize) -> f64 {
    let groups = tokens * w.n_groups();
    let (mut codes, mut scales, mut sums) = (vec![[0; GROUP]; groups], vec![0.0; groups], vec![0; groups]);
    for (t, x) in x.chunks(w.cols).enumerate() {
        let at = t * w.n_groups()..(t + 1) * w.n_groups();
        (kernels.quantize)(x, &mut codes[at.clone()], &mut scales[at.clone()], &mut sums[at]);
    }
    let input = Input { tokens, x, codes: &codes, scales: &scales, sums: &sums };
    let mut y = vec![0.0; tokens * w.rows];
    let (begun, mut best) = (Instant::now(), f64::INFINITY);
    while begun.elapsed() < SPAN {
        let start = Instant::now();
        (kernels.gemm)(w, 0..w.n_panels(), &input, &mut Strip::new(&mut y, tokens, w.rows));
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}
