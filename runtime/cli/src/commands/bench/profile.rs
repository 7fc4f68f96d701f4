//! Where the time of prompt and generation goes, stage by stage.

use crate::out::Failure;
use crate::units;
use serde_json::{Value, json};
use siskin::{Profile, Session, Stage};

/// The stages of a prompt and of generation.
pub struct Profiles {
    prompt: Times,
    generation: Times,
}

/// Seconds of each stage, and the tokens that they were for.
struct Times {
    tokens: usize,
    stages: Vec<(Stage, f64)>,
}

impl Times {
    fn new() -> Times {
        Times { tokens: 0, stages: Vec::new() }
    }

    fn add(&mut self, tokens: usize, profile: &Profile) {
        self.tokens += tokens;
        for time in profile.stages() {
            match self.stages.iter_mut().find(|(stage, _)| *stage == time.stage) {
                Some((_, seconds)) => *seconds += time.seconds,
                None => self.stages.push((time.stage, time.seconds)),
            }
        }
    }

    /// Microseconds per token and percent of the whole.
    fn of(&self, stage: Stage) -> (f64, f64) {
        let seconds = self.stages.iter().find(|(s, _)| *s == stage).map_or(0.0, |(_, seconds)| *seconds);
        (1e6 * seconds / self.tokens as f64, 100.0 * seconds / self.seconds())
    }

    fn seconds(&self) -> f64 {
        self.stages.iter().map(|(_, seconds)| seconds).sum()
    }

    fn json(&self) -> Value {
        let stage = |(stage, _): &(Stage, f64)| {
            let (microseconds, percent) = self.of(*stage);
            json!({"stage": stage.name(), "microseconds_per_token": microseconds, "percent": percent})
        };
        self.stages.iter().map(stage).collect()
    }
}

impl Profiles {
    /// Repeats a prompt and generation with the stages timed.
    pub fn measure(
        session: &mut Session,
        prompt: &[u32],
        n_gen: usize,
        reps: usize,
    ) -> Result<Profiles, Failure> {
        let mut profiles = Profiles { prompt: Times::new(), generation: Times::new() };
        for _ in 0..reps {
            session.reset();
            session.set_profiling(true);
            session.forward(prompt)?;
            profiles.prompt.add(prompt.len(), session.profile());
            session.set_profiling(true);
            for i in 0..n_gen {
                session.forward(&[prompt[i % prompt.len()]])?;
            }
            profiles.generation.add(n_gen, session.profile());
        }
        session.set_profiling(false);
        Ok(profiles)
    }

    /// The stages, as JSON.
    pub fn json(&self) -> Value {
        json!({"prompt": self.prompt.json(), "generation": self.generation.json()})
    }

    /// The stages, as a table.
    pub fn table(&self) -> String {
        let title = |title: &str| format!("{title:>21}");
        let mut text = format!("\n{:<18}{}{}\n", "stage", title("prompt, per token"), title("generation"));
        let mut line = |name: &str, cells: [(f64, f64); 2]| {
            let cells =
                cells.map(|(us, percent)| format!("{:>12} {percent:>5.1} %", units::seconds(us * 1e-6)));
            text.push_str(&format!("{name:<18}{}{}\n", cells[0], cells[1]));
        };
        let ran = |stage: &Stage| self.prompt.of(*stage).0 > 0.0 || self.generation.of(*stage).0 > 0.0;
        for stage in Stage::ALL.into_iter().filter(ran) {
            line(stage.name(), [self.prompt.of(stage), self.generation.of(stage)]);
        }
        let all = |times: &Times| (1e6 * times.seconds() / times.tokens as f64, 100.0);
        line("all", [all(&self.prompt), all(&self.generation)]);
        text
    }
}
