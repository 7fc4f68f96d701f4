//! Where the time of a step goes, stage by stage.

use std::time::Instant;

/// A stage of a step. Stages follow each other on the calling thread, so their times add up to that of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Rows of the embedding, and positions that are added to them.
    Embedding,
    /// Angles of rotary positions.
    Angles,
    /// Norm of a block's input, quantization included.
    Norm,
    /// Queries, keys and values.
    Qkv,
    /// Query and key norms, rotation, and the write to the cache.
    Rope,
    /// Scores, softmax and weighted values.
    Attention,
    /// Output product of attention, residual included.
    AttentionOut,
    /// First products of the feed-forward part, activation and quantization included.
    FfnUp,
    /// Second product of the feed-forward part, residual included.
    FfnDown,
    /// Products of recurrent blocks with their inputs.
    RecurrentInput,
    /// Products of recurrent blocks with their states, and the cells.
    RecurrentState,
    /// Final norm and logits.
    Head,
}

impl Stage {
    /// Every stage, in the order of a step.
    pub const ALL: [Stage; 12] = [
        Stage::Embedding,
        Stage::Angles,
        Stage::Norm,
        Stage::Qkv,
        Stage::Rope,
        Stage::Attention,
        Stage::AttentionOut,
        Stage::FfnUp,
        Stage::FfnDown,
        Stage::RecurrentInput,
        Stage::RecurrentState,
        Stage::Head,
    ];

    /// The stage in the words of a report.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Embedding => "embedding",
            Stage::Angles => "angles",
            Stage::Norm => "norm",
            Stage::Qkv => "q k v",
            Stage::Rope => "rope, cache",
            Stage::Attention => "attention",
            Stage::AttentionOut => "attention out",
            Stage::FfnUp => "ffn up",
            Stage::FfnDown => "ffn down",
            Stage::RecurrentInput => "recurrent input",
            Stage::RecurrentState => "recurrent state",
            Stage::Head => "head",
        }
    }
}

/// What one stage took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageTime {
    /// The stage.
    pub stage: Stage,
    /// Wall time, in seconds.
    pub seconds: f64,
    /// Times that it ran, once a block and pass.
    pub calls: u64,
}

/// Wall time of each stage of the steps since [`Session::set_profiling`](crate::Session::set_profiling) was called.
#[derive(Clone, Debug)]
pub struct Profile {
    times: [StageTime; Stage::ALL.len()],
    /// The stage that runs, and since when.
    running: Option<(Stage, Instant)>,
}

impl Profile {
    pub(crate) fn new() -> Profile {
        Profile { times: Stage::ALL.map(|stage| StageTime { stage, seconds: 0.0, calls: 0 }), running: None }
    }

    /// The stages that ran, in the order of a step.
    pub fn stages(&self) -> impl Iterator<Item = StageTime> {
        self.times.iter().copied().filter(|time| time.calls > 0)
    }

    /// Seconds of all stages together.
    pub fn seconds(&self) -> f64 {
        self.times.iter().map(|time| time.seconds).sum()
    }

    /// Ends the stage that runs and begins `stage`, or none.
    pub(crate) fn mark(&mut self, stage: Option<Stage>) {
        let now = Instant::now();
        if let Some((running, since)) = self.running {
            let time = &mut self.times[running as usize];
            time.seconds += (now - since).as_secs_f64();
            time.calls += 1;
        }
        self.running = stage.map(|stage| (stage, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_listed_in_their_order() {
        for (i, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, i);
        }
    }

    #[test]
    fn times_add_up() {
        let mut profile = Profile::new();
        let start = Instant::now();
        for stage in [Stage::Norm, Stage::Qkv, Stage::Norm] {
            profile.mark(Some(stage));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        profile.mark(None);
        let elapsed = start.elapsed().as_secs_f64();
        std::thread::sleep(std::time::Duration::from_millis(2));
        profile.mark(None);
        let found: Vec<_> = profile.stages().map(|time| (time.stage, time.calls)).collect();
        assert_eq!(found, [(Stage::Norm, 2), (Stage::Qkv, 1)]);
        assert!((0.006..=elapsed).contains(&profile.seconds()), "{} of {elapsed} s", profile.seconds());
    }
}
