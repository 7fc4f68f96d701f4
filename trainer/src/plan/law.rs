//! What loss a run will reach, before it runs.
//!
//! The form of Hoffmann et al., "Training compute-optimal large language models" (2022), for a model of `N` weights in its blocks that
//! sees `D` tokens, with the floor and both terms in proportion to the text's [difficulty](super::difficulty()):
//!
//! ```text
//! loss = h (e + a N'^-α + b D'^-β)
//! ```
//!
//! Of a text of `U` tokens, reading it again is worth less each time (Muennighoff et al., "Scaling data-constrained language
//! models", 2023): `D' = U + U r (1 − exp(−(D/U − 1) / r))` where D exceeds U, and weights beyond some for each of its tokens learn it by
//! heart instead: `N' = c U (1 − exp(−N / (c U)))`. The constants are fitted by `trainer/benches/fit_law.py` on the runs in
//! `points.tsv`, which were made by this trainer with the presets (docs/recipes.md).

/// A prediction, nats per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// The most likely.
    pub mean: f64,
    /// Two standard deviations of the fit's residuals below and above it.
    pub range: [f64; 2],
}

/// A run, as far as the law looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Weights in the matrices of the blocks.
    pub weights: f64,
    /// Tokens that it sees.
    pub tokens: f64,
    /// Tokens of the text, as far as it trains on it.
    pub unique: f64,
    /// Difficulty of the text, nats per token.
    pub difficulty: f64,
}

/// The constants.
#[derive(Clone, Copy, Debug)]
struct Constants {
    e: f64,
    a: f64,
    alpha: f64,
    b: f64,
    beta: f64,
    /// r: passes after which more of them are worth little.
    passes: f64,
}

/// Fitted by `trainer/benches/fit_law.py`.
const LLAMA: Constants =
    Constants { e: 0.5484, a: 2.695, alpha: 0.2347, b: 45.95, beta: 0.4007, passes: 7.912 };
/// Loss of a family beside that of `llama` with as many weights and tokens, by the same fit, each by one run.
const FAMILIES: &[(&str, f64)] =
    &[("llama", 1.0), ("gpt", 1.037), ("lstm", 1.073), ("gru", 1.063), ("rnn", 1.097)];
/// Standard deviation of ln(loss) around the law: over the points, which are of texts by characters; and, an assumption, with
/// other tokens, whose difficulty was never compared with a loss.
const DEVIATION: [f64; 2] = [0.02, 0.1];

/// c: an assumption, since no run of `points.tsv` has so many. GPT of 10.7M parameters overfits Shakespeare's million characters at once
/// (nanoGPT needs dropout there); sizes in between were not tried.
const WEIGHTS_PER_TOKEN: f64 = 4.0;

/// The loss of `run` on text that it has not seen. `by_characters` tells a character or byte vocabulary from others.
pub fn predict(family: &str, run: &Run, by_characters: bool) -> Loss {
    let Constants { e, a, alpha, b, beta, .. } = LLAMA;
    let factor = FAMILIES.iter().find(|(name, _)| *name == family).map_or(1.0, |(_, factor)| *factor);
    let tokens = worth(run.tokens, run.unique, LLAMA.passes);
    let weights = useful(run.weights, run.unique);
    let mean = factor * run.difficulty * (e + a * weights.powf(-alpha) + b * tokens.powf(-beta));
    let spread = (2.0 * DEVIATION[usize::from(!by_characters)]).exp();
    Loss { mean, range: [mean / spread, mean * spread] }
}

/// How many fresh tokens `tokens` of a text of `unique` are worth.
fn worth(tokens: f64, unique: f64, passes: f64) -> f64 {
    let again = tokens / unique.max(1.0) - 1.0;
    if again <= 0.0 { tokens } else { unique * (1.0 + passes * (1.0 - (-again / passes).exp())) }
}

/// How many of `weights` a text of `unique` tokens can teach something that holds for others too.
fn useful(weights: f64, unique: f64) -> f64 {
    let most = WEIGHTS_PER_TOKEN * unique.max(1.0);
    most * (1.0 - (-weights / most).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_pass_is_worth_less_than_the_first_and_there_is_an_end() {
        assert_eq!(worth(5e5, 1e6, 8.0), 5e5);
        let two = worth(2e6, 1e6, 8.0);
        assert!((1.9e6..2e6).contains(&two), "{two}");
        assert!((8.9e6..=9e6).contains(&worth(1e9, 1e6, 8.0)));
    }

    /// Family, text, run, whether by characters, and loss.
    type Point = (&'static str, &'static str, Run, bool, f64);

    fn points() -> Vec<Point> {
        let lines = include_str!("points.tsv").lines().filter(|l| !l.starts_with('#') && !l.is_empty());
        let point = |line: &'static str| {
            let fields: Vec<&str> = line.split('\t').collect();
            let number = |i: usize| fields[i].parse::<f64>().unwrap_or_else(|e| panic!("{line}: {e}"));
            let run = Run { weights: number(3), tokens: number(4), unique: number(5), difficulty: number(6) };
            (fields[0], fields[1], run, fields[2] == "char", number(7))
        };
        lines.map(point).collect()
    }

    /// Every point that the constants were fitted on is within three deviations of what they say.
    #[test]
    fn the_law_says_what_was_measured() {
        let points = points();
        for point @ (family, _, run, by_characters, found) in &points {
            let expected = predict(family, run, *by_characters);
            let deviations = (found / expected.mean).ln().abs() / DEVIATION[usize::from(!by_characters)];
            assert!(deviations < 3.0, "{point:?}: {expected:?}, {deviations:.1} deviations");
        }
        assert!(points.len() >= 8, "{} points", points.len());
    }

    /// A family's factor is that of its run over what `llama` would have reached on the same text, as `fit_law.py` prints it.
    #[test]
    fn a_familys_factor_is_what_its_run_came_to() {
        let points = points();
        let off = |(_, _, run, by_characters, loss): &Point| {
            (loss / predict("llama", run, *by_characters).mean).ln()
        };
        for (family, factor) in &FAMILIES[1..] {
            let own = points.iter().find(|p| p.0 == *family).expect("a run of each family");
            let beside: Vec<f64> =
                points.iter().filter(|p| (p.0, p.1) == ("llama", own.1)).map(off).collect();
            let found = (off(own) - beside.iter().sum::<f64>() / beside.len() as f64).exp();
            assert_eq!(format!("{found:.3}"), format!("{factor:.3}"), "{family}");
        }
    }
}
