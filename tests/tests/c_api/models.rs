//! Small models of bytes, one recurrent, one with attention and one with an encoder; and the same with logits that are no numbers.

use siskin_format::config::{Activation, BlockConfig};
use siskin_format::schema::TensorSpec;
use siskin_format::writer::to_bytes;
use siskin_format::{Contents, DType, Error, File, ModelConfig, Receipt, Vocab};
use siskin_tests::models::{gru, llama, rnn, seq2seq, values};
use std::borrow::Cow;
use std::path::Path;

/// Names of the good ones that go on with a text; the one with an encoder, `seq2seq`, turns one into another.
pub const NAMES: [&str; 2] = ["gru", "llama"];

fn bytes(config: &ModelConfig, vocab: &Vocab, dtype: DType) -> Vec<u8> {
    let contents = Contents { config, vocab, receipt: &Receipt::default() };
    let weights = |spec: &TensorSpec| Ok::<_, Error>(Cow::Owned(values(spec, 5)));
    to_bytes(&contents, |spec| spec.dtype_for(dtype), weights).expect("a valid configuration")
}

/// Overwrites the head's bias. Opening does not look at weights, which `siskin_model_verify` does.
fn with_head_bias(mut file: Vec<u8>, value: f32) -> Vec<u8> {
    let range = File::from_bytes(file.clone()).unwrap().tensor("head.bias").unwrap().info().range.clone();
    for number in file[range].chunks_exact_mut(4) {
        number.copy_from_slice(&value.to_le_bytes());
    }
    file
}

/// Writes them all.
pub fn write(folder: &Path) {
    let vocab = Vocab::bytes();
    let of_bytes = |config: ModelConfig, context| ModelConfig {
        vocab_size: vocab.len(),
        context,
        head_bias: true,
        ..config
    };
    for (name, config, dtype) in [("gru", gru(), DType::Q8), ("llama", llama(), DType::Q4)] {
        let file = bytes(&of_bytes(config, 1 << 12), &vocab, dtype);
        std::fs::write(folder.join(name), &file).unwrap();
        std::fs::write(folder.join(format!("nan-{name}")), with_head_bias(file, f32::NAN)).unwrap();
    }
    let encoder = bytes(&of_bytes(seq2seq(), 64), &vocab, DType::Q8);
    std::fs::write(folder.join("seq2seq"), encoder).unwrap();
    let chars = Vocab::chars(&['a', 'b', 'c', 'ü'], false).unwrap();
    let config = ModelConfig { vocab_size: chars.len(), ..rnn(Activation::Tanh) };
    assert!(matches!(config.blocks[0], BlockConfig::Rnn(_)));
    std::fs::write(folder.join("char"), bytes(&config, &chars, DType::F32)).unwrap();
}
