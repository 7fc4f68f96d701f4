//! Imported models compute what the programs that they come from computed: small models of every importer, as f32, in the runtime, against
//! logits of transformers and PyTorch (tests/goldens/import/make_import.py).

use std::path::{Path, PathBuf};
use std::process::Command;

use siskin_convert::Options;
use siskin_format::receipt::Receipt;
use siskin_format::{DType, TensorSpec};
use siskin_trainer::round::{self, Model, Rounding};
use siskin_trainer::verify::Measured;

/// Largest difference of a logit between two programs that compute in f32.
const LIMIT: f32 = 2e-4;

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/import")
}

/// The source as a file of `dtype` in the runtime.
fn imported(source: &Path, dtype: DType) -> Measured {
    let options = Options { placeholder_vocab: true, ..Options::default() };
    let mut import =
        siskin_convert::open(source, &options).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.siskin");
    let receipt = Receipt { origin: Some(import.origin.clone()), ..Receipt::default() };
    let model = Model { config: &import.config, vocab: &import.vocab, receipt: &receipt };
    let rounding = Rounding { dtype, calibration: None, bits_per_weight: None, tuning: None, threads: 1 };
    let mut weights = |spec: &TensorSpec| Ok(import.weights.read(spec)?);
    round::write(&path, model, &mut weights, &rounding, None, &mut |_, _, _| {}).unwrap();
    Measured::from_bytes(std::fs::read(&path).unwrap()).unwrap()
}

/// Ids that were fed, and the logits after each of them.
fn golden(prefix: &str) -> (Vec<u32>, Vec<f32>) {
    let ids = std::fs::read_to_string(goldens().join(format!("{prefix}ids.json"))).unwrap();
    let raw = std::fs::read(goldens().join(format!("{prefix}logits.f32"))).unwrap();
    let logits = raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    (serde_json::from_str(&ids).unwrap(), logits)
}

/// The largest difference, after every token gave the same most probable one.
fn difference(model: &Measured, (ids, expected): &(Vec<u32>, Vec<f32>), name: &str) -> f32 {
    let vocab = model.model().config().vocab_size;
    assert_eq!(expected.len(), ids.len() * vocab, "{name}");
    let found = model.logits(&[], ids).unwrap();
    let best = |row: &[f32]| (0..vocab).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    for (found, expected) in found.chunks_exact(vocab).zip(expected.chunks_exact(vocab)) {
        assert_eq!(best(found), best(expected), "{name}");
    }
    found.iter().zip(expected).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()))
}

#[test]
fn hugging_face_folders_give_the_logits_of_transformers() {
    for name in ["llama", "llama3", "llama-bias", "mistral", "qwen2", "qwen3", "gpt2"] {
        let model = imported(&goldens().join("hf").join(name), DType::F32);
        let found = difference(&model, &golden(&format!("hf/{name}/")), name);
        assert!(found <= LIMIT, "{name}: {found}");
    }
}

#[test]
fn recurrent_checkpoints_give_the_logits_of_pytorch() {
    for name in ["rnn", "gru", "lstm"] {
        let model = imported(&goldens().join(format!("recurrent/{name}.safetensors")), DType::F32);
        let found = difference(&model, &golden(&format!("recurrent/{name}.")), name);
        assert!(found <= LIMIT, "{name}: {found}");
    }
}

/// What `import --text` says of a text is what `siskin eval` says of it, of a model whose texts begin with a token of their own too.
#[test]
fn the_loss_that_an_import_prints_is_that_of_eval() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read(siskin_tests::root().join("trainer/data/shakespeare.txt")).unwrap();
    std::fs::write(folder.path().join("text.txt"), &text[..20_000]).unwrap();
    let run = |name: &str, args: &[&str]| {
        let out =
            Command::new(siskin_tests::bin(name)).args(args).current_dir(folder.path()).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let model = siskin_tests::golden("gguf/stories260K-Q4_0mix.gguf");
    let source = model.to_str().unwrap();
    for dtype in ["f32", "q8"] {
        let import = ["import", source, "-o", "m.siskin", "--dtype", dtype, "--text", "text.txt"];
        let said = run("siskin-train", &import);
        let eval: serde_json::Value =
            serde_json::from_str(&run("siskin", &["eval", "m.siskin", "--text", "text.txt", "--json"]))
                .unwrap();
        let file =
            siskin_format::File::open(folder.path().join("m.siskin"), &siskin_format::OpenOptions::default())
                .unwrap();
        assert!(file.vocab().add_bos());
        let held_out = file.receipt().held_out.clone().unwrap();
        assert_eq!(
            (held_out.file_loss, held_out.tokens),
            (eval["loss"].as_f64().unwrap(), eval["tokens"].as_u64().unwrap())
        );
        let figures = format!("{dtype} {:.4} ", held_out.file_loss);
        assert!(said.contains(&figures) && said.contains("tokens of text.txt"), "{figures}: {said}");
    }
}

/// Both of llama2.c's float forms are the model of `hf/llama`, and its 8-bit form is near it.
#[test]
fn llama2c_files_give_the_logits_of_the_model_they_were_made_of() {
    let expected = golden("hf/llama/");
    for name in ["v0.bin", "v1.bin"] {
        let found = difference(&imported(&goldens().join("llama2c").join(name), DType::F32), &expected, name);
        assert!(found <= LIMIT, "{name}: {found}");
    }
    let model = imported(&goldens().join("llama2c/v2.bin"), DType::F32);
    let logits = model.logits(&[], &expected.0).unwrap();
    let miss = logits.iter().zip(&expected.1).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    let energy = expected.1.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    assert!(miss > 0.0 && miss < 3e-3 * energy, "{miss} of {energy}");
}

/// 8 bits move logits by little, and not at all what is most probable where it is clearly so.
#[test]
fn eight_bits_stay_near() {
    for name in ["llama", "gpt2"] {
        let (ids, expected) = golden(&format!("hf/{name}/"));
        let logits = imported(&goldens().join("hf").join(name), DType::Q8).logits(&[], &ids).unwrap();
        let miss = logits.iter().zip(&expected).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        let energy = expected.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        assert!(miss < 2e-3 * energy, "{name}: {miss} of {energy}");
    }
}
