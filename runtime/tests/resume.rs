//! A text that is saved in the middle goes on elsewhere with the same tokens.

mod common;

use siskin::{Error, GenerateOptions, Generator, Isa, SamplerOptions, Session, SessionOptions, Tokenizer};
use siskin_format::DType;
use std::sync::Arc;

fn generator(
    config: &siskin_format::ModelConfig,
    options: &GenerateOptions,
    session: &SessionOptions,
) -> Generator {
    let model = common::model(config, DType::Q8, 3);
    let tokenizer = Arc::new(Tokenizer::from_vocab(model.file().vocab()).unwrap());
    Generator::new(Session::new(model, session).unwrap(), tokenizer, options).unwrap()
}

fn options() -> GenerateOptions {
    let sampler = SamplerOptions {
        temperature: 1.3,
        top_k: 0,
        repetition_penalty: 1.2,
        penalty_last_n: Some(9),
        logit_bias: vec![(4, -1.0)],
        seed: 11,
        ..SamplerOptions::default()
    };
    GenerateOptions { sampler, stop: vec!["never".into(), "\u{4E00}\u{4E01}\u{4E02}\u{4E03}".into()] }
}

/// The next pieces, and what they end with.
fn pieces(generator: &mut Generator, n: usize) -> Vec<(String, Option<u32>)> {
    (0..n)
        .map_while(|_| {
            let text = generator.next_piece().unwrap().map(str::to_string)?;
            Some((text, generator.token()))
        })
        .collect()
}

#[test]
fn a_saved_text_goes_on_elsewhere() {
    let threads =
        |threads, ctx| SessionOptions { threads: Some(threads), ctx: Some(ctx), ..SessionOptions::default() };
    for (name, config) in common::models() {
        for (last_n, written) in [(Some(9), 0), (Some(9), 25), (None, 25), (Some(0), 3)] {
            let mut options = options();
            options.sampler.penalty_last_n = last_n;
            let mut here = generator(&config, &options, &threads(1, 200));
            here.start(&[5, 6, 7], 60).unwrap();
            pieces(&mut here, written);
            let mut saved = vec![0; here.saved_bytes()];
            here.save(&mut saved);
            for isa in Isa::available() {
                let elsewhere = SessionOptions { isa: Some(isa), ..threads(2, 120) };
                let mut there = generator(&config, &GenerateOptions::default(), &elsewhere);
                there.start(&[1, 2], 9).unwrap();
                there.restore(&saved).unwrap();
                let mut again = vec![0; there.saved_bytes()];
                there.save(&mut again);
                assert!(again == saved, "{name}: what is restored is what was saved");
                let expected = {
                    let mut from = generator(&config, &GenerateOptions::default(), &threads(1, 200));
                    from.restore(&saved).unwrap();
                    pieces(&mut from, 100)
                };
                assert_eq!(pieces(&mut there, 100), expected, "{name} on {}", isa.name());
                assert_eq!(there.n_tokens(), 60);
            }
            let restored = {
                let mut from = generator(&config, &GenerateOptions::default(), &threads(1, 200));
                from.restore(&saved).unwrap();
                pieces(&mut from, 100)
            };
            assert_eq!(pieces(&mut here, 100), restored, "{name}: against the text itself");
        }
    }
}

#[test]
fn damaged_states_are_refused_and_change_nothing() {
    let (_, config) = common::models().swap_remove(0);
    let mut here =
        generator(&config, &options(), &SessionOptions { threads: Some(1), ..SessionOptions::default() });
    here.start(&[5, 6, 7], 60).unwrap();
    pieces(&mut here, 5);
    let mut saved = vec![0; here.saved_bytes()];
    here.save(&mut saved);
    let expected = saved.clone();
    let unchanged = |here: &mut Generator, bytes: &[u8], what: &str| {
        assert!(matches!(here.restore(bytes), Err(Error::SavedState(_))), "{what}");
        let mut now = vec![0; here.saved_bytes()];
        here.save(&mut now);
        assert!(now == expected, "{what}");
    };
    for len in 0..saved.len() {
        unchanged(&mut here, &saved[..len], "cut");
    }
    for at in 0..saved.len() {
        saved[at] ^= 0x41;
        unchanged(&mut here, &saved, "changed");
        saved[at] ^= 0x41;
    }
    saved.push(0);
    unchanged(&mut here, &saved, "longer");
}
