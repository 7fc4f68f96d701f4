//! Every ISA against scalar, bit for bit, and scalar against double precision.

use super::simd::{GROUP, LANES, Q4_GROUP, Q8_GROUP};
use super::*;
use half::f16;
use proptest::prelude::*;

/// Pseudo-random numbers (xorshift64*), the same in every run.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// Uniform in [-1, 1).
    fn float(&mut self) -> f32 {
        (self.next() & 0xFF_FFFF) as f32 / (1 << 23) as f32 - 1.0
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    fn half(&mut self) -> f16 {
        f16::from_f32(self.float())
    }
}

/// A random matrix that owns its panels.
struct Owned {
    rows: usize,
    cols: usize,
    f32: Vec<[f32; LANES]>,
    f16: Vec<[f16; LANES]>,
    scales: Vec<[f16; LANES]>,
    q8: Vec<[i8; Q8_GROUP]>,
    q4: Vec<[u8; Q4_GROUP]>,
}

impl Owned {
    fn new(rng: &mut Rng, rows: usize, cols: usize) -> Self {
        let floats = rows.div_ceil(LANES) * cols;
        let groups = rows.div_ceil(LANES) * cols.div_ceil(GROUP);
        let code = |rng: &mut Rng| (rng.next() % 255) as i32 as i8;
        Owned {
            rows,
            cols,
            f32: (0..floats).map(|_| std::array::from_fn(|_| rng.float())).collect(),
            f16: (0..floats).map(|_| std::array::from_fn(|_| rng.half())).collect(),
            scales: (0..groups).map(|_| std::array::from_fn(|_| rng.half())).collect(),
            q8: (0..groups).map(|_| std::array::from_fn(|_| code(rng).max(-127))).collect(),
            q4: (0..groups).map(|_| std::array::from_fn(|_| rng.next() as u8)).collect(),
        }
    }

    fn all(&self) -> [Matrix<'_>; 4] {
        [
            Panels::F32(&self.f32),
            Panels::F16(&self.f16),
            Panels::Q8 { scales: &self.scales, codes: &self.q8 },
            Panels::Q4 { scales: &self.scales, codes: &self.q4 },
        ]
        .map(|data| Matrix::new(self.rows, self.cols, data).unwrap())
    }
}

/// Activations that own their codes.
struct Acts {
    tokens: usize,
    cols: usize,
    x: Vec<f32>,
    codes: Vec<[i8; GROUP]>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Acts {
    fn new(kernels: &Kernels, x: Vec<f32>, tokens: usize) -> Self {
        let cols = x.len() / tokens;
        let n = cols.div_ceil(GROUP);
        let (mut codes, mut scales) = (vec![[99; GROUP]; tokens * n], vec![9.0; tokens * n]);
        let mut sums = vec![9; tokens * n];
        for t in 0..tokens {
            let row = t * n..(t + 1) * n;
            let x = &x[t * cols..(t + 1) * cols];
            (kernels.quantize)(x, &mut codes[row.clone()], &mut scales[row.clone()], &mut sums[row]);
        }
        Acts { tokens, cols, x, codes, scales, sums }
    }

    fn input(&self) -> Input<'_> {
        Input { tokens: self.tokens, x: &self.x, codes: &self.codes, scales: &self.scales, sums: &self.sums }
    }

    fn token(&self, t: usize) -> Input<'_> {
        let n = self.cols.div_ceil(GROUP);
        let row = t * n..(t + 1) * n;
        Input {
            tokens: 1,
            x: &self.x[t * self.cols..(t + 1) * self.cols],
            codes: &self.codes[row.clone()],
            scales: &self.scales[row.clone()],
            sums: &self.sums[row],
        }
    }

    /// What a quantized product really multiplies by.
    fn value(&self, quantized: bool, t: usize, k: usize) -> f64 {
        let group = t * self.cols.div_ceil(GROUP) + k / GROUP;
        match quantized {
            true => self.scales[group] as f64 * self.codes[group][k % GROUP] as f64,
            false => self.x[t * self.cols + k] as f64,
        }
    }
}

fn multiply(kernels: &Kernels, w: &Matrix, panels: Range<usize>, x: &Input) -> Vec<f32> {
    let width = (panels.end * LANES).min(w.rows) - panels.start * LANES;
    let mut y = vec![7.0; x.tokens * width];
    (kernels.gemm)(w, panels, x, &mut Strip::new(&mut y, x.tokens, width));
    y
}

fn bits(x: &[f32]) -> Vec<u32> {
    // A NaN is a NaN; its payload is outside the contract.
    x.iter().map(|v| if v.is_nan() { 0x7FC0_0000 } else { v.to_bits() }).collect()
}

/// The kernels that are compared with the scalar ones.
fn others() -> Vec<&'static Kernels> {
    let all = Isa::available().filter(|isa| *isa != Isa::Scalar);
    all.map(|isa| isa.kernels().expect("available")).collect()
}

fn scalar() -> &'static Kernels {
    Isa::Scalar.kernels().expect("scalar always runs")
}

#[test]
fn products_are_those_of_double_precision() {
    let mut rng = Rng(1);
    for (rows, cols) in [(1, 1), (8, 32), (9, 33), (20, 100), (64, 288)] {
        let owned = Owned::new(&mut rng, rows, cols);
        let acts = Acts::new(scalar(), rng.floats(2 * cols), 2);
        for w in owned.all() {
            let y = multiply(scalar(), &w, 0..w.n_panels(), &acts.input());
            let mut row = vec![0.0; cols];
            for r in 0..rows {
                w.read_row(r, &mut row);
                for t in 0..2 {
                    let term = |k: usize| row[k] as f64 * acts.value(w.is_quantized(), t, k);
                    let exact: f64 = (0..cols).map(term).sum();
                    let size: f64 = (0..cols).map(|k| term(k).abs()).sum();
                    let found = y[t * rows + r] as f64;
                    assert!(
                        (found - exact).abs() <= 1e-6 * size + 1e-30,
                        "{rows}x{cols}: {found} for {exact}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_prompt_in_one_piece_and_token_by_token_and_any_split_give_the_same_bits() {
    let mut rng = Rng(2);
    for kernels in Isa::available().filter_map(Isa::kernels) {
        for (rows, cols, tokens) in [(37, 70, 11), (64, 96, 4), (17, 31, 2), (8, 32, 5)] {
            let owned = Owned::new(&mut rng, rows, cols);
            let acts = Acts::new(kernels, rng.floats(tokens * cols), tokens);
            for w in owned.all() {
                let whole = multiply(kernels, &w, 0..w.n_panels(), &acts.input());
                for t in 0..tokens {
                    let one = multiply(kernels, &w, 0..w.n_panels(), &acts.token(t));
                    assert_eq!(bits(&one), bits(&whole[t * rows..(t + 1) * rows]));
                }
                let tail = multiply(kernels, &w, 1.min(w.n_panels() - 1)..w.n_panels(), &acts.token(0));
                assert_eq!(bits(&tail), bits(&whole[rows - tail.len()..rows]));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..Default::default() })]

    #[test]
    fn products_equal_scalar(rows in 1usize..70, cols in 1usize..70, tokens in 1usize..10, seed in 1u64..u64::MAX) {
        let mut rng = Rng(seed);
        let owned = Owned::new(&mut rng, rows, cols);
        let x = rng.floats(tokens * cols);
        let reference = Acts::new(scalar(), x.clone(), tokens);
        for kernels in others() {
            let acts = Acts::new(kernels, x.clone(), tokens);
            prop_assert_eq!(&acts.codes, &reference.codes);
            prop_assert_eq!(bits(&acts.scales), bits(&reference.scales));
            prop_assert_eq!(&acts.sums, &reference.sums);
            for w in owned.all() {
                let expected = multiply(scalar(), &w, 0..w.n_panels(), &reference.input());
                prop_assert_eq!(bits(&multiply(kernels, &w, 0..w.n_panels(), &acts.input())), bits(&expected));
            }
        }
    }

    #[test]
    fn extreme_codes_equal_scalar(code in any::<i8>(), nibbles in any::<u8>(), x in -127i8..=127) {
        let (rows, cols) = (8, 64);
        let scales = vec![[f16::ONE; LANES]; 2];
        let (q8, q4) = (vec![[code; Q8_GROUP]; 2], vec![[nibbles; Q4_GROUP]; 2]);
        let codes = [[x; GROUP]; 2];
        let input = Input { tokens: 1, x: &[], codes: &codes, scales: &[1.0, 1.0], sums: &[32 * x as i32; 2] };
        for data in [Panels::Q8 { scales: &scales, codes: &q8 }, Panels::Q4 { scales: &scales, codes: &q4 }] {
            let w = Matrix::new(rows, cols, data).unwrap();
            let expected = multiply(scalar(), &w, 0..1, &input);
            if w.is_quantized() && matches!(data, Panels::Q8 { .. }) {
                prop_assert_eq!(expected[0], 64.0 * code as f32 * x as f32);
            }
            for kernels in others() {
                prop_assert_eq!(bits(&multiply(kernels, &w, 0..1, &input)), bits(&expected));
            }
        }
    }

    #[test]
    fn rows_equal_scalar(n in 1usize..100, seed in 1u64..u64::MAX, size in 0i32..40) {
        let mut rng = Rng(seed);
        let scale = 2f32.powi(size - 20);
        let draw = |rng: &mut Rng, n: usize| rng.floats(n).into_iter().map(|v| v * scale).collect::<Vec<_>>();
        let (x, w, b) = (draw(&mut rng, n), rng.floats(n), rng.floats(n));
        let (gx, gh, c) = (draw(&mut rng, 4 * n), draw(&mut rng, 4 * n), draw(&mut rng, n));
        fn gates<const N: usize>(x: &[f32]) -> [&[f32]; N] {
            let n = x.len() / 4;
            std::array::from_fn(|k| &x[k * n..(k + 1) * n])
        }
        let run = |k: &Kernels| {
            let mut all = Vec::new();
            let mut y = vec![0.0; n];
            for (w, b) in [(&w[..], &b[..]), (&[], &[]), (&w[..], &[]), (&[], &b[..])] {
                (k.layer_norm)(&x, w, b, 1e-5, &mut y);
                all.extend_from_slice(&y);
                (k.rms_norm)(&x, w, 1e-5, &mut y);
                all.extend_from_slice(&y);
            }
            (k.affine)(&x, &w, &b, &mut y);
            all.extend_from_slice(&y);
            for f in FUNCTIONS {
                let mut y = x.clone();
                (k.activate)(f, &mut y);
                all.extend_from_slice(&y);
                (k.activate_gated)(f, &x, &mut y);
                all.extend_from_slice(&y);
                let mut h = c.clone();
                (k.rnn_cell)(f, &gx[..n], &gh[..n], &mut h);
                all.extend_from_slice(&h);
            }
            let mut y = x.clone();
            (k.softcap)(15.0, &mut y);
            all.extend_from_slice(&y);
            let mut y = x.clone();
            (k.softmax)(&mut y);
            all.extend_from_slice(&y);
            all.extend([(k.max)(&x), (k.sum_exp)(&x, (k.max)(&x))]);
            let mut h = c.clone();
            (k.gru_cell)(gates(&gx), gates(&gh), &mut h);
            all.extend_from_slice(&h);
            let mut c = c.clone();
            (k.lstm_cell)(gates(&gx), gates(&gh), &mut c, &mut h);
            all.extend_from_slice(&c);
            all.extend_from_slice(&h);
            all
        };
        let expected = run(scalar());
        for kernels in others() {
            prop_assert_eq!(bits(&run(kernels)), bits(&expected));
        }
    }

    #[test]
    fn attention_equals_scalar_and_double_precision(
        head_dim in 1usize..70, n in 1usize..150, rows in 1usize..20, group in 1usize..5, spare in 0usize..20,
        causal in any::<bool>(), window in prop_oneof![Just(usize::MAX), 1usize..40], shift in 0usize..3,
        seed in 1u64..u64::MAX
    ) {
        let mut rng = Rng(seed);
        let positions = n + rows - 1;
        let seen = if causal { Seen::Causal { n, window } } else { Seen::All(n) };
        let capacity = (positions + spare).next_multiple_of(LANES);
        let queries = rng.floats(rows * group * head_dim);
        let (keys, values) = (rng.floats(positions * head_dim), rng.floats(positions * head_dim));
        let (scale, unit) = (1.0 / (head_dim as f32).sqrt(), group * head_dim);
        // Caches hold NaNs where nothing has been written.
        fn run<C: CacheCell>(
            kernels: &Kernels, nan: C, [queries, keys, values]: [&[f32]; 3], [head_dim, rows, capacity]: [usize; 3],
            seen: Seen
        ) -> Vec<f32> {
            let mut k = vec![[nan; LANES]; capacity / LANES * head_dim];
            let mut v = vec![[nan; LANES]; head_dim.div_ceil(LANES) * capacity];
            for p in 0..keys.len() / head_dim {
                let row = p * head_dim..(p + 1) * head_dim;
                C::remember(kernels)(&keys[row.clone()], &values[row], p, capacity, &mut k, &mut v);
            }
            let mut out = vec![0.0; queries.len()];
            let mut scratch = vec![f32::NAN; attend_scratch(head_dim, capacity).unwrap()];
            let scale = 1.0 / (head_dim as f32).sqrt();
            let mut strip = Strip::new(&mut out, rows, queries.len() / rows);
            let cache = HeadCache { k: &k, v: &v, capacity };
            C::attend(kernels)(queries, head_dim, cache, seen, scale, &mut scratch, &mut strip);
            out
        }
        let half = |x: f32| f16::from_f32(x).to_f32();
        let halfs = |x: &[f32]| x.iter().map(|x| half(*x)).collect::<Vec<_>>();
        let sizes = [head_dim, rows, capacity];
        let expected = run(scalar(), f16::NAN, [&queries, &keys, &values], sizes, seen);
        // The arithmetic is the same; only what the cache keeps differs.
        let wide = run(scalar(), f32::NAN, [&queries, &halfs(&keys), &halfs(&values)], sizes, seen);
        prop_assert_eq!(bits(&wide), bits(&expected));
        // So is that of a query alone.
        for (i, query) in queries.chunks_exact(head_dim).enumerate() {
            let n = seen.by(i / group).end;
            let alone = [query, &keys[..n * head_dim], &values[..n * head_dim]];
            let seen = if causal { Seen::Causal { n, window } } else { Seen::All(n) };
            let found = run(scalar(), f16::NAN, alone, [head_dim, 1, capacity], seen);
            prop_assert_eq!(bits(&found), bits(&expected[i * head_dim..(i + 1) * head_dim]));
        }
        // So is that over a cache without the sixteens of positions that nobody sees any more.
        let unseen = seen.by(0).start;
        let gone = (unseen / 16).min(shift) * 16;
        let left = [&queries[..], &keys[gone * head_dim..], &values[gone * head_dim..]];
        let moved = if causal { Seen::Causal { n: n - gone, window } } else { seen };
        prop_assert_eq!(bits(&run(scalar(), f16::NAN, left, sizes, moved)), bits(&expected));
        // Nor do positions outside of the window, whatever they hold, as far as values of a weight of 0 are numbers.
        let (mut odd_keys, mut odd_values) = (keys.clone(), values.clone());
        odd_keys[..unseen * head_dim].fill(f32::NAN);
        odd_values[..unseen / 4 * 4 * head_dim].fill(f32::INFINITY);
        for kernels in [scalar()].into_iter().chain(others()) {
            let found = run(kernels, f16::NAN, [&queries, &odd_keys, &odd_values], sizes, seen);
            prop_assert_eq!(bits(&found), bits(&expected));
        }
        for kernels in others() {
            let found = run(kernels, f16::NAN, [&queries, &keys, &values], sizes, seen);
            prop_assert_eq!(bits(&found), bits(&expected));
            let wide = run(scalar(), f32::NAN, [&queries, &keys, &values], sizes, seen);
            prop_assert_eq!(bits(&run(kernels, f32::NAN, [&queries, &keys, &values], sizes, seen)), bits(&wide));
        }
        for (t, (queries, out)) in queries.chunks_exact(unit).zip(expected.chunks_exact(unit)).enumerate() {
            for (q, out) in queries.chunks_exact(head_dim).zip(out.chunks_exact(head_dim)) {
                let half = |x: f32| half(x) as f64;
                let score = |p: usize| (0..head_dim).map(|d| q[d] as f64 * half(keys[p * head_dim + d])).sum::<f64>();
                let sees = seen.by(t);
                let weight: Vec<f64> = sees.clone().map(|p| (score(p) * scale as f64).exp()).collect();
                let total: f64 = weight.iter().sum();
                for (d, out) in out.iter().enumerate() {
                    let exact = sees.clone().map(|p| weight[p - sees.start] / total * half(values[p * head_dim + d])).sum::<f64>();
                    prop_assert!((*out as f64 - exact).abs() < 3e-6, "{out} for {exact}");
                }
            }
        }
    }
}

const FUNCTIONS: [Function; 6] =
    [Function::Tanh, Function::Relu, Function::LeakyRelu, Function::Relu2, Function::Gelu, Function::Silu];

/// Floats of every size: all exponents with some mantissas, both signs, zeros, infinities, NaN.
fn whole_range() -> Vec<f32> {
    let mut all: Vec<f32> = (0u32..=255)
        .flat_map(|e| [0, 1, 0x2AAAAA, 0x400000, 0x555555, 0x7FFFFF].map(|m| f32::from_bits(e << 23 | m)))
        .collect();
    // And densely where the functions bend.
    all.extend((0..400_000).map(|i| i as f32 * 2.7e-4));
    all.extend((0..20_000).map(|i| (i as f32 * 1e-3 - 10.0).exp2()));
    let negative: Vec<f32> = all.iter().map(|x| -x).collect();
    all.extend(negative);
    all
}

/// Distance of `found` from `exact` in units of the last place of `exact` as f32.
fn ulps(found: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if found.is_nan() || exact.is_nan() {
        return if found.is_nan() && exact.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if found == rounded {
        return 0.0;
    }
    if found.is_infinite() || rounded.is_infinite() {
        // Next to overflow: one ulp of the largest finite number.
        let finite = |x: f64| x.clamp(-(f32::MAX as f64) * 1.000_000_06, f32::MAX as f64 * 1.000_000_06);
        return (finite(found as f64) - finite(exact)).abs() / 2f64.powi(104);
    }
    let exponent = (exact.abs().log2().floor() as i32).max(-126);
    (found as f64 - exact).abs() / 2f64.powi(exponent - 23)
}

fn worst(name: &str, limit: f64, f: impl Fn(&Kernels, &[f32]) -> Vec<f32>, exact: impl Fn(f64) -> f64) {
    let x = whole_range();
    let found = f(scalar(), &x);
    let (mut worst, mut at) = (0.0, 0.0);
    for (x, y) in x.iter().zip(&found) {
        let error = ulps(*y, exact(*x as f64));
        if error > worst {
            (worst, at) = (error, *x);
        }
    }
    println!("{name}: {worst:.2} ulp at {at:e}");
    assert!(worst <= limit, "{name}: {worst} ulp at {at:e}");
    for kernels in others() {
        assert_eq!(bits(&f(kernels, &x)), bits(&found), "{name} on {}", kernels.isa.name());
    }
}

fn activated(f: Function) -> impl Fn(&Kernels, &[f32]) -> Vec<f32> {
    move |k, x| {
        let mut y = x.to_vec();
        (k.activate)(f, &mut y);
        y
    }
}

#[test]
fn elementary_functions_are_within_their_ulps_over_the_whole_range() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    // One element at a time: the sum of a single exponential is the exponential.
    let exp = |k: &Kernels, x: &[f32]| x.iter().map(|x| (k.sum_exp)(&[*x], 0.0)).collect();
    worst("exp", 1.0, exp, f64::exp);
    worst("tanh", 2.0, activated(Function::Tanh), f64::tanh);
    let lstm_gate = |k: &Kernels, x: &[f32]| {
        // With c = 1, i = 0 and f the gate, the new cell is the sigmoid.
        let gate = |x: f32| {
            let (mut c, mut h) = ([1.0], [0.0]);
            (k.lstm_cell)([&[f32::NEG_INFINITY], &[x], &[0.0], &[0.0]], [&[0.0]; 4], &mut c, &mut h);
            c[0]
        };
        x.iter().map(|x| gate(*x)).collect()
    };
    worst("sigmoid", 3.0, lstm_gate, sigmoid);
    // Below -86 the exponential is subnormal and has few bits; the value is 1e-35 or less.
    let cut = |k: &Kernels, x: &[f32]| {
        let y = activated(Function::Silu)(k, x).into_iter().zip(x);
        y.map(|(y, x)| if *x < -86.0 && y.abs() < 1e-35 { 0.0 } else { y }).collect()
    };
    worst("silu", 4.0, cut, |x| if x < -86.0 { 0.0 } else { x * sigmoid(x) });
    worst("relu", 0.0, activated(Function::Relu), |x| if x < 0.0 { 0.0 } else { x });
    worst(
        "leaky relu",
        0.51,
        activated(Function::LeakyRelu),
        |x| if x > 0.0 { x } else { 0.01f32 as f64 * x },
    );
}

#[test]
fn gelu_is_close_everywhere() {
    // The error of the exponent is multiplied by its size, so the bound grows towards the negative tail.
    let u = |x: f64| (8.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    let exact = |x: f64| x / (1.0 + (-u(x)).exp());
    let x = whole_range();
    let found = activated(Function::Gelu)(scalar(), &x);
    for (x, y) in x.iter().zip(&found) {
        match *x {
            x if x.is_nan() => assert!(y.is_nan()),
            x if x == f32::NEG_INFINITY => assert_eq!(*y, 0.0),
            x if x > -5.0 => {
                let bound = 4.0 + 4.0 * (-u(x as f64)).max(0.0);
                assert!(ulps(*y, exact(x as f64)) < bound, "gelu({x}) = {y}");
            }
            x => assert!((*y as f64 - exact(x as f64)).abs() < 1e-11, "gelu({x}) = {y}"),
        }
    }
    for kernels in others() {
        assert_eq!(bits(&activated(Function::Gelu)(kernels, &x)), bits(&found));
    }
}

#[test]
fn double_precision_functions_follow_the_standard_library() {
    let close = |found: f64, exact: f64, name: &str, x: f64| {
        let bound = 4.0 * f64::EPSILON * exact.abs().max(f64::MIN_POSITIVE);
        assert!((found - exact).abs() <= bound, "{name}({x}) = {found}, expected {exact}");
    };
    for i in -70_000..70_000 {
        let x = i as f64 * 0.01;
        close(math::exp_f64(x), x.exp(), "exp", x);
    }
    for i in 1..100_000 {
        for x in [i as f64 * 1e-3, i as f64 * 1e300, f64::from_bits(i)] {
            close(math::ln_f64(x), x.ln(), "ln", x);
        }
    }
    assert_eq!(math::ln_f64(1.0), 0.0);
    assert_eq!(math::ln_f64(0.0), f64::NEG_INFINITY);
    assert!(math::ln_f64(-1.0).is_nan() && math::ln_f64(f64::NAN).is_nan());
    assert_eq!(math::ln_f64(f64::INFINITY), f64::INFINITY);
    for i in 0..200_000 {
        for x in [i as f64 * 1e-3, i as f64 * 7.7, i as f64 * 83.0] {
            let (sin, cos) = math::sin_cos_f64(x);
            let bound = 1e-15 + x * 2.3e-16;
            assert!((sin - x.sin()).abs() < bound && (cos - x.cos()).abs() < bound, "sin_cos({x})");
        }
    }
}

#[test]
fn halfs_round_like_the_half_crate() {
    let x: Vec<f32> = whole_range().into_iter().filter(|x| !x.is_nan()).collect();
    for kernels in Isa::available().filter_map(Isa::kernels) {
        for x in x.chunks(LANES) {
            let n = x.len();
            let (mut k, mut v) = (vec![[f16::ZERO; LANES]; n], vec![[f16::ZERO; LANES]; LANES]);
            (kernels.remember_f16)(x, x, 0, LANES, &mut k, &mut v);
            for i in 0..n {
                let expected = f16::from_f32_const(x[i]).to_bits();
                assert_eq!(
                    (k[i][0].to_bits(), v[0][i].to_bits()),
                    (expected, expected),
                    "{} on {}",
                    x[i],
                    kernels.isa.name()
                );
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_visible_in_quantized_activations() {
    for kernels in Isa::available().filter_map(Isa::kernels) {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![0.5; 64];
            x[40] = bad;
            let acts = Acts::new(kernels, x, 1);
            assert!(!acts.scales[0].is_nan() && acts.scales[1].is_nan());
        }
        let zero = Acts::new(kernels, vec![0.0; 33], 1);
        assert_eq!((zero.scales[0], zero.scales[1], zero.codes[0], zero.sums[1]), (0.0, 0.0, [0; GROUP], 0));
        let tiny = Acts::new(kernels, vec![f32::from_bits(1); 32], 1);
        assert_eq!(tiny.codes[0], [127; GROUP]);
    }
}

#[test]
fn a_nan_is_never_lost() {
    for kernels in Isa::available().filter_map(Isa::kernels) {
        for f in FUNCTIONS {
            let mut x = [f32::NAN; 9];
            (kernels.activate)(f, &mut x);
            assert!(x.iter().all(|x| x.is_nan()), "{f:?} on {}", kernels.isa.name());
        }
        let mut x = vec![0.0; 20];
        x[17] = f32::NAN;
        (kernels.softmax)(&mut x);
        assert!(x.iter().all(|x| x.is_nan()));
    }
}

#[test]
fn shapes_are_checked() {
    let w = vec![[0.0; LANES]; 2 * 5];
    assert!(Matrix::new(16, 5, Panels::F32(&w)).is_some());
    assert!(Matrix::new(17, 5, Panels::F32(&w)).is_none());
    assert!(Matrix::new(8, 5, Panels::F32(&w)).is_none());
    assert!(Matrix::new(usize::MAX, usize::MAX, Panels::F32(&w)).is_none());
}
