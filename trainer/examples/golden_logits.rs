//! Imported models against what other programs computed with them: logits, the most probable tokens, perplexities.
//!
//! ```text
//! cargo run --release -p siskin-trainer --example golden_logits -- DATA tests/goldens/recurrent
//! ```
//!
//! DATA holds `models/` and `golden/` as the table below names them (llama2.c's run.c, llama.cpp, transformers and PyTorch made the golden files). The second
//! folder holds the TOML files of the recurrent models. Every model is imported as f32 and run by the runtime. Fails where a logit is off by more than its limit or a most probable token differs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;
use siskin_format::receipt::Receipt;
use siskin_format::{DType, TensorSpec};
use siskin_trainer::Result;
use siskin_trainer::round::{self, Model, Rounding};
use siskin_trainer::verify::Measured;

/// Largest difference of a logit between two programs that compute in f32.
const LIMIT: f32 = 2e-4;
/// What a text costs an f32 model, relative to what run.c says: equal in the fourth digit.
const PERPLEXITY_LIMIT: f64 = 5e-5;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let [data, descriptions] = &arguments[..] else {
        eprintln!("usage: golden_logits DATA DESCRIPTIONS");
        return ExitCode::from(2);
    };
    let mut table = Table { data: data.clone(), descriptions: descriptions.clone(), failures: 0 };
    table.gguf();
    table.hugging_face();
    table.llama2c();
    table.recurrent();
    if table.failures > 0 {
        eprintln!("{} of the rows above failed", table.failures);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

struct Table {
    data: PathBuf,
    descriptions: PathBuf,
    failures: u32,
}

impl Table {
    fn golden(&self, path: &str) -> PathBuf {
        self.data.join("golden").join(path)
    }

    /// The lines of a file of JSON lines, or its one value.
    fn json(&self, path: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.golden(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        match serde_json::from_str(&text) {
            Ok(one) => vec![one],
            Err(_) => text.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect(),
        }
    }

    fn row(&mut self, name: &str, outcome: Result<(String, bool)>) {
        let (text, good) = outcome.unwrap_or_else(|e| (e.to_string(), false));
        println!("{} {name}: {text}", if good { "ok  " } else { "FAIL" });
        self.failures += u32::from(!good);
    }

    fn gguf(&mut self) {
        for (folder, lines) in [
            ("gguf", "stories260K-gguf.jsonl"),
            ("gguf", "llama2xs-gguf.jsonl"),
            ("gguf-random", "llama-gqa-untied-rand.jsonl"),
        ] {
            for line in self.json(&format!("{folder}/{lines}")) {
                let file = line["file"].as_str().expect("a file").to_string();
                let model = match folder {
                    "gguf" => format!("{}/{file}", file.split('-').next().expect("a name")),
                    _ => format!("gguf-random/{file}"),
                };
                let logits = self.golden(&format!(
                    "{folder}/{}",
                    line["dequant_f32"]["logits_file"].as_str().expect("logits")
                ));
                let nll = line["dequant_f32"]["nll"]["ppl"].as_f64();
                let outcome = self
                    .open(&model)
                    .and_then(|m| self.compare(&m, &ids(&line["ids"]), &floats(&logits), LIMIT, false));
                self.row(&file, outcome);
                if let (Some(ppl), Ok(m)) = (nll, self.open(&model)) {
                    let outcome = self.perplexity(&m, file.split('-').next().expect("a name"), ppl);
                    self.row(&file, outcome);
                }
            }
        }
    }

    fn hugging_face(&mut self) {
        for name in [
            "gpt2-rand",
            "llama-bias-linrope-tied-rand",
            "llama-gqa-untied-rand",
            "llama-gqa-untied-rand-bf16-sharded",
        ] {
            let line = self.json(&format!("hf-random/{name}.json")).remove(0);
            let logits = floats(&self.golden(&format!("hf-random/{name}.logits.f32")));
            let outcome = self
                .open(&format!("hf-random/{name}"))
                .and_then(|m| self.compare(&m, &ids(&line["ids"]), &logits, LIMIT, false));
            self.row(name, outcome);
        }
        let line = self.json("gpt-nano-sort/logits.json").remove(0);
        for (input, expected) in line["input_ids"]
            .as_array()
            .expect("inputs")
            .iter()
            .zip(line["logits"].as_array().expect("logits"))
        {
            let expected: Vec<f32> = expected.as_array().expect("rows").iter().flat_map(numbers).collect();
            let outcome = self
                .open("gpt-nano-sort/hf")
                .and_then(|m| self.compare(&m, &ids(input), &expected, LIMIT, false));
            self.row("gpt-nano-sort", outcome);
        }
    }

    fn llama2c(&mut self) {
        for (name, forms) in [
            (
                "stories260K",
                &["stories260K/stories260K.bin", "stories260K/stories260K_v1.bin", "stories260K/hf"][..],
            ),
            ("llama2xs", &["llama2xs/model.bin", "llama2xs/llama2xs_v1.bin", "llama2xs/hf"]),
        ] {
            for (line, form) in self
                .json(&format!("llama2c/{name}.jsonl"))
                .iter()
                .flat_map(|l| forms.iter().map(move |f| (l, f)))
            {
                let id = line["id"].as_str().expect("an id");
                let logits = floats(&self.golden(&format!("llama2c/{id}.logits.f32")));
                let ids = ids(&line["ids"]);
                let outcome = self
                    .open(form)
                    .and_then(|m| self.compare(&m, &ids[..ids.len() - 1], &logits, LIMIT, false));
                self.row(&format!("{form} {id}"), outcome);
            }
            let ppl = self.json(&format!("llama2c/{name}-nll-tinystories24k.json"))[0]["ppl"]
                .as_f64()
                .expect("a perplexity");
            let outcome = self.open(forms[0]).and_then(|m| self.perplexity(&m, name, ppl));
            self.row(forms[0], outcome);
        }
        for line in self.json("llama2c-q80/q80.jsonl") {
            let file = line["file"].as_str().expect("a file").to_string();
            let name = file.trim_end_matches(".bin");
            let logits = floats(&self.golden(&format!("llama2c-q80/{name}.dequant-f32.logits.f32")));
            let model = format!("{}/{file}", name.trim_end_matches("_q80"));
            let outcome =
                self.open(&model).and_then(|m| self.compare(&m, &ids(&line["ids"]), &logits, LIMIT, false));
            self.row(&file, outcome);
        }
    }

    fn recurrent(&mut self) {
        for (folder, name, lines) in [
            ("nlp-hw1-char", "rnn", "rnn.jsonl"),
            ("nlp-hw1-char", "lstm", "lstm.jsonl"),
            ("ml5-charrnn", "charlotte_bronte", "charlotte_bronte.jsonl"),
            ("ml5-charrnn", "shakespeare", "shakespeare.jsonl"),
            ("char-rnn.js", "small", "small.jsonl"),
        ] {
            for line in self.json(&format!("{folder}/{lines}")) {
                let id = line["id"].as_str().expect("an id");
                let logits = floats(&self.golden(&format!("{folder}/{id}.logprobs.f32")));
                let bytes = if line["ids"].is_null() { &line["bytes"] } else { &line["ids"] };
                let outcome = self.open_recurrent(folder, name).and_then(|m| {
                    let mut fed = ids(bytes);
                    if line["ids"].is_null() {
                        let text: Vec<u8> = fed.iter().map(|&b| b as u8).collect();
                        fed = siskin_trainer::tokenizer::encode(m.model().file().vocab(), &text)?;
                    }
                    self.compare(&m, &fed, &logits, LIMIT, true)
                });
                self.row(&format!("{folder} {id}"), outcome);
            }
        }
    }

    /// A recurrent checkpoint, with its description beside a copy of it.
    fn open_recurrent(&self, folder: &str, name: &str) -> Result<Measured> {
        let place = std::env::temp_dir().join(format!("golden-{}", std::process::id()));
        let copy = |from: &Path, ending: &str| {
            let to = place.join(name).with_extension(ending);
            std::fs::copy(from, &to).map_err(siskin_trainer::Error::io("copy", from)).map(|_| to)
        };
        std::fs::create_dir_all(&place).map_err(siskin_trainer::Error::io("make", &place))?;
        let model =
            copy(&self.data.join("models").join(folder).join(format!("{name}.safetensors")), "safetensors")?;
        copy(&self.descriptions.join(format!("{name}.toml")), "toml")?;
        let found = self.open_path(&model);
        let _ = std::fs::remove_dir_all(&place);
        found
    }

    /// The model as f32 in the runtime.
    fn open(&self, path: &str) -> Result<Measured> {
        self.open_path(&self.data.join("models").join(path))
    }

    fn open_path(&self, path: &Path) -> Result<Measured> {
        let options = siskin_convert::Options { placeholder_vocab: true, ..Default::default() };
        let mut import = siskin_convert::open(path, &options)?;
        let target = std::env::temp_dir().join(format!("golden-{}.siskin", std::process::id()));
        let receipt = Receipt::default();
        let model = Model { config: &import.config, vocab: &import.vocab, receipt: &receipt };
        let rounding = Rounding {
            dtype: DType::F32,
            calibration: None,
            bits_per_weight: None,
            tuning: None,
            threads: 1,
        };
        let mut weights = |spec: &TensorSpec| Ok(import.weights.read(spec)?);
        round::write(&target, model, &mut weights, &rounding, None, &mut |_, _, _| {})?;
        let bytes = std::fs::read(&target).map_err(siskin_trainer::Error::io("read", &target))?;
        let _ = std::fs::remove_file(&target);
        Measured::from_bytes(bytes)
    }

    /// Logits after each id, as far as there are expected ones; log-probabilities where `normalized`.
    fn compare(
        &self,
        model: &Measured,
        ids: &[u32],
        expected: &[f32],
        limit: f32,
        normalized: bool,
    ) -> Result<(String, bool)> {
        let vocab = model.model().config().vocab_size;
        let rows = (expected.len() / vocab).min(ids.len());
        let mut found = model.logits(&[], &ids[..rows])?;
        if normalized {
            found.chunks_exact_mut(vocab).for_each(log_softmax);
        }
        let (mut worst, mut other) = (0f32, 0);
        for (found, expected) in found.chunks_exact(vocab).zip(expected.chunks_exact(vocab)) {
            worst = found.iter().zip(expected).fold(worst, |w, (a, b)| w.max((a - b).abs()));
            other += u32::from(best(found) != best(expected));
        }
        let good = rows > 0 && worst <= limit && other == 0;
        Ok((format!("{rows} rows, at most {worst:.1e} off, {other} most probable tokens differ"), good))
    }

    /// Perplexity of the staged text in windows that begin with BOS, against run.c's.
    fn perplexity(&self, model: &Measured, name: &str, expected: f64) -> Result<(String, bool)> {
        let raw = std::fs::read(self.golden(&format!("llama2c/{name}-nll-tinystories24k.ids.i32")))
            .expect("ids of the text");
        let ids: Vec<u32> =
            raw.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let window = model.model().config().context.min(512);
        let (vocab, mut nats) = (model.model().config().vocab_size, 0.0);
        for part in ids.chunks(window) {
            let mut fed = vec![1];
            fed.extend_from_slice(&part[..part.len() - 1]);
            let mut logits = model.logits(&[], &fed)?;
            for (row, &target) in logits.chunks_exact_mut(vocab).zip(part) {
                log_softmax(row);
                nats -= f64::from(row[target as usize]);
            }
        }
        let found = (nats / ids.len() as f64).exp();
        let good = (found / expected - 1.0).abs() < PERPLEXITY_LIMIT;
        Ok((format!("perplexity {found:.5}, expected {expected:.5}"), good))
    }
}

fn best(row: &[f32]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

fn log_softmax(row: &mut [f32]) {
    let max = row.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
    let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
    let norm = f64::from(max) + sum.ln();
    row.iter_mut().for_each(|x| *x = (f64::from(*x) - norm) as f32);
}

fn ids(json: &Value) -> Vec<u32> {
    json.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn numbers(json: &Value) -> Vec<f32> {
    json.as_array().expect("numbers").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
}

fn floats(path: &Path) -> Vec<f32> {
    let raw = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}
