//! Pickled Python, which is known by its first bytes and never read.

/// Whether a file begins as a pickle or as the zip archive in which PyTorch keeps one.
///
/// A pickle begins with the byte 0x80 and its protocol, 2 to 5. So does the width 640 as the first number of a llama2.c file, but there
/// two zeros follow, and no pickle's first opcode is 0.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    match bytes {
        [b'P', b'K', 3, 4, ..] => true,
        [0x80, 2..=5, opcode, ..] => *opcode != 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::begins;

    #[test]
    fn pickles_and_zip_archives_are_known_and_widths_are_not_taken_for_them() {
        assert!(begins(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.")); // PyTorch before 1.6
        assert!(begins(b"\x80\x04\x95\x05\0\0"));
        assert!(begins(b"PK\x03\x04\0\0\x08\x08"));
        for dim in (0..4096).map(|i| 8 * i) {
            assert!(!begins(&i32::to_le_bytes(dim)), "dim {dim}");
        }
        assert!(!begins(b"GGUF"));
        assert!(!begins(b""));
    }
}
