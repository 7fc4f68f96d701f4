//! One update after the other: gradient → checked → clipped → stepped → averaged.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::optim::converge::{Convergence, StopReason};
use crate::optim::ema::Ema;
use crate::optim::guard::{Alarm, Guard, find_non_finite};
use crate::optim::schedule::plateau;
use crate::optim::swa::Swa;
use crate::optim::{Optimizer, ParamInfo, Schedule};
use crate::settings::descent::DescentConfig;

/// Losses that the guard compares with.
const GUARD_WINDOW: usize = 64;
/// Updates in a row that may be skipped because their gradient is not finite.
const MAX_SKIPPED: u32 = 3;

/// Gradient descent in motion: the optimiser and all that surrounds it.
pub struct Descent {
    config: DescentConfig,
    optimizer: Optimizer,
    schedule: Schedule,
    ema: Option<Ema>,
    swa: Option<Swa>,
    guard: Option<Guard>,
    convergence: Convergence,
    skipped: u32,
}

/// What one update did.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Learning rate in force.
    pub lr: f32,
    /// Norm of the gradient before clipping.
    pub grad_norm: f32,
    /// Something the user should know, as one line.
    pub note: Option<String>,
    /// Nothing was changed, because of what `note` says.
    pub skipped: bool,
    /// Why to stop now, if so.
    pub stop: Option<StopReason>,
}

/// What a checkpoint keeps besides the optimiser's and the average's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DescentState {
    optimizer_steps: u64,
    ema_updates: u64,
    #[serde(default)]
    swa_count: u64,
    plateau: Option<plateau::State>,
    guard: Option<Guard>,
    convergence: Convergence,
    skipped: u32,
}

impl Descent {
    /// Descent of the tensors `infos`, whose values are `params`.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub fn new(config: &DescentConfig, infos: Vec<ParamInfo>, params: &[f32]) -> Result<Self> {
        Ok(Descent {
            optimizer: Optimizer::new(&config.optim, infos)?,
            schedule: Schedule::new(&config.schedule)?,
            ema: (config.ema > 0.0).then(|| Ema::new(params, config.ema, true)),
            swa: (config.swa > 0.0).then(|| Swa::new(config.swa)),
            guard: (config.spike > 0.0).then(|| Guard::new(GUARD_WINDOW, config.spike)),
            convergence: Convergence::new(config.converge),
            skipped: 0,
            config: config.clone(),
        })
    }

    /// Update number `step` (from 0) of `total`: `scale · grads` is the gradient, `loss` the loss that it came from.
    ///
    /// A gradient or loss that is not finite changes nothing but is reported; a spike is reported and still taken.
    ///
    /// # Errors
    /// [`Error::Diverged`] after several updates in a row that could not be taken. `params` are then those of the
    /// last good one.
    pub fn update(
        &mut self,
        params: &mut [f32],
        grads: &mut [f32],
        scale: f32,
        loss: f64,
        step: u64,
        total: u64,
    ) -> Result<Update> {
        let factor = self.schedule.factor(step, total);
        let lr = self.optimizer.lr() * factor;
        let clipped = self.config.clip.clip(grads, scale);
        if !(loss.is_finite() && clipped.norm.is_finite()) {
            let note = self.skip(params, grads, loss, step)?;
            return Ok(Update { lr, grad_norm: clipped.norm, note: Some(note), skipped: true, stop: None });
        }
        self.skipped = 0;
        let note = self.spike(grads, loss, step);
        self.optimizer.step(params, grads, factor, clipped.scale);
        if let Some(ema) = &mut self.ema {
            ema.update(params);
        }
        if let Some(swa) = &mut self.swa {
            swa.update(params, step + 1, total);
        }
        let stop = self.convergence.observe_gradient(step + 1, f64::from(clipped.norm));
        Ok(Update { lr, grad_norm: clipped.norm, note, skipped: false, stop })
    }

    /// What the schedule multiplies the learning rate of update number `step` of `total` by.
    pub fn factor(&self, step: u64, total: u64) -> f32 {
        self.schedule.factor(step, total)
    }

    /// Takes the validation loss after `step` updates in; says why to stop, if so.
    pub fn observe_validation(&mut self, step: u64, loss: f64) -> Option<StopReason> {
        let loss = self.sign() * loss;
        self.schedule.observe_loss(loss);
        self.convergence.observe_loss(step, loss)
    }

    /// See [`Optimizer::set_rates`].
    pub fn set_rates(&mut self, lr: f32, adam_lr: Option<f32>) {
        self.optimizer.set_rates(lr, adam_lr);
    }

    /// Loss and step of the best evaluation.
    pub fn best(&self) -> Option<(f64, u64)> {
        self.convergence.best().map(|(loss, step)| (self.sign() * loss, step))
    }

    /// Exchanges `params` with their moving average, if there is one: once to evaluate, once more to go on.
    pub fn swap_average(&mut self, params: &mut [f32]) {
        if let Some(ema) = &mut self.ema {
            ema.swap(params);
        }
        if let Some(swa) = &mut self.swa {
            swa.swap(params);
        }
    }

    /// Whether the average is a [mean over the last updates](crate::optim::swa) that has begun.
    pub fn averages_uniformly(&self) -> bool {
        self.swa.as_ref().is_some_and(|swa| swa.count() > 0)
    }

    /// State, optimiser's numbers and average for a checkpoint.
    pub fn state(&self) -> (DescentState, &[f32], &[f32]) {
        let state = DescentState {
            optimizer_steps: self.optimizer.steps(),
            ema_updates: self.ema.as_ref().map_or(0, Ema::updates),
            swa_count: self.swa.as_ref().map_or(0, Swa::count),
            plateau: self.schedule.state(),
            guard: self.guard.clone(),
            convergence: self.convergence.clone(),
            skipped: self.skipped,
        };
        let average = self.ema.as_ref().map(Ema::average).or(self.swa.as_ref().map(Swa::numbers));
        (state, self.optimizer.state(), average.unwrap_or_default())
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// The numbers are those of another model or rule.
    pub fn restore(&mut self, state: DescentState, optimizer: &[f32], average: &[f32]) -> Result<()> {
        self.optimizer.restore(state.optimizer_steps, optimizer)?;
        if let Some(ema) = &mut self.ema {
            if average.len() != ema.average().len() {
                return Err(Error::Run("the checkpoint holds the averaged weights of another model".into()));
            }
            ema.restore(state.ema_updates, average);
        }
        if let Some(swa) = &mut self.swa {
            let n: usize = self.optimizer.infos().iter().map(ParamInfo::len).sum();
            if average.len() != if state.swa_count > 0 { 2 * n } else { 0 } {
                return Err(Error::Run("the checkpoint holds the averaged weights of another model".into()));
            }
            swa.restore(state.swa_count, average);
        }
        self.schedule.restore(state.plateau);
        self.guard = state.guard;
        self.convergence = state.convergence;
        self.skipped = state.skipped;
        Ok(())
    }

    /// −1 where the loss is to rise.
    fn sign(&self) -> f64 {
        if self.config.optim.maximize { -1.0 } else { 1.0 }
    }

    fn skip(&mut self, params: &[f32], grads: &[f32], loss: f64, step: u64) -> Result<String> {
        self.skipped += 1;
        let alarm = Alarm::NonFinite { step: step + 1, loss };
        let what = match find_non_finite(self.optimizer.infos(), params, grads) {
            Some(place) if loss.is_finite() => format!("step {}: {place}", step + 1),
            Some(place) => format!("{alarm}: {place}"),
            None => format!("{alarm}: the norm of the gradient overflows, though every gradient is finite"),
        };
        if self.skipped < MAX_SKIPPED {
            return Ok(what);
        }
        Err(Error::Diverged(format!("{what}; {MAX_SKIPPED} updates in a row could not be taken")))
    }

    /// Reports a loss far above the recent ones, with the tensor that holds most of the gradient.
    fn spike(&mut self, grads: &[f32], loss: f64, step: u64) -> Option<String> {
        let signed = self.sign() * loss;
        let alarm = self.guard.as_mut()?.observe(step + 1, signed)?;
        let mut at = 0;
        let squares: Vec<f64> = self
            .optimizer
            .infos()
            .iter()
            .map(|info| {
                let tensor = &grads[at..at + info.len()];
                at += info.len();
                tensor.iter().map(|g| f64::from(*g).powi(2)).sum()
            })
            .collect();
        let total: f64 = squares.iter().sum();
        let largest = (0..squares.len()).max_by(|a, b| squares[*a].total_cmp(&squares[*b]))?;
        let share = 100.0 * squares[largest] / total.max(f64::MIN_POSITIVE);
        let name = &self.optimizer.infos()[largest].name;
        Some(format!("{alarm}; {share:.0} % of the squared gradient is in {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{OptimConfig, OptimName, ParamKind};

    fn descent(edit: impl Fn(&mut DescentConfig)) -> Descent {
        let optim = OptimConfig { lr: Some(0.1), ..OptimConfig::new(OptimName::Sgd) };
        let mut config = DescentConfig { optim, accumulate: 1, spike: 4.0, ..Default::default() };
        config.schedule.name = crate::optim::ScheduleName::Constant;
        edit(&mut config);
        let infos = vec![
            ParamInfo::new("a.weight", 2, 1, ParamKind::Matrix),
            ParamInfo::new("b.bias", 1, 1, ParamKind::Vector),
        ];
        Descent::new(&config, infos, &[0.0; 3]).unwrap()
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing_and_is_named() {
        let mut d = descent(|_| ());
        let mut params = [1.0, 2.0, 3.0];
        let update = d.update(&mut params, &mut [0.0, 0.0, f32::NAN], 1.0, 0.5, 6, 10).unwrap();
        assert_eq!(params, [1.0, 2.0, 3.0]);
        let note = update.note.unwrap();
        assert!(note.contains("step 7") && note.contains("b.bias"), "{note}");
        d.update(&mut params, &mut [1.0, 0.0, 0.0], 1.0, 0.5, 7, 10).unwrap();
        assert_eq!(params, [0.9, 2.0, 3.0]);
    }

    #[test]
    fn several_in_a_row_end_the_run() {
        let mut d = descent(|_| ());
        let mut params = [1.0, 2.0, 3.0];
        for step in 0..2 {
            d.update(&mut params, &mut [0.0; 3], 1.0, f64::NAN, step, 10).unwrap();
        }
        let error = d.update(&mut params, &mut [f32::INFINITY, 0.0, 0.0], 1.0, f64::NAN, 2, 10).unwrap_err();
        assert!(error.to_string().contains("a.weight"), "{error}");
        assert_eq!(params, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_spike_names_the_tensor_with_most_of_the_gradient() {
        let mut d = descent(|_| ());
        let mut params = [0.0; 3];
        for step in 0..30 {
            let loss = 2.0 + 0.01 * f64::from(step as u32 % 3);
            assert_eq!(d.update(&mut params, &mut [0.1; 3], 1.0, loss, step, 100).unwrap().note, None);
        }
        let note = d.update(&mut params, &mut [0.1, 0.1, 9.0], 1.0, 5.0, 30, 100).unwrap().note.unwrap();
        assert!(note.contains("spiked to 5.0000 at step 31") && note.contains("b.bias"), "{note}");
    }

    #[test]
    fn ascending_watches_a_falling_loss() {
        let mut d = descent(|c| {
            c.optim.maximize = true;
            c.converge.patience = Some(2);
        });
        let mut params = [0.0; 3];
        d.update(&mut params, &mut [1.0; 3], 1.0, 1.0, 0, 10).unwrap();
        assert_eq!(params, [0.1; 3]);
        assert_eq!(d.observe_validation(1, 1.0), None);
        assert_eq!(d.observe_validation(2, 2.0), None);
        assert_eq!(d.best(), Some((2.0, 2)));
        assert_eq!(d.observe_validation(3, 1.5), None);
        assert!(d.observe_validation(4, 1.5).is_some());
    }

    #[test]
    fn a_restored_descent_goes_on_alike() {
        goes_on_alike(0.9, 0.0);
        goes_on_alike(0.0, 0.8);
        goes_on_alike(0.0, 0.3);
    }

    fn goes_on_alike(ema: f32, swa: f64) {
        let config = |c: &mut DescentConfig| {
            c.optim = OptimConfig::new(OptimName::Adam);
            (c.ema, c.swa) = (ema, swa);
        };
        let (mut one, mut params) = (descent(config), [1.0f32, -1.0, 0.5]);
        for step in 0..5 {
            one.update(&mut params, &mut [0.3, -0.2, 0.1], 1.0, 1.0, step, 10).unwrap();
        }
        let (state, numbers, average) = one.state();
        let json = serde_json::to_string(&state).unwrap();
        let (mut two, mut same) = (descent(config), params);
        two.restore(serde_json::from_str(&json).unwrap(), numbers, average).unwrap();
        for step in 5..8 {
            one.update(&mut params, &mut [0.1, 0.2, 0.3], 1.0, 1.0, step, 10).unwrap();
            two.update(&mut same, &mut [0.1, 0.2, 0.3], 1.0, 1.0, step, 10).unwrap();
        }
        assert_eq!(params, same);
        assert_eq!(one.state(), two.state());
    }
}
