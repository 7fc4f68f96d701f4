//! Calibration.
use siskin_trainer::experiment::{lr_find::*, prepared::*};
use siskin_trainer::settings::Settings;
fn main() {
    let texts = [std::path::PathBuf::from("trainer/data/shakespeare.txt")];
    let s = |x: &str| Some(x.to_string());
    let base = Settings { tokenizer: s("char"), ..Default::default() };
    let data = Prepared::new(&texts, &filled(&base).unwrap()).unwrap();
    let steps: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let only: Vec<String> = std::env::args().skip(2).collect();
    for family in ["rnn", "gru", "lstm", "gpt", "llama"] {
        if !only.is_empty() && !only.iter().any(|o| o == family) { continue }
        for optimizer in ["sgd", "adam", "muon"] {
            let said = Settings {
                model: s(family), optimizer: s(optimizer), n_layers: Some(2), d_model: Some(64), hidden: Some(64), n_heads: Some(2),
                context: Some(32), batch_size: s("16"), threads: Some(1), warmup: Some(20), steps: Some(steps), ..Default::default()
            };
            let filled_ = filled(&said).unwrap();
            for seed in [1, 2] {
                let c = Settings { seed: Some(seed), ..at_constant_rate(&filled_) };
                let test = RangeTest { from: 1e-6, to: 10.0, steps: 200, which: Which::Both };
                let t = std::time::Instant::now();
                let sweep = test.run(&data, &c, &mut |_, _| ()).unwrap();
                println!("SWEEP {family} {optimizer} {} {:.1}s {}", seed, t.elapsed().as_secs_f64(), serde_json::to_string(&sweep).unwrap());
            }
            let grid: &[f64] = match optimizer {
                "sgd" => &[0.03, 0.1, 0.3, 1.0, 3.0, 10.0],
                "adam" => &[3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
                _ => &[2e-3, 6e-3, 2e-2, 6e-2, 0.2, 0.6],
            };
            for &lr in grid {
                let (l, a) = rates_of(&filled_);
                let said = Settings { lr: Some(lr as f32), adam_lr: (optimizer == "muon").then_some((lr * a / l) as f32), ..said.clone() };
                let mut t = data.trainer(&filled(&said).unwrap()).unwrap();
                let at = std::time::Instant::now();
                let mut ok = true;
                for _ in 0..steps { if t.step(steps).is_err() { ok = false; break } }
                let v = if ok { t.evaluate(32768).unwrap().unwrap().mean() } else { f64::NAN };
                println!("GRID {family} {optimizer} {lr} {v:.4} {:.1}s", at.elapsed().as_secs_f64());
            }
        }
    }
}
