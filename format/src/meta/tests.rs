//! Round trips and every way in which metadata can be wrong.

use super::*;

fn sample() -> Meta {
    let mut meta = Meta::new();
    meta.set("a.bool", Value::Bool(true));
    meta.set("b.u64", Value::U64(u64::MAX));
    meta.set("c.i64", Value::I64(-3));
    meta.set("d.f64", Value::F64(-0.5));
    meta.set("e.str", Value::Str("grüße, 世界".into()));
    meta.set("f.bytes", Value::Bytes(vec![0, 255]));
    meta.set("g.u64s", Value::U64s(vec![1, 2, 3]));
    meta.set("h.f64s", Value::F64s(vec![1.5, f64::INFINITY]));
    meta.set("i.strs", Value::Strs(vec!["x".into(), String::new()]));
    meta
}

/// One entry as bytes, nothing checked.
fn entry(key: &[u8], type_code: u32, value: &[u8]) -> Vec<u8> {
    let mut out = (key.len() as u32).to_le_bytes().to_vec();
    out.extend(type_code.to_le_bytes());
    out.extend(key);
    out.extend(value);
    out
}

fn section(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut out = (entries.len() as u64).to_le_bytes().to_vec();
    entries.iter().for_each(|e| out.extend(e));
    out
}

fn error_of(entries: &[Vec<u8>]) -> MetaError {
    Meta::from_bytes(&section(entries)).unwrap_err()
}

#[test]
fn every_type_round_trips() {
    let meta = sample();
    let bytes = meta.to_bytes();
    let back = Meta::from_bytes(&bytes).unwrap();
    assert_eq!(back, meta);
    assert_eq!(back.to_bytes(), bytes);
    assert_eq!(back.str_required("e.str").unwrap(), "grüße, 世界");
    assert_eq!(back.u64s("g.u64s").unwrap(), Some(&[1, 2, 3][..]));
    assert_eq!(back.f64("nothing").unwrap(), None);
    assert_eq!(Meta::from_bytes(&Meta::new().to_bytes()).unwrap(), Meta::new());
}

#[test]
fn getters_name_key_and_types() {
    let meta = sample();
    let wrong = meta.u64("e.str").unwrap_err();
    assert_eq!(wrong.to_string(), r#""e.str" is string, expected u64"#);
    let missing = meta.bool_required("zz").unwrap_err();
    assert_eq!(missing.to_string(), r#""zz" is missing"#);
}

#[test]
fn values_show_themselves_briefly() {
    assert_eq!(Value::U64s(vec![1, 2]).to_string(), "[1, 2]");
    assert_eq!(Value::U64s(vec![0; 1000]).to_string(), "[0, 0, 0, 0, 0, 0, 0, 0, … 1000 in all]");
    assert_eq!(Value::Str("a\nb".into()).to_string(), r#""a\nb""#);
    assert!(Value::Str("世".repeat(1000)).to_string().chars().count() < 50);
    assert_eq!(Value::Strs(vec!["x".into()]).to_string(), r#"["x"]"#);
}

#[test]
fn no_prefix_is_accepted() {
    let bytes = sample().to_bytes();
    for len in 0..bytes.len() {
        assert!(Meta::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn counts_beyond_the_bytes_are_refused() {
    for found in [1, 4096, 4097, u64::MAX] {
        let refused = Meta::from_bytes(&found.to_le_bytes()).unwrap_err();
        assert_eq!(refused, MetaError::Count { found, room: 0 });
    }
    for type_code in [7, 8, 9] {
        for found in [2, u64::MAX, u64::MAX / 8 + 1] {
            let mut value = found.to_le_bytes().to_vec();
            value.extend([0; 8]);
            assert_eq!(error_of(&[entry(b"k", type_code, &value)]), MetaError::Count { found, room: 1 });
        }
    }
}

#[test]
fn limits_are_enforced() {
    let many: Vec<_> = (0..MAX_ENTRIES + 1).map(|i| entry(format!("{i:05}").as_bytes(), 1, &[1])).collect();
    let refused = MetaError::TooMany { what: "entries", found: 4097, max: MAX_ENTRIES };
    assert_eq!(error_of(&many), refused);
    assert_eq!(Meta::from_bytes(&section(&many[1..])).unwrap().len(), MAX_ENTRIES);

    let mut strings = (MAX_STRINGS as u64 + 1).to_le_bytes().to_vec();
    strings.resize(8 + 8 * (MAX_STRINGS + 1), 0);
    let refused =
        MetaError::TooMany { what: "strings in arrays", found: MAX_STRINGS as u64 + 1, max: MAX_STRINGS };
    assert_eq!(error_of(&[entry(b"k", 9, &strings)]), refused);
}

#[test]
fn bad_keys_are_refused() {
    let value = [1];
    assert_eq!(error_of(&[entry(b"", 1, b"12")]), MetaError::KeyLength { entry: 0, found: 0 });
    assert_eq!(error_of(&[entry(&[b'k'; 256], 1, &value)]), MetaError::KeyLength { entry: 0, found: 256 });
    for key in [&b"a\0b"[..], b"\xff\xfe", b"a\nb", b"\x1b[31m"] {
        assert_eq!(error_of(&[entry(key, 1, &value)]), MetaError::KeyText { entry: 0 });
    }
    let twice = error_of(&[entry(b"k", 1, &value), entry(b"k", 1, &value)]);
    assert_eq!(twice, MetaError::DuplicateKey { key: "k".into() });
    let unsorted = error_of(&[entry(b"b", 1, &value), entry(b"a", 1, &value)]);
    assert_eq!(unsorted, MetaError::KeyOrder { key: "a".into() });
}

#[test]
fn bad_values_are_refused() {
    let key = || "k".to_string();
    for code in [0, 10, u32::MAX] {
        assert_eq!(error_of(&[entry(b"k", code, &[0; 8])]), MetaError::UnknownType { key: key(), code });
    }
    assert_eq!(error_of(&[entry(b"k", 1, &[2])]), MetaError::BadBool { key: key(), found: 2 });
    for found in [1, u64::MAX] {
        for code in [5, 6] {
            let refused = MetaError::StringLength { key: key(), found, room: 0 };
            assert_eq!(error_of(&[entry(b"k", code, &found.to_le_bytes())]), refused);
        }
    }
    let text = [1u64.to_le_bytes().as_slice(), &[0xff]].concat();
    assert_eq!(error_of(&[entry(b"k", 5, &text)]), MetaError::NotUtf8 { key: key() });
    let trailing = [sample().to_bytes(), vec![0]].concat();
    assert_eq!(Meta::from_bytes(&trailing).unwrap_err(), MetaError::TrailingBytes { count: 1 });
}

#[test]
#[should_panic(expected = "metadata key")]
fn setting_a_bad_key_is_a_programmer_error() {
    Meta::new().set("", Value::Bool(true));
}
