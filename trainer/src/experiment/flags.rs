//! Settings as the flags that say them, for the next command.

use std::path::{Path, PathBuf};

use crate::settings::Settings;

/// `--model gpt --lr 0.004`: what `said` holds, by name.
pub fn flags_of(said: &Settings) -> String {
    let text = serde_json::to_string(said).expect("plain data");
    // The text holds f32 as they were said (0.004), which a value of JSON would widen (0.00400000019).
    let pairs: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).expect("an object");
    let mut flags = Vec::new();
    for (key, value) in &pairs {
        let value = match value {
            serde_json::Value::Null => continue,
            // Numbers, as of --mix; blocks stand in a file alone.
            serde_json::Value::Array(all) if !all.iter().all(serde_json::Value::is_number) => continue,
            serde_json::Value::Array(all) => {
                all.iter().map(|number| number.to_string()).collect::<Vec<_>>().join(",")
            }
            serde_json::Value::String(text) => quoted(text),
            other => other.to_string(),
        };
        flags.push(format!("--{} {value}", key.replace('_', "-")));
    }
    flags.join(" ")
}

/// ` --config FILE`, if there is one.
pub fn config_flag(config: Option<&Path>) -> String {
    config.map_or(String::new(), |file| format!(" --config {}", quoted(&file.display().to_string())))
}

/// The names of texts, with a space between them.
pub fn texts(all: &[PathBuf]) -> String {
    all.iter().map(|text| quoted(&text.display().to_string())).collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/+,=:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_string();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_was_said() {
        let said = Settings {
            model: Some("gpt".into()),
            lr: Some(0.004),
            residual: Some(false),
            n_layers: Some(3),
            mix: Some(vec![3.0, 0.5]),
            sample_prompt: Some("it's".into()),
            ..Default::default()
        };
        let flags = flags_of(&said);
        for part in [
            "--model gpt",
            "--mix 3.0,0.5",
            "--lr 0.004",
            "--residual false",
            "--n-layers 3",
            "--sample-prompt 'it'\\''s'",
        ] {
            assert!(flags.contains(part), "{flags}");
        }
        assert_eq!(flags_of(&Settings::default()), "");
    }
}
