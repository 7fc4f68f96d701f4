//! Speed of a model of random weights, in a shape that others publish figures for:
//! `cargo run --release -p siskin --example speed -- 15m q8 2`
//!
//! Prints tokens/s of decoding 256 tokens from an empty context and of a prompt of 128, and the bytes of weights that decoding reads per second.

use siskin::{Model, Session, SessionOptions};
use siskin_format::config::{Ffn, Norm, Position, TransformerConfig};
use siskin_format::{BlockConfig, Contents, DType, ModelConfig, Receipt, Vocab, writer};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Llama shapes: width, layers, heads, heads of keys and values, inner width, vocabulary.
fn shape(name: &str) -> Option<[usize; 6]> {
    Some(match name {
        "260k" => [64, 5, 8, 4, 172, 512],
        "15m" => [288, 6, 6, 6, 768, 32000],
        "110m" => [768, 12, 12, 12, 2048, 32000],
        "1b" => [2048, 22, 32, 4, 5632, 32000],
        _ => return None,
    })
}

fn config([d_model, n_layers, n_heads, n_kv_heads, d_ff, vocab_size]: [usize; 6]) -> ModelConfig {
    let block = BlockConfig::Transformer(TransformerConfig {
        n_heads,
        n_kv_heads,
        head_dim: d_model / n_heads,
        d_ff,
        ffn: Ffn::GatedSilu,
        norm: Norm::Rms,
        residual: true,
        qkv_bias: false,
        out_bias: false,
        ffn_bias: false,
        qk_norm: false,
    });
    ModelConfig {
        vocab_size,
        d_model,
        context: 1024,
        position: Position::Rope { theta: 10_000.0 },
        blocks: vec![block; n_layers],
        final_norm: Norm::Rms,
        norm_eps: 1e-5,
        norm_weight: true,
        norm_bias: false,
        tied_head: true,
        head_bias: false,
        logit_softcap: 0.0,
    }
}

fn model(config: &ModelConfig, dtype: DType) -> Arc<Model> {
    let chars: Vec<char> = (0x1_0000..).take(config.vocab_size).filter_map(char::from_u32).collect();
    let vocab = Vocab::chars(&chars, false).expect("distinct characters");
    let receipt = Receipt::default();
    let contents = Contents { config, vocab: &vocab, receipt: &receipt };
    let mut seed = 1u64;
    let bytes = writer::to_bytes(
        &contents,
        |spec| spec.dtype_for(dtype),
        |spec| {
            let spread = 1.0 / (spec.cols as f32).sqrt() / 8388608.0;
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 40) as f32 * spread - 8388608.0 * spread
            };
            Ok::<_, siskin_format::Error>((0..spec.len()).map(|_| next()).collect::<Vec<f32>>().into())
        },
    );
    Arc::new(Model::from_bytes(bytes.expect("a valid model")).expect("what was written is read"))
}

/// Seconds that this thread has had a core, where the system tells. Beside a busy neighbour it is the fairer clock for one
/// thread.
fn core_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse::<f64>().ok().map(|ns| ns * 1e-9)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (shape, dtype) = match &args[..] {
        [name, dtype, _] => (shape(name), DType::from_name(dtype)),
        _ => (None, None),
    };
    let (Some(shape), Some(dtype)) = (shape, dtype) else {
        eprintln!("usage: speed 260k|15m|110m|1b f32|f16|q8|q4 THREADS[,THREADS]...");
        return ExitCode::from(2);
    };
    let config = config(shape);
    let model = model(&config, dtype);
    // Decoding reads every tensor once; the tied head is the embedding.
    let bytes: usize = model.file().tensors().iter().map(|info| info.range.len()).sum();
    for threads in args[2].split(',').filter_map(|n| n.parse().ok()) {
        let options = SessionOptions { threads: Some(threads), ..SessionOptions::default() };
        let mut session = match Session::new(model.clone(), &options) {
            Ok(session) => session,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        };
        let (mut decode, mut prompt, mut share) = (Vec::new(), Vec::new(), Vec::new());
        let tokens: Vec<u32> = (0..128).map(|i| i * 37 % config.vocab_size as u32).collect();
        for _ in 0..5 {
            let (start, core, mut n) = (Instant::now(), core_seconds(), 0);
            while start.elapsed().as_secs_f64() < 0.4 {
                if n % 256 == 0 {
                    session.reset();
                }
                session.forward(&[n * 7 % 500]).expect("room for a token");
                n += 1;
            }
            let seconds = start.elapsed().as_secs_f64();
            decode.push(n as f64 / seconds);
            share.extend(core.zip(core_seconds()).map(|(from, to)| (to - from) / seconds));
            let (start, mut n) = (Instant::now(), 0);
            while n == 0 || start.elapsed().as_secs_f64() < 0.2 {
                session.reset();
                session.forward(&tokens).expect("room for a prompt");
                n += tokens.len();
            }
            prompt.push(n as f64 / start.elapsed().as_secs_f64());
        }
        let (decode, prompt) = (median(decode), median(prompt));
        let share = if share.is_empty() { 1.0 } else { median(share) };
        println!(
            "{} {dtype} {threads} threads {}: decode {decode:.1} tok/s ({:.1} GB/s), prompt {prompt:.0} tok/s; \
             the caller had a core {:.0} % of the time",
            args[0],
            session.isa().name(),
            decode * bytes as f64 / 1e9,
            100.0 * share,
        );
    }
    ExitCode::SUCCESS
}
