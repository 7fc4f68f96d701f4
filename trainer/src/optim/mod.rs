//! Gradient descent: what turns gradients into better weights.
//!
//! Training minimises a loss L(θ) by walking against its gradient g = ∇L(θ). What differs is how g becomes a
//! step, how long the step is, and when to stop:
//!
//! - one file per update rule: [`sgd`] (plain, momentum, Nesterov), [`adagrad`], [`rmsprop`], [`adam`],
//!   [`adamw`], [`lion`], [`muon`]; [`Optimizer`] drives any of them over all tensors of a model;
//! - [`schedule`]: how the learning rate moves over the run;
//! - [`clip`], [`accumulate`], [`ema`], [`swa`]: what is done to gradients before and to weights after a step;
//! - [`converge`] and [`guard`]: when to stop, and what to say when the loss breaks;
//! - [`init`]: where the walk begins.
//!
//! Parameters and gradients are flat `f32` slices described by one [`ParamInfo`] per tensor. Every rule is
//! elementwise (or, in Muon, per matrix), work is cut at fixed places, and so the result does not depend on
//! the number of threads.

pub mod accumulate;
pub mod adagrad;
pub mod adam;
pub mod adamw;
pub mod clip;
pub mod config;
pub mod converge;
pub mod ema;
#[cfg(test)]
mod goldens;
pub mod guard;
pub mod init;
pub mod lion;
pub mod muon;
mod newton_schulz;
mod optimizer;
mod param;
pub mod rmsprop;
pub mod schedule;
pub mod sgd;
pub mod swa;

pub use config::{OptimConfig, OptimName};
pub use optimizer::Optimizer;
pub use param::{ParamInfo, ParamKind, Step};
pub use schedule::{Schedule, ScheduleConfig, ScheduleName};
