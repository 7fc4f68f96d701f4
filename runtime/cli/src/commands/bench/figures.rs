//! What was measured, as a table and as JSON.

use super::cost::Cost;
use super::profile::Profiles;
use crate::units;
use serde_json::{Value, json};

/// Medians of everything.
pub struct Figures {
    pub n_prompt: usize,
    pub n_gen: usize,
    pub prompt_rate: f64, // tokens/s
    pub gen_rate: f64,    // tokens/s
    pub contended: Option<Contended>,
    pub first_token: f64, // s, of a fresh process
    pub cost: Cost,
    /// Bytes per second at which the same threads merely read as many bytes as a token's weights.
    pub read_rate: Option<f64>,
    /// Operations per second of bare multiply-adds of the kind that the weights need.
    pub peak: Option<f64>,
    pub session_bytes: u64,
    pub resident: Option<u64>,
    pub isa: &'static str,
    pub threads: usize,
    pub profiles: Option<Profiles>,
}

/// Speed while another process keeps every core busy.
pub struct Contended {
    pub prompt_rate: f64, // tokens/s
    pub gen_rate: f64,    // tokens/s
}

impl Figures {
    /// Bytes of weights per second while generating.
    fn weight_rate(&self) -> f64 {
        self.cost.bytes_per_token as f64 * self.gen_rate
    }

    /// Operations per second of the prompt.
    fn operation_rate(&self) -> f64 {
        self.cost.prompt_operations(self.n_prompt) * self.prompt_rate / self.n_prompt as f64
    }

    fn arithmetic(&self) -> &'static str {
        if self.cost.int8 { "int8" } else { "f32" }
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let mut value = json!({
            "prompt_tokens": self.n_prompt,
            "prompt_tokens_per_second": self.prompt_rate,
            "generated_tokens": self.n_gen,
            "generated_tokens_per_second": self.gen_rate,
            "first_token_seconds": self.first_token,
            "weight_bytes_per_token": self.cost.bytes_per_token,
            "weight_bytes_per_second": self.weight_rate(),
            "read_bytes_per_second": self.read_rate,
            "prompt_operations_per_second": self.operation_rate(),
            "peak_operations_per_second": self.peak,
            "arithmetic": self.arithmetic(),
            "session_bytes": self.session_bytes,
            "resident_bytes": self.resident,
            "isa": self.isa,
            "threads": self.threads,
        });
        if let Some(contended) = &self.contended {
            value["contended"] = json!({
                "prompt_tokens_per_second": contended.prompt_rate,
                "generated_tokens_per_second": contended.gen_rate,
            });
        }
        if let Some(profiles) = &self.profiles {
            value["profile"] = profiles.json();
        }
        value
    }

    /// As text.
    pub fn table(&self) -> String {
        let resident = self.resident.map_or("unknown".into(), units::bytes);
        let mut rows = vec![
            ("kernels", format!("{}, {}", self.isa, units::plural(self.threads as u64, "thread"))),
            ("prompt", format!("{} tokens/s ({} tokens)", units::rate(self.prompt_rate), self.n_prompt)),
            ("generation", format!("{} tokens/s ({} tokens)", units::rate(self.gen_rate), self.n_gen)),
            (
                "first token",
                format!(
                    "{} after the start of a process, opening included",
                    units::seconds(self.first_token)
                ),
            ),
            ("weights", self.weights()),
            ("arithmetic", self.operations()),
            ("session", units::bytes(self.session_bytes)),
            ("resident", resident),
        ];
        if let Some(contended) = &self.contended {
            let part =
                |rate: f64, of: f64| format!("{} tokens/s ({:.0} %)", units::rate(rate), 100.0 * rate / of);
            let prompt = part(contended.prompt_rate, self.prompt_rate);
            let generation = part(contended.gen_rate, self.gen_rate);
            let text = format!("prompt {prompt}, generation {generation} beside a load on every core");
            rows.push(("contended", text));
        }
        let text: String = rows.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect();
        text + &self.profiles.as_ref().map_or(String::new(), Profiles::table)
    }

    fn weights(&self) -> String {
        let per_token = units::bytes(self.cost.bytes_per_token);
        let rate = units::bytes(self.weight_rate() as u64);
        let limit = self.read_rate.map_or(String::new(), |limit| {
            let percent = 100.0 * self.weight_rate() / limit;
            format!(", {percent:.0} % of the {}/s of merely reading as much", units::bytes(limit as u64))
        });
        format!("{per_token} read per generated token, {rate}/s{limit}")
    }

    fn operations(&self) -> String {
        let limit = self.peak.map_or(String::new(), |peak| {
            let percent = 100.0 * self.operation_rate() / peak;
            format!(", {percent:.0} % of the {} peak of {}", self.arithmetic(), units::operations(peak))
        });
        format!("{} in the prompt's products{limit}", units::operations(self.operation_rate()))
    }
}
