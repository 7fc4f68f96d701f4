//! What to train in a given time on this machine: sizes are tried in thought, each with the speed that was measured here and the
//! loss that a law, fitted on this trainer's own runs, predicts.

pub mod device;
mod difficulty;
mod excerpt;
pub mod flops;
pub mod ladder;
pub mod law;
mod speed;

use std::time::Duration;

use siskin_format::vocab::VocabKind;
use siskin_format::{DType, ModelConfig, Vocab};

pub use difficulty::{Difficulty, difficulty};
pub use excerpt::Excerpt;
pub use speed::Speed;

use crate::data::Tokens;
use crate::error::{Error, Result};
use crate::export::Trained;
use crate::params::ParamLayout;
use crate::settings::Settings;
use crate::settings::model::{family, model_config};
use crate::settings::presets::{TextFacts, fill};
use crate::train::restarts::Restarts;
use crate::verify::Measured;

/// Share of a budget in which updates are made; evaluations, samples, checkpoints and the export take the rest.
const UPDATES: f64 = 0.9;
/// A text of less difficulty, in nats per token, repeats itself.
const NOTHING: f64 = 0.02;
/// Fewest updates that make a run worth choosing.
const FEWEST_STEPS: f64 = 250.0;
/// A smaller model whose predicted loss is so little above the least, relatively, is taken instead: it runs faster.
const AS_GOOD: f64 = 0.002;
/// Rungs of the ladder that are timed.
const TIMED: [usize; 3] = [0, 2, 5];
/// Share of the budget that the trials may take, and the most of it.
const TRIALS: f64 = 0.03;
const MOST_TRIALS: f64 = 1.5;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What the user said: it is kept, the plan fills in what is open.
    pub said: &'a Settings,
    /// The text, or its beginning.
    pub train: &'a Tokens,
    /// What is held out of it, or the beginning of that.
    pub val: &'a Tokens,
    /// Tokens of the text that will be trained on.
    pub unique: f64,
    /// Its tokenizer.
    pub vocab: &'a Vocab,
    /// The budget.
    pub minutes: f64,
    /// Cores.
    pub threads: usize,
}

/// One size of model, and what would come of it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What was said and what the plan adds: size, context and batch.
    pub settings: Settings,
    /// The model.
    pub config: ModelConfig,
    /// Weights in the matrices of its blocks.
    pub weights: f64,
    /// All parameters.
    pub parameters: usize,
    /// Seconds of an update.
    pub step: f64,
    /// Updates in the budget.
    pub steps: f64,
    /// Tokens that they see.
    pub tokens: f64,
    /// The loss that is predicted.
    pub loss: law::Loss,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What could be trained, smallest first.
    pub candidates: Vec<Candidate>,
    /// The smallest of those that are predicted to do best.
    pub chosen: usize,
    /// Difficulty of the text, nats per token.
    pub difficulty: f64,
    /// No model will do better than frequencies of tokens do.
    noise: bool,
    /// Share of the budget for the run that is kept; the beginnings of other seeds take the rest.
    pub kept: f64,
}

/// What the exported file of a candidate takes.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Bytes of the file, but for its receipt (some hundred).
    pub file: usize,
    /// Bytes that a session of the runtime allocates on four threads.
    pub session: usize,
}

impl Plan {
    /// Chooses for `question`; `None` where nothing is open that a plan could choose, because the user named every block, or wants
    /// full-batch descent.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub fn make(question: &Question<'_>) -> Result<Option<Plan>> {
        let Question { said, train, val, unique, vocab, minutes, threads } = *question;
        if !(minutes.is_finite() && minutes > 0.0) {
            let problem = format!("is {minutes}, expected a positive number");
            return Err(Error::Setting { key: "minutes", problem });
        }
        if said.blocks.is_some() || said.batch_size.as_deref() == Some("full") {
            return Ok(None);
        }
        let budget = minutes * 60.0;
        // What the beginnings of other seeds take, the run that is kept has not.
        let kept = Restarts::of(said)?.map_or(1.0, Restarts::kept);
        let facts = TextFacts { threads };
        let family = family(said)?;
        let mut sizes: Vec<Settings> = Vec::new();
        for rung in ladder::rungs(family, unique) {
            let size = fill(&said.or(&rung), &facts)?;
            if model_config(&size, vocab.len()).is_ok() && !sizes.contains(&size) {
                sizes.push(size);
            }
        }
        let timed: Vec<Settings> =
            TIMED.iter().filter_map(|&i| sizes.get(i)).map(|s| batched(said, s, 0.0)).collect();
        let limit = Duration::from_secs_f64((TRIALS * budget).min(MOST_TRIALS));
        let speed = Speed::measure(&timed, vocab.len(), limit)?;
        let difficulty = difficulty(train, val, vocab.len())?;
        let noise = difficulty.is_noise();
        let of_text = Text {
            unique,
            difficulty,
            by_characters: matches!(vocab.kind(), VocabKind::Char | VocabKind::Byte),
        };
        let mut candidates = Vec::new();
        for size in &sizes {
            let seconds = UPDATES * kept * budget;
            let candidate = Candidate::new(said, size, vocab.len(), &speed, seconds, &of_text)?;
            let enough = candidate.steps >= FEWEST_STEPS;
            if enough || candidates.is_empty() {
                candidates.push(candidate);
            }
        }
        let least = candidates.iter().map(|c| c.loss.mean).fold(f64::INFINITY, f64::min);
        // Losses of nothing are all as good.
        let bound = (least * (1.0 + AS_GOOD)).max(NOTHING);
        let chosen = candidates.iter().position(|c| c.loss.mean <= bound);
        Ok(chosen.map(|chosen| Plan { candidates, chosen, difficulty: difficulty.by_context, noise, kept }))
    }

    /// The best candidate.
    pub fn best(&self) -> &Candidate {
        &self.candidates[self.chosen]
    }

    /// Why the predictions are not to be taken for what they are of a natural text, in one line.
    pub fn warning(&self) -> Option<String> {
        let nothing =
            "the text repeats itself: there is nothing left to learn after a few steps, and any size will do"
                .to_string();
        let noise = format!(
            "the text looks like noise, in which nothing says what comes next: no model will do better than about {:.2}, so the smallest is \
             chosen",
            self.best().loss.mean
        );
        match self.difficulty {
            d if d < NOTHING => Some(nothing),
            _ => self.noise.then_some(noise),
        }
    }

    /// What was chosen and why, in one line.
    pub fn describe(&self, minutes: f64) -> String {
        let best = self.best();
        let [low, high] = best.loss.range;
        let s = &best.settings;
        let size = match (s.hidden, best.config.has_attention()) {
            (Some(hidden), false) => format!("{} layers, state {hidden}", best.config.n_layers()),
            _ => format!("{} layers, {} wide", best.config.n_layers(), best.config.d_model),
        };
        let kept = match self.kept {
            share if share < 1.0 => format!(" ({:.0} % of it for the seed that is kept)", 100.0 * share),
            _ => String::new(),
        };
        format!(
            "chosen for {minutes} min{kept} on this machine: {size}, context {}, batch {}, about {:.0} steps of {:.1} ms; predicted loss \
             {:.2} ({low:.2} to {high:.2}), the least of {} sizes",
            best.config.context,
            s.batch_size.as_deref().unwrap_or("1"),
            best.steps,
            1e3 * best.step,
            best.loss.mean,
            self.candidates.len()
        )
    }
}

/// What the law looks at of a text.
struct Text {
    unique: f64,
    difficulty: Difficulty,
    by_characters: bool,
}

/// `size` with the batch that suits so many tokens, unless one was said.
fn batched(said: &Settings, size: &Settings, tokens: f64) -> Settings {
    let preset = size.batch_size.clone();
    let transformer = matches!(size.model.as_deref(), Some("gpt" | "llama"));
    let batch_size = match &said.batch_size {
        None if transformer => {
            Some(ladder::windows(tokens, size.context.unwrap_or(1), size.d_model.unwrap_or(1)).to_string())
        }
        _ => preset,
    };
    Settings { batch_size, ..size.clone() }
}

impl Candidate {
    fn new(
        said: &Settings,
        size: &Settings,
        vocab_size: usize,
        speed: &Speed,
        seconds: f64,
        text: &Text,
    ) -> Result<Self> {
        let config = model_config(size, vocab_size)?;
        let reach = |settings: &Settings| {
            let windows = settings.batch_size.as_deref().and_then(|b| b.parse().ok()).unwrap_or(1);
            let step = speed.seconds(speed::flops_of_step(settings, &config, windows));
            let steps = seconds / step;
            (step, steps, steps * (windows * config.context) as f64)
        };
        let small = batched(said, size, 0.0);
        let settings = batched(said, size, reach(&small).2);
        let (step, steps, tokens) = reach(&settings);
        let weights = flops::block_weights(&config);
        let run = law::Run { weights, tokens, unique: text.unique, difficulty: text.difficulty.by_context };
        let family = settings.model.as_deref().unwrap_or_default();
        // The law was fitted on texts whose floor lies far below what n-grams reach; that of noise is the entropy of its tokens.
        let entropy = text.difficulty.by_frequency;
        let loss = match text.difficulty.is_noise() {
            true => law::Loss { mean: entropy, range: [entropy, entropy] },
            false => law::predict(family, &run, text.by_characters),
        };
        let parameters = ParamLayout::new(&config).len();
        Ok(Candidate { settings, config, weights, parameters, step, steps, tokens, loss })
    }

    /// What its exported file takes, found by writing one of zeros in memory.
    ///
    /// # Errors
    /// What the runtime refuses.
    pub fn size(&self, vocab: &Vocab, dtype: DType) -> Result<Size> {
        let zeros = vec![0.0; self.parameters];
        let bytes = Trained { config: &self.config, vocab, weights: &zeros }.to_bytes(dtype)?;
        let file = bytes.len();
        Ok(Size { file, session: Measured::from_bytes(bytes)?.session_bytes(4)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn vocab() -> Vocab {
        let chars: Vec<char> = ('!'..).take(30).collect();
        Vocab::chars(&chars, false).unwrap()
    }

    fn plan(said: &Settings, minutes: f64) -> Option<Plan> {
        let mut rng = Rng::new(1);
        // Each token is near the one before it.
        let mut ids = |n: usize| {
            let mut at = 0;
            let next = |_| {
                at = (at + rng.below(3) as u32) % 30;
                at
            };
            Tokens::from_vec((0..n).map(next).collect())
        };
        let (train, val) = (ids(30_000), ids(2_000));
        let vocab = vocab();
        let question =
            Question { said, train: &train, val: &val, unique: 1e6, vocab: &vocab, minutes, threads: 1 };
        Plan::make(&question).unwrap()
    }

    #[test]
    fn more_time_never_chooses_a_smaller_model_and_flags_win() {
        let short = plan(&Settings::default(), 0.05).unwrap();
        let long = plan(&Settings::default(), 60.0).unwrap();
        assert!(long.best().weights >= short.best().weights);
        assert!(long.candidates.len() > short.candidates.len());
        assert!(long.best().loss.mean < short.best().loss.mean);
        let said = Settings { d_model: Some(64), batch_size: Some("3".into()), ..Default::default() };
        let kept = plan(&said, 1.0).unwrap();
        for candidate in &kept.candidates {
            assert_eq!(candidate.config.d_model, 64);
            assert_eq!(candidate.settings.batch_size.as_deref(), Some("3"));
        }
    }

    #[test]
    fn the_budget_is_shared_with_the_beginnings_of_other_seeds() {
        let seconds = |said: &Settings| {
            let plan = plan(said, 1.0).unwrap();
            (plan.best().steps * plan.best().step, plan.describe(1.0))
        };
        let (alone, line) = seconds(&Settings::default());
        assert!((alone - UPDATES * 60.0).abs() < 1e-6 && !line.contains("kept"), "{alone} {line}");
        let said = Settings { restarts: Some(4), restart_share: Some(1.0), ..Default::default() };
        let (each, line) = seconds(&said);
        assert!((each - alone / 4.0).abs() < 1e-6 && line.contains("25 % of it"), "{each} {line}");
    }

    #[test]
    fn nonsense_is_called_so_and_gets_the_smallest_size() {
        let of = |ids: Vec<u32>| {
            let tokens = Tokens::from_vec(ids);
            let (said, vocab) = (Settings::default(), vocab());
            let (train, val) = (&tokens, &tokens);
            let question =
                Question { said: &said, train, val, unique: 2e4, vocab: &vocab, minutes: 1.0, threads: 1 };
            Plan::make(&question).unwrap().unwrap()
        };
        let same = of(vec![7; 20_000]);
        assert!(same.chosen == 0 && same.warning().unwrap().contains("repeats itself"), "{same:?}");
        assert!(!same.describe(1.0).contains("-0.00"), "{}", same.describe(1.0));
        let mut rng = Rng::new(4);
        let draw = |n: usize, rng: &mut Rng| Tokens::from_vec((0..n).map(|_| rng.below(30) as u32).collect());
        let (train, val) = (draw(20_000, &mut rng), draw(5_000, &mut rng));
        let (said, vocab) = (Settings::default(), vocab());
        let question = Question {
            said: &said,
            train: &train,
            val: &val,
            unique: 2e4,
            vocab: &vocab,
            minutes: 1.0,
            threads: 1,
        };
        let noise = Plan::make(&question).unwrap().unwrap();
        assert!(noise.chosen == 0 && noise.warning().unwrap().contains("noise"), "{noise:?}");
        assert!((noise.best().loss.mean - 30f64.ln()).abs() < 0.02, "{noise:?}");
    }

    #[test]
    fn nothing_open_is_no_plan() {
        let full = Settings { batch_size: Some("full".into()), ..Default::default() };
        assert!(plan(&full, 1.0).is_none());
    }

    #[test]
    fn sizes_are_those_of_the_exported_file() {
        let plan = plan(&Settings::default(), 0.02).unwrap();
        let [q8, q4] = [DType::Q8, DType::Q4].map(|dtype| plan.candidates[0].size(&vocab(), dtype).unwrap());
        assert!(q8.file > q4.file && q8.file > plan.candidates[0].parameters, "{q8:?} {q4:?}");
        assert!(q8.session > 10_000);
    }
}
