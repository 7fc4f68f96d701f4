//! Models trained here run elsewhere: small ones of Llama's and GPT-2's form, each with several tokenizers, trained and exported by the
//! commands, computed by llama.cpp and by transformers (`compare.py`) and compared with the runtime, logits and tokens.
//!
//! The packages are those of `requirements.txt`; `SISKIN_PYTHON` names a Python that has them, else it is `python3`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};
use siskin_format::vocab::ChatTemplate;
use siskin_format::writer::write_file;
use siskin_format::{Contents, DType, Error, File, OpenOptions, TensorSpec};
use siskin_tests::{bin, root, skip};
use siskin_trainer::tokenizer::encode;
use siskin_trainer::verify::Measured;

/// Name, what makes the model one that the other programs can express, its tokenizer, and steps of training.
const MODELS: [(&str, &str, &str, u32); 5] = [
    ("llama-bpe", "--model llama --qk-norm false --logit-softcap 0", "bpe --vocab-size 400", 60),
    (
        "llama-char",
        "--model llama --qk-norm false --logit-softcap 0 --n-kv-heads 2 --tied-head true",
        "char",
        60,
    ),
    ("qwen3-byte", "--model llama --logit-softcap 0 --rope-theta 500", "byte", 60),
    ("gpt-bpe", "--model gpt", "bpe --vocab-size 400", 60),
    // Long enough for logits that show llama.cpp's way to compute GELU.
    ("gpt-byte", "--model gpt --bias false --norm-bias false --tied-head false", "byte", 300),
];
const TRAINING: &str = "--token-shift false --n-layers 2 --d-model 64 --n-heads 4 --context 64 --batch-size 8 --warmup 10 --eval-every 0 \
                        --sample-every 0 --threads 2 --dtype f32";
/// What is cut into tokens, as far as the vocabulary can.
const TEXTS: [&str; 7] = [
    "But, soft! what light\n\n  through yonder window breaks?",
    "Once upon a time, there was 1 cat's  hat.",
    "line\n\n\tindented  ",
    "na\u{ef}ve caf\u{e9} \u{2014} \u{5929}\u{5730}\u{4eba}",
    "ROMEO:\nO, it is my love! \u{1f642} she speaks",
    "x",
    "We'll 12345 don't",
];

fn siskin_train(folder: &Path, args: &str) {
    let out = Command::new(bin("siskin-train")).args(args.split(' ')).current_dir(folder).output().unwrap();
    assert!(out.status.success(), "{args}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Trains and exports every model, once for all tests; gives the folder that `compare.py` reads.
fn models() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exports");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        std::fs::create_dir(&folder).unwrap();
        // ASCII alone, as llama.cpp needs it for characters.
        let text = std::fs::read(root().join("trainer/data/shakespeare.txt")).unwrap();
        std::fs::write(folder.join("text.txt"), &text[..40_000]).unwrap();
        for (name, form, tokenizer, steps) in MODELS {
            make(&folder, name, &format!("{form} --tokenizer {tokenizer} --steps {steps}"));
        }
        folder
    })
}

/// Gives a file a chat template, as an imported model has one: pieces with what Jinja and its strings could stumble over.
fn give_chat(path: &Path) {
    let pair = |before: &str, after: &str| (before.to_string(), after.to_string());
    let chat = ChatTemplate {
        begin: "[user]\n".into(),
        system: pair("{{system}}\n", "\n\n[user]\n"),
        user: pair("\n[user]\n", " \\n'\"\n"),
        assistant: pair("[model]\n", "{# end #}"),
        reply: "[model]\n".into(),
        stops: Vec::new(),
    };
    let file = File::open(path, &OpenOptions::default()).unwrap();
    let vocab = file.vocab().with_chat(Some(chat)).unwrap();
    let contents = Contents { config: file.config(), vocab: &vocab, receipt: file.receipt() };
    let weights = |spec: &TensorSpec| Ok::<_, Error>(Cow::Owned(file.tensor(&spec.name).unwrap().to_f32()));
    write_file(path, &contents, |spec| spec.dtype_for(DType::F32), weights).unwrap();
}

/// What was said, and the text of it by the pieces of [`give_chat`], which is what `siskin chat` feeds.
fn messages() -> Value {
    let said = [("system", "Be {kind}."), ("user", "Hello.\n"), ("assistant", " {{ Hi }} "), ("user", "天")];
    said.iter().map(|(role, content)| json!({ "role": role, "content": content })).collect()
}
const CONVERSATION: &str = "{{system}}\nBe {kind}.\n\n[user]\nHello.\n \\n'\"\n\
                            [model]\n {{ Hi }} {# end #}\n[user]\n天 \\n'\"\n[model]\n";

fn make(folder: &Path, name: &str, settings: &str) {
    let run = |args: String| siskin_train(folder, &args);
    run(format!("train text.txt {settings} {TRAINING} --out {name}/run -o {name}/f32.siskin"));
    give_chat(&folder.join(name).join("f32.siskin"));
    run(format!("export {name}/f32.siskin --format gguf -o {name}/f32.gguf"));
    run(format!("export {name}/f32.siskin --format safetensors -o {name}/safetensors"));
    run(format!("export {name}/run --dtype q8 -o {name}/q8.siskin"));
    run(format!("export {name}/run --format gguf --dtype q8 -o {name}/q8.gguf"));

    let text = std::fs::read(folder.join("text.txt")).unwrap();
    let folder = folder.join(name);
    let vocab = File::open(folder.join("f32.siskin"), &OpenOptions::default()).unwrap().vocab().clone();
    let ids = |text: &[u8]| encode(&vocab, text).ok();
    // The end of the text was held out; the prompt fills the context.
    let prompt = &ids(&text[text.len() - 1000..]).unwrap()[..64];
    let texts: Vec<_> = TEXTS.iter().filter_map(|text| Some((text, ids(text.as_bytes())?))).collect();
    assert!(texts.len() == TEXTS.len() || name.ends_with("char") && texts.len() >= 2, "{texts:?}");
    let facts =
        json!({ "prompt": prompt, "texts": texts, "chat": { "messages": messages(), "text": CONVERSATION } });
    std::fs::write(folder.join("facts.json"), facts.to_string()).unwrap();
    for dtype in ["f32", "q8"] {
        let model = Measured::open(&folder.join(dtype).with_extension("siskin")).unwrap();
        let logits = model.logits(&[], prompt).unwrap();
        let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(folder.join(dtype).with_extension("logits"), bytes).unwrap();
    }
}

/// Lets `compare.py` compare with `program`.
fn compare(program: &str) {
    let python = std::env::var_os("SISKIN_PYTHON").unwrap_or_else(|| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports/compare.py");
    let run = |folder: Option<&Path>| Command::new(&python).arg(&script).arg(program).args(folder).output();
    match run(None) {
        Err(error) => return skip(&format!("{} does not run: {error}", python.display())),
        Ok(found) if found.status.code() == Some(2) => {
            return skip(String::from_utf8_lossy(&found.stderr).trim());
        }
        Ok(found) => assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr)),
    }
    let out = run(Some(models())).unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    println!("{said}");
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    // One line for each file: none was passed over.
    let files = if program == "llama.cpp" { 2 } else { 1 };
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), files * MODELS.len(), "{said}");
}

/// What other programs are given is the same model when it comes back: the same bits of every logit, the same vocabulary where the form can
/// tell bytes from byte-level BPE.
#[test]
fn what_was_exported_is_imported_again() {
    for (name, ..) in MODELS {
        let folder = models().join(name);
        let original = File::open(folder.join("f32.siskin"), &OpenOptions::default()).unwrap();
        let facts: Value =
            serde_json::from_slice(&std::fs::read(folder.join("facts.json")).unwrap()).unwrap();
        let prompt: Vec<u32> = serde_json::from_value(facts["prompt"].clone()).unwrap();
        let logits = |file| Measured::open(&folder.join(file)).unwrap().logits(&[], &prompt).unwrap();
        for source in ["f32.gguf", "safetensors"] {
            siskin_train(&folder, &format!("import {source} -o again.siskin --dtype f32"));
            let again = File::open(folder.join("again.siskin"), &OpenOptions::default()).unwrap();
            assert!(source == "safetensors" || again.vocab() == original.vocab(), "{name}/{source}");
            assert_eq!(again.vocab().chat(), original.vocab().chat(), "{name}/{source}");
            assert!(logits("again.siskin") == logits("f32.siskin"), "{name}/{source}");
        }
    }
}

#[test]
fn llama_cpp_computes_the_same() {
    compare("llama.cpp");
}

#[test]
fn transformers_computes_the_same() {
    compare("transformers");
}
