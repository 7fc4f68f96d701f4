//! What can go wrong in the runtime.

use crate::kernels::Isa;
use std::fmt;

/// An error of the runtime: what was found, what was expected, what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// `SISKIN_ISA` names an instruction set that does not exist or that this CPU lacks.
    Isa {
        /// The name found.
        name: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Isa { name } => {
                let known = Isa::ALL.iter().any(|isa| isa.name() == name);
                let what = if known { "this CPU does not have" } else { "siskin does not know" };
                write!(f, "SISKIN_ISA={name} asks for an instruction set that {what}; this CPU runs")?;
                for (i, isa) in Isa::available().enumerate() {
                    write!(f, "{} {}", if i > 0 { "," } else { "" }, isa.name())?;
                }
                write!(f, "; unset SISKIN_ISA to use the best")
            }
        }
    }
}

impl std::error::Error for Error {}
