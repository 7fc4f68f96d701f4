//! Settings that make no model.

use super::{assert_refused, llama, open, tiny};
use siskin_format::config::{BlockConfig, ConfigError, MAX_BLOCKS, ModelConfig, Position, TransformerConfig};
use siskin_format::header::Section;
use siskin_format::meta::{Meta, MetaError, Value};
use siskin_format::{Error, File};
use siskin_tests::models;
use siskin_tests::raw_file::RawFile;

/// The llama file with another config, its tensors as they were.
fn with_config(change: impl FnOnce(&mut ModelConfig)) -> RawFile {
    let mut config = models::llama();
    change(&mut config);
    llama().with_section(Section::Config, &config.to_meta().to_bytes())
}

fn with_block(change: impl FnOnce(&mut TransformerConfig)) -> RawFile {
    with_config(|config| {
        if let BlockConfig::Transformer(t) = &mut config.blocks[1] {
            change(t);
        }
    })
}

#[test]
fn sizes_are_neither_zero_nor_endless() {
    type Setting = (&'static str, fn(&mut ModelConfig) -> &mut usize);
    let whole: [Setting; 3] = [
        ("vocab_size", |c| &mut c.vocab_size),
        ("d_model", |c| &mut c.d_model),
        ("context", |c| &mut c.context),
    ];
    for (name, setting) in whole {
        let file = with_config(|c| *setting(c) = 0);
        assert_refused!(file, Error::Config(ConfigError::Zero { field }) if field == name);
        let file = with_config(|c| *setting(c) = usize::MAX);
        assert_refused!(file, Error::Config(ConfigError::TooLarge { field, .. }) if field == name);
    }
    type BlockSetting = (&'static str, fn(&mut TransformerConfig) -> &mut usize);
    let of_block: [BlockSetting; 4] = [
        ("n_heads", |t| &mut t.n_heads),
        ("n_kv_heads", |t| &mut t.n_kv_heads),
        ("head_dim", |t| &mut t.head_dim),
        ("d_ff", |t| &mut t.d_ff),
    ];
    for (name, setting) in of_block {
        let file = with_block(|t| *setting(t) = 0);
        assert_refused!(file, Error::Config(ConfigError::Zero { field }) if field == name);
        let file = with_block(|t| *setting(t) = usize::MAX);
        assert_refused!(file, Error::Config(ConfigError::TooLarge { field, .. }) if field == name);
    }
    for hidden in [0, usize::MAX] {
        let mut config = super::tiny_config();
        if let BlockConfig::Lstm(cell) = &mut config.blocks[0] {
            cell.hidden = hidden;
        }
        let file = tiny().with_section(Section::Config, &config.to_meta().to_bytes());
        match super::refusal(&file) {
            Error::Config(ConfigError::Zero { field: "hidden" }) if hidden == 0 => {}
            Error::Config(ConfigError::TooLarge { field: "hidden", .. }) if hidden > 0 => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_number_of_blocks_is_bounded() {
    let file = with_config(|c| c.blocks.clear());
    assert_refused!(file, Error::Meta { error: MetaError::MissingKey { ref key }, .. } if key == "blocks.kind");
    let mut meta = Meta::from_bytes(llama().section(Section::Config)).unwrap();
    meta.set("blocks.kind", Value::Strs(Vec::new()));
    let empty = llama().with_section(Section::Config, &meta.to_bytes());
    assert_refused!(
        empty,
        Error::Meta { error: MetaError::BadValue { .. }, .. } | Error::Config(ConfigError::Zero { .. })
    );
    let file = with_config(|c| c.blocks = vec![c.blocks[0].clone(); MAX_BLOCKS + 1]);
    assert_refused!(file, Error::Config(ConfigError::TooLarge { field: "n_layers", .. }));
}

#[test]
fn heads_divide() {
    let file = with_block(|t| t.n_kv_heads = 3);
    assert_refused!(
        file,
        Error::Config(ConfigError::NotDivisible { field: "n_heads", by: "n_kv_heads", .. })
    );
    let file = with_block(|t| t.n_kv_heads = 8);
    assert_refused!(file, Error::Config(ConfigError::NotDivisible { .. }));
    let file = with_block(|t| t.head_dim = 9);
    assert_refused!(file, Error::Config(ConfigError::NotDivisible { field: "head_dim", .. }));
}

/// Heads times width, the size of a state or of a cache row, is bounded before anybody multiplies it further.
#[test]
fn products_of_sizes_are_bounded() {
    let file = with_block(|t| {
        t.n_heads = 1 << 20;
        t.n_kv_heads = 1 << 20;
        t.head_dim = 1 << 20;
    });
    assert_refused!(file, Error::Config(ConfigError::TooLarge { .. }));
}

#[test]
fn numbers_are_finite_and_positive() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, -1.0] {
        let file = with_config(|c| c.norm_eps = bad);
        assert_refused!(file, Error::Config(ConfigError::BadNumber { field: "norm_eps", .. }));
        let file = with_config(|c| c.position = Position::Rope { theta: bad });
        assert_refused!(file, Error::Config(ConfigError::BadNumber { field: "rope_theta", .. }));
        if bad != 0.0 {
            let file = with_config(|c| c.logit_softcap = bad);
            assert_refused!(file, Error::Config(ConfigError::BadNumber { field: "logit_softcap", .. }));
        }
    }
}

#[test]
fn spellings_are_known() {
    for key in ["model.position", "model.final_norm"] {
        let mut meta = Meta::from_bytes(llama().section(Section::Config)).unwrap();
        meta.set(key, Value::Str("what".repeat(50_000)));
        let file = llama().with_section(Section::Config, &meta.to_bytes());
        assert_refused!(file, Error::Meta { error: MetaError::BadValue { key: ref k, .. }, .. } if k == key);
    }
    for key in ["blocks.kind", "blocks.norm", "blocks.ffn"] {
        let mut meta = Meta::from_bytes(llama().section(Section::Config)).unwrap();
        meta.set(key, Value::Strs(vec!["what".into(); 2]));
        let file = llama().with_section(Section::Config, &meta.to_bytes());
        assert_refused!(file, Error::Meta { error: MetaError::BadValue { key: ref k, .. }, .. } if k == key);
    }
}

/// A setting that no block has, or a value that is no f32, would be lost on the way; it is refused instead.
#[test]
fn one_config_has_one_encoding() {
    let mut meta = Meta::from_bytes(llama().section(Section::Config)).unwrap();
    meta.set("blocks.hidden", Value::U64s(vec![0, 0]));
    let file = llama().with_section(Section::Config, &meta.to_bytes());
    assert_refused!(file, Error::Meta { error: MetaError::BadValue { ref key, .. }, .. } if key == "blocks.hidden");
    let mut meta = Meta::from_bytes(llama().section(Section::Config)).unwrap();
    meta.set("model.norm_eps", Value::F64(0.1));
    let file = llama().with_section(Section::Config, &meta.to_bytes());
    assert_refused!(file, Error::Meta { error: MetaError::BadValue { ref key, .. }, .. } if key == "model.norm_eps");
    let _: File = open(&llama()).unwrap();
}

/// The llama file with one key of its config set.
fn with_key(key: &str, value: Value) -> RawFile {
    let mut meta = Meta::from_bytes(llama().section(Section::Config)).unwrap();
    meta.set(key, value);
    llama().with_section(Section::Config, &meta.to_bytes())
}

#[test]
fn windows_are_sizes_of_blocks_that_attend() {
    for window in [1, 31, siskin_format::config::MAX_VOCAB] {
        open(&with_block(|t| t.window = window)).unwrap();
    }
    for window in [siskin_format::config::MAX_VOCAB + 1, usize::MAX] {
        let file = with_block(|t| t.window = window);
        assert_refused!(file, Error::Config(ConfigError::TooLarge { field: "window", .. }));
    }
    // A column that says nothing is left out; a short one, and another type, are none.
    for value in [
        Value::U64s(vec![0, 0]),
        Value::U64s(vec![4]),
        Value::U64s(vec![4; 3]),
        Value::U64(4),
        Value::F64s(vec![4.0; 2]),
    ] {
        assert_refused!(with_key("blocks.window", value), Error::Meta { .. });
    }
    let mut meta = Meta::from_bytes(tiny().section(Section::Config)).unwrap();
    meta.set("blocks.window", Value::U64s(vec![4; super::tiny_config().n_layers()]));
    let file = tiny().with_section(Section::Config, &meta.to_bytes());
    assert_refused!(file, Error::Meta { error: MetaError::BadValue { ref key, .. }, .. } if key == "blocks.window");
    let mut seq2seq = models::attending_to_a_source(models::llama(), 1);
    seq2seq.encoder[0].window = 4;
    let file = llama().with_section(Section::Config, &seq2seq.to_meta().to_bytes());
    assert_refused!(file, Error::Meta { .. } | Error::Config(ConfigError::Encoder { .. }));
}

#[test]
fn divisors_are_positive_and_one_for_each_pair() {
    let pairs = 5;
    open(&with_config(|c| c.rope_divisors = vec![1.5; pairs])).unwrap();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, -1.0] {
        let file = with_config(|c| c.rope_divisors = [vec![1.5; pairs - 1], vec![bad]].concat());
        assert_refused!(file, Error::Config(ConfigError::BadNumber { field: "rope_divisors", .. }));
    }
    for n in [1, pairs - 1, pairs + 1, 2 * pairs, 4000] {
        let file = with_config(|c| c.rope_divisors = vec![1.5; n]);
        assert_refused!(file, Error::Config(ConfigError::RopeDivisors { found, expected: 5 }) if found == n);
    }
    for position in [Position::None, Position::Sinusoidal] {
        let file = with_config(|c| (c.position, c.rope_divisors) = (position, vec![1.5; pairs]));
        assert_refused!(file, Error::Config(ConfigError::RopeDivisors { found: 5, expected: 0 }));
    }
    // No f32, no number, and an empty list, which is left out.
    for value in
        [Value::F64s(vec![0.1; pairs]), Value::U64s(vec![2; pairs]), Value::F64(2.0), Value::F64s(Vec::new())]
    {
        assert_refused!(with_key("model.rope_divisors", value), Error::Meta { .. });
    }
}
