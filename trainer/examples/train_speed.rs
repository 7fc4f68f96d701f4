//! Training speed at the settings that PyTorch was measured at: `cargo run --release --example train_speed [filter]`.

use std::time::Duration;

use siskin_format::ModelConfig;
use siskin_format::config::{
    Activation, BlockConfig, Ffn, Norm, Position, RecurrentConfig, RnnConfig, TransformerConfig,
};
use siskin_trainer::bench::{BenchOptions, bench_step};
use siskin_trainer::parallel::Division;

fn gpt(n_layers: usize, d_model: usize, heads: usize, context: usize) -> ModelConfig {
    let block = TransformerConfig {
        n_heads: heads,
        n_kv_heads: heads,
        head_dim: d_model / heads,
        d_ff: 4 * d_model,
        ffn: Ffn::Gelu,
        norm: Norm::Layer,
        residual: true,
        qkv_bias: true,
        out_bias: true,
        ffn_bias: true,
        qk_norm: false,
    };
    ModelConfig {
        vocab_size: 65,
        d_model,
        context,
        position: Position::Learned,
        blocks: vec![BlockConfig::Transformer(block); n_layers],
        final_norm: Norm::Layer,
        norm_eps: 1e-5,
        norm_weight: true,
        norm_bias: true,
        tied_head: true,
        head_bias: false,
        logit_softcap: 0.0,
    }
}

fn recurrent(blocks: Vec<BlockConfig>, width: usize) -> ModelConfig {
    ModelConfig {
        position: Position::None,
        blocks,
        final_norm: Norm::None,
        tied_head: false,
        head_bias: true,
        ..gpt(1, width, 1, 64)
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let filter = args.get(1).cloned().unwrap_or_default();
    let number = |i: usize, default: usize| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let cell = RecurrentConfig { hidden: 512, norm: Norm::None, residual: false, bias: true };
    let rnn = BlockConfig::Rnn(RnnConfig { cell: cell.clone(), activation: Activation::Tanh });
    let cases = [
        ("gpt-nano", gpt(4, 128, 4, 64), 12, 64, 13_400.0),
        ("gpt-10M", gpt(6, 384, 6, 256), 64, 256, 1_246.0),
        ("lstm-512", recurrent(vec![BlockConfig::Lstm(cell.clone()); 2], 512), 32, 64, 4_120.0),
        ("gru-512", recurrent(vec![BlockConfig::Gru(cell); 2], 512), 32, 64, 3_330.0),
        ("rnn-512", recurrent(vec![rnn; 2], 512), 32, 64, 10_170.0),
    ];
    for (name, config, batch, len, pytorch) in cases {
        if !name.contains(&filter) {
            continue;
        }
        let default = Division::for_batch(batch, len);
        let division = Division { shards: number(2, default.shards), windows: number(3, default.windows) };
        let options = BenchOptions {
            batch,
            len,
            division,
            threads: number(4, 2),
            time: Duration::from_secs_f64(number(5, 4) as f64),
            dropout: 0.0,
        };
        let cpu = || {
            let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
            let f: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            f[11].parse::<f64>().unwrap() * 10.0 + f[12].parse::<f64>().unwrap() * 10.0
        };
        let before = cpu();
        let r = bench_step(&config, options).expect("a valid configuration");
        let per_step = (cpu() - before) / (r.steps + 3) as f64;
        println!(
            "cpu {per_step:.1} ms/step -> ideal on 2 cores {:.0} tokens/s = {:.2}x",
            (batch * len) as f64 / per_step * 2e3,
            (batch * len) as f64 / per_step * 2e3 / pytorch
        );
        println!(
            "{name}: {:.2}M parameters, {:.1} ms/step, {:.0} tokens/s ({:.2}x of {pytorch}), {:.0} MB, {:?}",
            r.parameters as f64 / 1e6,
            r.step_ms,
            r.tokens_per_second,
            r.tokens_per_second / pytorch,
            r.bytes as f64 / 1e6,
            division,
        );
    }
}
