//! A slice of the loss through weight space: what lies around a trained model, and between several.
//!
//! The loss of a model is a function of all its weights; on a plane through them it can be drawn. Around one model the plane is spanned by two
//! random directions on the scale of its weights (Li et al. 2018, see [`plane::direction`]). Between two or three models it goes through their
//! weights (Garipov, Izmailov, Podoprikhin, Vetrov & Wilson, "Loss surfaces, mode connectivity, and fast ensembling of DNNs", 2018), and the
//! loss along the straight lines between them tells whether their minima are connected: the *barrier* is how far it rises above the line
//! between its ends (Frankle, Dziugaite, Roy & Carbin, "Linear mode connectivity and the lottery ticket hypothesis", 2020).
//!
//! Each point is a pass over the same tokens by one thread, so that the values depend neither on the order nor on the number of threads.

pub mod picture;
pub mod plane;

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::model::{Batch, Model, Source};
use crate::params::ParamStore;
use crate::tape::Tape;
use crate::train::feed::{BatchSize, EvalFeed};
use crate::train::trained::TrainedRun;
use crate::train::trainer::carries;
use plane::Plane;

/// Windows that are evaluated side by side when a run's batch is the whole text.
const FULL_ROWS: usize = 32;
/// How far a plane between models reaches beyond them, in the distance of the first two.
const BEYOND: f64 = 0.35;

/// What to draw.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Points of a side.
    pub grid: usize,
    /// Around one model, how far the plane reaches to each side, in lengths of the weights; between models, multiplies what lies beyond them.
    pub span: f64,
    /// Validation tokens that every point is measured on.
    pub tokens: u64,
    /// Of the random directions.
    pub seed: u64,
    /// Cores; decides nothing.
    pub threads: usize,
}

impl Options {
    fn check(&self) -> Result<()> {
        let wrong = |key, problem| Err(Error::Setting { key, problem });
        if !(3..=301).contains(&self.grid) || self.grid.is_multiple_of(2) {
            let problem = format!(
                "is {}, expected an odd number from 3 to 301, so that the model lies on a point",
                self.grid
            );
            return wrong("grid", problem);
        }
        if !(self.span.is_finite() && self.span > 0.0) {
            return wrong("span", format!("is {}, expected a positive number", self.span));
        }
        if self.tokens < 2 {
            return wrong("tokens", format!("is {}, expected at least 2", self.tokens));
        }
        if !(1..=1024).contains(&self.threads) {
            return wrong("threads", format!("is {}, expected 1 to 1024", self.threads));
        }
        Ok(())
    }
}

/// A model on the plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The run's name.
    pub name: String,
    /// Where it lies.
    pub at: (f64, f64),
    /// Its loss, nats per token.
    pub loss: f64,
}

/// The straight line between two models.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// Its ends, as numbers of models from 0.
    pub ends: (usize, usize),
    /// Share of the way from the first to the second, and the loss there.
    pub losses: Vec<(f64, f64)>,
}

impl Path {
    /// The highest rise above the line between the losses of the ends, and where; infinite where the loss is not finite.
    pub fn barrier(&self) -> (f64, f64) {
        let (Some(first), Some(last)) = (self.losses.first(), self.losses.last()) else { return (0.0, 0.0) };
        let rise = |&(t, loss): &(f64, f64)| {
            let rise = loss - ((1.0 - t) * first.1 + t * last.1);
            (t, if rise.is_nan() { f64::INFINITY } else { rise })
        };
        let (t, rise) = self.losses.iter().map(rise).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0.0, 0.0));
        (rise, t)
    }
}

/// Losses over a plane.
#[derive(Clone, Debug)]
pub struct Landscape {
    /// Places along the first direction, ascending.
    pub x: Vec<f64>,
    /// Places along the second direction, ascending.
    pub y: Vec<f64>,
    /// A row for each y, nats per token; NaN or infinite where the model computes that.
    pub losses: Vec<Vec<f64>>,
    /// The models on it.
    pub models: Vec<Place>,
    /// The lines between them.
    pub paths: Vec<Path>,
    /// Lengths of the directions in weight space.
    pub lengths: (f64, f64),
    /// Tokens that each loss was measured on.
    pub tokens: usize,
    /// What guessing costs: `ln(vocab_size)`, nats.
    pub guessing: f64,
}

impl Landscape {
    /// Measures the plane around one run, or through two or three. `step` is called after each point, from any thread.
    ///
    /// # Errors
    /// Options that cannot work, runs of different models or vocabularies, nothing held out to measure on.
    pub fn of(runs: &[TrainedRun], options: Options, step: &(dyn Fn() + Sync)) -> Result<Self> {
        options.check()?;
        let [first, others @ ..] = runs else { panic!("a run to look at") };
        for other in others {
            first.must_match(other)?;
        }
        let surface = Surface::new(first, options.tokens)?;
        let numbers = |run: &TrainedRun| [&run.store.values[..], &run.store.buffers].concat();
        let (layout, origin) = (first.store.layout(), numbers(first));
        let plane = match others {
            [] => Plane::around(layout, origin, options.seed),
            [second] => Plane::through_two(layout, origin, &numbers(second), options.seed),
            [second, third, ..] => Plane::through_three(origin, &numbers(second), &numbers(third)),
        };
        let (x, y) = axes(&plane, options);
        let points: Vec<(f64, f64)> = y.iter().flat_map(|y| x.iter().map(move |x| (*x, *y))).collect();
        let n = runs.len();
        let pairs: Vec<(usize, usize)> = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect();
        let between = |(a, b): (usize, usize), t: f64| {
            let ((ax, ay), (bx, by)) = (plane.models[a], plane.models[b]);
            (ax + t * (bx - ax), ay + t * (by - ay))
        };
        let shares: Vec<f64> = (0..options.grid).map(|i| i as f64 / (options.grid - 1) as f64).collect();
        let along = pairs.iter().flat_map(|pair| shares.iter().map(|t| between(*pair, *t)));
        let all: Vec<(f64, f64)> =
            plane.models.iter().copied().chain(along).chain(points.iter().copied()).collect();
        let losses = surface.measure(&plane, &all, options.threads, step)?;
        let (at_models, rest) = losses.split_at(n);
        let (on_lines, on_grid) = rest.split_at(pairs.len() * options.grid);
        let place = |(run, (at, loss)): (&TrainedRun, (&(f64, f64), &f64))| Place {
            name: run.name(),
            at: *at,
            loss: *loss,
        };
        let path = |(ends, losses): (&(usize, usize), &[f64])| Path {
            ends: *ends,
            losses: shares.iter().copied().zip(losses.iter().copied()).collect(),
        };
        Ok(Landscape {
            losses: on_grid.chunks(x.len()).map(<[f64]>::to_vec).collect(),
            models: runs.iter().zip(plane.models.iter().zip(at_models)).map(place).collect(),
            paths: pairs.iter().zip(on_lines.chunks(options.grid)).map(path).collect(),
            lengths: plane.lengths(),
            tokens: surface.counted,
            guessing: (first.config.model.vocab_size as f64).ln(),
            x,
            y,
        })
    }

    /// Points whose loss is measured, before any is.
    pub fn points(n_models: usize, options: Options) -> u64 {
        let pairs = n_models * (n_models - 1) / 2;
        (n_models + pairs * options.grid + options.grid * options.grid) as u64
    }

    /// The lowest loss on the grid and its place.
    pub fn lowest(&self) -> Option<(f64, (f64, f64))> {
        let rows = self.losses.iter().zip(&self.y);
        let all = rows.flat_map(|(row, y)| row.iter().zip(&self.x).map(move |(loss, x)| (*loss, (*x, *y))));
        all.filter(|(loss, _)| loss.is_finite()).min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Points of the grid whose loss is not finite.
    pub fn not_finite(&self) -> usize {
        self.losses.iter().flatten().filter(|loss| !loss.is_finite()).count()
    }

    /// All numbers; losses that are not finite are `"nan"` or `"inf"`.
    pub fn to_json(&self) -> Value {
        let number = |v: f64| match v {
            v if v.is_finite() => json!(v),
            v if v.is_nan() => json!("nan"),
            _ => json!("inf"),
        };
        let models = self
            .models
            .iter()
            .map(|m| json!({ "run": m.name, "x": m.at.0, "y": m.at.1, "loss": number(m.loss) }));
        let paths = self.paths.iter().map(|path| {
            let (rise, at) = path.barrier();
            json!({
                "from": path.ends.0, "to": path.ends.1, "barrier": number(rise), "barrier_at": at,
                "t": path.losses.iter().map(|p| p.0).collect::<Vec<_>>(),
                "loss": path.losses.iter().map(|p| number(p.1)).collect::<Vec<_>>(),
            })
        });
        json!({
            "tokens": self.tokens, "guessing": self.guessing, "lengths": [self.lengths.0, self.lengths.1],
            "models": models.collect::<Vec<_>>(), "paths": paths.collect::<Vec<_>>(), "x": self.x, "y": self.y,
            "losses": self.losses.iter().map(|row| row.iter().map(|v| number(*v)).collect()).collect::<Vec<Value>>(),
        })
    }
}

/// Where the points lie.
fn axes(plane: &Plane, options: Options) -> (Vec<f64>, Vec<f64>) {
    let over = |lo: f64, hi: f64| -> Vec<f64> {
        let middle = (options.grid - 1) / 2;
        // From the middle, so that it is met exactly.
        let step = (hi - lo) / (options.grid - 1) as f64;
        let centre = if lo == -hi { 0.0 } else { lo + step * middle as f64 };
        (0..options.grid).map(|i| centre + (i as f64 - middle as f64) * step).collect()
    };
    let room = BEYOND * options.span;
    let around = |of: fn(&(f64, f64)) -> f64| {
        let all = || plane.models.iter().map(of);
        over(all().fold(f64::INFINITY, f64::min) - room, all().fold(f64::NEG_INFINITY, f64::max) + room)
    };
    match plane.models.len() {
        1 => (over(-options.span, options.span), over(-options.span, options.span)),
        2 => (around(|m| m.0), over(-(0.5 + BEYOND) * options.span, (0.5 + BEYOND) * options.span)),
        _ => (around(|m| m.0), around(|m| m.1)),
    }
}

/// The loss as a function of the weights, on a fixed text.
struct Surface<'a> {
    model: &'a Model<f32>,
    store: &'a ParamStore<f32>,
    batches: Vec<(Vec<u32>, Vec<u32>, usize, bool)>, // tokens, targets, tokens of a window, begins anew
    rows: usize,
    counted: usize,
}

impl<'a> Surface<'a> {
    fn new(run: &'a TrainedRun, tokens: u64) -> Result<Self> {
        let held_out = run.held_out(tokens.saturating_add(1))?;
        let rows = match run.config.batch_size {
            BatchSize::Windows(n) => n,
            BatchSize::Full => FULL_ROWS,
        };
        let mut feed = EvalFeed::new(held_out, run.config.seq_len, rows, carries(&run.config.model))?;
        let (mut batches, mut counted) = (Vec::new(), 0);
        while let Some((batch, reset)) = feed.next_batch()? {
            counted += batch.counted();
            batches.push((batch.tokens.to_vec(), batch.targets.to_vec(), batch.len, reset));
        }
        Ok(Surface { model: &run.model, store: &run.store, batches, rows, counted })
    }

    /// The losses at `points`, in their order.
    fn measure(
        &self,
        plane: &Plane,
        points: &[(f64, f64)],
        threads: usize,
        step: &(dyn Fn() + Sync),
    ) -> Result<Vec<f64>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| {
            Error::Setting { key: "threads", problem: format!("{threads} threads cannot be started: {e}") }
        })?;
        let place = || (Tape::new(), self.store.clone());
        let one = |(tape, store): &mut (Tape<f32>, ParamStore<f32>), &(x, y): &(f64, f64)| {
            let numbers = plane.at(x, y);
            let n = store.values.len();
            store.values.copy_from_slice(&numbers[..n]);
            store.buffers.copy_from_slice(&numbers[n..]);
            keep_variances_positive(store);
            let loss = self.loss(tape, store);
            step();
            loss
        };
        Ok(pool.install(|| points.par_iter().with_max_len(1).map_init(place, one).collect()))
    }

    fn loss(&self, tape: &mut Tape<f32>, store: &ParamStore<f32>) -> f64 {
        let mut state = self.model.new_state(self.rows);
        let mut sum = 0.0;
        for (tokens, targets, len, reset) in &self.batches {
            if *reset {
                state.reset();
            }
            let batch = Batch { tokens, targets, batch: self.rows, len: *len, source: Source::NONE };
            sum += self.model.loss(tape, store, batch, &mut state);
        }
        sum / self.counted as f64
    }
}

/// Beyond two models with batch norms, the line through their running variances may go below 0.
fn keep_variances_positive(store: &mut ParamStore<f32>) {
    let variances: Vec<_> =
        store.layout().buffers().iter().map(|b| b.offset + b.width..b.offset + 2 * b.width).collect();
    for range in variances {
        store.buffers[range].iter_mut().for_each(|v| *v = v.max(0.0));
    }
}

#[cfg(test)]
mod tests;
