//! Checkpoints: the whole state of a run in one file that is either complete or does not count.
//!
//! - [`Checkpoint`] is what is kept: a JSON text for everything small (step, generators, data cursor, schedule, spike
//!   window, settings, hash of the text, best loss) and named [`Payload`]s for the numbers (weights, moments, averages,
//!   carried states).
//! - `container` turns it into bytes and back. The last eight bytes are a checksum of all before, so a file that was
//!   cut or damaged anywhere is refused, by a message and never by a panic.
//! - [`RunDir`] is the folder of a run: it is locked against a second trainer, every checkpoint appears in it whole
//!   or not at all, and loading falls back to the newest one that verifies.
//!
//! A kill at any moment therefore costs at most the steps since the last checkpoint.

mod container;
mod run_dir;

pub use container::{Damage, Payload};
pub use run_dir::{Loaded, RunDir, write_atomic};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The state of a run. `'a` lets saving borrow the numbers instead of copying them; what is loaded is owned.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint<'a> {
    meta: String,
    sections: Vec<(String, Payload<'a>)>,
}

impl<'a> Checkpoint<'a> {
    /// A checkpoint with the small things in `meta`. Floats in it come back bit for bit, if they are finite: JSON
    /// has no NaN (payloads have).
    ///
    /// # Errors
    /// [`Error::Run`] if `meta` cannot be written as JSON.
    pub fn new<M: Serialize>(meta: &M) -> Result<Self> {
        let meta = serde_json::to_string(meta)
            .map_err(|e| Error::Run(format!("the state of the run cannot be saved: {e}")))?;
        Ok(Checkpoint { meta, sections: Vec::new() })
    }

    /// Adds a payload: `&[f32]`, `Vec<f32>`, `&[u8]` or `Vec<u8>`.
    ///
    /// # Panics
    /// If the name is taken, empty or longer than 64 bytes, or if there are 64 already.
    pub fn put(&mut self, name: &str, payload: impl Into<Payload<'a>>) {
        assert!((1..=container::MAX_NAME).contains(&name.len()), "section name {name:?}");
        assert!(self.find(name).is_none(), "section {name} is there already");
        assert!(self.sections.len() < container::MAX_SECTIONS, "too many sections for {name}");
        self.sections.push((name.to_string(), payload.into()));
    }

    /// The small things.
    ///
    /// # Errors
    /// [`Error::Run`] if they are not those of an `M`: saved by another version of the trainer.
    pub fn meta<M: DeserializeOwned>(&self) -> Result<M> {
        serde_json::from_str(&self.meta).map_err(|e| {
            Error::Run(format!(
                "the checkpoint's state is not one that this version of siskin-train writes: {e}"
            ))
        })
    }

    /// The floats of a section.
    ///
    /// # Errors
    /// [`Error::Run`] if there is no such section of floats.
    pub fn f32s(&self, name: &str) -> Result<&[f32]> {
        match self.find(name) {
            Some(Payload::F32s(values)) => Ok(values),
            found => Err(missing(name, "floats", found)),
        }
    }

    /// The bytes of a section.
    ///
    /// # Errors
    /// [`Error::Run`] if there is no such section of bytes.
    pub fn bytes(&self, name: &str) -> Result<&[u8]> {
        match self.find(name) {
            Some(Payload::Bytes(bytes)) => Ok(bytes),
            found => Err(missing(name, "bytes", found)),
        }
    }

    /// Whether there is a section of that name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<&Payload<'a>> {
        self.sections.iter().find(|(n, _)| n == name).map(|(_, payload)| payload)
    }
}

fn missing(name: &str, wanted: &str, found: Option<&Payload<'_>>) -> Error {
    Error::Run(match found {
        None => format!("the checkpoint has no section {name}: it is of another kind of run"),
        Some(_) => {
            format!("section {name} of the checkpoint does not hold {wanted}: it is of another kind of run")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_by_name_and_kind() {
        let mut checkpoint = Checkpoint::new(&serde_json::json!({"step": 7})).unwrap();
        checkpoint.put("weights", &[1.0f32, 2.0][..]);
        checkpoint.put("carried", vec![1u8, 2]);
        assert_eq!(checkpoint.f32s("weights").unwrap(), [1.0, 2.0]);
        assert_eq!(checkpoint.bytes("carried").unwrap(), [1, 2]);
        assert!(checkpoint.has("carried") && !checkpoint.has("ema"));
        let line = checkpoint.f32s("ema").unwrap_err().to_string();
        assert_eq!(line, "the checkpoint has no section ema: it is of another kind of run");
        assert!(checkpoint.f32s("carried").unwrap_err().to_string().contains("does not hold floats"));
    }

    #[test]
    fn meta_of_another_shape_is_refused_and_floats_come_back_exactly() {
        #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
        struct Meta {
            step: u64,
            rng: [u64; 4],
            losses: Vec<f64>,
        }
        let losses = (1..200).map(|i| (i as f64).sin() / 3.0).collect();
        let meta = Meta { step: u64::MAX, rng: [u64::MAX, 1, 2, 3], losses };
        let checkpoint = Checkpoint::new(&meta).unwrap();
        assert_eq!(checkpoint.meta::<Meta>().unwrap(), meta);
        let line = checkpoint.meta::<Vec<u32>>().unwrap_err().to_string();
        assert!(line.starts_with("the checkpoint's state is not one"), "{line}");
    }

    #[test]
    #[should_panic(expected = "section weights is there already")]
    fn a_name_is_used_once() {
        let mut checkpoint = Checkpoint::new(&()).unwrap();
        checkpoint.put("weights", vec![0u8]);
        checkpoint.put("weights", vec![0u8]);
    }
}
