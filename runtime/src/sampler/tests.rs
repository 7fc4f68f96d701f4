use super::*;
use proptest::prelude::*;

const NEUTRAL: fn() -> SamplerOptions = SamplerOptions::neutral;

/// ln of probabilities, so that their softmax gives them back.
fn logits(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

/// Ids and normalized probabilities after all stages, by id.
fn distribution(options: SamplerOptions, logits: &[f32]) -> Vec<(u32, f32)> {
    after(options, &[], logits)
}

fn after(options: SamplerOptions, history: &[u32], logits: &[f32]) -> Vec<(u32, f32)> {
    let mut sampler = Sampler::new(options, logits.len()).unwrap();
    for &token in history {
        sampler.accept(token);
    }
    sampler.distribution(logits).unwrap();
    let total: f32 = sampler.candidates.weighted().map(|(_, w)| w).sum();
    let mut result: Vec<(u32, f32)> =
        sampler.candidates.weighted().filter(|&(_, w)| w > 0.0).map(|(id, w)| (id, w / total)).collect();
    result.sort_by_key(|&(id, _)| id);
    result
}

fn check(found: Vec<(u32, f32)>, expected: &[(u32, f32)]) {
    let close = found.len() == expected.len()
        && found.iter().zip(expected).all(|(f, e)| f.0 == e.0 && (f.1 - e.1).abs() < 1e-5);
    assert!(close, "{found:?}, expected {expected:?}");
}

#[test]
fn greedy_takes_the_greatest_and_the_lowest_id_of_equals() {
    let mut sampler = Sampler::new(SamplerOptions::greedy(), 4).unwrap();
    assert_eq!(sampler.sample(&[0.5, 2.0, -1.0, 2.0]), Ok(1));
    assert_eq!(sampler.sample(&[f32::NAN, -5.0, f32::NEG_INFINITY, -6.0]), Ok(1));
    assert_eq!(sampler.sample(&[1.0, f32::INFINITY, f32::MAX, 0.0]), Ok(1));
}

#[test]
fn nothing_to_choose_is_an_error_and_changes_nothing() {
    for options in [SamplerOptions::greedy(), NEUTRAL(), SamplerOptions::default()] {
        let mut sampler = Sampler::new(options, 3).unwrap();
        for hopeless in [[f32::NAN; 3], [f32::NEG_INFINITY; 3]] {
            assert_eq!(sampler.sample(&hopeless), Err(SamplerError::NoCandidate));
        }
        assert_eq!(sampler.sample(&[f32::NAN, f32::NEG_INFINITY, -1e30]), Ok(2));
    }
}

#[test]
fn neutral_is_the_softmax() {
    let p = [0.1, 0.2, 0.3, 0.4];
    check(distribution(NEUTRAL(), &logits(&p)), &[(0, 0.1), (1, 0.2), (2, 0.3), (3, 0.4)]);
}

#[test]
fn temperature() {
    let p = logits(&[0.2, 0.8]);
    let at = |temperature| distribution(SamplerOptions { temperature, ..NEUTRAL() }, &p);
    check(at(0.5), &[(0, 0.04 / 0.68), (1, 0.64 / 0.68)]);
    check(at(2.0), &[(0, 1.0 / 3.0), (1, 2.0 / 3.0)]);
    check(at(1e-30), &[(1, 1.0)]);
    check(at(1e30), &[(0, 0.5), (1, 0.5)]);
}

#[test]
fn top_k() {
    let p = logits(&[0.1, 0.4, 0.1, 0.3, 0.1]);
    let keep = |top_k| distribution(SamplerOptions { top_k, ..NEUTRAL() }, &p);
    check(keep(1), &[(1, 1.0)]);
    check(keep(2), &[(1, 4.0 / 7.0), (3, 3.0 / 7.0)]);
    check(keep(3), &[(0, 1.0 / 8.0), (1, 4.0 / 8.0), (3, 3.0 / 8.0)]); // the lowest id of equals
    for all in [0, 5, 6, usize::MAX] {
        assert_eq!(keep(all).len(), 5);
    }
}

#[test]
fn top_p() {
    let p = logits(&[0.1, 0.5, 0.15, 0.25]);
    let keep = |top_p| distribution(SamplerOptions { top_p, ..NEUTRAL() }, &p);
    check(keep(1e-9), &[(1, 1.0)]);
    check(keep(0.49), &[(1, 1.0)]);
    check(keep(0.51), &[(1, 2.0 / 3.0), (3, 1.0 / 3.0)]);
    check(keep(0.76), &[(1, 5.0 / 9.0), (2, 1.5 / 9.0), (3, 2.5 / 9.0)]);
    assert_eq!(keep(0.99).len(), 4);
    assert_eq!(keep(1.0).len(), 4);
}

#[test]
fn min_p() {
    let p = logits(&[0.05, 0.5, 0.2, 0.25]);
    let keep = |min_p| distribution(SamplerOptions { min_p, ..NEUTRAL() }, &p);
    assert_eq!(keep(0.09).len(), 4);
    check(keep(0.11), &[(1, 0.5 / 0.95), (2, 0.2 / 0.95), (3, 0.25 / 0.95)]);
    check(keep(0.45), &[(1, 2.0 / 3.0), (3, 1.0 / 3.0)]);
    check(keep(1.0), &[(1, 1.0)]);
}

#[test]
fn the_order_of_temperature_and_filters() {
    let p = logits(&[0.6, 0.3, 0.1]);
    let options = SamplerOptions { temperature: 4.0, top_p: 0.55, ..NEUTRAL() };
    check(distribution(options.clone(), &p), &[(0, 1.0)]);
    let first = SamplerOptions { temperature_first: true, ..options };
    assert_eq!(distribution(first, &p).len(), 2); // flattened to 0.42, 0.35, 0.23
}

#[test]
fn penalties() {
    let ln_ratio = |d: &[(u32, f32)], a: usize, b: usize| (d[a].1 / d[b].1).ln();
    let raw = [2.0, -2.0, 1.0];
    let repetition = SamplerOptions { repetition_penalty: 2.0, ..NEUTRAL() };
    let d = after(repetition, &[0, 1, 1], &raw);
    assert!((ln_ratio(&d, 0, 2) - 0.0).abs() < 1e-4 && (ln_ratio(&d, 1, 2) - -5.0).abs() < 1e-4, "{d:?}");
    let d = after(SamplerOptions { frequency_penalty: 0.5, ..NEUTRAL() }, &[1, 1, 2], &raw);
    assert!((ln_ratio(&d, 0, 2) - 1.5).abs() < 1e-4 && (ln_ratio(&d, 1, 2) - -3.5).abs() < 1e-4, "{d:?}");
    let d = after(SamplerOptions { presence_penalty: 0.5, ..NEUTRAL() }, &[1, 1], &raw);
    assert!((ln_ratio(&d, 0, 2) - 1.0).abs() < 1e-4 && (ln_ratio(&d, 1, 2) - -3.5).abs() < 1e-4, "{d:?}");
    let one = SamplerOptions { presence_penalty: 0.5, penalty_last_n: Some(1), ..NEUTRAL() };
    let d = after(one, &[1, 2], &raw);
    assert!((ln_ratio(&d, 0, 2) - 1.5).abs() < 1e-4 && (ln_ratio(&d, 1, 2) - -2.5).abs() < 1e-4, "{d:?}");
}

#[test]
fn sampled_tokens_enter_the_history() {
    let options = SamplerOptions { presence_penalty: 10.0, ..SamplerOptions::greedy() };
    let mut sampler = Sampler::new(options, 3).unwrap();
    let raw = [1.0, 2.0, 3.0];
    let run = |sampler: &mut Sampler| [0; 4].map(|_| sampler.sample(&raw).unwrap());
    assert_eq!(run(&mut sampler), [2, 1, 0, 2]);
    sampler.reset();
    assert_eq!(run(&mut sampler), [2, 1, 0, 2]);
}

#[test]
fn logit_bias() {
    let bias = |logit_bias: Vec<(u32, f32)>| SamplerOptions { logit_bias, ..NEUTRAL() };
    let p = logits(&[0.5, 0.25, 0.25]);
    check(distribution(bias(vec![(0, f32::NEG_INFINITY)]), &p), &[(1, 0.5), (2, 0.5)]);
    check(distribution(bias(vec![(1, 2f32.ln())]), &p), &[(0, 0.4), (1, 0.4), (2, 0.2)]);
    let mut sampler = Sampler::new(bias(vec![(0, f32::NEG_INFINITY)]), 1).unwrap();
    assert_eq!(sampler.sample(&[f32::INFINITY]), Err(SamplerError::NoCandidate));
}

#[test]
fn absurd_options_are_refused_with_their_range() {
    let refuse = |options: SamplerOptions, expected: &str| {
        assert_eq!(Sampler::new(options, 10).unwrap_err().to_string(), expected);
    };
    for (temperature, shown) in [(f32::NAN, "NaN"), (-0.5, "-0.5"), (f32::INFINITY, "inf")] {
        refuse(
            SamplerOptions { temperature, ..NEUTRAL() },
            &format!("temperature is {shown}, expected 0 or more"),
        );
    }
    for (top_p, shown) in [(0.0, "0"), (1.5, "1.5"), (f32::NAN, "NaN"), (-1.0, "-1")] {
        refuse(
            SamplerOptions { top_p, ..NEUTRAL() },
            &format!("top-p is {shown}, expected above 0 and at most 1"),
        );
    }
    refuse(SamplerOptions { min_p: 1.1, ..NEUTRAL() }, "min-p is 1.1, expected between 0 and 1");
    refuse(
        SamplerOptions { repetition_penalty: 0.0, ..NEUTRAL() },
        "repetition penalty is 0, expected above 0",
    );
    refuse(
        SamplerOptions { frequency_penalty: f32::NAN, ..NEUTRAL() },
        "frequency penalty is NaN, expected a finite number",
    );
    refuse(
        SamplerOptions { logit_bias: vec![(10, 1.0)], ..NEUTRAL() },
        "logit bias names token 10, the vocabulary has 10 tokens",
    );
    refuse(
        SamplerOptions { logit_bias: vec![(1, f32::INFINITY)], ..NEUTRAL() },
        "logit bias is inf, expected a finite number or minus infinity",
    );
    let last_n = SamplerOptions { penalty_last_n: Some(usize::MAX), ..NEUTRAL() };
    assert!(matches!(Sampler::new(last_n, 10), Err(SamplerError::LastN { .. })));
    assert!(matches!(Sampler::new(NEUTRAL(), 0), Err(SamplerError::VocabSize { found: 0 })));
}

#[test]
fn every_instruction_set_draws_the_same() {
    let mut rng = super::Rng::new(3);
    let raw: Vec<f32> = (0..5003).map(|_| rng.uniform() as f32 * 12.0).collect();
    for options in [NEUTRAL(), SamplerOptions { top_p: 0.9, temperature: 1.3, ..NEUTRAL() }] {
        let mut bits = Isa::available().map(|isa| {
            let kernels = isa.kernels().unwrap();
            let mut sampler = {
                let mut memory = Memory::new(Sampler::bytes(raw.len())).unwrap();
                Sampler::with_kernels(options.clone(), raw.len(), kernels, &mut memory).unwrap()
            };
            sampler.distribution(&raw).unwrap();
            sampler.candidates.weighted().map(|(id, w)| (id, w.to_bits())).collect::<Vec<_>>()
        });
        let scalar = bits.next().unwrap();
        assert!(bits.all(|other| other == scalar));
    }
}

/// Pearson's chi-square of many draws against the exact distribution.
fn chi_square(options: SamplerOptions, logits: &[f32], n_draws: usize) -> f64 {
    let expected = distribution(options.clone(), logits);
    let mut sampler = Sampler::new(options, logits.len()).unwrap();
    let mut counts = vec![0usize; logits.len()];
    for _ in 0..n_draws {
        counts[sampler.sample(logits).unwrap() as usize] += 1;
    }
    let possible: usize = expected.iter().map(|&(id, _)| counts[id as usize]).sum();
    assert_eq!(possible, n_draws, "an impossible token was drawn");
    expected
        .iter()
        .map(|&(id, p)| {
            let expected = f64::from(p) * n_draws as f64;
            (counts[id as usize] as f64 - expected).powi(2) / expected
        })
        .sum()
}

#[test]
fn draws_follow_the_distribution() {
    let raw: Vec<f32> = (0..20).map(|i| ((i * 7) % 20) as f32 * 0.15).collect();
    // 99.9 % quantiles of chi-square: 43.8 for 19 degrees of freedom, 27.9 for 9.
    for seed in 0..5 {
        let found = chi_square(SamplerOptions { seed, ..NEUTRAL() }, &raw, 40_000);
        assert!(found < 43.8, "seed {seed}: {found}");
        let options = SamplerOptions { seed, temperature: 0.7, top_k: 10, ..NEUTRAL() };
        let found = chi_square(options, &raw, 40_000);
        assert!(found < 27.9, "seed {seed}: {found}");
    }
}

#[test]
fn seeds_decide() {
    let raw = vec![0.0; 1000];
    let run = |seed| {
        let mut sampler = Sampler::new(SamplerOptions { seed, ..NEUTRAL() }, 1000).unwrap();
        (0..20).map(|_| sampler.sample(&raw).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

/// The plain way: sort everything, then cut.
fn reference(options: &SamplerOptions, raw: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..raw.len() as u32).collect();
    order.sort_by(|&a, &b| raw[b as usize].total_cmp(&raw[a as usize]).then(a.cmp(&b)));
    if options.top_k > 0 {
        order.truncate(options.top_k);
    }
    let max = raw[order[0] as usize];
    let weight = |id: u32| f64::from(raw[id as usize] - max).exp();
    let total: f64 = order.iter().map(|&id| weight(id)).sum();
    let mut sum = 0.0;
    let needed = order.iter().take_while(|&&id| {
        let before = sum;
        sum += weight(id) / total;
        before < f64::from(options.top_p)
    });
    let needed = needed.count();
    order.truncate(needed);
    order.retain(|&id| weight(id) >= f64::from(options.min_p));
    order
}

proptest! {
    #[test]
    fn filters_agree_with_sorting_everything(
        raw in prop::collection::vec(-40i32..40, 1..700), top_k in 0usize..400, top_p in 0.01f32..1.0,
        min_p in 0.0f32..0.5,
    ) {
        // Steps of a quarter: many equal logits.
        let raw: Vec<f32> = raw.iter().map(|&x| x as f32 * 0.25).collect();
        let options = SamplerOptions { top_k, top_p, min_p, ..NEUTRAL() };
        let mut sampler = Sampler::new(options.clone(), raw.len()).unwrap();
        sampler.distribution(&raw).unwrap();
        let found: Vec<u32> = sampler.candidates.weighted().map(|(id, _)| id).collect();
        // A sum may lie within a rounding error of its limit: then both answers are right.
        let slack = 1e-5;
        let least = SamplerOptions { top_p: top_p * (1.0 - slack), min_p: min_p * (1.0 + slack), ..options.clone() };
        let most = SamplerOptions { top_p: top_p * (1.0 + slack), min_p: min_p * (1.0 - slack), ..options };
        prop_assert!(reference(&least, &raw).iter().all(|id| found.contains(id)));
        let most = reference(&most, &raw);
        prop_assert!(found.iter().all(|id| most.contains(id)));
    }

    #[test]
    fn no_logits_make_it_panic_or_choose_the_impossible(
        raw in prop::collection::vec(prop::num::f32::ANY, 1..80), top_k in 0usize..100, top_p in 0.001f32..=1.0,
        min_p in 0.0f32..=1.0, temperature in prop::sample::select(vec![0.0, 1e-40, 0.5, 1.0, 3e38]),
        repetition_penalty in prop::sample::select(vec![1e-40, 1.0, 1.3, 1e38]), temperature_first: bool,
    ) {
        let options = SamplerOptions {
            top_k, top_p, min_p, temperature, repetition_penalty, temperature_first, ..NEUTRAL()
        };
        let mut sampler = Sampler::new(options, raw.len()).unwrap();
        for _ in 0..4 {
            match sampler.sample(&raw) {
                Ok(token) => {
                    let logit = raw[token as usize];
                    prop_assert!(!logit.is_nan() && logit != f32::NEG_INFINITY);
                }
                Err(error) => {
                    prop_assert_eq!(error, SamplerError::NoCandidate);
                    break;
                }
            }
        }
    }
}
