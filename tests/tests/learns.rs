//! Training learns: a short text by heart, and Shakespeare better than a stated loss, for every family and by seed.

use std::path::{Path, PathBuf};

use siskin_format::DType;
use siskin_trainer::data::Tokens;
use siskin_trainer::export::Trained;
use siskin_trainer::progress::Progress;
use siskin_trainer::settings::Settings;
use siskin_trainer::train::fit::{Ending, fit};
use siskin_trainer::train::run::Run;
use siskin_trainer::verify::Measured;

fn settings(model: &str, steps: u64) -> Settings {
    Settings {
        model: Some(model.into()),
        n_layers: Some(2),
        d_model: Some(64),
        hidden: Some(96),
        n_heads: Some(4),
        context: Some(32),
        batch_size: Some("16".into()),
        steps: Some(steps),
        eval_every: Some(0),
        sample_every: Some(0),
        warmup: Some(20),
        threads: Some(2),
        ..Default::default()
    }
}

/// Trains on a text in a folder of its own; gives the run at its end.
fn train(said: &Settings, text: &Path, dir: &Path) -> Run {
    let export = dir.join("model.siskin");
    let mut run = Run::start(said, &[text.to_path_buf()], &dir.join("run"), &export, &|_| ()).unwrap();
    let mut progress = Progress::new(0, run.total, true);
    assert_eq!(fit(&mut run, &mut progress, &mut |_| Ok(String::new())).unwrap(), Ending::Finished);
    run
}

#[test]
fn a_short_text_is_learnt_by_heart() {
    let line = "The siskin is a small bird that is at home anywhere: 0123456789.\n";
    for model in siskin_trainer::settings::MODELS.iter().filter(|model| **model != "seq2seq") {
        let dir = siskin_tests::temp_dir();
        let text = dir.path().join("line.txt");
        std::fs::write(&text, line.repeat(40)).unwrap();
        let mut run = train(&settings(model, 320), &text, dir.path());
        let loss = run.trainer.evaluate(u64::MAX).unwrap().unwrap().mean();
        println!("{model}: {loss:.4}");
        assert!(loss < 0.15, "{model} has not learnt a line by heart: loss {loss}");
    }
}

/// The loss on the first 16,000 held-out characters after 250 small steps; uniform guessing is ln 65 = 4.17, and
/// letter frequencies alone give 3.3.
#[test]
fn shakespeare_is_predicted_better_than_a_stated_loss() {
    let text = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../trainer/data/shakespeare.txt");
    let cases = [
        ("rnn", 1, 2.25),
        ("gru", 1, 2.10),
        ("lstm", 1, 2.25),
        ("gpt", 1, 2.45),
        ("llama", 1, 2.10),
        ("llama", 2, 2.10),
    ];
    for (model, seed, most) in cases {
        let dir = siskin_tests::temp_dir();
        let mut run = train(&Settings { seed: Some(seed), ..settings(model, 250) }, &text, dir.path());
        let loss = run.trainer.evaluate(16_000).unwrap().unwrap().mean();
        println!("{model}, seed {seed}: {loss:.4}");
        assert!(loss < most, "{model}, seed {seed}: loss {loss}, expected below {most}");
        let (float, q8) = by_the_runtime(&mut run);
        println!("    by the runtime: f32 {float:.4}, q8 {q8:.4}");
        assert!((q8 - float).abs() < 0.01, "{model}: q8 loses {}", q8 - float);
    }
}

/// Loss of the f32 and of the q8 file on the same characters, by the runtime's kernels.
fn by_the_runtime(run: &mut Run) -> (f64, f64) {
    let weights = run.trainer.weights();
    let trained = Trained { config: &run.trainer.config().model, vocab: &run.vocab, weights: &weights };
    let val: Tokens = run.corpus.texts[0].val.first(4_000);
    let mut ids = vec![0; val.len() as usize];
    val.read(0, &mut ids).unwrap();
    let loss =
        |dtype| Measured::from_bytes(trained.to_bytes(dtype).unwrap()).unwrap().loss(&ids, 2).unwrap().0;
    (loss(DType::F32), loss(DType::Q8))
}
