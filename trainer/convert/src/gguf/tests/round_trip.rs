//! What was exported is imported as it was.

use super::*;
use crate::{Options, open};
use siskin_format::schema;
use siskin_format::vocab::ChatTemplate;

/// The config that an import gives, after every weight was compared with the original's.
fn imported(config: &ModelConfig, dtype: DType) -> ModelConfig {
    let (_folder, path) = exported(config, &bpe(), dtype);
    let mut import = open(&path, &Options::default()).unwrap();
    assert!(import.vocab == bpe() && import.notes.is_empty(), "{:?}", import.notes);
    let own = schema(config);
    for spec in schema(&import.config) {
        let expected = match own.iter().find(|s| s.name == spec.name) {
            Some(spec) => Numbered.read(spec).unwrap(),
            None if spec.name.ends_with("weight") && spec.is_vector() => vec![1.0; spec.len()],
            None => vec![0.0; spec.len()],
        };
        assert!(import.weights.read(&spec).unwrap() == expected, "{}", spec.name);
    }
    import.config
}

#[test]
fn llamas_come_back() {
    let biased =
        |block: &mut TransformerConfig| (block.qkv_bias, block.out_bias, block.ffn_bias) = (true, true, true);
    let wide = |block: &mut TransformerConfig| block.head_dim = 12;
    for dtype in DType::ALL {
        for config in [
            llama(),
            changed(llama(), biased),
            changed(llama(), wide),
            ModelConfig { tied_head: false, ..llama() },
            ModelConfig { rope_divisors: vec![4.0; 4], ..llama() },
            ModelConfig { rope_divisors: vec![1.0, 1.0, 3.5, 8.0], ..llama() },
        ] {
            assert_eq!(imported(&config, dtype), config, "{dtype}");
        }
    }
}

#[test]
fn norms_of_q_and_k_make_a_qwen3() {
    let config = changed(llama(), |block| block.qk_norm = true);
    assert_eq!(imported(&config, DType::F32), config);
}

#[test]
fn gpts_come_back() {
    for dtype in DType::ALL {
        assert_eq!(imported(&gpt2(), dtype), gpt2(), "{dtype}");
    }
    let untied = ModelConfig { tied_head: false, ..gpt2() };
    assert_eq!(imported(&untied, DType::F32), untied);
}

#[test]
fn what_a_model_lacks_becomes_ones_and_zeros() {
    let bare = |block: &mut TransformerConfig| {
        (block.qkv_bias, block.out_bias, block.ffn_bias) = (false, false, false)
    };
    let config = ModelConfig {
        norm_bias: false,
        norm_weight: false,
        position: Position::None,
        ..changed(gpt2(), bare)
    };
    assert_eq!(imported(&config, DType::F32), gpt2());
    let config = ModelConfig { norm_weight: false, ..llama() };
    assert_eq!(imported(&config, DType::F32), llama());
}

/// The vocabulary that an export of it is imported as.
fn again(vocab: &Vocab) -> Vocab {
    let (_folder, path) = exported(&ModelConfig { vocab_size: vocab.len(), ..llama() }, vocab, DType::F32);
    super::super::read_vocab(&path).unwrap()
}

#[test]
fn vocabularies_come_back() {
    let ascii: Vec<char> = (' '..='~').chain(['\n', '\t', '\0']).collect();
    for vocab in [
        bpe(),
        sentence_piece(),
        Vocab::bytes(),
        Vocab::chars(&ascii, false).unwrap(),
        Vocab::chars(&['a', ' ', '你', '\n', '🙂'], true).unwrap(),
    ] {
        assert!(again(&vocab) == vocab, "{:?}", vocab.kind());
    }
}

/// llama.cpp wants an end token, which a vocabulary learnt here does not have.
#[test]
fn a_token_that_stands_in_for_the_end_is_none_again() {
    let mut tokens: Vec<_> = (0..=255).map(|byte| (vec![byte], TokenKind::Normal)).collect();
    tokens.push((b" t".to_vec(), TokenKind::Normal));
    let merges = vec![Merge { left: 32, right: 116, result: 256 }];
    let (kind, pre_tokenizer) = (VocabKind::Bpe, PreTokenizer::Gpt2);
    let parts = VocabParts { kind, pre_tokenizer, tokens, merges, ..VocabParts::default() };
    let vocab = Vocab::new(parts).unwrap();
    assert!(again(&vocab) == vocab);
}

#[test]
fn chat_templates_come_back() {
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    let chat = ChatTemplate {
        begin: "<|user|>\n".into(),
        system: pair("<|system|>\n", "\n<|user|>\n"),
        user: pair("<|user|>\n", "\n"),
        assistant: pair("<|model|>\n", "<|end|>"),
        reply: "<|model|>\n".into(),
        stops: vec![257],
    };
    let vocab = bpe().with_chat(Some(chat)).unwrap();
    assert!(again(&vocab) == vocab);
}

#[test]
fn what_llama_cpp_lacks_is_refused_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let refusal = |config: ModelConfig, vocab: &Vocab| {
        let error =
            super::super::write(&path, &config, vocab, &mut Numbered, DType::F32).unwrap_err().to_string();
        assert!(!path.exists() && !error.contains('\n'), "{error}");
        error
    };
    for (change, word) in [
        ((|b| b.token_shift = true) as fn(&mut TransformerConfig), "token shift"),
        (|b| b.window = 16, "sliding window"),
        (|b| b.ffn = Ffn::Relu2, "relu2"),
        (|b| b.norm = Norm::Layer, "another norm"),
        (|b| (b.qk_norm, b.qkv_bias) = (true, true), "and biases"),
    ] {
        let error = refusal(changed(llama(), change), &bpe());
        assert!(error.contains(word), "{error}");
    }
    assert!(refusal(ModelConfig { logit_softcap: 15.0, ..llama() }, &bpe()).contains("soft-cap"));
    assert!(refusal(ModelConfig { position: Position::Sinusoidal, ..gpt2() }, &bpe()).contains("sinusoidal"));
    assert!(refusal(changed(gpt2(), |b| b.qk_norm = true), &bpe()).contains("norms of q and k"));
    let chars = |chars: &[char]| {
        (ModelConfig { vocab_size: chars.len(), ..llama() }, Vocab::chars(chars, false).unwrap())
    };
    let (config, vocab) = chars(&['a', '你']);
    assert!(refusal(config, &vocab).contains("not all ASCII"));
}

#[test]
fn a_q4_model_keeps_every_code() {
    let (_folder, path) = exported(&llama(), &bpe(), DType::Q4);
    let bytes = std::fs::read(path).unwrap();
    let frame = super::super::file::Frame::read(&bytes).unwrap();
    let kinds: Vec<&str> = frame.tensors.iter().map(|t| t.kind.name()).collect();
    assert!(kinds.contains(&"Q4_0") && kinds.contains(&"F32") && !kinds.contains(&"F16"), "{kinds:?}");
}
