//! Writes a model's file with its weights rounded as well as a text allows: what `import` and `export` share.
//!
//! Weights are asked for tensor by tensor and in any order, so that neither model nor file is in memory as a whole. Where a text is given to calibrate by,
//! or a loss to measure, the float model is written beside the target first, as a file that goes when it is done, and the runtime reads the text
//! with it.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use siskin_format::quant::{PackedMatrix, QuantError, unpack};
use siskin_format::receipt::{HeldOut, Receipt};
use siskin_format::writer::{Contents, Draft};
use siskin_format::{DType, ModelConfig, TensorSpec, Vocab, schema};

use crate::calibrate::bits::{Price, choose};
use crate::calibrate::{Inputs, Statistics, feedback, readings};
use crate::error::{Error, Result};
use crate::export::{Trained, golden_prompts};
use crate::tune::{Tuning, check, tune};
use crate::verify::Measured;

/// Most weights of a model of which each matrix is tried alone.
const MOST_TRIED: usize = 1 << 26;
/// Tokens that such a trial reads.
const MOST_TRIED_TOKENS: usize = 4096;

/// Gives the row-major weights of a tensor of the schema.
pub type Weights<'a> = dyn FnMut(&TensorSpec) -> Result<Vec<f32>> + 'a;

/// How weights are rounded.
#[derive(Clone, Debug)]
pub struct Rounding {
    /// What the file holds.
    pub dtype: DType,
    /// Tokens of a text that shows which weights matter (q8 and q4 only).
    pub calibration: Option<Vec<u32>>,
    /// Bits a weight of the matrices, at most: those that 4 bits would hurt most keep 8 (q4 only).
    pub bits_per_weight: Option<f64>,
    /// How the weights are trained for their types before they are rounded (q8 and q4 only).
    pub tuning: Option<Tuning>,
    /// Cores.
    pub threads: usize,
}

/// What is written besides weights.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// Its tokenizer.
    pub vocab: &'a Vocab,
    /// Where it comes from.
    pub receipt: &'a Receipt,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bits a weight of the matrices, padding and scales included.
    pub bits_per_weight: f64,
    /// Matrices of a q4 file that kept 8 bits.
    pub kept: Vec<String>,
    /// Loss of the float weights and of the file, both by the runtime; `None` when no text was given.
    pub held_out: Option<HeldOut>,
    /// Losses on what the tuning held out, by the runtime: of the file as it was rounded, and as it was tuned. The better one is the file.
    pub tuned: Option<(f64, f64)>,
}

/// What a [`Step`] counts.
const WRITTEN: &str = "tensors written";
const TUNED: &str = "updates made";
const ROUNDED: &str = "tensors rounded";
const WEIGHED: &str = "tensors weighed";
const COMPARED: &str = "tensors compared";
const READ: &str = "tokens read";
const MEASURED: &str = "tokens measured";

/// Told what is being counted ("tensors written"), how many of them are through and how many there are.
pub type Step<'a> = dyn FnMut(&'static str, usize, usize) + 'a;

/// Writes the file at `path`, atomically. `text` is measured, in the float model and in the file; without it, what a tuning holds out of its own.
///
/// # Errors
/// Weights that the dtype cannot hold; a model that the runtime refuses; what the system says. Whatever stood at `path` is then intact.
pub fn write(
    path: &Path,
    model: Model<'_>,
    weights: &mut Weights<'_>,
    rounding: &Rounding,
    text: Option<(&str, &[u32])>,
    step: &mut Step<'_>,
) -> Result<Written> {
    let specs = schema(model.config);
    if let Some(tuning) = &rounding.tuning {
        check(model.config, tuning)?;
    }
    let text = text.or(rounding.tuning.as_ref().map(|tuning| (&*tuning.text, tuning.held_out())));
    let calibrates = rounding.calibration.is_some() && matches!(rounding.dtype, DType::Q8 | DType::Q4);
    let needs_float = rounding.dtype != DType::F32 && (calibrates || text.is_some());
    // Never committed: gone when it is dropped.
    let float_draft = needs_float
        .then(|| {
            let mut pack =
                |_: usize, spec: &TensorSpec, dtype, w: &[f32], _: &mut Step<'_>| pack_on_all(dtype, w, spec);
            let (path, dtypes) = (path.with_extension("f32"), vec![DType::F32; specs.len()]);
            let source = Source { path: &path, model, specs: &specs, dtypes: &dtypes };
            source.draft(weights, WRITTEN, &mut pack, &mut *step)
        })
        .transpose()?;
    let float = float_draft.as_ref().map(|draft| Measured::open(draft.path())).transpose()?;
    let mut dtypes: Vec<DType> = specs.iter().map(|spec| spec.dtype_for(rounding.dtype)).collect();
    if let (Some(bits), DType::Q4) = (rounding.bits_per_weight, rounding.dtype) {
        choose_dtypes(&specs, &mut dtypes, weights, float.as_ref(), rounding, bits, &mut *step)?;
    }
    let source = Source { path, model, specs: &specs, dtypes: &dtypes };
    let reader = float.as_ref().filter(|_| calibrates);
    let (mut draft, mut tuned) = (source.rounded(weights, rounding, reader, &mut *step)?, None);
    if let Some(tuning) = &rounding.tuning {
        let (better, losses) = source.tuned(weights, draft, tuning, rounding.threads, step)?;
        (draft, tuned) = (better, Some(losses));
    }
    let file = Measured::open(draft.path())?;
    let mut receipt = model.receipt.clone();
    if let Some((name, ids)) = text.filter(|(_, ids)| ids.len() >= 2) {
        let total = ids.len() * if float.is_some() { 2 } else { 1 };
        let mut loss = |model: &Measured, before| {
            let mut tell = |done| step(MEASURED, before + done, total);
            model.loss_telling(ids, rounding.threads, &mut tell)
        };
        let (file_loss, tokens) = loss(&file, 0)?;
        let float_loss = match &float {
            Some(float) => loss(float, ids.len())?.0,
            None => file_loss,
        };
        receipt.held_out = Some(HeldOut { name: name.to_string(), tokens, float_loss, file_loss });
    }
    let (prompts, steps) = golden_prompts(model.config, text.map_or(&[][..], |(_, ids)| ids));
    for prompt in &prompts {
        receipt.golden.push(file.golden(prompt, steps)?);
    }
    drop(file);
    draft.commit(&receipt)?;
    let bytes = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
    let matrices = || specs.iter().zip(&dtypes).filter(|(spec, _)| !spec.is_vector());
    let stored: f64 = matrices().map(|(spec, dtype)| stored_bits(spec, *dtype)).sum();
    let elements: usize = matrices().map(|(spec, _)| spec.len()).sum();
    let keeps = |(spec, dtype): &(&TensorSpec, &DType)| {
        rounding.dtype == DType::Q4 && **dtype == DType::Q8 && spec.allows(DType::Q4)
    };
    Ok(Written {
        bytes,
        bits_per_weight: stored / elements as f64,
        kept: matrices().filter(keeps).map(|(spec, _)| spec.name.clone()).collect(),
        held_out: receipt.held_out,
        tuned,
    })
}

/// A model and how its tensors are stored, for drafts of its file.
#[derive(Clone, Copy)]
struct Source<'a> {
    path: &'a Path,
    model: Model<'a>,
    specs: &'a [TensorSpec],
    dtypes: &'a [DType],
}

/// Packs tensor number `at` of the schema.
type Pack<'a> = dyn FnMut(usize, &TensorSpec, DType, &[f32], &mut Step<'_>) -> Result<PackedMatrix> + 'a;

impl Source<'_> {
    /// With weights rounded each by itself, or with the feedback of what the `reader` of the calibration text multiplies.
    fn rounded(
        &self,
        weights: &mut Weights<'_>,
        rounding: &Rounding,
        reader: Option<&Measured>,
        step: &mut Step<'_>,
    ) -> Result<Draft> {
        let mut readings = reader.map(|float| Readings::new(float, self.specs, rounding));
        let stage = if readings.is_some() { ROUNDED } else { WRITTEN };
        let mut pack = |_: usize, spec: &TensorSpec, dtype, w: &[f32], step: &mut Step<'_>| {
            let known = readings.as_mut().filter(|_| matches!(dtype, DType::Q8 | DType::Q4));
            let inputs = known.map(|r| r.of(&spec.name, step)).transpose()?.flatten();
            rounded(dtype, w, spec, inputs.as_deref())
        };
        self.draft(weights, stage, &mut pack, step)
    }

    /// With weights that were trained for their types, from the scales of the draft `first`. The one of the two that does better on what the tuning holds
    /// out is given, and the losses of both there.
    fn tuned(
        &self,
        weights: &mut Weights<'_>,
        first: Draft,
        tuning: &Tuning,
        threads: usize,
        step: &mut Step<'_>,
    ) -> Result<(Draft, (f64, f64))> {
        let mut all = Vec::with_capacity(self.specs.iter().map(TensorSpec::len).sum());
        for spec in self.specs {
            all.extend(weights(spec)?);
        }
        let before = Measured::open(first.path())?;
        let updates = tuning.updates as usize;
        let found = tune(self.model.config, &all, before.model().file(), tuning, threads, &mut |at| {
            step(TUNED, at as usize, updates);
        })?;
        let Model { config, vocab, .. } = self.model;
        let of = Trained { config, vocab, weights: &found.weights }.weights();
        let mut pack = |at: usize, spec: &TensorSpec, _, w: &[f32], _: &mut Step<'_>| {
            found.grids[at].pack(spec, w).map_err(|error| cannot_hold(spec, error))
        };
        let second = self.draft(&mut |spec| Ok(of(spec)), WRITTEN, &mut pack, step)?;
        let loss = |file: &Measured| Ok::<_, Error>(file.loss(tuning.held_out(), threads)?.0);
        let losses = (loss(&before)?, loss(&Measured::open(second.path())?)?);
        Ok((if losses.1 < losses.0 { second } else { first }, losses))
    }

    /// A file that is not at its path yet; each tensor is written when its weights have come.
    fn draft(
        &self,
        weights: &mut Weights<'_>,
        stage: &'static str,
        pack: &mut Pack<'_>,
        step: &mut Step<'_>,
    ) -> Result<Draft> {
        let receipt = Receipt::default();
        let Model { config, vocab, .. } = self.model;
        let tensors = || self.specs.iter().zip(self.dtypes.iter().copied());
        let by_name: HashMap<&str, DType> = tensors().map(|(spec, dtype)| (&*spec.name, dtype)).collect();
        Draft::write_with(
            self.path,
            &Contents { config, vocab, receipt: &receipt },
            |spec| by_name[spec.name.as_str()],
            |writer| {
                for (at, (spec, dtype)) in tensors().enumerate() {
                    step(stage, at, self.specs.len());
                    let w = weights(spec)?;
                    match spec.is_vector() {
                        true => writer.put(&spec.name, &w)?,
                        false => writer.put_packed(&spec.name, &pack(at, spec, dtype, &w, step)?)?,
                    }
                }
                Ok(())
            },
        )
    }
}

fn stored_bits(spec: &TensorSpec, dtype: DType) -> f64 {
    siskin_format::PanelLayout::new(dtype, spec.rows, spec.cols)
        .map_or(0.0, |layout| 8.0 * layout.bytes() as f64)
}

/// Gives the statistics of one matrix after the other, in the order of the file, reading the text as often as memory asks for it.
struct Readings<'a> {
    model: &'a Measured,
    tokens: &'a [u32],
    threads: usize,
    sets: std::vec::IntoIter<Vec<String>>,
    now: (Vec<String>, Statistics),
}

impl<'a> Readings<'a> {
    fn new(model: &'a Measured, specs: &[TensorSpec], rounding: &'a Rounding) -> Self {
        let matrices: Vec<_> = specs
            .iter()
            .filter(|spec| !spec.is_vector())
            .map(|spec| (spec.name.clone(), spec.cols))
            .collect();
        Readings {
            model,
            tokens: rounding.calibration.as_deref().unwrap_or(&[]),
            threads: rounding.threads,
            sets: readings(&matrices).into_iter(),
            now: Default::default(),
        }
    }

    fn of(&mut self, name: &str, step: &mut Step<'_>) -> Result<Option<Arc<Inputs>>> {
        while !self.now.0.iter().any(|n| n == name) {
            let Some(set) = self.sets.next() else { return Ok(None) };
            let wanted = set.clone();
            let wanted = move |n: &str| wanted.iter().any(|w| w == n);
            let tell = &mut |read| step(READ, read, self.tokens.len());
            let found = Statistics::gather(self.model, self.tokens, self.threads, wanted, tell)?;
            self.now = (set, found);
        }
        Ok(self.now.1.of(name))
    }
}

/// Lets the matrices that lose most keep 8 bits: by what a text costs the float model with each matrix alone in 4 bits, or, where there is
/// no text or the model is large, by the relative error of each matrix's answers, or of its weights.
fn choose_dtypes(
    specs: &[TensorSpec],
    dtypes: &mut [DType],
    weights: &mut Weights<'_>,
    float: Option<&Measured>,
    rounding: &Rounding,
    bits: f64,
    step: &mut Step<'_>,
) -> Result<()> {
    let float = float.filter(|_| rounding.calibration.is_some());
    let mut readings = float.map(|m| Readings::new(m, specs, rounding));
    let total: usize = specs.iter().map(TensorSpec::len).sum();
    let trial = float.filter(|_| total <= MOST_TRIED).map(|m| Trial::new(m, rounding)).transpose()?;
    let (mut prices, mut places) = (Vec::new(), Vec::new());
    for (at, spec) in specs.iter().enumerate() {
        step(WEIGHED, at, specs.len());
        if dtypes[at] != DType::Q4 {
            continue;
        }
        let w = weights(spec)?;
        let inputs = readings.as_mut().map(|r| r.of(&spec.name, step)).transpose()?.flatten();
        let packed = rounded(DType::Q4, &w, spec, inputs.as_deref())?;
        let q = unpack(packed.layout(), packed.bytes());
        let energy = |x: &[f32]| match &inputs {
            Some(inputs) => inputs.hessian().error(x),
            None => x.iter().map(|&x| f64::from(x) * f64::from(x)).sum(),
        };
        let loss = match &trial {
            Some(trial) => trial.cost(spec, &q)?,
            None => {
                let lost: Vec<f32> = w.iter().zip(&q).map(|(w, q)| w - q).collect();
                energy(&lost) / energy(&w).max(f64::MIN_POSITIVE)
            }
        };
        prices.push(Price { name: spec.name.clone(), shape: (spec.rows, spec.cols), loss });
        places.push(at);
    }
    for (at, dtype) in places.into_iter().zip(choose(&prices, bits)) {
        dtypes[at] = dtype;
    }
    Ok(())
}

/// The float model in memory, to try one matrix after the other.
struct Trial<'a> {
    float: &'a Measured,
    tokens: &'a [u32],
    threads: usize,
    loss: f64,
}

impl<'a> Trial<'a> {
    fn new(float: &'a Measured, rounding: &'a Rounding) -> Result<Self> {
        let all = rounding.calibration.as_deref().unwrap_or(&[]);
        let tokens = &all[..all.len().min(MOST_TRIED_TOKENS)];
        let (loss, _) = float.loss(tokens, rounding.threads)?;
        Ok(Trial { float, tokens, threads: rounding.threads, loss })
    }

    /// What the tokens cost more with `weights` in place of those of one matrix, nats per token.
    fn cost(&self, spec: &TensorSpec, weights: &[f32]) -> Result<f64> {
        let file = self.float.model().file();
        let mut bytes = file.bytes().to_vec();
        let range = file.tensor(&spec.name).map_or(0..0, |view| view.info().range.clone());
        bytes[range].copy_from_slice(pack_on_all(DType::F32, weights, spec)?.bytes());
        Ok(Measured::from_bytes(bytes)?.loss(self.tokens, self.threads)?.0 - self.loss)
    }
}

/// A matrix in panels, with feedback where it is known what it multiplies.
fn rounded(dtype: DType, w: &[f32], spec: &TensorSpec, inputs: Option<&Inputs>) -> Result<PackedMatrix> {
    match inputs {
        Some(inputs) => feedback::quantize(dtype, w, (spec.rows, spec.cols), inputs)
            .map_err(|error| cannot_hold(spec, error)),
        None => pack_on_all(dtype, w, spec),
    }
}

fn cannot_hold(spec: &TensorSpec, error: QuantError) -> Error {
    siskin_format::Error::Quant { name: spec.name.clone(), error }.into()
}

/// [`pack`], by all threads.
fn pack_on_all(dtype: DType, weights: &[f32], spec: &TensorSpec) -> Result<PackedMatrix> {
    if weights.len() != spec.len() {
        // `pack` asserts what an importer has promised.
        return Err(Error::Export(format!(
            "{}: {} weights, expected {}",
            spec.name,
            weights.len(),
            spec.len()
        )));
    }
    let mut packed =
        PackedMatrix::zeroed(dtype, spec.rows, spec.cols).map_err(|error| cannot_hold(spec, error))?;
    packed
        .panels_mut()
        .into_par_iter()
        .try_for_each(|mut panel| {
            let at = panel.first_row() * spec.cols;
            let len = panel.n_rows() * spec.cols;
            panel.pack(&weights[at..at + len])
        })
        .map_err(|error| cannot_hold(spec, error))?;
    Ok(packed)
}

/// Compares every tensor of the file at `path` with the weights: for each storage type the largest difference, as a share of the largest weight
/// of its tensor.
///
/// # Errors
/// A file that cannot be read, or weights that cannot.
pub fn compare(path: &Path, weights: &mut Weights<'_>, step: &mut Step<'_>) -> Result<Vec<(DType, f64)>> {
    let file = siskin_format::File::open(path, &siskin_format::OpenOptions::default())?;
    let mut worst: Vec<(DType, f64)> = Vec::new();
    for (at, (spec, info)) in schema(file.config()).iter().zip(file.tensors()).enumerate() {
        step(COMPARED, at, file.tensors().len());
        let (w, stored) = (weights(spec)?, file.view(info).to_f32());
        let largest = w.iter().fold(0f32, |m, w| m.max(w.abs()));
        let miss = w.iter().zip(&stored).fold(0f32, |m, (w, s)| m.max((w - s).abs()));
        let share = f64::from(miss) / f64::from(largest).max(f64::MIN_POSITIVE);
        match worst.iter_mut().find(|(dtype, _)| *dtype == info.dtype) {
            Some((_, most)) => *most = most.max(share),
            None => worst.push((info.dtype, share)),
        }
    }
    Ok(worst)
}

/// A tokenized text to calibrate by or to measure, at most `most` tokens of it: those that `siskin eval` reads, which begin with
/// what the text begins with and not with the vocabulary's bos.
///
/// # Errors
/// A file that cannot be read, or a text that the vocabulary cannot express.
pub fn read_tokens(path: &Path, vocab: &Vocab, most: usize) -> Result<Vec<u32>> {
    let cannot = || Error::io("read", path);
    let mut bytes = Vec::new();
    // No token is longer on average than a few bytes, and reading gigabytes for their beginning would take minutes.
    let most_bytes = most.saturating_mul(16) as u64;
    std::fs::File::open(path).map_err(cannot())?.take(most_bytes).read_to_end(&mut bytes).map_err(cannot())?;
    bytes.truncate(crate::tokenizer::whole_chars(&bytes));
    let mut ids = crate::tokenizer::encode(vocab, &bytes)?;
    ids.truncate(most);
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Trained;
    use crate::model::tests::{filled, tiny_gpt};
    use crate::params::ParamStore;
    use crate::tokenizer::placeholder;

    /// What was written, how far it is from the weights, and the logits that follow a text.
    fn written(
        name: &str,
        rounding: &Rounding,
        text: Option<(&str, &[u32])>,
    ) -> (Written, Vec<(DType, f64)>, Vec<f32>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let config = tiny_gpt();
        let store: ParamStore<f32> = filled(&config, 3).cast();
        let vocab = placeholder(config.vocab_size).unwrap();
        let trained = Trained { config: &config, vocab: &vocab, weights: &store.values };
        let (of, receipt) = (trained.weights(), Receipt::default());
        let mut weights = |spec: &TensorSpec| Ok(of(spec));
        let model = Model { config: &config, vocab: &vocab, receipt: &receipt };
        let found = write(&path, model, &mut weights, rounding, text, &mut |_, _, _| {}).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        if rounding.calibration.is_none() && rounding.bits_per_weight.is_none() {
            let plain = trained.to_bytes(rounding.dtype).unwrap();
            let file = siskin_format::File::from_bytes(plain).unwrap();
            let again = siskin_format::File::open(&path, &siskin_format::OpenOptions::default()).unwrap();
            for (a, b) in file.tensors().iter().zip(again.tensors()) {
                assert_eq!(file.view(a).to_f32(), again.view(b).to_f32());
            }
        }
        let worst = compare(&path, &mut weights, &mut |_, _, _| {}).unwrap();
        let ids = self::text(config.context, config.vocab_size as u32);
        (found, worst, Measured::open(&path).unwrap().logits(&[], &ids).unwrap())
    }

    fn text(n: usize, vocab: u32) -> Vec<u32> {
        (0..n as u32).map(|i| (i * i / 3 + i) % vocab).collect()
    }

    #[test]
    fn without_calibration_the_file_is_the_plain_export() {
        for dtype in [DType::F32, DType::Q8, DType::Q4] {
            let rounding =
                Rounding { dtype, calibration: None, bits_per_weight: None, tuning: None, threads: 2 };
            let (found, worst, _) = written("plain.siskin", &rounding, None);
            assert!(found.kept.is_empty() && found.held_out.is_none());
            assert!(
                worst.iter().filter(|(d, _)| *d == DType::F32).all(|(_, share)| *share == 0.0),
                "{worst:?}"
            );
        }
    }

    #[test]
    fn calibration_keeps_logits_nearer_and_bits_within_their_bound() {
        let ids = text(600, tiny_gpt().vocab_size as u32);
        let plain =
            Rounding { dtype: DType::Q4, calibration: None, bits_per_weight: None, tuning: None, threads: 2 };
        let exact = written("f.siskin", &Rounding { dtype: DType::F32, ..plain.clone() }, None).2;
        let miss = |rounding: &Rounding| -> f64 {
            let found = written("a.siskin", rounding, Some(("text", &ids)));
            assert!(found.0.held_out.is_some());
            found.2.iter().zip(&exact).map(|(a, b)| f64::from(a - b).powi(2)).sum()
        };
        let calibrated = Rounding { calibration: Some(ids.clone()), ..plain.clone() };
        let wider = Rounding { bits_per_weight: Some(100.0), ..plain.clone() };
        let both = Rounding { bits_per_weight: Some(100.0), ..calibrated.clone() };
        let (a, b, c, d) = (miss(&plain), miss(&calibrated), miss(&wider), miss(&both));
        assert!(b < a && c < a && d <= b, "{a} {b} {c} {d}");
        let (found, ..) = written("b.siskin", &wider, None);
        assert!(!found.kept.is_empty() && found.bits_per_weight <= 100.0, "{found:?}");
    }

    /// The better of the rounded and the tuned file is written, and measured on what the tuning held out.
    #[test]
    fn a_tuned_file_is_no_worse_than_the_rounded_one() {
        for dtype in [DType::Q8, DType::Q4] {
            let ids = text(6000, tiny_gpt().vocab_size as u32);
            let tuning = Tuning { text: "tune.txt".into(), tokens: ids.clone(), updates: 30 };
            let plain =
                Rounding { dtype, calibration: Some(ids), bits_per_weight: None, tuning: None, threads: 2 };
            let (rounded, ..) = written("r.siskin", &plain, Some(("tune.txt", tuning.held_out())));
            let (found, ..) = written("t.siskin", &Rounding { tuning: Some(tuning), ..plain }, None);
            let (before, after) = found.tuned.unwrap();
            let held_out = found.held_out.unwrap();
            assert_eq!(held_out.file_loss, before.min(after));
            assert_eq!((held_out.name.as_str(), before), ("tune.txt", rounded.held_out.unwrap().file_loss));
        }
    }
}
