//! Recurrent stacks as state dicts of `torch.nn`, with the TOML file that describes them.

use siskin_format::config::{BlockConfig, ModelConfig, Norm};
use siskin_format::vocab::{TokenKind, Vocab, VocabKind};
use siskin_format::{TensorSpec, schema};

use crate::hf::tokenizer_texts;
use crate::safetensors::{Output, Parts, Plan};
use crate::source::shown;

/// The folder of a model, or in one line what of it cannot be expressed.
pub(crate) fn plan(config: &ModelConfig, vocab: &Vocab) -> Result<Plan, String> {
    check(config)?;
    let prefixes = prefixes(config);
    let about = describe(config, vocab, &prefixes)?;
    let mut texts = vec![("model.toml", about)];
    if !is_listed(vocab) {
        let [tokenizer, tokenizer_config] = tokenizer_texts(vocab, config.context)?;
        texts.extend([("tokenizer.json", tokenizer), ("tokenizer_config.json", tokenizer_config)]);
    }
    let outputs = schema(config).iter().flat_map(|spec| outputs(config, spec, &prefixes)).collect();
    Ok(Plan { outputs, texts })
}

/// Refuses what modules of `torch.nn` on top of each other do not do.
fn check(config: &ModelConfig) -> Result<(), String> {
    let lacking =
        |what: &str| Err(format!("{what}: a stack of torch.nn's recurrent modules cannot express it"));
    if config.logit_softcap != 0.0 {
        return lacking("logit_softcap");
    }
    if config.position != siskin_format::config::Position::None {
        return lacking("positions");
    }
    if config.final_norm != Norm::None {
        return lacking("a final norm");
    }
    for block in &config.blocks {
        let Some(cell) = block.recurrent() else { return lacking("a Transformer block") };
        if cell.norm != Norm::None {
            return lacking(&format!("norm {}", cell.norm));
        }
        if cell.residual {
            return lacking("a residual around a recurrent block");
        }
        if kind(block) != kind(&config.blocks[0]) {
            return lacking("blocks of different families");
        }
    }
    Ok(())
}

/// Family and nonlinearity of a block, as the description has them.
fn kind(block: &BlockConfig) -> (&'static str, &'static str) {
    match block {
        BlockConfig::Rnn(rnn) => (block.name(), rnn.activation.name()),
        _ => (block.name(), "tanh"),
    }
}

/// Each block's module and its number there: one module if all blocks are alike, as `torch.nn` has it, else one for each.
fn prefixes(config: &ModelConfig) -> Vec<(String, usize)> {
    let are_alike = config.blocks.iter().all(|block| block.recurrent() == config.blocks[0].recurrent());
    let place = |block| if are_alike { ("rnn.".to_string(), block) } else { (format!("rnn.{block}."), 0) };
    (0..config.n_layers()).map(place).collect()
}

/// The tensors that one tensor of the schema becomes.
fn outputs(config: &ModelConfig, spec: &TensorSpec, prefixes: &[(String, usize)]) -> Vec<Output> {
    let shape = if spec.is_vector() { vec![spec.rows] } else { vec![spec.rows, spec.cols] };
    let output = |name: String, parts: Parts| Output { name, shape: shape.clone(), parts };
    let same = |name: String| output(name, Parts::Joined(vec![spec.clone()]));
    let Some(block) = spec.block else { return vec![same(spec.name.replace("embed.", "embedding."))] };
    let (prefix, layer) = &prefixes[block];
    let name = |tensor: &str| format!("{prefix}{tensor}_l{layer}");
    let is_gru = matches!(config.blocks[block], BlockConfig::Gru(_));
    match spec.name.rsplit('.').next() {
        Some("w_x") => vec![same(name("weight_ih"))],
        Some("w_h") => vec![same(name("weight_hh"))],
        Some("b_h") => vec![same(name("bias_hh"))],
        Some("b_x") if is_gru => vec![same(name("bias_ih"))],
        // torch.nn adds two biases; the second is nothing.
        _ => vec![same(name("bias_ih")), output(name("bias_hh"), Parts::Constant(0.0))],
    }
}

fn describe(config: &ModelConfig, vocab: &Vocab, prefixes: &[(String, usize)]) -> Result<String, String> {
    let (family, activation) = kind(&config.blocks[0]);
    let mut names: Vec<&str> = prefixes.iter().map(|(prefix, _)| prefix.as_str()).collect();
    names.dedup();
    let prefix = match names[..] {
        [one] => quoted(one),
        _ => format!("[{}]", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")),
    };
    let head = if config.tied_head { "embedding.weight" } else { "head.weight" };
    let mut lines = vec![
        format!("family = {}", quoted(family)),
        format!("prefix = {prefix}"),
        format!("embedding = {}", quoted("embedding.weight")),
        format!("head = {}", quoted(head)),
    ];
    if config.head_bias {
        lines.push(format!("head_bias = {}", quoted("head.bias")));
    }
    if family == "rnn" {
        lines.push(format!("activation = {}", quoted(activation)));
    }
    lines.push(format!("context = {}", config.context));
    if is_listed(vocab) {
        lines.extend(tokens(vocab)?);
    }
    Ok(lines.join("\n") + "\n")
}

/// Whether the description lists the tokens; other kinds need a tokenizer's file.
fn is_listed(vocab: &Vocab) -> bool {
    matches!(vocab.kind(), VocabKind::Byte | VocabKind::Char)
}

fn tokens(vocab: &Vocab) -> Result<Vec<String>, String> {
    let special = vocab.special();
    let mut lines = Vec::new();
    let role = |id: Option<u32>| id.and_then(|id| vocab.token(id)).map(String::from_utf8_lossy);
    for (key, id) in [("bos", special.bos), ("eos", special.eos), ("unk", special.unk), ("pad", special.pad)]
    {
        lines.extend(role(id).map(|name| format!("{key} = {}", quoted(&name))));
    }
    let mut list = String::from("tokens = [");
    let mut width = usize::MAX;
    for (id, (bytes, kind)) in vocab.tokens().enumerate() {
        let token = token(vocab, id as u32, bytes, kind)?;
        if width.saturating_add(token.chars().count()) > 96 {
            (width, list) = (3, list + "\n   ");
        }
        width += token.chars().count() + 2;
        list = list + " " + &token + ",";
    }
    lines.push(list + "\n]");
    Ok(lines)
}

/// A token as the description lists it. A string of one code point stands for itself there, so that no mark can have such a name.
fn token(vocab: &Vocab, id: u32, bytes: &[u8], kind: TokenKind) -> Result<String, String> {
    if let (TokenKind::Byte, [byte]) = (kind, bytes) {
        return Ok(byte.to_string());
    }
    let name = String::from_utf8_lossy(bytes);
    let is_mark = match kind {
        TokenKind::Unknown => vocab.special().unk == Some(id),
        TokenKind::Control => vocab.kind() == VocabKind::Byte || name.chars().count() != 1,
        _ => true,
    };
    match is_mark && std::str::from_utf8(bytes).is_ok() {
        true => Ok(quoted(&name)),
        false => Err(format!(
            "the token {id}, \"{}\", cannot be told from text in the list of tokens",
            shown(&name)
        )),
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_string()).to_string()
}
