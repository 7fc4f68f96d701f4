//! `tokenizer`: trains a tokenizer and shows what it does to the text.

use siskin_trainer::Result;
use siskin_trainer::data::Text;
use siskin_trainer::progress::{Reading, thousands};
use siskin_trainer::tokenizer::{self, Kind};

use crate::args::TokenizerArgs;

/// Bytes of the text that are shown in pieces.
const SHOWN: u64 = 400;

pub fn tokenizer(args: TokenizerArgs) -> Result<()> {
    let text = Text::open(&args.texts)?;
    let mut reading = Reading::new("reading", text.len(), !args.json);
    let scan = text.scan_watched(&mut |done| reading.at(done))?;
    reading.finish();
    let kind = Kind::parse(&args.tokenizer).expect("clap checked the spelling");
    let vocab = tokenizer::train(&text, &scan, 0..text.len(), kind, args.vocab_size)?;
    let bytes = text.read(0..text.len().min(SHOWN * 1000))?;
    let bytes = &bytes[..tokenizer::whole_chars(&bytes)];
    let ids = tokenizer::encode(&vocab, bytes)?;
    let per_token = bytes.len() as f64 / ids.len().max(1) as f64;
    if args.json {
        let found = serde_json::json!({
            "kind": vocab.kind().name(), "vocab_size": vocab.len(), "merges": vocab.merges().len(),
            "characters": scan.chars.len(), "bytes": text.len(), "bytes_per_token": per_token,
        });
        println!("{found}");
        return Ok(());
    }
    println!(
        "{}: {} bytes, {} different characters",
        text.name(),
        thousands(text.len() as f64),
        thousands(scan.chars.len() as f64)
    );
    println!("{} tokenizer, {} tokens, {per_token:.2} bytes per token", vocab.kind().name(), vocab.len());
    let mut shown = 0;
    let mut line = String::new();
    for &id in &ids {
        let piece = vocab.token(id).unwrap_or_default();
        shown += piece.len() as u64;
        if shown > SHOWN {
            break;
        }
        line.push_str(&String::from_utf8_lossy(piece).replace('\n', "⏎"));
        line.push('|');
    }
    println!("{line}");
    eprintln!("next: siskin-train train {}", args.texts[0].display());
    Ok(())
}
