//! Speed of the trainer's matrix products on one core, by shape and by the order in which operands lie.
//!
//! ```text
//! cargo run --release -p siskin-trainer --example gemm_shapes              # the shapes of nanoGPT's CPU setting and of an LSTM 2x512
//! cargo run --release -p siskin-trainer --example gemm_shapes -- 384 128 512
//! ```
//!
//! Rows, depth and columns of `y = x Wᵀ` (`x` `[rows, depth]`, W `[columns, depth]`); the other two products of a step are
//! `dx = dy W` and `dW += dyᵀ x`. Medians over rounds, in GFLOP/s; `peak` is a small product that stays in the first-level cache.

use std::time::Instant;

use siskin_trainer::ops::gemm::{View, ViewMut, gemm};

/// Seconds that each figure takes.
const SECONDS: f64 = 0.25;

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).map(|s| s.parse().expect("three numbers")).collect();
    let shapes = match sizes[..] {
        [rows, depth, columns] => vec![[rows, depth, columns]],
        _ => vec![
            [384, 128, 384],
            [384, 128, 128],
            [384, 128, 512],
            [384, 512, 128],
            [64, 32, 64],
            [64, 64, 32],
            [512, 384, 1536],
            [512, 1536, 384],
            [32, 512, 2048],
            [1024, 512, 2048],
            [16, 512, 2048],
            [25, 128, 512],
            [1250, 128, 512],
        ],
    };
    let peak = gflops([48, 256, 32], |x, w, y| gemm(1.0, x, w, false, y), [false, false]);
    println!("peak {peak:.0} GFLOP/s");
    println!("{:>20} {:>10} {:>10} {:>10}", "rows, depth, columns", "x Wt", "dy W", "dyt x");
    for [rows, depth, columns] in shapes {
        let forward = gflops([rows, depth, columns], |x, w, y| gemm(1.0, x, w.t(), false, y), [false, true]);
        let input = gflops([rows, columns, depth], |dy, w, dx| gemm(1.0, dy, w, false, dx), [false, false]);
        let weight =
            gflops([columns, rows, depth], |dy, x, dw| gemm(1.0, dy.t(), x, true, dw), [true, false]);
        let share = |g: f64| format!("{g:.0} {:>3.0} %", 100.0 * g / peak);
        let name = format!("{rows}, {depth}, {columns}");
        println!("{name:>20} {:>10} {:>10} {:>10}", share(forward), share(input), share(weight));
    }
}

/// Speed of a product `[m, k] [k, n]` whose operands are stored transposed where `transposed` says so.
fn gflops(
    [m, k, n]: [usize; 3],
    product: impl Fn(View<'_, f32>, View<'_, f32>, ViewMut<'_, f32>),
    transposed: [bool; 2],
) -> f64 {
    let numbers = |len: usize| (0..len).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<f32>>();
    let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0f32; m * n]);
    let stored =
        |data, rows, cols, t: bool| if t { View::new(data, cols, rows) } else { View::new(data, rows, cols) };
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < SECONDS || times.len() < 3 {
        let start = Instant::now();
        product(stored(&a, m, k, transposed[0]), stored(&b, k, n, transposed[1]), ViewMut::new(&mut c, m, n));
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    2.0 * (m * k * n) as f64 / times[times.len() / 2] / 1e9
}
