//! Many sessions on one mapped model, for as long as wanted:
//! `cargo run --release -p siskin --example soak -- MODEL [SECONDS [THREADS [SESSIONS]]]` (20, 4, 256)
//!
//! Threads take the sessions in random order and let each go on with its text a little: prompts fed in random pieces, tokens drawn
//! by a seeded sampler, texts left in their middle, steps cancelled from another thread. Every token is compared with what a
//! single session said alone. At the end: how much was done, and how resident memory grew between the first and the last tenth of
//! the time. The exit status is 1 when a token differed or memory grew by 1 % or more.

use siskin::{Error, Model, Sampler, SamplerOptions, Session, SessionOptions};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Most positions of a session.
const CTX: usize = 128;
/// Texts that the sessions say, each with its prompt and length.
const TEXTS: usize = 64;
/// Samplers differ in their seed; a session says the texts of its own.
const SEEDS: usize = 8;
/// Most growth of resident memory, as a share.
const MAX_GROWTH: f64 = 0.01;

/// SplitMix64 (Steele, Lea & Flood 2014).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// A prompt, and the tokens that a single session drew after it.
struct Text {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
}

/// A session on its way through a text.
struct Talk {
    session: Session,
    sampler: Sampler,
    text: usize,
    fed: usize,
    said: usize,
}

/// What all threads have done.
#[derive(Default)]
struct Counts {
    tokens: AtomicU64,
    texts: AtomicU64,
    left: AtomicU64,
    cancelled: AtomicU64,
}

fn sampler(seed: usize, vocab_size: usize) -> Sampler {
    let seed = seed as u64;
    let options = SamplerOptions { seed, repetition_penalty: 1.1, ..SamplerOptions::default() };
    Sampler::new(options, vocab_size).expect("the options are in range")
}

/// Prompts of 1 to 64 tokens and what follows them, said by one session alone.
fn texts(model: &Arc<Model>, options: &SessionOptions) -> Result<Vec<Text>, Error> {
    let vocab_size = model.config().vocab_size;
    let mut rng = Rng(1);
    let mut session = Session::new(model.clone(), options)?;
    let mut text = |i: usize| {
        let prompt: Vec<u32> = (0..1 + rng.below(64)).map(|_| rng.below(vocab_size) as u32).collect();
        let mut sampler = sampler(i % SEEDS, vocab_size);
        session.reset();
        let mut tokens = Vec::new();
        let mut next = prompt.clone();
        for _ in 0..1 + rng.below(CTX - 64) {
            let token = sampler.sample(session.forward(&next)?).expect("some logit is finite");
            tokens.push(token);
            next = vec![token];
        }
        Ok(Text { prompt, tokens })
    };
    (0..TEXTS).map(&mut text).collect()
}

impl Talk {
    fn begin(&mut self, text: usize) {
        self.session.reset();
        self.sampler.reset();
        (self.text, self.fed, self.said) = (text, 0, 0);
    }

    /// One step: a piece of the prompt, or a token. `Ok(false)` when it was cancelled, and nothing has changed.
    ///
    /// # Panics
    /// When the token is not the one that a single session drew.
    fn step(&mut self, texts: &[Text], piece: usize) -> Result<bool, Error> {
        let text = &texts[self.text];
        let last = self.said.checked_sub(1).map(|i| text.tokens[i]);
        let next = match &last {
            Some(token) => std::slice::from_ref(token),
            None => &text.prompt[self.fed..(self.fed + piece).min(text.prompt.len())],
        };
        let position = self.session.position();
        let logits = match self.session.forward(next) {
            Ok(logits) => logits,
            Err(Error::Cancelled) => {
                assert_eq!(self.session.position(), position, "a cancelled step left tokens behind");
                self.session.cancel_flag().clear();
                return Ok(false);
            }
            Err(other) => return Err(other),
        };
        self.fed = (self.fed + next.len()).min(text.prompt.len());
        if self.fed == text.prompt.len() {
            let token = self.sampler.sample(logits).expect("some logit is finite");
            assert_eq!(token, text.tokens[self.said], "token {} of text {}", self.said, self.text);
            self.said += 1;
        }
        Ok(true)
    }

    /// Goes on by up to 16 steps.
    fn go_on(&mut self, texts: &[Text], rng: &mut Rng, counts: &Counts) -> Result<(), Error> {
        let add = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
        for _ in 0..1 + rng.below(16) {
            match self.step(texts, 1 + rng.below(40))? {
                true => add(&counts.tokens),
                false => add(&counts.cancelled),
            };
            let (whole, left) = (self.said == texts[self.text].tokens.len(), rng.below(400) == 0);
            if whole || left {
                add(if whole { &counts.texts } else { &counts.left });
                self.begin(self.text % SEEDS + SEEDS * rng.below(TEXTS / SEEDS));
            }
        }
        Ok(())
    }
}

/// A figure of /proc/self/status, in bytes.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Sessions that have touched all of their memory once.
fn talks(model: &Arc<Model>, options: &SessionOptions, n: usize) -> Result<Vec<Mutex<Talk>>, Error> {
    let vocab_size = model.config().vocab_size;
    let talk = |i: usize| {
        let session = Session::new(model.clone(), options)?;
        let mut talk = Talk { session, sampler: sampler(i % SEEDS, vocab_size), text: 0, fed: 0, said: 0 };
        let logits = talk.session.forward(&[i as u32 % vocab_size as u32; CTX])?;
        talk.sampler.sample(logits).expect("some logit is finite");
        talk.begin(i % TEXTS);
        Ok(Mutex::new(talk))
    };
    (0..n).map(talk).collect()
}

fn mean(values: &[u64]) -> f64 {
    values.iter().sum::<u64>() as f64 / values.len().max(1) as f64
}

/// How much larger the mean of the last tenth is than that of the first.
fn growth(values: &[u64]) -> f64 {
    let tenth = values.len().div_ceil(10);
    mean(&values[values.len() - tenth..]) / mean(&values[..tenth]) - 1.0
}

/// Lets `threads` threads and a canceller work for `time`; gives samples of (all, private) resident bytes.
fn run(
    talks: &[Mutex<Talk>],
    texts: &[Text],
    threads: usize,
    time: Duration,
    counts: &Counts,
) -> Result<Vec<(u64, u64)>, Error> {
    let stop = AtomicBool::new(false);
    let flags: Vec<_> =
        talks.iter().map(|t| t.lock().expect("not yet used").session.cancel_flag().clone()).collect();
    std::thread::scope(|scope| {
        let worker = |seed: u64| {
            let mut rng = Rng(seed);
            while !stop.load(Ordering::Relaxed) {
                if let Ok(mut talk) = talks[rng.below(talks.len())].try_lock()
                    && let Err(error) = talk.go_on(texts, &mut rng, counts)
                {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        };
        let workers: Vec<_> = (0..threads as u64).map(|i| scope.spawn(move || worker(i + 100))).collect();
        scope.spawn(|| {
            let mut rng = Rng(99);
            while !stop.load(Ordering::Relaxed) {
                flags[rng.below(flags.len())].cancel();
                std::thread::sleep(Duration::from_millis(1 + rng.below(20) as u64));
            }
        });
        let (start, mut samples) = (Instant::now(), Vec::new());
        while start.elapsed() < time
            && !stop.load(Ordering::Relaxed)
            && !workers.iter().any(|w| w.is_finished())
        {
            std::thread::sleep((time / 100).min(Duration::from_secs(1)));
            samples.push((status("VmRSS"), status("RssAnon")));
        }
        stop.store(true, Ordering::Relaxed);
        // A panic of a worker, which is a token that differs, goes on from here.
        workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))?;
        Ok(samples)
    })
}

fn main() -> Result<ExitCode, Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| args.get(i).map_or(Some(default), |a| a.parse().ok());
    let (Some(path), Some(seconds), Some(threads), Some(n)) =
        (args.first(), number(1, 20), number(2, 4), number(3, 256))
    else {
        eprintln!("usage: soak MODEL [SECONDS [THREADS [SESSIONS]]]");
        return Ok(ExitCode::from(2));
    };
    let model = Arc::new(Model::open(path)?);
    let ctx = model.config().has_attention().then_some(CTX);
    let options = SessionOptions { threads: Some(1), ctx, batch: 16, ..SessionOptions::default() };
    let texts = texts(&model, &options)?;
    let talks = talks(&model, &options, n.max(1))?;
    let counts = Counts::default();
    let start = Instant::now();
    let samples = run(&talks, &texts, threads.max(1), Duration::from_secs(seconds as u64), &counts)?;
    let n = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{} sessions on one map, {threads} threads, {:.0} s: {} steps ({:.0}/s), {} texts whole, {} left in their middle, \
         {} steps cancelled; every token as a single session's",
        talks.len(),
        start.elapsed().as_secs_f64(),
        n(&counts.tokens),
        n(&counts.tokens) as f64 / start.elapsed().as_secs_f64(),
        n(&counts.texts),
        n(&counts.left),
        n(&counts.cancelled),
    );
    let (all, private): (Vec<u64>, Vec<u64>) = samples.into_iter().unzip();
    let grown = growth(&all);
    println!(
        "resident memory: {:.1} MB in the first tenth, {:+.3} % in the last (private {:.1} MB, {:+.3} %), {} samples",
        mean(&all[..all.len().div_ceil(10)]) / 1e6,
        100.0 * grown,
        mean(&private[..private.len().div_ceil(10)]) / 1e6,
        100.0 * growth(&private),
        all.len(),
    );
    Ok(if grown < MAX_GROWTH { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
