//! How the numbers of a tensor are stored.

use std::fmt;

/// Storage type of a tensor. The byte layouts are in SPEC.md, section "Tensor data".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    /// IEEE 754 single precision, 32 bits a weight.
    F32 = 0,
    /// IEEE 754 half precision, 16 bits a weight.
    F16 = 1,
    /// 8-bit codes with an f16 scale per row and group of 32, 8.5 bits a weight.
    Q8 = 2,
    /// 4-bit codes with an f16 scale per row and group of 32, 4.5 bits a weight.
    Q4 = 3,
}

impl DType {
    /// Every dtype, in the order of their codes.
    pub const ALL: [DType; 4] = [DType::F32, DType::F16, DType::Q8, DType::Q4];

    /// The code that stands in a file.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The dtype of a code, `None` for an unknown one.
    pub fn from_code(code: u8) -> Option<DType> {
        DType::ALL.get(code as usize).copied()
    }

    /// The spelling in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Q8 => "q8",
            DType::Q4 => "q4",
        }
    }

    /// The dtype of a spelling.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Whether weights are codes with scales per group.
    pub fn is_quantized(self) -> bool {
        matches!(self, DType::Q8 | DType::Q4)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_round_trip() {
        for dtype in DType::ALL {
            assert_eq!(DType::from_code(dtype.code()), Some(dtype));
            assert_eq!(DType::from_name(dtype.name()), Some(dtype));
        }
        assert_eq!(DType::from_code(4), None);
    }
}
