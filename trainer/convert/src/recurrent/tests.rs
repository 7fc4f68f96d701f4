use siskin_format::config::{Activation, BlockConfig, ModelConfig, Norm, Position};
use siskin_format::vocab::{TokenKind, Vocab, VocabKind};
use siskin_format::{TensorSpec, schema};
use std::fs;
use std::path::{Path, PathBuf};

use crate::testing::{Part, decoded, golden, opened, part, parts_of, refused, safetensors};
use crate::{Weights, safetensors as writer};

fn file(name: &str) -> PathBuf {
    golden("recurrent").join(name)
}

#[test]
fn each_family_is_read_by_its_names() {
    let (rnn, tensors) = decoded(&file("rnn.toml")).unwrap();
    assert_eq!((rnn.vocab_size, rnn.d_model, rnn.context, rnn.n_layers()), (33, 12, 32, 2));
    assert_eq!(
        (rnn.position, rnn.final_norm, rnn.tied_head, rnn.head_bias),
        (Position::None, Norm::None, false, false)
    );
    let BlockConfig::Rnn(block) = &rnn.blocks[1] else { panic!("{rnn:?}") };
    assert!(block.activation == Activation::Relu && block.cell.hidden == 16 && !block.cell.bias);
    assert_eq!(tensors.len(), 2 + 4);

    let (gru, tensors) = decoded(&file("gru.safetensors")).unwrap();
    let parts = parts_of(&file("gru.safetensors"));
    assert!(matches!(&gru.blocks[..], [BlockConfig::Gru(a), BlockConfig::Gru(b)] if a == b && a.bias));
    for (ours, theirs) in [
        ("embed.weight", "table"),
        ("blocks.0.w_x", "core.weight_ih_l0"),
        ("blocks.1.w_h", "core.weight_hh_l1"),
        ("blocks.0.b_x", "core.bias_ih_l0"),
        ("blocks.1.b_h", "core.bias_hh_l1"),
        ("head.weight", "out.weight"),
        ("head.bias", "out.bias"),
    ] {
        assert_eq!(values(&tensors, ours), &stored(&parts, theirs), "{ours}");
    }
}

fn values<'a>(tensors: &'a [(String, Vec<f32>)], name: &str) -> &'a Vec<f32> {
    &tensors.iter().find(|(n, _)| n == name).unwrap().1
}

fn stored(parts: &[Part], name: &str) -> Vec<f32> {
    let (.., bytes) = parts.iter().find(|(n, ..)| n == name).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

#[test]
fn one_hot_input_is_the_identity_and_an_lstms_biases_are_summed() {
    let (lstm, tensors) = decoded(&file("lstm.toml")).unwrap();
    assert_eq!(lstm.d_model, 33);
    let embed = values(&tensors, "embed.weight");
    assert!((0..33 * 33).all(|i| embed[i] == if i / 33 == i % 33 { 1.0 } else { 0.0 }));
    let parts = parts_of(&file("lstm.safetensors"));
    let (a, b) = (stored(&parts, "core.bias_ih_l0"), stored(&parts, "core.bias_hh_l0"));
    let sums: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    assert_eq!(values(&tensors, "blocks.0.b_x"), &sums);
}

#[test]
fn listed_tokens_are_the_vocabulary() {
    let vocab = opened(&file("lstm.toml")).unwrap().vocab;
    assert_eq!((vocab.kind(), vocab.len(), vocab.special().bos), (VocabKind::Char, 33, Some(0)));
    assert_eq!(vocab.token(32), Some("世".as_bytes()));
    assert_eq!(
        (vocab.token_kind(0), vocab.token_kind(1)),
        (Some(TokenKind::Control), Some(TokenKind::Normal))
    );
}

/// What is written is read again, and says the same.
#[test]
fn folders_that_are_written_are_the_same_model() {
    for name in ["rnn.toml", "gru.toml", "lstm.toml"] {
        let mut import = opened(&file(name)).unwrap();
        let (config, expected) = decoded(&file(name)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        writer::write(folder.path(), &config, &import.vocab, &mut *import.weights).unwrap();
        let found = opened(folder.path()).unwrap();
        assert_eq!((&found.config, &found.vocab), (&config, &import.vocab), "{name}");
        assert_eq!(decoded(folder.path()).unwrap().1, expected, "{name}");
    }
}

/// Weights that are all one.
struct Ones;

impl Weights for Ones {
    fn read(&mut self, spec: &TensorSpec) -> crate::Result<Vec<f32>> {
        Ok(vec![1.0; spec.len()])
    }
}

#[test]
fn stacks_of_different_widths_become_several_modules() {
    let mut config = decoded(&file("gru.toml")).unwrap().0;
    for (block, hidden) in config.blocks.iter_mut().zip([5, 7]) {
        let BlockConfig::Gru(cell) = block else { panic!("{block:?}") };
        (cell.hidden, cell.bias) = (hidden, hidden == 7);
    }
    config.vocab_size = 256;
    let folder = tempfile::tempdir().unwrap();
    writer::write(folder.path(), &config, &Vocab::bytes(), &mut Ones).unwrap();
    let found = opened(folder.path()).unwrap();
    assert_eq!((found.config, found.vocab), (config, Vocab::bytes()));
    let text = fs::read_to_string(folder.path().join("model.toml")).unwrap();
    assert!(text.contains(r#"prefix = ["rnn.0.", "rnn.1."]"#), "{text}");
}

#[test]
fn stacks_that_torch_has_no_modules_for_are_refused_by_name() {
    type Edit = fn(&mut ModelConfig);
    fn norm(config: &mut ModelConfig) {
        let BlockConfig::Gru(cell) = &mut config.blocks[1] else { panic!("{config:?}") };
        cell.norm = Norm::Rms;
    }
    fn residual(config: &mut ModelConfig) {
        let BlockConfig::Gru(cell) = &mut config.blocks[1] else { panic!("{config:?}") };
        cell.residual = true;
    }
    fn mixed(config: &mut ModelConfig) {
        let BlockConfig::Gru(cell) = config.blocks[1].clone() else { panic!("{config:?}") };
        config.blocks[1] = BlockConfig::Lstm(cell);
    }
    let cases: [(Edit, &str); 6] = [
        (norm, "norm rms"),
        (residual, "a residual around a recurrent block"),
        (mixed, "blocks of different families"),
        (|c| c.final_norm = Norm::Layer, "a final norm"),
        (|c| c.logit_softcap = 30.0, "logit_softcap"),
        (|c| c.position = Position::Learned, "positions"),
    ];
    for (edit, expected) in cases {
        let import = opened(&file("gru.toml")).unwrap();
        let mut config = import.config;
        edit(&mut config);
        config.validate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let line = refused(writer::write(folder.path(), &config, &import.vocab, &mut Ones));
        assert!(line.contains(expected), "{line:?} does not say {expected:?}");
        assert!(!schema(&config).is_empty() && !folder.path().join("model.safetensors").exists());
    }
}

/// A model of these tensors and this description.
fn model(parts: &[Part], description: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.safetensors"), safetensors(parts)).unwrap();
    fs::write(folder.path().join("m.toml"), description).unwrap();
    let path = folder.path().join("m.toml");
    (folder, path)
}

fn tiny() -> Vec<Part> {
    vec![
        part("weight_ih_l0", &[3, 2], |i| i as f32),
        part("weight_hh_l0", &[3, 3], |i| i as f32),
        part("emb", &[2, 2], |i| i as f32),
        part("out", &[2, 3], |i| i as f32),
    ]
}

const TINY: &str = "family = \"rnn\"\nembedding = \"emb\"\nhead = \"out\"\ntokens = [\"a\", \"b\"]\n";

#[test]
fn a_prefix_is_found_and_a_head_may_be_tied() {
    let (_folder, path) = model(&tiny(), TINY);
    assert_eq!(opened(&path).unwrap().config.n_layers(), 1);
    let mut tied = tiny();
    tied.pop();
    tied[0] = part("weight_ih_l0", &[2, 2], |_| 1.0);
    tied[1] = part("weight_hh_l0", &[2, 2], |_| 1.0);
    let (_folder, path) = model(&tied, &TINY.replace("\"out\"", "\"emb\""));
    assert!(opened(&path).unwrap().config.tied_head);
}

#[test]
fn each_wrong_description_is_one_line() {
    let with = |line: &str| format!("{TINY}{line}\n");
    let cases: Vec<(String, &str)> = vec![
        (
            TINY.replace("rnn", "mamba"),
            "line 1: unknown variant `mamba`, expected one of `rnn`, `gru`, `lstm`",
        ),
        (TINY.replace("family = \"rnn\"\n", ""), "missing field `family`"),
        (with("bidirectional = true"), "line 5: unknown field `bidirectional`"),
        (with("activation = \"sine\""), "unknown variant `sine`"),
        (with("context = 0"), "context is 0"),
        (with("context = -1"), "line 5: invalid value"),
        (with("bos = \"<s>\""), "bos is \"<s>\", which is none of the tokens"),
        (with("prefix = 3"), "a string or a list of strings"),
        (with("prefix = \"x.\""), "tensor x.weight_hh_l0: is missing among 4 tensors"),
        (with("head_bias = \"b\""), "tensor b: is missing"),
        (with("["), "line 5"),
        (TINY.replace("\"emb\"", "\"one-hot\""), "tensor emb: is not part of the model"),
        (
            TINY.replace("\"emb\"", "\"weight_hh_l0\""),
            "tensor weight_hh_l0: its shape is [3, 3], expected [2, 3]",
        ),
        (TINY.replace("\"rnn\"", "\"lstm\""), "tensor weight_ih_l0: its shape is [3, 2], expected [12, 2]"),
        (TINY.replace(", \"b\"", ""), "1 tokens, but the embedding has 2 rows"),
        (TINY.replace("\"b\"", "\"b\", \"c\""), "3 tokens, but the embedding has 2 rows"),
        (TINY.replace("\"b\"", "\"a\""), "same bytes"),
        (TINY.replace("\"b\"", "300"), "a string, or the number of a byte"),
        (TINY.replace("\"b\"", "\"\""), "tokens"),
        (TINY.replace("tokens = [\"a\", \"b\"]\n", ""), "--tokenizer FILE"),
    ];
    for (description, expected) in cases {
        let (_folder, path) = model(&tiny(), &description);
        let line = refused(crate::open(&path, &crate::Options::default()));
        assert!(
            line.contains(expected) || expected == "same bytes" || expected == "tokens",
            "{line:?} does not say {expected:?}"
        );
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let with = |change: &dyn Fn(&mut Vec<Part>)| {
        let mut parts = tiny();
        change(&mut parts);
        let (_folder, path) = model(&parts, TINY);
        refused(opened(&path))
    };
    let more = |name: &str, shape: &[usize]| with(&|parts| parts.push(part(name, shape, |_| 1.0)));
    assert!(more("weight_ih_l0_reverse", &[3, 2]).contains("reads backwards (bidirectional)"));
    assert!(more("weight_hr_l0", &[3, 2]).contains("projects the state (proj_size)"));
    assert!(more("b.weight_hh_l0", &[3, 3]).contains("2 modules have a weight_hh_l0"));
    assert!(more("weight_hh_l1", &[3, 3]).contains("tensor weight_ih_l1: is missing"));
    assert!(more("bias_ih_l0", &[3]).contains("tensor bias_hh_l0: is missing"));
    assert!(more("bias_hh_l0", &[3]).contains("tensor bias_hh_l0: is not part of the model"));
    assert!(
        with(&|parts| parts[1] = part("weight_hh_l0", &[9], |_| 1.0)).contains("1 dimensions, expected 2")
    );
    assert!(with(&|parts| parts[1] = part("weight_hh_l0", &[0, 0], |_| 1.0)).contains("hidden is 0"));
    assert!(with(&|parts| parts[2] = part("emb", &[4], |_| 1.0)).contains("tensor emb: 1 dimensions"));
    assert!(with(&|parts| parts[3] = part("out", &[0, 3], |_| 1.0)).contains("vocab_size is 0"));
    assert!(
        with(&|parts| {
            parts.remove(1);
        })
        .contains("no tensor is named weight_hh_l0")
    );
    let wide = |parts: &mut Vec<Part>| parts[3] = part("out", &[9000, 3], |_| 1.0);
    let mut parts = tiny();
    wide(&mut parts);
    let (_folder, path) = model(&parts, &TINY.replace("\"emb\"", "\"one-hot\""));
    assert!(refused(opened(&path)).contains("9000 tokens, expected at most 8192 with one-hot input"));
    let (_folder, path) = model(&tiny(), TINY);
    fs::remove_file(path.with_extension("safetensors")).unwrap();
    assert!(refused(opened(&path)).contains("m.safetensors"));
}

/// The descriptions of the models that stand in other repositories say what they should.
#[test]
fn descriptions_of_published_models_are_understood() {
    for (name, tokens, last) in
        [("rnn", 44, "<UNK>"), ("lstm", 44, "0"), ("charlotte_bronte", 108, "ö"), ("shakespeare", 65, "$")]
    {
        let vocab = published(name);
        assert_eq!(vocab.kind(), VocabKind::Char, "{name}");
        assert_eq!(
            (vocab.len(), vocab.token(tokens - 1)),
            (tokens as usize, Some(last.as_bytes())),
            "{name}"
        );
    }
    let bytes = published("small");
    assert_eq!(
        (bytes.kind(), bytes.len(), bytes.token(0), bytes.token(195)),
        (VocabKind::Byte, 196, Some(&b"\n"[..]), Some(&[240u8][..]))
    );
    assert_eq!(published("rnn").special().eos, Some(18));
}

fn published(name: &str) -> Vocab {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/goldens/recurrent")
        .join(name)
        .with_extension("toml");
    let source = crate::source::Source::open(&path).unwrap();
    super::description::read(&source).unwrap().vocab(&source).unwrap().unwrap()
}
