//! The mean of the last updates, against plain sums in f64.

use super::Trainer;
use crate::data::Tokens;
use crate::settings::parse_toml;
use crate::settings::presets::{TextFacts, fill};
use crate::train::feed::Feed;
use crate::train::run::trainer_config;

const STEPS: u64 = 10;

fn text() -> Vec<u32> {
    (0..900).map(|i| i * i % 7 + i % 5).collect()
}

fn trainer(settings: &str) -> Trainer {
    let common = "n_layers = 1\nd_model = 8\nhidden = 8\nn_heads = 2\ncontext = 8\nbatch_size = '4'\nsteps = 10\nthreads = 1\nwarmup = 0\n";
    let said = parse_toml(&format!("{common}{settings}")).unwrap();
    let config = trainer_config(&fill(&said, &TextFacts { threads: 1 }).unwrap(), 11).unwrap();
    let val = Tokens::from_vec(text()[..200].to_vec());
    Trainer::new(config, Tokens::from_vec(text()), val).unwrap()
}

#[test]
fn exported_weights_are_the_mean_of_the_last_updates() {
    let mut trainer = trainer("model = 'llama'\nswa = 0.3");
    let mut sum = vec![0.0f64; trainer.n_params()];
    for step in 1..=STEPS {
        trainer.step(STEPS).unwrap();
        let (_, numbers) = trainer.state();
        if step > STEPS - 3 {
            sum.iter_mut().zip(numbers.weights).for_each(|(sum, w)| *sum += f64::from(*w));
        } else {
            assert!(numbers.average.is_empty());
            let last = numbers.weights.to_vec();
            assert_eq!(trainer.weights(), last, "there is no mean yet");
        }
    }
    for (found, sum) in trainer.weights().iter().zip(sum) {
        assert_eq!(*found, (sum / 3.0) as f32);
    }
}

/// The first norm reads the embeddings, so its statistics under the mean weights can be found from the tokens alone.
#[test]
fn statistics_are_those_of_the_mean_weights() {
    let mut trainer = trainer("model = 'rnn'\nnorm = 'batch'\nresidual = true\nswa = 0.5\nlr = 0.05");
    let mut plain = self::trainer("model = 'rnn'\nnorm = 'batch'\nresidual = true\nlr = 0.05");
    for _ in 0..STEPS {
        trainer.evaluate(50).unwrap();
        trainer.step(STEPS).unwrap();
        plain.step(STEPS).unwrap();
    }
    let found = trainer.evaluate(1000).unwrap().unwrap().mean();
    let val = Tokens::from_vec(text()[..200].to_vec());
    assert_eq!(found, trainer.evaluate_on(val).unwrap().mean(), "evaluated with statistics of other weights");
    let (state, numbers) = trainer.state();
    let (_, undisturbed) = plain.state();
    assert_eq!(numbers.weights, undisturbed.weights, "collecting statistics has changed the training");
    assert_eq!((numbers.buffers, numbers.carried), (undisturbed.buffers, undisturbed.carried));

    let config = trainer.config();
    let mut feed = Feed::new(
        vec![(Tokens::from_vec(text()), 1.0)],
        config.seq_len,
        config.batch_size,
        true,
        config.seed,
    )
    .unwrap();
    feed.seek(&state.cursor).unwrap();
    let n = numbers.weights.len();
    let embedding = &numbers.average[trainer.store.layout().range("embed.weight").unwrap()];
    assert_eq!(numbers.average.len(), 2 * n);
    let (mut mean, mut var) = ([0.0f64; 8], [0.0f64; 8]);
    for _ in 0..super::STATISTICS_BATCHES {
        let (batch, _) = feed.next_batch().unwrap();
        let rows = batch.tokens.len() as f64;
        for (j, (mean, var)) in mean.iter_mut().zip(&mut var).enumerate() {
            let x = |t: &u32| f64::from(embedding[*t as usize * 8 + j]);
            let m = batch.tokens.iter().map(x).sum::<f64>() / rows;
            let v = batch.tokens.iter().map(|t| (x(t) - m).powi(2)).sum::<f64>() / rows;
            *mean += m / super::STATISTICS_BATCHES as f64;
            *var += v / super::STATISTICS_BATCHES as f64;
        }
    }
    let (means, variances) = numbers.mean_buffers.split_at(8);
    for (found, expected) in means.iter().zip(mean) {
        assert!((f64::from(*found) - expected).abs() < 1e-5, "mean {found}, expected {expected}");
    }
    for (found, expected) in variances.iter().zip(var) {
        let error = (f64::from(*found) - expected).abs();
        assert!(error < 1e-5 + 1e-4 * expected, "variance {found}, expected {expected}");
    }
    assert_ne!(numbers.mean_buffers, numbers.buffers);
}
