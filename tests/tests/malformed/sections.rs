//! The section directory, and the space between sections.

use super::{assert_refused, llama, open, tiny};
use siskin_format::Error;
use siskin_format::header::Section;
use siskin_tests::raw_file::{Field, RawFile};

/// The tiny file with one u64 of a section's entry changed.
fn with(section: Section, field: Field, value: u64) -> RawFile {
    tiny().put(RawFile::field(section, field), &value.to_le_bytes()).sealed_header()
}

#[test]
fn offset_plus_length_must_not_wrap() {
    for section in Section::ALL {
        for (offset, len) in [(u64::MAX - 63, 64), (64, u64::MAX - 63), (1 << 63, 1 << 63)] {
            let file = with(section, Field::Offset, offset);
            let file = file.put(RawFile::field(section, Field::Len), &len.to_le_bytes()).sealed_header();
            assert_refused!(file, Error::SectionOverflow { section: s, .. } if s == section);
        }
    }
}

#[test]
fn sections_end_inside_the_file() {
    let file_len = tiny().bytes.len() as u64;
    for section in Section::ALL {
        for offset in [file_len, 1 << 40, u64::MAX - (1 << 20) - 63] {
            let file = with(section, Field::Offset, offset.next_multiple_of(64));
            assert_refused!(file, Error::SectionPastEnd { section: s, .. } if s == section);
        }
        let file = with(section, Field::Len, file_len);
        assert_refused!(file, Error::SectionPastEnd { section: s, .. } if s == section);
    }
}

#[test]
fn sections_do_not_overlap() {
    for section in Section::ALL {
        for offset in [0, 64, 128, 192] {
            let file = with(section, Field::Offset, offset);
            assert_refused!(file, Error::SectionOverlap { section: s, .. } if s == section);
        }
    }
    // One byte more than fits before the next section.
    let config = tiny().range(Section::Config);
    let file = with(Section::Config, Field::Len, config.len().next_multiple_of(64) as u64 + 1);
    assert_refused!(file, Error::SectionOverlap { section: Section::Tokenizer, .. });
}

#[test]
fn sections_leave_no_holes() {
    // Every section but the first moves up by 64: a hole before the tokenizer.
    let mut file = tiny();
    let hole = file.range(Section::Tokenizer).start;
    file.bytes.splice(hole..hole, [0; 64]);
    for section in &Section::ALL[1..] {
        let at = RawFile::field(*section, Field::Offset);
        let moved = file.u64_at(at) + 64;
        file = file.put(at, &moved.to_le_bytes());
    }
    let len = file.bytes.len() as u64;
    let file = file.put(16, &len.to_le_bytes()).sealed();
    assert_refused!(file, Error::SectionHole { section: Section::Tokenizer, .. });
}

#[test]
fn every_section_is_there_once() {
    let kind = |section, code: u32| {
        tiny().put(RawFile::field(section, Field::Kind), &code.to_le_bytes()).sealed_header()
    };
    for section in Section::ALL {
        for other in Section::ALL.into_iter().filter(|&other| other != section) {
            assert_refused!(kind(section, other.code()), Error::DuplicateSection { section: s } if s == other);
        }
        for code in [0, 6, 0x0100_0000, u32::MAX] {
            assert_refused!(kind(section, code), Error::UnknownSection { code: c } if c == code);
        }
    }
    let fewer = |n: u32| tiny().put(32, &n.to_le_bytes()).sealed_header();
    for n in 0..5 {
        let first_missing = Section::ALL[n as usize];
        assert_refused!(fewer(n), Error::MissingSection { section } if section == first_missing);
    }
    for n in [1000, u32::MAX] {
        assert_refused!(fewer(n), Error::SectionCount { found } if found == n);
    }
}

#[test]
fn sections_stand_in_order() {
    let file = tiny();
    let entries: Vec<u8> = file.bytes[64..128].to_vec();
    let swapped = file.put(64, &entries[32..]).put(96, &entries[..32]).sealed_header();
    assert_refused!(swapped, Error::SectionOrder);
}

#[test]
fn sections_start_at_multiples_of_64() {
    for section in Section::ALL {
        let start = tiny().range(section).start as u64;
        for wrong in [1, 4, 32, 63] {
            let file = with(section, Field::Offset, start + wrong);
            assert_refused!(file, Error::SectionMisaligned { section: s, .. } if s == section);
        }
    }
    for position in [0, 32, 65, 128, u64::MAX] {
        let file = tiny().put(24, &position.to_le_bytes()).sealed_header();
        assert_refused!(file, Error::DirectoryPosition { found } if found == position);
    }
}

#[test]
fn reserved_bytes_of_entries_are_zero() {
    for section in Section::ALL {
        let file = tiny().put(RawFile::field(section, Field::Reserved), &[0, 0, 0, 0x80]).sealed_header();
        assert_refused!(file, Error::ReservedField { place: "section directory" });
    }
}

#[test]
fn padding_is_zero() {
    let mut n_padding = 0;
    for file in [tiny(), llama()] {
        let mut end = 64 + 5 * 32;
        for section in Section::ALL {
            let range = file.range(section);
            for at in end..range.start {
                n_padding += 1;
                assert_refused!(file.clone().put(at, &[1]).sealed(), Error::Padding { offset } if offset == at as u64);
            }
            end = range.end;
        }
    }
    assert!(n_padding > 100, "the samples have {n_padding} bytes of padding");
}

#[test]
fn one_flipped_bit_in_a_section_is_noticed() {
    for file in [tiny(), llama()] {
        for section in Section::ALL {
            let range = file.range(section);
            for at in [range.start, range.start + range.len() / 2, range.end - 1] {
                for bit in 0..8 {
                    let flipped = file.bytes[at] ^ (1 << bit);
                    let damaged = file.clone().put(at, &[flipped]);
                    if section == Section::TensorData {
                        let found = open(&damaged).unwrap().verify().unwrap_err();
                        assert!(matches!(found, Error::SectionChecksum { section: Section::TensorData }));
                    } else {
                        assert_refused!(damaged, Error::SectionChecksum { section: s } if s == section);
                    }
                }
            }
        }
        let directory = file.bytes[80] ^ 1;
        assert_refused!(file.put(80, &[directory]), Error::DirectoryChecksum);
    }
}

#[test]
fn metadata_sections_have_limits() {
    for section in [Section::Config, Section::Receipt, Section::TensorDirectory] {
        let long = vec![0; section.max_len() as usize + 1];
        let file = tiny().with_section(section, &long);
        assert_refused!(file, Error::SectionLength { section: s, .. } if s == section);
    }
}
