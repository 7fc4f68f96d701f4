//! The keys of a `config.json`, each read as what it must be.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::source::{Source, json, shown};

/// An object of a JSON file. A key that is null counts as absent, as in the library that writes these files.
pub(super) struct Keys<'a> {
    source: &'a Source,
    at: &'static str, // what comes before a key in errors
    map: Map<String, Value>,
}

impl<'a> Keys<'a> {
    /// The whole file.
    pub(super) fn of(source: &'a Source) -> Result<Keys<'a>> {
        Ok(Keys { source, at: "", map: json(source)? })
    }

    /// The object under a key.
    pub(super) fn object(&self, key: &str, at: &'static str) -> Result<Option<Keys<'a>>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Keys { source: self.source, at, map: map.clone() })),
            Some(other) => Err(self.wrong(key, other, "an object")),
        }
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether a key has a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// A size, if it is there.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        let read = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        self.read(key, read, "a whole number")
    }

    /// A size that has to be there.
    pub(super) fn require(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number, if it is there.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        self.read(key, Value::as_f64, "a number")
    }

    /// A number that has to be there.
    pub(super) fn require_number(&self, key: &str) -> Result<f64> {
        self.number(key)?.ok_or_else(|| self.missing(key))
    }

    /// A switch; absent is the given value.
    pub(super) fn switch(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.read(key, Value::as_bool, "true or false")?.unwrap_or(default))
    }

    /// A word, if it is there.
    pub(super) fn word(&self, key: &str) -> Result<Option<String>> {
        self.read(key, |value| value.as_str().map(str::to_string), "a string")
    }

    /// A list of words, if it is there.
    pub(super) fn words(&self, key: &str) -> Result<Option<Vec<String>>> {
        let words = |value: &Value| {
            let list = value.as_array()?;
            list.iter().map(|word| word.as_str().map(str::to_string)).collect::<Option<Vec<String>>>()
        };
        self.read(key, words, "a list of strings")
    }

    /// An id, or the first of a list of ids, if it is there.
    pub(super) fn first_id(&self, key: &str) -> Result<Option<u32>> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        self.read(key, |value| id(value.get(0).unwrap_or(value)), "a token's id")
    }

    fn read<T>(&self, key: &str, read: impl Fn(&Value) -> Option<T>, expected: &str) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(key, value, expected))
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> Error {
        let found = match value {
            Value::Array(_) => "a list".to_string(),
            Value::Object(_) => "an object".to_string(),
            other => shown(&other.to_string()),
        };
        self.source.malformed(format!("{}{key} is {found}, expected {expected}", self.at))
    }

    fn missing(&self, key: &str) -> Error {
        self.source.malformed(format!("{}{key} is missing", self.at))
    }

    /// An error for a value that is understood and cannot be expressed.
    pub(super) fn unsupported(&self, key: &str, found: &str, expected: &str) -> Error {
        self.source.unsupported(format!("{}{key} is {}, expected {expected}", self.at, shown(found)))
    }

    /// Refuses a switch that is on.
    pub(super) fn refuse(&self, key: &str) -> Result<()> {
        match self.switch(key, false)? {
            true => Err(self.unsupported(key, "true", "false")),
            false => Ok(()),
        }
    }
}
