//! The report as text.

use super::describe;
use super::report::{Cpu, Report};
use crate::units::{bytes, count, plural};
use siskin_format::TensorInfo;
use siskin_format::receipt::Receipt;
use siskin_format::vocab::PreTokenizer;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a model's file holds.
pub fn model(report: &Report<'_>) -> String {
    let mut lines = Lines(String::new());
    let (file, config) = (report.file(), report.config());
    lines.row(
        "file",
        format_args!(
            "{}, {}, version {}",
            report.path.display(),
            bytes(file.bytes().len() as u64),
            file.version()
        ),
    );
    lines.row("model", describe::surroundings(config));
    for block in describe::blocks(config) {
        lines.row("", block);
    }
    let bits = report.bits_per_weight();
    lines.row(
        "parameters",
        format_args!("{} in {}, {bits:.2} bits each", count(report.parameters), bytes(report.weight_bytes)),
    );
    lines.row("dtypes", dtypes(file.tensors()));
    lines.row("tokenizer", tokenizer(report));
    lines.row(
        "context",
        match config.is_bounded() {
            true => plural(config.context as u64, "token"),
            false => format!("no limit (trained on windows of {})", plural(config.context as u64, "token")),
        },
    );
    for (ctx, n) in &report.sessions {
        lines.row(
            "session",
            match ctx {
                Some(ctx) => format!("{} at a context of {}", bytes(*n), plural(*ctx as u64, "token")),
                None => format!("{} whatever the length of the text", bytes(*n)),
            },
        );
    }
    receipt(&mut lines, file.receipt());
    lines.0.push_str("\nsection             offset        bytes  checksum (XXH64)\n");
    for info in file.sections() {
        let (name, start, len) = (info.section.name(), info.range.start, info.range.len());
        let _ = writeln!(lines.0, "{name:<16} {start:>9} {len:>12}  {:016x}", info.checksum);
    }
    tensors(&mut lines.0, file.tensors());
    lines.0
}

/// Which kernels run, and which could.
pub fn cpu(cpu: &Cpu) -> String {
    let mut lines = Lines(String::new());
    lines.row("cpu", format_args!("{}, {}", std::env::consts::ARCH, plural(cpu.threads as u64, "thread")));
    lines.row("kernels", cpu.running);
    lines.row("available", format_args!("{} (SISKIN_ISA=NAME forces one)", cpu.available.join(", ")));
    if !cpu.features.is_empty() {
        lines.row("features", cpu.features.join(", "));
    }
    lines.0
}

/// Rows of a name and a value.
struct Lines(String);

impl Lines {
    fn row(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name:<12} {value}"); // a string takes everything
    }
}

fn dtypes(tensors: &[TensorInfo]) -> String {
    let mut by_dtype = BTreeMap::new();
    for info in tensors {
        let (n, size) = by_dtype.entry(info.dtype).or_insert((0u64, 0u64));
        (*n, *size) = (*n + 1, *size + info.range.len() as u64);
    }
    let parts = by_dtype
        .iter()
        .map(|(dtype, (n, size))| format!("{dtype} ({}, {})", plural(*n, "tensor"), bytes(*size)));
    parts.collect::<Vec<_>>().join(", ")
}

fn tokenizer(report: &Report<'_>) -> String {
    let vocab = report.file().vocab();
    let mut line = format!("{}, {}", vocab.kind().name(), plural(vocab.len() as u64, "token"));
    if !vocab.merges().is_empty() {
        let _ = write!(line, ", {}", plural(vocab.merges().len() as u64, "merge"));
    }
    if vocab.pre_tokenizer() != PreTokenizer::None {
        let _ = write!(line, ", words of {}", vocab.pre_tokenizer().name());
    }
    if vocab.chat().is_some() {
        line.push_str(", a chat template");
    }
    let special = vocab.special();
    for (role, id) in [("bos", special.bos), ("eos", special.eos), ("unk", special.unk), ("pad", special.pad)]
    {
        if let Some(id) = id {
            let name = vocab.token(id).unwrap_or_default().escape_ascii();
            let _ = write!(line, ", {role} {id} {name}");
        }
    }
    line
}

fn receipt(lines: &mut Lines, receipt: &Receipt) {
    if let Some(producer) = &receipt.producer {
        lines.row("made by", printable(producer));
    }
    for source in &receipt.sources {
        lines.row(
            "trained on",
            format_args!("{}, {}, XXH64 {:016x}", printable(&source.name), bytes(source.bytes), source.hash),
        );
    }
    if let Some(training) = &receipt.training {
        let (steps, tokens) = (plural(training.steps, "step"), plural(training.tokens, "token"));
        lines.row("training", format_args!("{steps}, {tokens}, seed {}", training.seed));
        lines.row("", printable(&training.optimizer));
    }
    if let Some(origin) = &receipt.origin {
        lines.row("taken from", format_args!("{}, XXH64 {:016x}", printable(&origin.name), origin.hash));
    }
    if let Some(held_out) = &receipt.held_out {
        let (name, n) = (printable(&held_out.name), plural(held_out.tokens, "token"));
        lines.row(
            "loss",
            format_args!(
                "{:.4} before storing, {:.4} as stored ({name}, {n})",
                held_out.float_loss, held_out.file_loss
            ),
        );
    }
    lines.row(
        "golden runs",
        match receipt.golden.len() {
            0 => "none".to_string(),
            n => format!("{n} (siskin verify replays them)"),
        },
    );
}

fn tensors(out: &mut String, tensors: &[TensorInfo]) {
    let longest = tensors.iter().map(|info| info.name.len()).max().unwrap_or(0).max(6);
    let _ = writeln!(out, "\n{:<longest$}  dtype         shape        bytes", "tensor");
    for info in tensors {
        let shape = match info.is_vector {
            true => info.rows.to_string(),
            false => format!("{} × {}", info.rows, info.cols),
        };
        let _ = writeln!(
            out,
            "{:<longest$}  {:<5} {shape:>13} {:>12}",
            info.name,
            info.dtype.name(),
            info.range.len()
        );
    }
}

/// Text of a file that nobody vouches for, without anything that moves a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}
