//! Flags of `train` that an experiment has no use of. They are refused, in one line, rather than heard and forgotten.
//!
//! A settings file is written for `train`, and may say them all the same, as long as they change nothing that is trained.

use crate::error::{Error, Result};
use crate::settings::Settings;

/// A command that trains short runs of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `compare`.
    Compare,
    /// `lr-find`.
    LrFind,
}

impl Command {
    fn name(self) -> &'static str {
        match self {
            Command::Compare => "compare",
            Command::LrFind => "lr-find",
        }
    }

    /// Refuses what was said by `flags`, or by them and a file together (`said`), and would not be used.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn refuse_unused(self, flags: &Settings, said: &Settings) -> Result<()> {
        if said.restarts.is_some_and(|n| n != 1) {
            let problem =
                "trains one beginning at a time: leave it out, or give --seeds N for several".into();
            return Err(self.refusal("restarts", problem));
        }
        let never = "it is for train, leave it out";
        let measures = self == Command::Compare;
        let reasons = [
            ("restart_share", flags.restart_share.is_some(), "trains one beginning at a time"),
            ("dtype", flags.dtype.is_some(), "exports nothing"),
            ("sample_every", flags.sample_every.is_some(), "draws no samples"),
            ("sample_prompt", flags.sample_prompt.is_some(), "draws no samples"),
            ("checkpoint_every", flags.checkpoint_every.is_some(), "saves nothing on the way"),
            ("observe_every", flags.observe_every.is_some(), "does not look inside"),
            ("keep_best", flags.keep_best.is_some(), "judges the last weights"),
            ("eval_every", flags.eval_every.is_some() && !measures, "evaluates nothing"),
            ("eval_tokens", flags.eval_tokens.is_some() && !measures, "evaluates nothing"),
        ];
        match reasons.into_iter().find(|(_, said, _)| *said) {
            Some((key, _, why)) => Err(self.refusal(key, format!("{why}: {never}"))),
            None => Ok(()),
        }
    }

    fn refusal(self, key: &'static str, problem: String) -> Error {
        Error::Setting { key, problem: format!("is not for {}, which {problem}", self.name()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_without_use_are_refused_and_files_may_say_them() {
        let line = |command: Command, said: Settings| {
            command.refuse_unused(&said, &said).err().map(|e| e.to_string()).unwrap_or_default()
        };
        let restarts = || Settings { restarts: Some(3), ..Default::default() };
        for command in [Command::Compare, Command::LrFind] {
            assert!(line(command, restarts()).starts_with("restarts: is not for "));
            assert!(command.refuse_unused(&Settings::default(), &restarts()).is_err(), "from a file");
            let samples = Settings { sample_every: Some(9), ..Default::default() };
            assert!(command.refuse_unused(&Settings::default(), &samples).is_ok());
            assert!(line(command, samples).contains("draws no samples"));
            assert_eq!(
                line(command, Settings { restarts: Some(1), lr: Some(0.1), ..Default::default() }),
                ""
            );
        }
        let evals = || Settings { eval_every: Some(9), ..Default::default() };
        assert_eq!(line(Command::Compare, evals()), "");
        assert!(line(Command::LrFind, evals()).contains("evaluates nothing"));
    }
}
