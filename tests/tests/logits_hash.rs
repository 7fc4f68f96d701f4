//! The same logits everywhere: hashes over every bit of the logits of small models of each family and dtype, held
//! against `tests/goldens/logits/hashes.txt`.
//!
//! The weights are drawn from integers, so files are the same bytes on every machine; each is run by every instruction
//! set that this CPU has (`SISKIN_ISA` chooses one), on one, two and three threads, with the prompt in one piece and token
//! by token. CI runs this natively, by the scalar kernels, and on emulated ARM cores. A hash that changes is a change of
//! the numerics contract (`runtime/NUMERICS.md`).

use sha2::{Digest, Sha256};
use siskin::{Isa, Model, Sampler, SamplerOptions, Session, SessionOptions};
use siskin_format::config::{BlockConfig, Ffn, Norm, Position};
use siskin_format::{DType, ModelConfig};
use siskin_tests::models;
use std::fmt::Write;
use std::sync::Arc;

const GENERATED: usize = 256;
const PROMPT: [u32; 11] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 58];
/// What an encoder reads before: more than goes through it at a time.
const SOURCE: [u32; 25] =
    [2, 7, 18, 28, 18, 28, 45, 9, 0, 45, 23, 53, 60, 2, 8, 7, 47, 13, 52, 6, 6, 24, 9, 7, 57];

/// One model per family, and one per option that computes otherwise.
fn cases() -> Vec<(&'static str, ModelConfig)> {
    let mut cases = models::families();
    for (_, config) in &mut cases {
        config.context = PROMPT.len() + GENERATED;
    }
    let find = |name: &str| cases.iter().find(|(n, _)| *n == name).expect("a family").1.clone();
    let (mut gpt, mut llama, mut shifting, mut mixed) =
        (find("gpt"), find("llama"), find("llama"), find("lstm"));
    let (mut windowed, mut partly) = (find("llama"), find("gpt"));
    let mut turned = models::attending_to_a_source(find("llama"), 2);

    gpt.position = Position::Sinusoidal;
    gpt.head_bias = true;
    each_transformer(&mut gpt, |i, t| t.ffn = [Ffn::Relu, Ffn::Relu2][i]);
    llama.logit_softcap = 6.0;
    each_transformer(&mut llama, |i, t| (t.ffn, t.qk_norm) = ([Ffn::GatedGelu, Ffn::Silu][i], true));
    each_transformer(&mut shifting, |_, t| t.token_shift = true);
    each_transformer(&mut windowed, |i, t| t.window = [21, 13][i]);
    windowed.rope_divisors = vec![1.0, 1.25, 2.0, 4.0, 8.0];
    each_transformer(&mut partly, |i, t| t.window = [17, 0][i]);
    mixed.final_norm = Norm::Batch;
    mixed.blocks.insert(0, find("gpt").blocks[0].clone());
    for block in &mut mixed.blocks {
        if let BlockConfig::Lstm(cell) = block {
            (cell.norm, cell.residual, cell.hidden) = (Norm::Layer, true, mixed.d_model);
        }
    }
    cases.extend([
        ("gpt-options", gpt),
        ("llama-options", llama),
        ("mixed", mixed),
        ("token-shift", shifting),
        ("windows", windowed),
        ("a-window", partly),
    ]);
    each_transformer(&mut turned, |i, t| (t.qk_norm, t.token_shift) = (true, i == 1));
    turned.encoder[1].head_dim = 6;
    let mut seq2seq = models::seq2seq();
    seq2seq.context = PROMPT.len() + GENERATED;
    cases.extend([("seq2seq", seq2seq), ("seq2seq-options", turned)]);
    cases
}

fn each_transformer(
    config: &mut ModelConfig,
    mut change: impl FnMut(usize, &mut siskin_format::config::TransformerConfig),
) {
    for (i, block) in config.blocks.iter_mut().enumerate() {
        if let BlockConfig::Transformer(t) = block {
            change(i, t);
        }
    }
}

/// Hash of the bits of the logits at every position of the prompt, which comes in pieces of `piece` tokens, and after
/// each generated token.
fn hash(model: &Arc<Model>, isa: Isa, threads: usize, piece: usize) -> String {
    let options =
        SessionOptions { threads: Some(threads), isa: Some(isa), batch: PROMPT.len(), ..Default::default() };
    let mut session = Session::new(model.clone(), &options).unwrap();
    let sampling = SamplerOptions { temperature: 0.9, top_k: 20, top_p: 0.95, seed: 7, ..Default::default() };
    let mut sampler = Sampler::new(sampling, model.config().vocab_size).unwrap();
    let mut sha = Sha256::new();
    let mut token = 0;
    let mut take = |logits: &[f32]| {
        assert!(logits.iter().all(|x| x.is_finite()));
        logits.iter().for_each(|x| sha.update(x.to_bits().to_le_bytes()));
    };
    if model.config().has_encoder() {
        session.encode(&SOURCE).unwrap();
    }
    let mut position = 0;
    for piece in PROMPT.chunks(piece) {
        session
            .forward_each(piece, |_, logits| {
                take(logits);
                position += 1;
                if position == PROMPT.len() {
                    token = sampler.sample(logits).unwrap();
                }
            })
            .unwrap();
    }
    for _ in 0..GENERATED {
        let logits = session.forward(&[token]).unwrap();
        take(logits);
        token = sampler.sample(logits).unwrap();
    }
    hex(&sha.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// The golden line of one model: its name, hash of its file, hash of its logits.
fn line(name: &str, dtype: DType, file: &[u8], logits: &str) -> String {
    format!("{name} {dtype} file {} logits {logits}", hex(&Sha256::digest(file)))
}

/// The instruction sets to test.
fn isas() -> Vec<Isa> {
    match std::env::var_os(siskin::kernels::ISA_VARIABLE) {
        Some(_) => vec![Isa::detect().unwrap()],
        None => Isa::available().collect(),
    }
}

/// Compares all models of one dtype with their golden lines, for every instruction set, number of threads and cut of the prompt.
fn check(dtype: DType) {
    let golden = std::fs::read_to_string(siskin_tests::golden("logits/hashes.txt")).unwrap();
    let isas = isas();
    for (name, config) in cases() {
        let bytes = models::file(&config, dtype, 1);
        let model = Arc::new(Model::from_bytes(bytes.clone()).unwrap());
        let expected = golden.lines().find(|l| l.starts_with(&format!("{name} {dtype} ")));
        for &isa in &isas {
            for (threads, piece) in (1..=3).flat_map(|threads| [(threads, PROMPT.len()), (threads, 1)]) {
                let found = line(name, dtype, &bytes, &hash(&model, isa, threads, piece));
                assert_eq!(
                    Some(found.as_str()),
                    expected,
                    "{} with {threads} thread(s), prompt by {piece}: if the contract was meant to change, say so in NUMERICS.md and run \
                     this test's `rewrite` with --ignored",
                    isa.name()
                );
            }
        }
    }
}

#[test]
fn logits_f32() {
    check(DType::F32);
}

#[test]
fn logits_f16() {
    check(DType::F16);
}

#[test]
fn logits_q8() {
    check(DType::Q8);
}

#[test]
fn logits_q4() {
    check(DType::Q4);
}

#[test]
fn every_line_has_its_model() {
    let golden = std::fs::read_to_string(siskin_tests::golden("logits/hashes.txt")).unwrap();
    let lines: Vec<&str> = golden.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(lines.len(), cases().len() * DType::ALL.len());
    let mut hashes: Vec<&str> = lines.iter().map(|l| l.rsplit(' ').next().unwrap()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), lines.len(), "no two models have the same logits");
}

#[test]
#[ignore = "writes the golden file by the scalar kernels"]
fn rewrite() {
    let mut text = String::from(
        "# Written by `cargo test --release -p siskin-tests --test logits_hash -- --ignored rewrite` (scalar, one thread).\n\
         # Model, dtype, SHA-256 of its file, SHA-256 over the little-endian bits of all its logits.\n",
    );
    for (name, config) in cases() {
        for dtype in DType::ALL {
            let bytes = models::file(&config, dtype, 1);
            let model = Arc::new(Model::from_bytes(bytes.clone()).unwrap());
            text += &line(name, dtype, &bytes, &hash(&model, Isa::Scalar, 1, PROMPT.len()));
            text.push('\n');
        }
    }
    std::fs::write(siskin_tests::golden("logits/hashes.txt"), text).unwrap();
}
