//! Settings files: TOML whose keys are those of [`Settings`], grouped under any table headings or none.

use std::path::Path;

use super::{BlockSettings, Settings};
use crate::error::{Error, Result};

/// Reads a settings file.
///
/// # Errors
/// The file cannot be read, is not TOML, or holds an unknown key (the nearest known one is suggested).
pub fn read_toml(path: &Path) -> Result<Settings> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
        action: "read",
        path: path.to_path_buf(),
        source,
    })?;
    parse_toml(&text).map_err(|e| Error::Settings(format!("{}: {e}", path.display())))
}

/// Parses the text of a settings file. Table headings are for the reader: `[model]` and `[run]` group keys, and
/// mean nothing themselves; `[[blocks]]` lists the blocks of a mixed stack.
///
/// # Errors
/// See [`read_toml`].
pub fn parse_toml(text: &str) -> Result<Settings> {
    let table: toml::Table =
        text.parse().map_err(|e: toml::de::Error| Error::Settings(one_line(&e, text)))?;
    let known = Settings::keys();
    let mut flat = toml::Table::new();
    flatten(table, &known, &mut flat)?;
    flat.try_into().map_err(|e: toml::de::Error| Error::Settings(e.message().replace('\n', " ")))
}

fn flatten(table: toml::Table, known: &[String], flat: &mut toml::Table) -> Result<()> {
    for (key, value) in table {
        let name = key.replace('-', "_");
        match value {
            toml::Value::Table(inner) => flatten(inner, known, flat)?,
            value if known.contains(&name) => {
                if name == "blocks" {
                    check_blocks(&value)?;
                }
                if flat.insert(name, value).is_some() {
                    return Err(Error::Settings(format!("'{key}' is set twice, keep one of them")));
                }
            }
            _ => return Err(unknown(&key, &name, known.iter().map(String::as_str))),
        }
    }
    Ok(())
}

/// Names an unknown key inside `[[blocks]]` before serde does, so that the nearest known one is suggested.
fn check_blocks(blocks: &toml::Value) -> Result<()> {
    let known = match serde_json::to_value(BlockSettings::default()).expect("plain data") {
        serde_json::Value::Object(map) => map.into_iter().map(|(key, _)| key).collect::<Vec<_>>(),
        _ => unreachable!("a struct serialises to an object"),
    };
    for key in
        blocks.as_array().into_iter().flatten().filter_map(toml::Value::as_table).flat_map(|t| t.keys())
    {
        if !known.contains(key) {
            return Err(unknown(key, key, known.iter().map(String::as_str)));
        }
    }
    Ok(())
}

fn unknown<'a>(key: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let hint = match nearest(name, known) {
        Some(near) => format!("did you mean '{near}'?"),
        None => "see `siskin-train train --help` for the known ones".to_string(),
    };
    Error::Settings(format!("unknown key '{key}', {hint}"))
}

/// The candidate nearest to `word` by edit distance, if it is near enough to be a typo.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|c| (strsim::damerau_levenshtein(word, c), c))
        .min()
        .filter(|(distance, c)| *distance <= 1 + c.len().max(word.len()) / 3)
        .map(|(_, c)| c)
}

fn one_line(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    let message = error.message().replace('\n', " ");
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_group_and_dashes_are_underscores() {
        let s = parse_toml("model = 'gpt'\n[descent]\nlr = 1e-3\nbatch-size = '8'\n").unwrap();
        assert_eq!((s.model.as_deref(), s.lr, s.batch_size.as_deref()), (Some("gpt"), Some(1e-3), Some("8")));
    }

    #[test]
    fn a_typo_is_named_with_the_nearest_key() {
        let message = parse_toml("n_layer = 3").unwrap_err().to_string();
        assert_eq!(message, "unknown key 'n_layer', did you mean 'n_layers'?");
        let message = parse_toml("[[blocks]]\nkind='lstm'\nhiden=3").unwrap_err().to_string();
        assert_eq!(message, "unknown key 'hiden', did you mean 'hidden'?");
    }

    #[test]
    fn broken_toml_and_wrong_types_are_one_line() {
        for text in ["lr = ", "lr = 'fast'", "lr = 1\nlr = 2", "[a]\nlr = 1\n[b]\nlr = 2"] {
            let message = parse_toml(text).unwrap_err().to_string();
            assert!(!message.contains('\n') && message.len() > 10, "{message}");
        }
    }

    #[test]
    fn blocks_list_a_mixed_stack() {
        let s =
            parse_toml("[[blocks]]\nkind = 'lstm'\nhidden = 64\n[[blocks]]\nkind = 'transformer'\n").unwrap();
        let blocks = s.blocks.unwrap();
        assert_eq!((blocks.len(), blocks[0].hidden, blocks[1].kind.as_str()), (2, Some(64), "transformer"));
    }
}
