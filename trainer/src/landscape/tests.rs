//! The slice is that of the loss that everything else measures, and independent of threads.

use super::*;
use crate::settings::parse_toml;
use crate::train::run::Run;

const OPTIONS: Options = Options { grid: 5, span: 0.5, tokens: 300, seed: 3, threads: 1 };

/// A run of a few steps, and the loss on the first 300 held-out tokens that its trainer measures.
fn run(dir: &std::path::Path, name: &str, settings: &str) -> (TrainedRun, f64) {
    let text = dir.join("song.txt");
    let line = |i: usize| format!("line {} of the song: {}\n", i % 7, ["la", "li", "lo"][i * i % 3]);
    std::fs::write(&text, (0..300).map(line).collect::<String>()).unwrap();
    let common = "n_layers = 1\nd_model = 8\nhidden = 8\nn_heads = 2\ncontext = 8\nbatch_size = '4'\nsteps = 20\nthreads = 1\ntokenizer = 'char'\n";
    let said = parse_toml(&format!("{common}{settings}")).unwrap();
    let path = dir.join(name);
    let mut run = Run::start(&said, &[text], &path, std::path::Path::new("m.siskin"), &|_| ()).unwrap();
    for _ in 0..20 {
        run.trainer.step(20).unwrap();
    }
    let loss = run.trainer.evaluate(301).unwrap().unwrap().mean();
    run.save().unwrap();
    drop(run);
    (TrainedRun::open(&path).unwrap(), loss)
}

#[test]
fn the_centre_is_the_model_and_threads_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for settings in ["model = 'llama'", "model = 'gru'\nnorm = 'batch'"] {
        let (run, loss) = run(dir.path(), settings.split('\'').nth(1).unwrap(), settings);
        let runs = [run];
        let one = Landscape::of(&runs, OPTIONS, &|| ()).unwrap();
        assert_eq!((one.losses.len(), one.losses[0].len(), one.x[2], one.y[2]), (5, 5, 0.0, 0.0));
        assert_eq!(one.losses[2][2].to_bits(), one.models[0].loss.to_bits());
        assert!((one.losses[2][2] - loss).abs() < 1e-6, "{} and {loss}", one.losses[2][2]);
        assert!((299..=300).contains(&one.tokens), "{}", one.tokens);
        let three = Landscape::of(&runs, Options { threads: 3, ..OPTIONS }, &|| ()).unwrap();
        assert_eq!(one.losses, three.losses);
        let other = Landscape::of(&runs, Options { seed: 4, ..OPTIONS }, &|| ()).unwrap();
        assert_ne!(one.losses[0][0], other.losses[0][0]);
    }
}

#[test]
fn models_lie_on_the_plane_between_them_with_their_losses() {
    let dir = tempfile::tempdir().unwrap();
    let made: Vec<_> =
        (1..=3).map(|i| run(dir.path(), &format!("s{i}"), &format!("model = 'gpt'\nseed = {i}"))).collect();
    let (runs, losses): (Vec<_>, Vec<_>) = made.into_iter().unzip();
    for n in 2..=3 {
        let found = Landscape::of(&runs[..n], OPTIONS, &|| ()).unwrap();
        for (place, loss) in found.models.iter().zip(&losses) {
            assert!((place.loss - loss).abs() < 1e-5, "{} and {loss}", place.loss);
        }
        assert_eq!(found.paths.len(), n * (n - 1) / 2);
        let path = &found.paths[0];
        assert_eq!((path.losses[0].1, path.losses[4].1), (found.models[0].loss, found.models[1].loss));
        assert!(path.barrier().0 >= 0.0);
        let svg = picture::picture(&found);
        assert!(svg.contains("barrier") && svg.contains("s1 ") && !svg.contains("NaN"));
    }
}

#[test]
fn other_models_and_impossible_options_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (a, _) = run(dir.path(), "a", "model = 'gru'");
    let (b, _) = run(dir.path(), "b", "model = 'lstm'");
    let runs = [a, b];
    let line = |runs: &[TrainedRun], options| Landscape::of(runs, options, &|| ()).unwrap_err().to_string();
    assert!(line(&runs, OPTIONS).contains("different shapes"));
    assert!(line(&runs[..1], Options { grid: 4, ..OPTIONS }).contains("odd number"));
    assert!(line(&runs[..1], Options { span: f64::NAN, ..OPTIONS }).contains("span"));
    assert!(line(&runs[..1], Options { tokens: 0, ..OPTIONS }).contains("at least 2"));
}

/// A bowl with a hole: the picture says what it clips and what is not finite.
#[test]
fn what_is_clipped_or_not_finite_is_said() {
    let at = vec![-1.0, -0.5, 0.0, 0.5, 1.0];
    let loss = |x: f64, y: f64| 1.0 + 4.0 * (x * x + y * y);
    let mut losses: Vec<Vec<f64>> = at.iter().map(|y| at.iter().map(|x| loss(*x, *y)).collect()).collect();
    (losses[0][0], losses[0][1]) = (f64::NAN, f64::INFINITY);
    let models = vec![Place { name: "m".into(), at: (0.0, 0.0), loss: 1.0 }];
    let (paths, lengths) = (vec![], (1.0, 1.0));
    let found = Landscape { x: at.clone(), y: at, losses, models, paths, lengths, tokens: 9, guessing: 4.5 };
    assert_eq!(found.lowest(), Some((1.0, (0.0, 0.0))));
    let svg = picture::picture(&found);
    // Of 25 points 2 are not finite; 14 others lie above 4.5: those with x² + y² of 1 and more.
    assert!(svg.contains("2 points, left grey, are not finite"), "{svg}");
    assert!(svg.contains("colours end at 4.50, 14 points lie higher"), "{svg}");
    let json = found.to_json();
    assert_eq!((json["losses"][0][0].as_str(), json["losses"][0][1].as_str()), (Some("nan"), Some("inf")));
    let path = Path { ends: (0, 1), losses: vec![(0.0, 1.0), (0.5, 3.0), (1.0, 2.0)] };
    assert_eq!(path.barrier(), (1.5, 0.5));
}
