//! The contract between `trainer/src/model` and `runtime/src/model`: every family, option and dtype.
//!
//! For f32 files the logits of both agree within 1e-4. For smaller dtypes the runtime's logits are held against the
//! trainer's on the very weights that the file stores, with activations rounded as training for few bits rounds them, and the
//! loss difference against f32 is bounded.

use siskin_format::config::{
    Activation, BlockConfig, Ffn, ModelConfig, Norm, Position, RecurrentConfig, RnnConfig, TransformerConfig,
};
use siskin_format::schema::Role;
use siskin_format::{DType, File, OpenOptions, Vocab};
use siskin_tests::models;
use siskin_trainer::export::Trained;
use siskin_trainer::model::{Batch, Model, Source};
use siskin_trainer::params::ParamStore;
use siskin_trainer::tape::Tape;
use siskin_trainer::tokenizer::placeholder;
use siskin_trainer::verify::Measured;

/// Tokens that every model is fed.
const LEN: usize = 24;
/// Tokens of the source that models with an encoder read before, and with the padding that the trainer puts behind it.
const SOURCE: [usize; 2] = [17, 20];

/// A named change to a model.
type Change<C> = (&'static str, fn(&mut C));

fn vocab(config: &ModelConfig) -> Vocab {
    placeholder(config.vocab_size).unwrap()
}

/// Seeded weights of any size of model, flat; batch-norm statistics stay at 0 and 1.
fn store(config: &ModelConfig) -> ParamStore<f32> {
    let mut store = ParamStore::new(config);
    store.values.clear();
    for (spec, values) in models::weights(config, 5) {
        // Maps of norm above 1 without a norm layer are chaotic: they would amplify any rounding, step after step.
        let scale = if spec.is_vector() || spec.role == Role::Embedding { 1.0 } else { 0.5 };
        store.values.extend(values.iter().map(|v| scale * v));
    }
    for (i, b) in store.buffers.iter_mut().enumerate() {
        *b += 0.01 * (i % 7) as f32;
    }
    store
}

fn tokens(config: &ModelConfig) -> Vec<u32> {
    let mut rng = models::Rng::new(9);
    (0..LEN).map(|_| rng.below(config.vocab_size) as u32).collect()
}

/// A source with its padding, or nothing for a model without an encoder.
fn source(config: &ModelConfig) -> Vec<u32> {
    let mut rng = models::Rng::new(11);
    let len = if config.has_encoder() { SOURCE[1] } else { 0 };
    (0..len).map(|_| rng.below(config.vocab_size) as u32).collect()
}

/// The trainer's logits after every token.
fn trained(config: &ModelConfig, store: &ParamStore<f32>, ids: &[u32]) -> Vec<f32> {
    trained_as(config, store, ids, false)
}

/// The same, with activations rounded as quantized products round them, or not.
fn trained_as(config: &ModelConfig, store: &ParamStore<f32>, ids: &[u32], quantizes: bool) -> Vec<f32> {
    let mut model = Model::<f32>::new(config).unwrap();
    model.fake_quantize(quantizes);
    let (source, lens) = (source(config), [SOURCE[0] as u32]);
    let source = match config.has_encoder() {
        true => Source { tokens: &source, lens: &lens, len: SOURCE[1] },
        false => Source::NONE,
    };
    let batch = Batch { tokens: ids, targets: &[], batch: 1, len: ids.len(), source };
    model.logits(&mut Tape::new(), store, batch, &mut model.new_state(1))
}

/// The runtime's logits after every token.
fn run(config: &ModelConfig, store: &ParamStore<f32>, dtype: DType, ids: &[u32]) -> Vec<f32> {
    let weights = store.folded(f64::from(config.norm_eps));
    let vocab = vocab(config);
    let trained = Trained { config, vocab: &vocab, weights: &weights };
    let source = source(config);
    let model = Measured::from_bytes(trained.to_bytes(dtype).unwrap()).unwrap();
    model.logits(source.get(..SOURCE[0]).unwrap_or_default(), ids).unwrap()
}

fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Root mean square of `a - b` relative to that of `b`.
fn relative_difference(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (difference / b.iter().map(|b| square(*b)).sum::<f64>()).sqrt()
}

/// Mean loss of predicting each next token.
fn loss(logits: &[f32], ids: &[u32], vocab_size: usize) -> f64 {
    let rows = logits.chunks_exact(vocab_size).zip(&ids[1..]);
    let nll = rows.map(|(row, id)| {
        let max = row.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x)) as f64;
        let sum: f64 = row.iter().map(|x| (*x as f64 - max).exp()).sum();
        max + sum.ln() - f64::from(row[*id as usize])
    });
    nll.sum::<f64>() / (ids.len() - 1) as f64
}

fn cell(hidden: usize) -> RecurrentConfig {
    RecurrentConfig { hidden, norm: Norm::None, residual: false, bias: true }
}

fn attention() -> TransformerConfig {
    TransformerConfig {
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 10,
        d_ff: 56,
        ffn: Ffn::GatedSilu,
        norm: Norm::Rms,
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

fn of_blocks(blocks: Vec<BlockConfig>) -> ModelConfig {
    ModelConfig { blocks, d_model: 40, final_norm: Norm::Rms, context: 32, ..models::gpt() }
}

/// Gives each Transformer block its window.
fn set_windows(config: &mut ModelConfig, windows: &[usize]) {
    for (block, &window) in config.blocks.iter_mut().zip(windows) {
        let BlockConfig::Transformer(t) = block else { panic!("a Transformer") };
        t.window = window;
    }
}

/// Every family with every option of its blocks, one change at a time from a plain one.
fn zoo() -> Vec<(String, ModelConfig)> {
    let cells: &[Change<RecurrentConfig>] = &[
        ("plain", |_| ()),
        ("residual", |c| c.residual = true),
        ("layer norm", |c| c.norm = Norm::Layer),
        ("rms norm", |c| c.norm = Norm::Rms),
        ("batch norm", |c| c.norm = Norm::Batch),
        ("no bias", |c| c.bias = false),
        ("residual and norm", |c| (c.residual, c.norm) = (true, Norm::Layer)),
    ];
    let mut zoo = Vec::new();
    for (name, change) in cells {
        let mut c = cell(40);
        change(&mut c);
        let no_position = |blocks| ModelConfig {
            position: Position::None,
            tied_head: false,
            head_bias: true,
            ..of_blocks(blocks)
        };
        zoo.push((format!("lstm, {name}"), no_position(vec![BlockConfig::Lstm(c.clone()); 2])));
        zoo.push((format!("gru, {name}"), no_position(vec![BlockConfig::Gru(c.clone()); 2])));
        for activation in [Activation::Tanh, Activation::Relu, Activation::LeakyRelu] {
            let block = BlockConfig::Rnn(RnnConfig { cell: c.clone(), activation });
            zoo.push((format!("rnn {activation}, {name}"), no_position(vec![block; 2])));
        }
    }
    let blocks: &[Change<TransformerConfig>] = &[
        ("plain", |_| ()),
        ("layer norm", |t| t.norm = Norm::Layer),
        ("batch norm", |t| t.norm = Norm::Batch),
        ("no norm", |t| t.norm = Norm::None),
        ("no residual", |t| t.residual = false),
        ("no biases", |t| (t.qkv_bias, t.out_bias, t.ffn_bias) = (false, false, false)),
        ("qk-norm", |t| t.qk_norm = true),
        ("token shift", |t| t.token_shift = true),
        ("window", |t| t.window = 7),
        ("window of one", |t| t.window = 1),
        ("one kv head", |t| t.n_kv_heads = 1),
        ("all kv heads", |t| t.n_kv_heads = 4),
        ("gelu", |t| t.ffn = Ffn::Gelu),
        ("relu", |t| t.ffn = Ffn::Relu),
        ("relu2", |t| t.ffn = Ffn::Relu2),
        ("silu", |t| t.ffn = Ffn::Silu),
        ("gated gelu", |t| t.ffn = Ffn::GatedGelu),
    ];
    for (name, change) in blocks {
        let mut t = attention();
        change(&mut t);
        zoo.push((format!("transformer, {name}"), of_blocks(vec![BlockConfig::Transformer(t); 2])));
    }
    let models: &[Change<ModelConfig>] = &[
        ("rope", |m| m.position = Position::Rope { theta: 10_000.0 }),
        ("rope, divided", |m| {
            m.position = Position::Rope { theta: 10_000.0 };
            m.rope_divisors = vec![1.0, 1.0, 1.7, 3.0, 8.0];
        }),
        ("rope, windows", |m| {
            m.position = Position::Rope { theta: 10_000.0 };
            set_windows(m, &[9, 5]);
        }),
        ("a window here and there", |m| set_windows(m, &[6, 0])),
        ("sinusoidal", |m| m.position = Position::Sinusoidal),
        ("no position", |m| m.position = Position::None),
        ("untied head with bias", |m| (m.tied_head, m.head_bias) = (false, true)),
        ("soft cap", |m| m.logit_softcap = 3.0),
        ("final layer norm", |m| m.final_norm = Norm::Layer),
        ("final batch norm", |m| m.final_norm = Norm::Batch),
        ("no final norm", |m| m.final_norm = Norm::None),
        ("norms without weights", |m| (m.norm_weight, m.norm_bias) = (false, false)),
    ];
    for (name, change) in models {
        let mut m = of_blocks(vec![BlockConfig::Transformer(attention()); 2]);
        change(&mut m);
        zoo.push((format!("transformer, {name}"), m));
    }
    zoo.extend(encoder_decoders());
    let mixed = vec![
        BlockConfig::Lstm(cell(24)),
        BlockConfig::Transformer(TransformerConfig { n_heads: 2, n_kv_heads: 1, ..attention() }),
        BlockConfig::Gru(cell(40)),
    ];
    zoo.push(("mixed stack".into(), ModelConfig { tied_head: true, ..of_blocks(mixed) }));
    zoo
}

/// Encoder-decoders with the options that encoder and cross-attention have.
fn encoder_decoders() -> Vec<(String, ModelConfig)> {
    let blocks: &[Change<TransformerConfig>] = &[
        ("plain", |_| ()),
        ("no residual", |t| t.residual = false),
        ("no biases", |t| (t.qkv_bias, t.out_bias, t.ffn_bias) = (false, false, false)),
        ("qk-norm", |t| t.qk_norm = true),
        ("token shift", |t| t.token_shift = true),
        ("no norm, all kv heads", |t| (t.norm, t.n_kv_heads) = (Norm::None, 4)),
    ];
    let mut all = Vec::new();
    for (name, change) in blocks {
        let mut t = attention();
        change(&mut t);
        let decoder = of_blocks(vec![BlockConfig::Transformer(t); 2]);
        all.push((format!("seq2seq, {name}"), models::attending_to_a_source(decoder, 2)));
    }
    let models: &[Change<ModelConfig>] = &[
        ("rope", |m| m.position = Position::Rope { theta: 10_000.0 }),
        ("sinusoidal", |m| m.position = Position::Sinusoidal),
        ("own head", |m| (m.tied_head, m.final_norm) = (false, Norm::Layer)),
        ("windows", |m| set_windows(m, &[4, 8])),
        ("beside an lstm", |m| m.blocks.insert(1, BlockConfig::Lstm(cell(40)))),
        ("heads of two widths", |m| m.encoder[0].head_dim = 6),
    ];
    for (name, change) in models {
        let decoder = of_blocks(vec![BlockConfig::Transformer(attention()); 2]);
        let mut m = models::attending_to_a_source(decoder, 1);
        change(&mut m);
        all.push((format!("seq2seq, {name}"), m));
    }
    all
}

#[test]
fn f32_logits_agree_for_every_family_and_option() {
    let mut worst = (0.0, String::new());
    for (name, config) in zoo() {
        let (store, ids) = (store(&config), tokens(&config));
        let difference =
            max_difference(&trained(&config, &store, &ids), &run(&config, &store, DType::F32, &ids));
        assert!(difference < 1e-4, "{name}: logits differ by {difference}");
        if difference > worst.0 {
            worst = (difference, name);
        }
    }
    println!("largest difference {:.1e}: {}", worst.0, worst.1);
}

/// The weights that a file stores, back in the trainer.
fn stored(config: &ModelConfig, store: &ParamStore<f32>, dtype: DType) -> ParamStore<f32> {
    let weights = store.folded(f64::from(config.norm_eps));
    let vocab = vocab(config);
    let bytes = Trained { config, vocab: &vocab, weights: &weights }.to_bytes(dtype).unwrap();
    let file = File::from_bytes(bytes).unwrap();
    // Folded batch norms are affine now: statistics of 0 and 1 - eps leave them alone.
    let mut back = ParamStore::<f32>::new(config);
    back.values.clear();
    for info in file.tensors() {
        back.values.extend(file.view(info).to_f32());
    }
    let widths: Vec<_> = back.layout().buffers().to_vec();
    for b in widths {
        back.buffers[b.offset + b.width..b.offset + 2 * b.width].fill(1.0 - config.norm_eps);
    }
    back
}

#[test]
fn every_dtype_runs_the_weights_that_the_file_stores() {
    println!("{:<34} {:>10} {:>12} {:>12}", "model", "dtype", "logits, rms", "loss - f32");
    for (name, config) in zoo() {
        let (store, ids) = (store(&config), tokens(&config));
        let exact = loss(&trained(&config, &store, &ids), &ids, config.vocab_size);
        for (dtype, most_logits, most_loss) in
            [(DType::F16, 1e-3, 0.01), (DType::Q8, 0.02, 0.03), (DType::Q4, 0.02, 0.4)]
        {
            let here = run(&config, &store, dtype, &ids);
            let quantizes = matches!(dtype, DType::Q8 | DType::Q4);
            let kept = trained_as(&config, &stored(&config, &store, dtype), &ids, quantizes);
            let difference = relative_difference(&here, &kept);
            let change = loss(&here, &ids, config.vocab_size) - exact;
            println!("{name:<34} {dtype:>10} {difference:>12.5} {change:>12.4}");
            assert!(
                difference < most_logits,
                "{name} in {dtype}: logits are {difference} off the stored weights'"
            );
            assert!(change.abs() < most_loss, "{name} in {dtype}: loss changes by {change}");
        }
    }
}

#[test]
fn a_mapped_file_gives_what_its_bytes_give() {
    let (_, config) = zoo().pop().unwrap();
    let (store, ids) = (store(&config), tokens(&config));
    let vocab = vocab(&config);
    let weights = store.folded(f64::from(config.norm_eps));
    let trained = Trained { config: &config, vocab: &vocab, weights: &weights };
    let dir = siskin_tests::temp_dir();
    let path = dir.path().join("mixed.siskin");
    trained.write(&path, DType::Q8).unwrap();
    assert_eq!(
        Measured::open(&path).unwrap().logits(&[], &ids).unwrap(),
        run(&config, &store, DType::Q8, &ids)
    );
    File::open(&path, &OpenOptions::default()).unwrap().verify().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), trained.to_bytes(DType::Q8).unwrap());
}
