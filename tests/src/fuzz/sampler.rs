//! Sampling options and logits made from bytes, absurd ones among them: a token that may be chosen, or the documented
//! error, and the same again.

use super::choices::Choices;
use siskin::{Sampler, SamplerError, SamplerOptions};

/// Makes options and logits of `data`, and draws some tokens.
///
/// # Panics
/// When the sampler breaks a promise.
pub fn sampler(data: &[u8]) {
    let mut choices = Choices::new(data);
    let size = choices.byte();
    let vocab_size = if size < 240 { usize::from(size) % 24 } else { 64 + choices.below(300) };
    let options = options(&mut choices, vocab_size);
    let mut sampler = match Sampler::new(options.clone(), vocab_size) {
        Ok(sampler) => sampler,
        Err(error) => {
            assert!(!is_valid(&options, vocab_size), "{error}");
            assert!(!error.to_string().contains(char::is_control));
            return;
        }
    };
    assert!(is_valid(&options, vocab_size), "{options:?} for {vocab_size} tokens");
    let mut twin = Sampler::new(options.clone(), vocab_size).expect("made before");
    for _ in 0..choices.below(4) {
        let token = choices.below(vocab_size) as u32;
        sampler.accept(token);
        twin.accept(token);
    }
    let mut all = Vec::new();
    for _ in 0..1 + choices.below(4) {
        let logits = logits(&mut choices, vocab_size);
        let found = sampler.sample(&logits);
        assert_eq!(found, twin.sample(&logits), "the same history and logits give the same token");
        check(&options, &logits, &found);
        all.push(logits);
    }
    sampler.reset();
    let mut fresh = Sampler::new(options, vocab_size).expect("made before");
    for logits in &all {
        assert_eq!(
            sampler.sample(logits),
            fresh.sample(logits),
            "a sampler that was reset is as good as new"
        );
    }
}

fn options(choices: &mut Choices<'_>, vocab_size: usize) -> SamplerOptions {
    let mut options = match choices.byte() % 4 {
        0 => SamplerOptions::default(),
        1 => SamplerOptions::greedy(),
        _ => SamplerOptions::neutral(),
    };
    for _ in 0..choices.below(6) {
        match choices.byte() % 11 {
            0 => options.temperature = choices.float(),
            1 => options.top_k = choices.number() as usize,
            2 => options.top_p = choices.float(),
            3 => options.min_p = choices.float(),
            4 => options.repetition_penalty = choices.float(),
            5 => options.frequency_penalty = choices.float(),
            6 => options.presence_penalty = choices.float(),
            // A window as long as it may be takes 64 MiB, which is only slow.
            7 => {
                options.penalty_last_n =
                    Some(choices.number() as usize).filter(|n| !(1 << 12..=1 << 24).contains(n))
            }
            8 => options.logit_bias.push((choices.below(vocab_size + 1) as u32, choices.float())),
            9 => options.temperature_first = true,
            _ => options.seed = choices.number(),
        }
    }
    options
}

/// The ranges that the documentation of [`SamplerOptions`] gives.
fn is_valid(o: &SamplerOptions, vocab_size: usize) -> bool {
    let biases = o.logit_bias.iter();
    vocab_size > 0
        && o.temperature.is_finite()
        && o.temperature >= 0.0
        && o.top_p > 0.0
        && o.top_p <= 1.0
        && o.min_p >= 0.0
        && o.min_p <= 1.0
        && o.repetition_penalty.is_finite()
        && o.repetition_penalty > 0.0
        && o.frequency_penalty.is_finite()
        && o.presence_penalty.is_finite()
        && o.penalty_last_n.is_none_or(|n| n <= 1 << 24)
        && biases.clone().all(|&(id, _)| (id as usize) < vocab_size)
        && biases.clone().all(|&(_, bias)| bias < f32::INFINITY)
}

fn logits(choices: &mut Choices<'_>, vocab_size: usize) -> Vec<f32> {
    match choices.byte() % 8 {
        0 => vec![choices.float(); vocab_size],
        1 => (0..vocab_size)
            .map(|i| f32::from_bits((i as u32 + 1).wrapping_mul(choices.u64() as u32 | 1)))
            .collect(),
        _ => (0..vocab_size).map(|_| choices.float()).collect(),
    }
}

/// A token that may be chosen: it exists, its logit is a number above minus infinity that no bias took away, and of the
/// greatest ones where only those may be chosen. No token only where there is none.
fn check(options: &SamplerOptions, logits: &[f32], found: &Result<u32, SamplerError>) {
    let banned =
        |id: usize| options.logit_bias.iter().any(|&(i, bias)| i as usize == id && bias == f32::NEG_INFINITY);
    let penalized = options.repetition_penalty != 1.0
        || options.frequency_penalty != 0.0
        || options.presence_penalty != 0.0;
    let possible = |id: usize| !logits[id].is_nan() && logits[id] != f32::NEG_INFINITY;
    let token = match found {
        Ok(token) => *token as usize,
        Err(SamplerError::NoCandidate) => {
            // Biases and penalties may push a logit down to minus infinity.
            let any = (0..logits.len()).any(possible);
            assert!(!any || penalized || !options.logit_bias.is_empty(), "there was a token to choose");
            return;
        }
        Err(other) => panic!("{other}"),
    };
    assert!(token < logits.len() && possible(token), "a token that cannot be");
    assert!(!banned(token), "a token that was banned");
    if penalized || !options.logit_bias.is_empty() {
        return;
    }
    // As the sampler sees them: plus infinity is the greatest number.
    let seen = |id: usize| logits[id].min(f32::MAX);
    let greater = (0..logits.len()).filter(|&id| possible(id) && seen(id) > seen(token)).count();
    if options.temperature == 0.0 {
        let first = (0..logits.len()).find(|&id| possible(id) && seen(id) == seen(token));
        assert_eq!((greater, first), (0, Some(token)), "the greatest logit, the lowest id of equals");
    } else if options.top_k > 0 && !options.temperature_first {
        assert!(greater < options.top_k, "not among the {} greatest", options.top_k);
    }
}

/// Inputs made by hand that a fuzzer may start from.
pub fn seeds() -> Vec<Vec<u8>> {
    (0..12u8)
        .map(|seed| (0..80u8).map(|i| seed.wrapping_mul(29).wrapping_add(i.wrapping_mul(41))).collect())
        .collect()
}
