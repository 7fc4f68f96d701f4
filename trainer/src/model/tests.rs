//! Every family × option: gradients against finite differences, and a small text learned by heart.

use siskin_format::config::{Activation, Ffn, Norm, RecurrentConfig, RnnConfig, TransformerConfig};

use super::*;
use crate::gradcheck::{Fault, Options, check_model};
use crate::rng::Rng;

/// A store whose every parameter, norm weights included, is random, and whose statistics are not those of the start.
pub(crate) fn filled(config: &ModelConfig, seed: u64) -> ParamStore<f64> {
    let mut store = ParamStore::new(config);
    let mut rng = Rng::new(seed);
    store.values.iter_mut().for_each(|w| *w += 0.6 * rng.uniform() - 0.3);
    store.buffers.iter_mut().for_each(|b| *b += 0.2 * rng.uniform());
    store
}

/// Random tokens.
pub(crate) fn tokens(n: usize, vocab_size: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| rng.below(vocab_size as u64) as u32).collect()
}

fn model(d_model: usize, blocks: Vec<BlockConfig>) -> ModelConfig {
    ModelConfig {
        vocab_size: 7,
        d_model,
        context: 6,
        position: Position::None,
        blocks,
        encoder: Vec::new(),
        final_norm: Norm::None,
        norm_eps: 1e-3,
        norm_weight: true,
        norm_bias: true,
        tied_head: false,
        head_bias: true,
        logit_softcap: 0.0,
        rope_divisors: Vec::new(),
    }
}

fn cell(hidden: usize) -> RecurrentConfig {
    RecurrentConfig { hidden, norm: Norm::None, residual: false, bias: true }
}

fn gpt_block() -> TransformerConfig {
    TransformerConfig {
        n_heads: 2,
        n_kv_heads: 2,
        head_dim: 3,
        d_ff: 8,
        ffn: Ffn::Gelu,
        norm: Norm::Layer,
        residual: true,
        qkv_bias: true,
        out_bias: true,
        ffn_bias: true,
        qk_norm: false,
        token_shift: false,
        cross_attention: false,
        window: 0,
    }
}

fn llama_block() -> TransformerConfig {
    TransformerConfig {
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 2,
        ffn: Ffn::GatedSilu,
        norm: Norm::Rms,
        qkv_bias: false,
        out_bias: false,
        ffn_bias: false,
        ..gpt_block()
    }
}

/// GPT-2's form, two blocks.
pub(crate) fn tiny_gpt() -> ModelConfig {
    ModelConfig {
        position: Position::Learned,
        final_norm: Norm::Layer,
        tied_head: true,
        head_bias: false,
        ..model(6, vec![BlockConfig::Transformer(gpt_block()); 2])
    }
}

/// Llama's form, two blocks.
fn tiny_llama() -> ModelConfig {
    ModelConfig {
        position: Position::Rope { theta: 100.0 },
        final_norm: Norm::Rms,
        head_bias: false,
        ..model(5, vec![BlockConfig::Transformer(llama_block()); 2])
    }
}

/// An encoder-decoder of both forms' blocks.
pub(crate) fn tiny_seq2seq(qk_norm: bool) -> ModelConfig {
    let crossing = |t: TransformerConfig| {
        BlockConfig::Transformer(TransformerConfig { cross_attention: true, qk_norm, ..t })
    };
    let mut config = tiny_llama();
    config.blocks = vec![crossing(gpt_block()), crossing(llama_block())];
    config.encoder = vec![TransformerConfig { qk_norm, ..gpt_block() }, llama_block()];
    for t in config.encoder.iter_mut() {
        t.head_dim = 4;
    }
    for block in &mut config.blocks {
        if let BlockConfig::Transformer(t) = block {
            t.head_dim = 2;
        }
    }
    config
}

/// Two GRU layers with batch norm.
pub(crate) fn gru_config() -> ModelConfig {
    let first = RecurrentConfig { norm: Norm::Batch, ..cell(5) };
    model(4, vec![BlockConfig::Gru(first), BlockConfig::Gru(cell(4))])
}

/// Two LSTM blocks of different widths.
pub(crate) fn lstm_config() -> ModelConfig {
    model(4, vec![BlockConfig::Lstm(cell(5)), BlockConfig::Lstm(cell(3))])
}

/// Checks every parameter, from a state that is not zero.
fn check(config: ModelConfig) {
    check_with(&config, Noise::NONE);
}

fn check_with(config: &ModelConfig, noise: Noise) {
    let model = Model::new(config).unwrap();
    let store = filled(config, 1);
    let mut state = model.new_state(2);
    let mut rng = Rng::new(2);
    state.values_mut().for_each(|s| *s = rng.uniform() - 0.5);
    let mut targets = tokens(10, config.vocab_size, 4);
    targets[3] = IGNORE;
    let sources = tokens(8, config.vocab_size, 5);
    let source = match config.has_encoder() {
        true => Source { tokens: &sources, lens: &[4, 2], len: 4 },
        false => Source::NONE,
    };
    let batch =
        Batch { tokens: &tokens(10, config.vocab_size, 3), targets: &targets, batch: 2, len: 5, source };
    let options = Options { noise, ..Options::default() };
    for row in check_model(&model, &store, batch, &state, &options) {
        assert!(row.ok, "{row}\nin {config:?}");
        assert_eq!(row.checked, row.elements);
    }
}

#[test]
fn rnn_gradients() {
    for activation in [Activation::Tanh, Activation::Relu, Activation::LeakyRelu] {
        let block = |hidden| BlockConfig::Rnn(RnnConfig { cell: cell(hidden), activation });
        check(model(4, vec![block(5), block(3)]));
    }
}

#[test]
fn gru_gradients() {
    check(gru_config());
    let plain = RecurrentConfig { bias: false, residual: true, norm: Norm::Rms, ..cell(4) };
    check(model(4, vec![BlockConfig::Gru(plain); 2]));
}

#[test]
fn lstm_gradients() {
    check(lstm_config());
    let plain = RecurrentConfig { bias: false, residual: true, norm: Norm::Layer, ..cell(4) };
    check(model(4, vec![BlockConfig::Lstm(plain); 2]));
}

#[test]
fn norm_gradients_in_every_family() {
    for norm in [Norm::Layer, Norm::Rms, Norm::Batch] {
        let cell = RecurrentConfig { norm, residual: true, ..cell(4) };
        for block in [
            BlockConfig::Rnn(RnnConfig { cell: cell.clone(), activation: Activation::Tanh }),
            BlockConfig::Gru(cell.clone()),
            BlockConfig::Lstm(cell),
            BlockConfig::Transformer(TransformerConfig { norm, ..gpt_block() }),
        ] {
            for weight in [true, false] {
                let config = model(4, vec![block.clone()]);
                check(ModelConfig { final_norm: norm, norm_weight: weight, norm_bias: weight, ..config });
            }
        }
    }
}

#[test]
fn gpt_gradients() {
    check(tiny_gpt());
    check(ModelConfig { position: Position::Sinusoidal, tied_head: false, ..tiny_gpt() });
}

#[test]
fn llama_gradients() {
    check(tiny_llama());
    check(ModelConfig { tied_head: true, logit_softcap: 3.0, ..tiny_llama() });
}

#[test]
fn transformer_option_gradients() {
    for ffn in [Ffn::Relu, Ffn::Silu, Ffn::Relu2, Ffn::GatedGelu] {
        for qk_norm in [false, true] {
            let block = TransformerConfig { ffn, qk_norm, residual: !qk_norm, ..gpt_block() };
            check(ModelConfig { norm_weight: qk_norm, ..model(4, vec![BlockConfig::Transformer(block)]) });
        }
    }
    let block = TransformerConfig { qk_norm: true, ..llama_block() };
    check(ModelConfig { blocks: vec![BlockConfig::Transformer(block)], norm_weight: false, ..tiny_llama() });
}

#[test]
fn encoder_decoder_gradients() {
    check(tiny_seq2seq(false));
    check(ModelConfig { position: Position::Learned, tied_head: true, ..tiny_seq2seq(true) });
    let mut mixed = tiny_seq2seq(false);
    mixed.blocks.insert(1, BlockConfig::Lstm(cell(5)));
    check_with(&mixed, Noise { dropout: 0.2, seed: 3, step: 0, part: 0 });
}

#[test]
fn padding_of_a_source_changes_nothing() {
    let config = tiny_seq2seq(true);
    let (model, store) = (Model::new(&config).unwrap(), filled(&config, 1));
    let (ids, targets) = (tokens(10, 7, 3), tokens(10, 7, 4));
    let run = |sources: &[u32], len: usize| {
        let source = Source { tokens: sources, lens: &[3, 2], len };
        let batch = Batch { tokens: &ids, targets: &targets, batch: 2, len: 5, source };
        model.loss(&mut Tape::new(), &store, batch, &mut model.new_state(2))
    };
    let loss = run(&[1, 2, 3, 4, 5, 6], 3);
    assert!((run(&[1, 2, 3, 0, 0, 4, 5, 1, 2, 6], 5) - loss).abs() < 1e-12);
    assert!((run(&[1, 2, 4, 4, 5, 6], 3) - loss).abs() > 1e-3);
}

#[test]
fn token_shift_gradients() {
    let block = TransformerConfig { token_shift: true, ..llama_block() };
    check(ModelConfig { blocks: vec![BlockConfig::Transformer(block); 2], ..tiny_llama() });
}

#[test]
fn windows_and_divided_frequencies_have_gradients() {
    let block = |window| BlockConfig::Transformer(TransformerConfig { window, ..llama_block() });
    check(ModelConfig {
        blocks: vec![block(2), block(0), block(3)],
        rope_divisors: vec![3.0],
        ..tiny_llama()
    });
}

/// One block of a window of 2: a token's logits depend on it and the one before.
#[test]
fn a_token_sees_its_window_and_nothing_else() {
    let block = BlockConfig::Transformer(TransformerConfig { window: 2, ..llama_block() });
    let config = ModelConfig { blocks: vec![block], ..tiny_llama() };
    let (model, store) = (Model::new(&config).unwrap(), filled(&config, 1));
    let logits = |ids: &[u32]| {
        let batch = Batch { tokens: ids, targets: &[], batch: 1, len: 5, source: Source::NONE };
        let all = model.logits(&mut Tape::new(), &store, batch, &mut model.new_state(1));
        all[4 * config.vocab_size..].to_vec()
    };
    let expected = logits(&[1, 2, 3, 4, 5]);
    assert_eq!(logits(&[2, 3, 4, 4, 5]), expected);
    assert_ne!(logits(&[1, 2, 3, 3, 5]), expected);
}

#[test]
fn mixed_stack_gradients() {
    let blocks = vec![
        BlockConfig::Lstm(cell(4)),
        BlockConfig::Transformer(TransformerConfig { token_shift: true, ..llama_block() }),
        BlockConfig::Gru(RecurrentConfig { residual: true, ..cell(4) }),
        BlockConfig::Rnn(RnnConfig { cell: cell(3), activation: Activation::Tanh }),
    ];
    check(ModelConfig { position: Position::Rope { theta: 100.0 }, ..model(5, blocks) });
}

#[test]
fn gradients_under_dropout() {
    let noise = Noise { dropout: 0.3, seed: 5, step: 6, part: 0 };
    check_with(&tiny_gpt(), noise);
    check_with(&gru_config(), noise);
}

#[test]
fn a_planted_fault_is_found_and_named() {
    let config = tiny_llama();
    let model = Model::new(&config).unwrap();
    let store = filled(&config, 1);
    let ids = tokens(10, config.vocab_size, 3);
    let batch = Batch { tokens: &ids, targets: &ids, batch: 2, len: 5, source: Source::NONE };
    let fault = Fault { tensor: "blocks.1.attn.wk".into(), factor: 1.01 };
    let options = Options { samples: Some(5), fault: Some(fault), ..Options::default() };
    let rows = check_model(&model, &store, batch, &model.new_state(2), &options);
    let wrong: Vec<&str> = rows.iter().filter(|row| !row.ok).map(|row| row.name.as_str()).collect();
    assert_eq!(wrong, ["blocks.1.attn.wk"]);
    assert!(rows.iter().all(|row| row.checked == row.elements.min(5)));
}

/// Trains on one short text by Adam (Kingma & Ba 2015) until it is known by heart.
fn memorises(config: ModelConfig) {
    let model = Model::<f32>::new(&config).unwrap();
    let mut store: ParamStore<f32> = filled(&config, 1).cast();
    let mut tape = Tape::new();
    let text: Vec<u32> = [3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 0, 2, 4].to_vec();
    let (tokens, targets) = (&text[..12], &text[1..]);
    let batch = Batch { tokens, targets, batch: 2, len: 6, source: Source::NONE };
    let n = store.values.len();
    let (mut m, mut v, mut last) = (vec![0f32; n], vec![0f32; n], f64::INFINITY);
    for step in 1..=300 {
        let (mut flat, mut moments) = (vec![0f32; n], vec![0f32; store.buffers.len()]);
        let grads = Gradients { flat: &mut flat, moments: &mut moments };
        let mut state = model.new_state(2);
        let sum =
            model.loss_and_gradient(&mut tape, &store, grads, batch, &mut state, Noise::NONE, 1.0 / 12.0);
        last = sum / 12.0;
        store.update_statistics(&moments, 1, 0.1);
        for i in 0..n {
            m[i] = 0.9 * m[i] + 0.1 * flat[i];
            v[i] = 0.99 * v[i] + 0.01 * flat[i] * flat[i];
            let (m_hat, v_hat) = (m[i] / (1.0 - 0.9f32.powi(step)), v[i] / (1.0 - 0.99f32.powi(step)));
            store.values[i] -= 0.02 * m_hat / (v_hat.sqrt() + 1e-8);
        }
    }
    assert!(last < 0.05, "loss {last} in {config:?}");
    let evaluated = model.loss(&mut tape, &store, batch, &mut model.new_state(2)) / 12.0;
    assert!(evaluated < 0.1, "loss {evaluated} in evaluation");
}

#[test]
fn every_family_learns_a_text_by_heart() {
    let rnn = RnnConfig { cell: cell(12), activation: Activation::Tanh };
    memorises(model(6, vec![BlockConfig::Rnn(rnn)]));
    memorises(model(6, vec![BlockConfig::Gru(cell(12))]));
    memorises(model(6, vec![BlockConfig::Lstm(cell(12))]));
    memorises(tiny_gpt());
    memorises(tiny_llama());
    memorises(ModelConfig { d_model: 12, final_norm: Norm::Batch, ..gru_config() });
}

#[test]
fn logits_give_the_loss_and_windows_carry_on() {
    for config in [gru_config(), model(4, vec![BlockConfig::Lstm(cell(5))])] {
        let model = Model::new(&config).unwrap();
        let (store, mut tape) = (filled(&config, 1), Tape::new());
        let ids = tokens(2 * 6, config.vocab_size, 2);
        let whole = Batch { tokens: &ids, targets: &ids, batch: 1, len: 12, source: Source::NONE };
        let logits = model.logits(&mut tape, &store, whole, &mut model.new_state(1));
        let nll: f64 = logits
            .chunks(config.vocab_size)
            .zip(&ids)
            .map(|(z, &t)| z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[t as usize])
            .sum();
        assert!((nll - model.loss(&mut tape, &store, whole, &mut model.new_state(1))).abs() < 1e-10);
        let mut state = model.new_state(1);
        let parts: f64 = ids
            .chunks(6)
            .map(|ids| Batch { tokens: ids, targets: ids, batch: 1, len: 6, source: Source::NONE })
            .map(|half| model.loss(&mut tape, &store, half, &mut state))
            .sum();
        assert!((nll - parts).abs() < 1e-10);
    }
}

#[test]
fn folded_batch_norms_compute_the_same() {
    let config = ModelConfig { final_norm: Norm::Batch, ..gru_config() };
    let (model, mut store, mut tape) = (Model::new(&config).unwrap(), filled(&config, 1), Tape::new());
    let ids = tokens(6, config.vocab_size, 2);
    let batch = Batch { tokens: &ids, targets: &ids, batch: 1, len: 6, source: Source::NONE };
    let expected = model.loss(&mut tape, &store, batch, &mut model.new_state(1));
    store.values = store.folded(f64::from(config.norm_eps));
    for b in store.layout().buffers().to_vec() {
        store.buffers[b.offset..b.offset + b.width].fill(0.0);
        store.buffers[b.offset + b.width..b.offset + 2 * b.width].fill(1.0 - f64::from(config.norm_eps));
    }
    let folded = model.loss(&mut tape, &store, batch, &mut model.new_state(1));
    assert!((expected - folded).abs() < 1e-10);
}

#[test]
fn a_token_does_not_see_those_after_it() {
    for config in [tiny_gpt(), tiny_llama(), gru_config()] {
        let model = Model::new(&config).unwrap();
        let (store, mut tape) = (filled(&config, 1), Tape::new());
        let mut ids = tokens(6, config.vocab_size, 2);
        let mut run = |ids: &[u32]| {
            let batch = Batch { tokens: ids, targets: &[], batch: 1, len: 6, source: Source::NONE };
            model.logits(&mut tape, &store, batch, &mut model.new_state(1))
        };
        let before = run(&ids);
        ids[4] = (ids[4] + 1) % config.vocab_size as u32;
        let after = run(&ids);
        let changed = 4 * config.vocab_size;
        assert_eq!(before[..changed], after[..changed]);
        assert_ne!(before[changed..], after[changed..]);
    }
}

/// What an observed pass says of the embedding is what the gradients of its rows say, and a last loss flows back as far as it should.
#[test]
fn an_observed_pass_sees_the_gradient_that_flows() {
    let config = gru_config();
    let (model, store) = (Model::new(&config).unwrap(), filled(&config, 1));
    let (ids, targets) = ([0, 1, 2, 3, 4, 5], tokens(6, config.vocab_size, 3));
    let batch = Batch { tokens: &ids, targets: &targets, batch: 2, len: 3, source: Source::NONE };
    let (mut tape, state) = (Tape::new(), model.new_state(2));
    let observed = model.observe(&mut tape, &store, batch, &state);
    let again = model.observe(&mut tape, &store, batch, &state);
    assert_eq!(observed.activations, again.activations);
    // Every token stands once, so that each row of the embedding has the gradient of one row of activations.
    let (mut flat, mut moments) = (vec![0.0; store.values.len()], vec![0.0; store.buffers.len()]);
    let grads = Gradients { flat: &mut flat, moments: &mut moments };
    model.loss_and_gradient(&mut tape, &store, grads, batch, &mut state.clone(), Noise::NONE, 1.0 / 6.0);
    let embedding = &flat[model.param_layout().range("embed.weight").unwrap()];
    let rms = (embedding.iter().map(|g| g * g).sum::<f64>() / 24.0).sqrt();
    assert!((observed.activations[0].gradient / rms - 1.0).abs() < 1e-12);
    let names: Vec<&str> = observed.activations.iter().map(|a| &*a.name).collect();
    assert_eq!(names, ["embed", "blocks.0.cell", "blocks.1.cell", "final_norm"]);
    assert!(observed.times.iter().all(|t| t.gradient.len() == 3 && t.gradient.iter().all(|g| *g > 0.0)));
}
