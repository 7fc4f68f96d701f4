//! Variants of settings: what is said on a command line as `--vary norm=none,rms` or `--variant "optimizer=sgd lr=0.5"`.

use crate::error::{Error, Result};
use crate::settings::{Settings, nearest};

/// More variants than a picture can tell apart.
pub const MOST: usize = 12;

/// Settings that decide what the losses mean or what the seconds mean: they are the same for all.
const SHARED: &[(&str, &str)] = &[
    ("tokenizer", "losses per token of different tokenizers cannot be compared"),
    ("vocab_size", "losses per token of different vocabularies cannot be compared"),
    ("val_fraction", "all variants are measured on the same held-out part"),
    ("threads", "the seconds of all variants are taken with the same threads"),
    ("mix", "all variants are trained on the same texts"),
    ("restarts", "every training is one of its own; give --seeds N for several beginnings"),
    ("restart_share", "every training is one of its own; give --seeds N for several beginnings"),
    ("seed", "all variants begin alike; give --seeds N for several beginnings"),
    ("minutes", "it is shared by all variants: give --minutes once"),
    ("eval_every", "all variants are measured at the same steps"),
    ("eval_tokens", "all variants are measured on the same tokens"),
];

/// Settings that change no loss.
const IDLE: &[&str] =
    &["dtype", "cache", "sample_every", "sample_prompt", "checkpoint_every", "observe_every", "keep_best"];

/// Settings that belong to an optimiser: they go with it.
macro_rules! without_optimizer {
    ($s:expr) => {
        Settings {
            lr: None,
            adam_lr: None,
            weight_decay: None,
            decoupled: None,
            momentum: None,
            dampening: None,
            nesterov: None,
            beta1: None,
            beta2: None,
            alpha: None,
            centered: None,
            eps: None,
            lr_decay: None,
            initial_accumulator: None,
            ns_steps: None,
            ..$s
        }
    };
}

/// A name and what is changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// What was said, for legends: `optimizer=sgd lr=0.5`.
    pub name: String,
    /// The changes alone.
    pub changes: Settings,
}

impl Variant {
    /// From settings as they are said, `key=value` with spaces between.
    ///
    /// # Errors
    /// A key that is not known or cannot be varied, a value of the wrong kind, a key that stands twice.
    pub fn parse(said: &str) -> Result<Self> {
        let pairs = said.split_whitespace().map(pair).collect::<Result<Vec<_>>>()?;
        if pairs.is_empty() {
            return Err(Error::Settings(
                "a variant is empty, expected KEY=VALUE, as in optimizer=sgd lr=0.5".into(),
            ));
        }
        Variant::of(&pairs)
    }

    fn of(pairs: &[(String, String)]) -> Result<Self> {
        let mut table = toml::Table::new();
        for (key, value) in pairs {
            if table.insert(key.clone(), typed(key, value)?).is_some() {
                return Err(Error::Settings(format!("a variant says {key} twice, keep one of them")));
            }
        }
        let changes =
            table.try_into().map_err(|e: toml::de::Error| Error::Settings(e.message().to_string()))?;
        let name = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
        Ok(Variant { name, changes })
    }

    /// The variant's settings on top of `base`, what was said for all.
    ///
    /// An optimiser's and a schedule's own settings go with it: a variant with another optimiser than the base's takes that
    /// optimiser's default rate unless it names one, and not the base's.
    pub fn settings(&self, base: &Settings, base_filled: &Settings) -> Settings {
        let is_new = |new: &Option<String>, old: &Option<String>| new.is_some() && new != old;
        let mut kept = base.clone();
        if is_new(&self.changes.optimizer, &base_filled.optimizer) {
            kept = without_optimizer!(kept);
        }
        if is_new(&self.changes.schedule, &base_filled.schedule) {
            kept = without_schedule(kept);
        }
        if self.changes.residual == Some(false) && self.changes.zero_residual.is_none() {
            // Zeros where nothing is added to them would let no gradient pass.
            kept.zero_residual = Some(false);
        }
        self.changes.or(&kept)
    }

    /// `error` with the variant's name before it.
    pub fn error(&self, error: &Error) -> Error {
        match error {
            Error::Data(line) => Error::Data(format!("variant {}: {line}", self.name)),
            other => Error::Settings(format!("variant {}: {other}", self.name)),
        }
    }

    /// Whether `base` says a rate that this variant does not take, because it is another optimiser's.
    pub fn drops_rate(&self, base: &Settings, base_filled: &Settings) -> bool {
        let own = self.settings(base, base_filled);
        base.lr.is_some() && own.lr != base.lr && self.changes.lr.is_none()
    }
}

/// `settings` without what belongs to one schedule or another; the warm-up, which all have, stays.
pub fn without_schedule(settings: Settings) -> Settings {
    Settings {
        end_factor: None,
        decay_fraction: None,
        anneal: None,
        gamma: None,
        step_size: None,
        rate: None,
        power: None,
        pct_start: None,
        div_factor: None,
        final_div_factor: None,
        reduce: None,
        plateau_patience: None,
        threshold: None,
        cooldown: None,
        min_factor: None,
        ..settings
    }
}

/// The product of all `vary`, each `KEY=V1,V2,…`, and each of `variants` after it.
///
/// # Errors
/// See [`Variant::parse`]; fewer than 2 variants or more than [`MOST`]; the same variant twice.
pub fn expand(vary: &[String], variants: &[String]) -> Result<Vec<Variant>> {
    let axes = vary.iter().map(|v| axis(v)).collect::<Result<Vec<_>>>()?;
    for (i, axis) in axes.iter().enumerate() {
        if axes[..i].iter().any(|other| other[0].0 == axis[0].0) {
            let key = &axis[0].0;
            return Err(Error::Settings(format!(
                "--vary {key} is given twice: list all values in one, {key}=V1,V2"
            )));
        }
    }
    let product =
        if axes.is_empty() { 0 } else { axes.iter().fold(1usize, |n, a| n.saturating_mul(a.len())) };
    limit(product.saturating_add(variants.len()))?;
    let mut rows: Vec<Vec<(String, String)>> = if axes.is_empty() { Vec::new() } else { vec![Vec::new()] };
    for axis in &axes {
        rows = rows
            .iter()
            .flat_map(|row| axis.iter().map(|p| [&row[..], std::slice::from_ref(p)].concat()))
            .collect();
    }
    let mut all = rows.iter().map(|row| Variant::of(row)).collect::<Result<Vec<_>>>()?;
    for said in variants {
        all.push(Variant::parse(said)?);
    }
    for (i, variant) in all.iter().enumerate() {
        if all[..i].iter().any(|other| other.changes == variant.changes) {
            return Err(Error::Settings(format!("the variant {} is given twice", variant.name)));
        }
    }
    Ok(all)
}

/// Refuses no variants, and more than a picture can show.
///
/// # Errors
/// Either.
pub fn limit(n: usize) -> Result<()> {
    match n {
        0 => Err(Error::Settings(
            "nothing to compare: give --vary KEY=V1,V2, --variant \"KEY=VALUE …\" or --preset NAME".into(),
        )),
        n if n > MOST => Err(Error::Settings(format!(
            "{n} variants (--vary gives every combination), expected at most {MOST}: name fewer values, or the wanted \
             combinations by --variant"
        ))),
        _ => Ok(()),
    }
}

/// `KEY=V1,V2` as pairs, at least one.
fn axis(said: &str) -> Result<Vec<(String, String)>> {
    let (key, values) = pair(said)?;
    let values: Vec<_> = values.split(',').map(|v| (key.clone(), v.trim().to_string())).collect();
    match values.iter().find(|v| v.1.is_empty()) {
        Some(_) => Err(Error::Settings(format!("'{said}' has an empty value, expected KEY=V1,V2"))),
        None => Ok(values),
    }
}

/// `key=value`, of a key that may be varied.
fn pair(said: &str) -> Result<(String, String)> {
    let Some((key, value)) = said.split_once('=') else {
        return Err(Error::Settings(format!("'{said}' is no KEY=VALUE, as in optimizer=sgd")));
    };
    let key = key.trim().trim_start_matches("--").replace('-', "_");
    let known = Settings::keys();
    if !known.contains(&key) {
        let hint = match nearest(&key, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean '{near}'?"),
            None => "see `siskin-train compare --help` for the known ones".to_string(),
        };
        return Err(Error::Settings(format!("unknown setting '{key}', {hint}")));
    }
    if let Some((_, why)) = SHARED.iter().find(|(k, _)| *k == key) {
        return Err(Error::Settings(format!("{key} cannot be varied: {why}")));
    }
    if IDLE.contains(&key.as_str()) {
        return Err(Error::Settings(format!("{key} cannot be varied: it changes no loss")));
    }
    if key == "blocks" {
        return Err(Error::Settings(
            "blocks cannot be varied on a command line: write settings files".into(),
        ));
    }
    Ok((key, value.trim().to_string()))
}

/// A value as its setting wants it: a number, a truth or a text.
fn typed(key: &str, value: &str) -> Result<toml::Value> {
    let fits = |v: &toml::Value| {
        let table: toml::Table = [(key.to_string(), v.clone())].into_iter().collect();
        table.try_into::<Settings>().map(|_| ())
    };
    let bare = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
    let text = toml::Value::String(value.to_string());
    let problem = match bare {
        Some(bare) => match fits(&bare) {
            Ok(()) => return Ok(bare),
            Err(error) => error,
        },
        None => match fits(&text) {
            Ok(()) => return Ok(text),
            Err(error) => error,
        },
    };
    if fits(&text).is_ok() {
        return Ok(text);
    }
    Err(Error::Settings(format!("{key}={value}: {}", problem.message().replace('\n', " "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::prepared::filled;

    fn names(vary: &[&str], variants: &[&str]) -> Result<Vec<String>> {
        let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        Ok(expand(&own(vary), &own(variants))?.into_iter().map(|v| v.name).collect())
    }

    #[test]
    fn several_vary_give_the_product_and_bundles_come_after_it() {
        let all = names(&["norm=none,rms", "residual=true,false"], &["optimizer=sgd lr=0.5"]).unwrap();
        assert_eq!(
            all,
            [
                "norm=none residual=true",
                "norm=none residual=false",
                "norm=rms residual=true",
                "norm=rms residual=false",
                "optimizer=sgd lr=0.5"
            ]
        );
    }

    #[test]
    fn values_are_numbers_truths_or_texts_as_their_setting_wants() {
        let v = Variant::parse("lr=1e-3 batch-size=8 residual=false --optimizer=lion n_layers=3").unwrap();
        let c = v.changes;
        assert_eq!((c.lr, c.batch_size.as_deref(), c.residual), (Some(1e-3), Some("8"), Some(false)));
        assert_eq!((c.optimizer.as_deref(), c.n_layers), (Some("lion"), Some(3)));
    }

    #[test]
    fn what_cannot_be_varied_is_one_line_that_says_why() {
        for (vary, part) in [
            ("optimiser=sgd,adam", "did you mean 'optimizer'"),
            ("lr", "no KEY=VALUE"),
            ("lr=fast,1", "lr=fast"),
            ("lr=1,,2", "empty value"),
            ("threads=1,2", "same threads"),
            ("tokenizer=char,bpe", "cannot be compared"),
            ("dtype=q4,q8", "changes no loss"),
            ("seed=1,2", "--seeds"),
            ("lr=1,2,3,4,5,6,7,8,9,10,11,12,13", "13 variants"),
            ("lr=1,1", "given twice"),
            ("n_layers=1.5,2", "n_layers=1.5"),
            ("\u{1}=\u{2}", "unknown setting"),
        ] {
            let line = names(&[vary], &[]).unwrap_err().to_string();
            assert!(line.contains(part) && !line.contains('\n'), "{vary}: {line}");
        }
        assert!(names(&[], &[]).unwrap_err().to_string().contains("nothing to compare"));
        assert!(names(&["lr=1,2", "lr=3"], &[]).unwrap_err().to_string().contains("twice"));
        assert!(names(&[], &["lr=1 lr=2"]).unwrap_err().to_string().contains("lr twice"));
        let many: Vec<String> = (0..40).map(|i| format!("lr={i},1e9")).collect();
        assert!(expand(&many, &[]).is_err());
    }

    #[test]
    fn an_optimiser_takes_its_own_rate_along() {
        let base = Settings {
            model: Some("gpt".into()),
            lr: Some(0.123),
            weight_decay: Some(0.3),
            steps: Some(10),
            ..Default::default()
        };
        let all = filled(&base).unwrap();
        assert_eq!(all.optimizer.as_deref(), Some("muon"));
        let rate = |said: &str| {
            let v = Variant::parse(said).unwrap();
            (filled(&v.settings(&base, &all)).unwrap().lr, v.drops_rate(&base, &all))
        };
        assert_eq!(
            rate("optimizer=muon"),
            (Some(0.123), false),
            "the base's own optimiser keeps what was said"
        );
        assert_eq!(rate("optimizer=sgd"), (None, true), "none: the rule's default");
        assert_eq!(rate("optimizer=sgd lr=0.7"), (Some(0.7), false));
        assert_eq!(rate("norm=rms"), (Some(0.123), false));
    }

    #[test]
    fn a_schedule_takes_its_own_settings_along_and_residuals_their_zeros() {
        let base = Settings { end_factor: Some(0.1), steps: Some(10), ..Default::default() };
        let all = filled(&base).unwrap();
        let of = |said: &str| filled(&Variant::parse(said).unwrap().settings(&base, &all)).unwrap();
        assert_eq!(of("schedule=constant").end_factor, None);
        assert_eq!(of("schedule=wsd").end_factor, Some(0.1));
        assert_eq!((all.zero_residual, of("residual=false").zero_residual), (Some(true), Some(false)));
    }
}
