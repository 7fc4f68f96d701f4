//! The texts of a run: one, or a mixture by weight.
//!
//! Without weights all files are one text, in their order, whose end is held out. With weights (`--mix`) each file is a text of its
//! own: it holds out its own end, and every batch takes its share of it. The vocabulary is one in any case.
//!
//! For an encoder-decoder all files are one text of [pairs](crate::data::Pairs), in memory.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::ThreadPool;
use siskin_format::Vocab;
use siskin_format::receipt::Source;

use super::trainer::{Evaluation, TrainingText};
use crate::data::{self, Cache, Dataset, Event, PairData, Pairs, Split, Text, TextScan, Tokens, shares};
use crate::error::{Error, Result};
use crate::progress::Reading;
use crate::settings::model::is_seq2seq;
use crate::settings::{Settings, TOKENIZERS, choice};
use crate::tokenizer::{self, Kind};

/// Name of the folder of token caches in a run folder.
const CACHE: &str = "tokens";

/// The texts of a run as they lie on the disk, looked through once.
pub struct Scanned {
    /// All files, as one text.
    pub whole: Text,
    /// What was found in it.
    pub scan: TextScan,
    parts: Vec<Part>,
    /// How its lines become pairs, for an encoder-decoder.
    pairs: Option<PairRule>,
}

/// Which pairs are held out, and how long a side may be.
#[derive(Clone, Copy)]
struct PairRule {
    val_fraction: f64,
    context: usize,
}

impl PairRule {
    /// What filled settings say, if the model reads pairs.
    fn of(settings: &Settings) -> Option<PairRule> {
        let (val_fraction, context) = (settings.val_fraction.unwrap_or(0.1), settings.context.unwrap_or(1));
        is_seq2seq(settings).then_some(PairRule { val_fraction, context })
    }

    fn pairs(self, text: &Text, vocab: &Vocab) -> Result<PairData> {
        Pairs::prepare(text, vocab, self.val_fraction, self.context)
    }
}

/// One text of a run.
struct Part {
    name: String,
    text: Text,
    hash: u64,
    split: Split,
    /// Where it begins in the whole.
    start: u64,
    share: f64,
}

impl Scanned {
    /// Reads the files once; a bar is `shown` if that takes long.
    ///
    /// # Errors
    /// Files that cannot be read or are too short; weights that do not fit them.
    pub fn new(paths: &[PathBuf], settings: &Settings, shown: bool) -> Result<Self> {
        let shares = settings.mix.as_ref().map(|weights| shares(weights, paths.len())).transpose()?;
        let whole = Text::open(paths)?;
        let mut reading = Reading::new("reading", whole.len(), shown);
        let scan = whole.scan_watched(&mut |done| reading.at(done))?;
        if let Some(line) = reading.finish() {
            eprintln!("{line}");
        }
        let pairs = PairRule::of(settings);
        let split = |text: &Text| text.split(settings.val_fraction.unwrap_or(0.1));
        let Some(shares) = shares else {
            let (name, split) = (whole.name(), split(&whole)?);
            let part = Part { name, text: whole.clone(), hash: scan.hash, split, start: 0, share: 1.0 };
            return Ok(Scanned { whole, scan, parts: vec![part], pairs });
        };
        let (mut parts, mut start) = (Vec::new(), 0);
        for ((path, share), hash) in paths.iter().zip(shares).zip(&scan.file_hashes) {
            let text = Text::open(std::slice::from_ref(path))?;
            let (name, split) = (file_name(path), split(&text)?);
            let len = text.len();
            parts.push(Part { name, text, hash: *hash, split, start, share });
            start += len;
        }
        Ok(Scanned { whole, scan, parts, pairs })
    }

    /// As [`Scanned::new`], of files whose hash is known.
    ///
    /// # Errors
    /// Files that have changed, or as [`Scanned::new`].
    pub fn unchanged(paths: &[PathBuf], hash: u64, settings: &Settings, shown: bool) -> Result<Self> {
        let scanned = Scanned::new(paths, settings, shown)?;
        if scanned.scan.hash != hash {
            return Err(changed(&scanned.whole));
        }
        Ok(scanned)
    }

    /// The vocabulary that the settings ask for.
    ///
    /// # Errors
    /// As [`tokenizer::train`].
    pub fn vocab(&self, settings: &Settings) -> Result<Vocab> {
        let kind = choice("tokenizer", settings.tokenizer.as_deref().unwrap_or("auto"), TOKENIZERS)?;
        let kind = Kind::parse(kind).expect("the spellings of the settings are those of the kinds");
        if self.pairs.is_some() {
            // A character of a held-out pair must have a token too.
            let all = 0..self.whole.len();
            let vocab = tokenizer::train(&self.whole, &self.scan, all, kind, settings.vocab_size)?;
            return tokenizer::with_marks(&vocab);
        }
        let in_whole = |part: &Part| part.start + part.split.train.start..part.start + part.split.train.end;
        let parts: Vec<(Range<u64>, f64)> =
            self.parts.iter().map(|part| (in_whole(part), part.share)).collect();
        tokenizer::train_mixed(&self.whole, &self.scan, &parts, kind, settings.vocab_size)
    }

    /// The files of a receipt.
    pub fn sources(&self) -> Vec<Source> {
        let source = |((path, bytes), hash): ((&Path, u64), &u64)| Source {
            name: file_name(path),
            bytes,
            hash: *hash,
        };
        self.whole.files().zip(&self.scan.file_hashes).map(source).collect()
    }

    /// Tokenizes the texts on the threads of `pool`, or takes the cache of an earlier run: that of `settings`, else the run folder's.
    ///
    /// # Errors
    /// As [`Dataset::prepare`].
    pub fn tokenized(
        self,
        vocab: &Vocab,
        settings: &Settings,
        run: &Path,
        pool: Option<&ThreadPool>,
        shown: bool,
    ) -> Result<Corpus> {
        if let Some(rule) = self.pairs {
            let PairData { data: Dataset { train, val }, longest } = rule.pairs(&self.whole, vocab)?;
            let texts = vec![TrainingText { share: 1.0, train, val }];
            let (names, sources, hash) = (vec![self.whole.name()], self.sources(), self.scan.hash);
            return Ok(Corpus { texts, names, sources, hash, longest: Some(longest) });
        }
        let cache = Cache::new(settings.cache.clone().unwrap_or_else(|| run.join(CACHE)));
        if settings.cache.is_none() {
            let entry = |part: &Part| cache.entry(part.hash, &part.split, vocab);
            cache.keep_only(&self.parts.iter().map(entry).collect::<Vec<_>>())?;
        }
        let (sources, bytes, hash) = (self.sources(), self.whole.len(), self.scan.hash);
        let mut reading = Reading::new("tokenizing", bytes, shown);
        let (mut texts, mut names) = (Vec::new(), Vec::new());
        for Part { name, text, hash, split, start, share } in self.parts {
            let tell = |event: Event<'_>| match event {
                Event::Done(done) => reading.at(start + done),
                Event::Found(done) => reading.skip(start + done),
                Event::Note(line) => eprintln!("{line}"),
            };
            let Dataset { train, val } = Dataset::prepare(&text, hash, &split, vocab, &cache, pool, tell)?;
            texts.push(TrainingText { share, train, val });
            names.push(name);
        }
        if let Some(line) = reading.finish() {
            eprintln!("{line}");
        }
        Ok(Corpus { texts, names, sources, hash, longest: None })
    }

    /// The first `most` tokens of what is held out; of a mixture, each text gives its share of them. Nothing else is tokenized.
    ///
    /// # Errors
    /// Text that the vocabulary cannot express.
    pub fn held_out(&self, vocab: &Vocab, most: u64) -> Result<Tokens> {
        self.first(vocab, most, |split| &split.val)
    }

    /// As [`Scanned::held_out`], of what is trained on.
    ///
    /// # Errors
    /// As [`Scanned::held_out`].
    pub fn trained_on(&self, vocab: &Vocab, most: u64) -> Result<Tokens> {
        self.first(vocab, most, |split| &split.train)
    }

    fn first(&self, vocab: &Vocab, most: u64, range: impl Fn(&Split) -> &Range<u64>) -> Result<Tokens> {
        if let Some(rule) = self.pairs {
            let Dataset { train, val } = rule.pairs(&self.whole, vocab)?.data;
            let split = &self.parts[0].split;
            return Ok(if *range(split) == split.val { val } else { train }.first(most));
        }
        let mut ids = Vec::new();
        for part in &self.parts {
            let most = share_of(most, part.share) as usize;
            let before = ids.len();
            data::stream(&part.text, range(&part.split).clone(), vocab, |piece, _| {
                ids.extend_from_slice(&piece[..piece.len().min(before + most - ids.len())]);
                Ok(ids.len() < before + most)
            })?;
        }
        Ok(Tokens::from_vec(ids))
    }

    /// All pairs of another text, as the model of `settings` reads them.
    ///
    /// # Errors
    /// Lines that are no pairs, or that the vocabulary cannot express.
    pub fn pairs_of(path: &Path, settings: &Settings, vocab: &Vocab) -> Result<Tokens> {
        let context = settings.context.unwrap_or(1);
        let rule = PairRule { val_fraction: 0.0, context };
        Ok(rule.pairs(&Text::open(&[path])?, vocab)?.data.train)
    }

    /// Bytes of text to train on.
    pub fn training_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.split.train.end - part.split.train.start).sum()
    }

    /// The held-out parts: name, text, bytes of it, share.
    pub fn validation(&self) -> impl Iterator<Item = (&str, &Text, Range<u64>, f64)> {
        self.parts.iter().map(|part| (&*part.name, &part.text, part.split.val.clone(), part.share))
    }
}

/// The texts of a run, tokenized.
#[derive(Clone)]
pub struct Corpus {
    /// The texts; several only in a mixture.
    pub texts: Vec<TrainingText>,
    /// What they are called.
    pub names: Vec<String>,
    /// The files, for a receipt.
    pub sources: Vec<Source>,
    /// Hash of all files (XXH64).
    pub hash: u64,
    /// Of pairs: tokens of the longest source, or of the longest target with its mark.
    pub longest: Option<usize>,
}

impl Corpus {
    /// Tokens to train on, and tokens held out.
    pub fn n_tokens(&self) -> (u64, u64) {
        let sum = |len: fn(&TrainingText) -> u64| self.texts.iter().map(len).sum();
        (sum(|text| text.train.len()), sum(|text| text.val.len()))
    }

    /// The first `most` held-out tokens; of a mixture, each text gives its share of them.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn held_out(&self, most: u64) -> Result<Tokens> {
        self.first(most, |text| &text.val)
    }

    /// As [`Corpus::held_out`], of what is trained on.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn trained_on(&self, most: u64) -> Result<Tokens> {
        self.first(most, |text| &text.train)
    }

    fn first(&self, most: u64, part: impl Fn(&TrainingText) -> &Tokens) -> Result<Tokens> {
        if let [only] = &self.texts[..] {
            return Ok(part(only).first(most));
        }
        let mut ids = Vec::new();
        for text in &self.texts {
            let tokens = part(text).first(share_of(most, text.share));
            let before = ids.len();
            ids.resize(before + tokens.len() as usize, 0);
            tokens.read(0, &mut ids[before..])?;
        }
        Ok(Tokens::from_vec(ids))
    }

    /// What each text of a mixture contributed to an evaluation, in brackets; nothing of a single text.
    pub fn describe(&self, found: &Evaluation) -> String {
        if found.by_text.is_empty() {
            return String::new();
        }
        let each = self.names.iter().zip(&found.by_text).map(|(name, loss)| format!("{name} {loss:.4}"));
        format!(" ({})", each.collect::<Vec<_>>().join(", "))
    }
}

/// Files are not those that the run began with.
pub(super) fn changed(text: &Text) -> Error {
    let name = text.name();
    Error::Data(format!("{name} has changed since the run began: bring the old text back, or train anew"))
}

/// A text's part of `n` tokens.
fn share_of(n: u64, share: f64) -> u64 {
    if share == 1.0 { n } else { (n as f64 * share).ceil() as u64 }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::parse_toml;
    use crate::train::run::Run;

    /// A folder with a song, a list of numbers and a short text.
    fn folder() -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let song = (0..150).map(|i| format!("line {} of the song: {}\n", i % 7, "la".repeat(1 + i * i % 5)));
        let list = (0..120).map(|i| format!("{i} times {i} is {}\n", i * i));
        let texts =
            [song.collect::<String>(), list.collect(), "short, but not too short a text\n".repeat(12)];
        let paths: Vec<PathBuf> = (0..3).map(|i| dir.path().join(format!("{i}.txt"))).collect();
        paths.iter().zip(texts).for_each(|(path, text)| std::fs::write(path, text).unwrap());
        (dir, paths)
    }

    fn settings(more: &str) -> Settings {
        let common = "n_layers = 1\nd_model = 16\nhidden = 16\nn_heads = 2\ncontext = 16\nbatch_size = '8'\nsteps = 14\n\
                      threads = 2\ntokenizer = 'char'\ndropout = 0.1\n";
        parse_toml(&format!("{common}{more}")).unwrap()
    }

    fn start(paths: &[PathBuf], dir: &Path, more: &str) -> Result<Run> {
        Run::start(&settings(more), paths, dir, Path::new("m.siskin"), &|_| ())
    }

    /// Stopped and resumed anywhere, a mixture of texts gives the weights of an undisturbed run.
    #[test]
    fn a_resumed_mixture_is_that_of_an_undisturbed_run() {
        for model in ["gpt", "lstm"] {
            let (dir, paths) = folder();
            let more = format!("model = '{model}'\nmix = [5, 2, 1]");
            let mut whole = start(&paths, &dir.path().join("whole"), &more).unwrap();
            let steps = |run: &mut Run, n: u64| (0..n).for_each(|_| drop(run.trainer.step(14).unwrap()));
            steps(&mut whole, 14);
            for stop in [1, 4, 9] {
                let run_dir = dir.path().join(format!("{stop}"));
                let mut run = start(&paths, &run_dir, &more).unwrap();
                steps(&mut run, stop);
                run.save().unwrap();
                drop(run);
                let mut run = Run::resume(&run_dir, Some(1)).unwrap();
                steps(&mut run, 14 - stop);
                assert_eq!(run.trainer.weights(), whole.trainer.weights(), "{model} after {stop}");
                let (one, other) =
                    (run.trainer.evaluate(1000).unwrap(), whole.trainer.evaluate(1000).unwrap());
                assert_eq!(one, other);
            }
        }
    }

    #[test]
    fn a_mixture_is_validated_text_by_text() {
        let (dir, paths) = folder();
        let mut run = start(&paths, &dir.path().join("run"), "model = 'gpt'\nmix = [2, 1, 1]").unwrap();
        assert_eq!(run.corpus.names, ["0.txt", "1.txt", "2.txt"]);
        let found = run.trainer.evaluate(1 << 20).unwrap().unwrap();
        let shares = [0.5, 0.25, 0.25];
        let mean: f64 = found.by_text.iter().zip(shares).map(|(loss, share)| loss * share).sum();
        assert!((found.mean() - mean).abs() < 1e-12, "{found:?}");
        for (i, text) in run.corpus.texts.clone().into_iter().enumerate() {
            let alone = run.trainer.evaluate_on(text.val).unwrap().mean();
            assert_eq!(alone, found.by_text[i]);
        }
        assert_eq!(run.corpus.held_out(1 << 20).unwrap().len(), run.trainer.held_out());
        assert_eq!(run.corpus.held_out(40).unwrap().len(), 20 + 10 + 10);
        let line = run.corpus.describe(&found);
        assert!(line.starts_with(" (0.txt 3.") && line.contains(", 2.txt "), "{line}");
        let hashes: Vec<u64> = run.corpus.sources.iter().map(|source| source.hash).collect();
        let expected = paths.iter().map(|path| siskin_format::xxh64::xxh64(&std::fs::read(path).unwrap()));
        assert_eq!(hashes, expected.collect::<Vec<_>>());
    }

    /// What `export` and `eval` tokenize is what the run's cache holds.
    #[test]
    fn what_is_held_out_is_the_same_with_and_without_the_cache() {
        let (dir, paths) = folder();
        for (i, mix) in ["", "mix = [3, 1, 1]"].into_iter().enumerate() {
            let run =
                start(&paths, &dir.path().join(i.to_string()), &format!("model = 'gpt'\n{mix}")).unwrap();
            let scanned = Scanned::new(&paths, &run.settings, false).unwrap();
            for most in [1, 50, 1 << 20] {
                let ids = |tokens: Tokens| {
                    let mut ids = vec![0; tokens.len() as usize];
                    tokens.read(0, &mut ids).unwrap();
                    ids
                };
                let cached = ids(run.corpus.held_out(most).unwrap());
                assert_eq!(ids(scanned.held_out(&run.vocab, most).unwrap()), cached, "{most} of '{mix}'");
            }
        }
    }

    #[test]
    fn caches_are_kept_in_the_run_or_shared() {
        let (dir, paths) = folder();
        let caches = |dir: &Path| std::fs::read_dir(dir).map_or(0, Iterator::count);
        let (own, shared) = (dir.path().join("own"), dir.path().join("shared"));
        start(&paths, &own, "model = 'gpt'").unwrap();
        start(&paths, &own, "model = 'gpt'\nval_fraction = 0.2").unwrap();
        assert_eq!(caches(&own.join(CACHE)), 1, "the cache of the other split is gone");
        for (run, val) in [("a", 0.1), ("b", 0.2), ("c", 0.2)] {
            let more = format!("model = 'gpt'\nval_fraction = {val}\ncache = '{}'", shared.display());
            start(&paths, &dir.path().join(run), &more).unwrap();
            assert!(!dir.path().join(run).join(CACHE).exists());
        }
        assert_eq!(caches(&shared), 2);
    }

    #[test]
    fn mixtures_that_cannot_be_are_refused_before_anything_is_made() {
        let (dir, paths) = folder();
        let run = dir.path().join("run");
        for (more, expected) in [
            ("mix = [1, 2]", "mix: has 2 weights, expected one for each of the 3 texts"),
            ("mix = [1, 2, -3]", "mix: is [1.0, 2.0, -3.0], expected positive numbers"),
            ("mix = [1, 2, 3]\nbatch_size = 'full'", "mix: cannot be with full-batch descent"),
        ] {
            let said = parse_toml(&format!("model = 'gpt'\nsteps = 1\n{more}")).unwrap();
            let refused = Run::start(&said, &paths, &run, Path::new("m.siskin"), &|_| ());
            let message = refused.map(drop).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
            assert!(!run.exists());
        }
        let said = parse_toml("model = 'gru'\nsteps = 1\nmix = [1, 1, 1]\nbatch_size = '2'").unwrap();
        let refused = Run::start(&said, &paths, &run, Path::new("m.siskin"), &|_| ()).map(drop);
        let message = refused.unwrap_err().to_string();
        assert!(message.starts_with("batch_size: is 2, expected at least one window for each"), "{message}");
    }
}
