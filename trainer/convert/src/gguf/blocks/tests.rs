//! Every decoder against gguf-py's, bit for bit (`tests/goldens/gguf/make_blocks.py`).

use super::*;

const GOLDEN: &[u8] = include_bytes!("../../../../../tests/goldens/gguf/blocks.bin");

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(len);
    *bytes = tail;
    head
}

fn number(bytes: &mut &[u8]) -> u32 {
    u32::from_le_bytes(take(bytes, 4).try_into().unwrap())
}

/// Type, blocks, weights.
fn records() -> Vec<(BlockType, &'static [u8], Vec<f32>)> {
    let mut bytes = GOLDEN;
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let kind = BlockType::from_code(number(&mut bytes)).unwrap();
        let len = number(&mut bytes) as usize;
        let blocks = take(&mut bytes, len);
        let len = number(&mut bytes) as usize;
        let (words, _) = take(&mut bytes, len * 4).as_chunks::<4>();
        records.push((kind, blocks, words.iter().map(|word| f32::from_le_bytes(*word)).collect()));
    }
    records
}

#[test]
fn every_type_decodes_to_the_reference_bits() {
    let records = records();
    for kind in BlockType::ALL {
        let (_, blocks, expected) = records.iter().find(|(k, ..)| *k == kind).expect("a record of each type");
        let mut decoded = vec![0.0; expected.len()];
        kind.decode(blocks, &mut decoded);
        let differing = decoded.iter().zip(expected).position(|(d, e)| d.to_bits() != e.to_bits());
        let at =
            |at: usize| format!("{}: weight {at} is {}, expected {}", kind.name(), decoded[at], expected[at]);
        assert_eq!(differing, None, "{}", differing.map(at).unwrap_or_default());
    }
}

#[test]
fn codes_are_distinct_and_foreign_ones_are_named() {
    for kind in BlockType::ALL {
        assert_eq!(BlockType::from_code(kind.code()), Some(kind));
        assert_eq!(foreign_name(kind.code()), None);
    }
    assert_eq!(foreign_name(16), Some("IQ2_XXS"));
    assert_eq!(foreign_name(1000), None);
}
