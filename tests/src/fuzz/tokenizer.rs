//! Vocabularies and texts made from bytes: what is encoded comes back, and every way of encoding says the same.

use super::choices::Choices;
use crate::alloc::peak_of;
use siskin::{Tokenizer, TokenizerError, Utf8Stream};
use siskin_format::vocab::{Merge, PreTokenizer, SpecialIds, TokenKind, VocabKind, VocabParts};
use siskin_format::{Vocab, VocabError};

/// Pieces of tokens and texts: letters, digits, spaces, what contractions are made of, characters of 2 to 4 bytes, and
/// parts of them.
const PIECES: [&[u8]; 24] = [
    b"a",
    b"b",
    b"c",
    b"s",
    b"l",
    b" ",
    b"  ",
    b"\n",
    b"'",
    b"'s",
    b"'ll",
    b"1",
    b".",
    "é".as_bytes(),
    "世".as_bytes(),
    "🐦".as_bytes(),
    "\u{301}".as_bytes(),
    "\u{a0}".as_bytes(),
    b"\xc3",
    b"\xe4\xbd",
    b"\xf0\x9f",
    b"\x80",
    b"\xff",
    b"\0",
];

/// Makes a vocabulary and a text of `data`, and encodes and decodes.
///
/// # Panics
/// When the tokenizer breaks a promise.
pub fn tokenizer(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (vocab, peak) = peak_of(|| vocab(&mut choices));
    assert!(peak < 1 << 20, "{peak} bytes for a vocabulary of some dozen tokens");
    let vocab = match vocab {
        Ok(vocab) => vocab,
        Err(error) => {
            let line = error.to_string();
            assert!(!line.is_empty() && !line.contains(char::is_control), "one line: {line:?}");
            return;
        }
    };
    let bytes = vocab.to_bytes();
    assert_eq!(Vocab::from_bytes(&bytes).as_ref(), Ok(&vocab), "a vocabulary comes back from its bytes");
    let tokenizer = Tokenizer::from_vocab(&vocab).expect("every kind of this version is encoded");
    let text = text(&mut choices);
    match tokenizer.encode(&text) {
        Ok(ids) => {
            encoded(&tokenizer, &text, &ids);
            pieces_equal_whole(&tokenizer, &text, &ids, &mut choices);
        }
        Err(error) => refused(&tokenizer, &text, &error),
    }
    any_ids(&tokenizer, &mut choices);
}

fn vocab(choices: &mut Choices<'_>) -> Result<Vocab, VocabError> {
    let (shape, n) = (choices.byte(), 1 + choices.below(24));
    let kind = [VocabKind::Bpe, VocabKind::Bpe, VocabKind::Char, VocabKind::Byte][usize::from(shape & 3)];
    let pre_tokenizer =
        if shape & 4 == 0 || kind != VocabKind::Bpe { PreTokenizer::None } else { PreTokenizer::Gpt2 };
    let mut tokens: Vec<(Vec<u8>, TokenKind)> = Vec::new();
    let mut add = |token: Vec<u8>, kind| -> u32 {
        let known = tokens.iter().position(|(t, k)| *t == token && *k == kind);
        known.unwrap_or_else(|| {
            tokens.push((token, kind));
            tokens.len() - 1
        }) as u32
    };
    // Rarely all bytes: the larger a vocabulary, the slower it is made.
    if choices.byte() < 12 && kind != VocabKind::Char {
        let of_bytes = if kind == VocabKind::Byte { TokenKind::Byte } else { TokenKind::Normal };
        for byte in 0..=255 {
            add(vec![byte], of_bytes);
        }
    }
    for _ in 0..n {
        let piece = PIECES[choices.below(PIECES.len())];
        match kind {
            VocabKind::Byte => add(vec![piece[0]], TokenKind::Byte),
            VocabKind::Char => add(piece.to_vec(), TokenKind::Normal),
            _ => piece.iter().map(|&byte| add(vec![byte], TokenKind::Normal)).max().unwrap_or(0),
        };
    }
    let mut merges: Vec<Merge> = Vec::new();
    if kind == VocabKind::Bpe {
        for _ in 0..choices.below(20) {
            let (left, right) = (choices.below(tokens.len()), choices.below(tokens.len()));
            let joined = [&tokens[left].0[..], &tokens[right].0].concat();
            let (left, right) = (left as u32, right as u32);
            if merges.iter().any(|m| (m.left, m.right) == (left, right)) || joined.len() > 40 {
                continue;
            }
            let known = tokens.iter().position(|(token, _)| *token == joined);
            let result = known.unwrap_or_else(|| {
                tokens.push((joined, TokenKind::Normal));
                tokens.len() - 1
            }) as u32;
            merges.push(Merge { left, right, result });
        }
    }
    if shape & 16 != 0 {
        tokens.push((b"<end>".to_vec(), TokenKind::Control));
        tokens.push((b"<unk>".to_vec(), TokenKind::Unknown));
    }
    let unk = (shape & 32 != 0).then(|| tokens.len() as u32 - 1);
    let mut parts = VocabParts {
        kind,
        pre_tokenizer,
        scores: (shape & 64 != 0).then(|| vec![0.5; tokens.len()]),
        tokens,
        merges,
        special: SpecialIds { unk, ..SpecialIds::default() },
        ..VocabParts::default()
    };
    if shape & 128 != 0 {
        break_parts(&mut parts, choices);
    }
    Vocab::new(parts)
}

/// Breaks a rule, or not.
fn break_parts(parts: &mut VocabParts, choices: &mut Choices<'_>) {
    let (token, number) = (choices.below(parts.tokens.len()), choices.number() as u32);
    match choices.byte() % 8 {
        0 => parts.tokens[token].0 = PIECES[number as usize % PIECES.len()].repeat(choices.below(2000)),
        1 => parts.tokens[token].1 = TokenKind::Unknown,
        2 => parts.tokens.truncate(token),
        3 => parts.special.eos = Some(number),
        4 => parts.kind = VocabKind::Char,
        5 => parts.scores = Some(vec![choices.float(); parts.tokens.len()]),
        6 => parts.pre_tokenizer = PreTokenizer::Gpt2,
        _ => {
            if let Some(merge) = parts.merges.first_mut() {
                *[&mut merge.left, &mut merge.right, &mut merge.result][token % 3] = number;
            }
        }
    }
}

fn text(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..choices.below(24) {
        let piece = PIECES[choices.below(PIECES.len())];
        // Now and then long words, beyond which merging works another way.
        let times = if choices.byte() < 250 { 1 } else { choices.below(120) };
        (0..times).for_each(|_| text.extend(piece));
    }
    text
}

/// Ids of a text: tokens, which say the text again unless one stands for what is unknown.
fn encoded(tokenizer: &Tokenizer, text: &[u8], ids: &[u32]) {
    let vocab = tokenizer.vocab();
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()), "ids are tokens");
    let decoded = tokenizer.decode(ids);
    if vocab.special().unk.is_none() {
        assert!(decoded == text, "decoding gives the text");
        for &id in ids {
            assert!(matches!(vocab.token_kind(id), Some(TokenKind::Normal | TokenKind::Byte)));
        }
        if vocab.kind() == VocabKind::Bpe && vocab.pre_tokenizer() == PreTokenizer::None {
            assert!(ids == merged(vocab, text), "the merges in the order of their ranks");
        }
    }
    let (mut stream, mut streamed) = (Utf8Stream::new(), String::new());
    for &id in ids {
        stream.push(tokenizer.token_bytes(id), &mut streamed);
    }
    stream.flush(&mut streamed);
    assert!(streamed == String::from_utf8_lossy(&decoded), "a stream gives the text of the whole");
}

/// Byte-pair encoding by its definition: the best pair of all, the leftmost of equals, until there is none.
fn merged(vocab: &Vocab, text: &[u8]) -> Vec<u32> {
    let id_of = |byte: u8| {
        let mut tokens = vocab.tokens();
        tokens.position(|(token, kind)| token == [byte] && kind == TokenKind::Normal).expect("was encoded")
            as u32
    };
    let mut ids: Vec<u32> = text.iter().map(|&byte| id_of(byte)).collect();
    loop {
        let rank = |pair: &[u32]| vocab.merges().iter().position(|m| [m.left, m.right] == *pair);
        let best = ids.windows(2).enumerate().filter_map(|(at, pair)| Some((rank(pair)?, at))).min();
        let Some((rank, at)) = best else { return ids };
        ids.splice(at..at + 2, [vocab.merges()[rank].result]);
    }
}

/// An encoder with its cache, and a text cut where it may be cut, give the ids of the whole.
fn pieces_equal_whole(tokenizer: &Tokenizer, text: &[u8], ids: &[u32], choices: &mut Choices<'_>) {
    let seen = choices.below(text.len() + 1);
    let cut = tokenizer.split_point(&text[..seen]);
    assert!(cut <= seen);
    let mut found = Vec::new();
    if choices.byte() < 8 {
        // Rarely, for its cache takes half a megabyte to clear.
        let mut encoder = tokenizer.encoder();
        encoder.encode_into(&text[..cut], &mut found).expect("part of a text that has ids");
        encoder.encode_into(&text[cut..], &mut found).expect("part of a text that has ids");
        assert!(found == ids, "pieces with a cache give the ids of the whole, cut at {cut}");
        found.clear();
        encoder.encode_into(text, &mut found).expect("as before");
    } else {
        found.extend(tokenizer.encode(&text[..cut]).expect("part of a text that has ids"));
        found.extend(tokenizer.encode(&text[cut..]).expect("part of a text that has ids"));
    }
    assert!(found == ids, "pieces give the ids of the whole, cut at {cut}");
}

/// A text is refused for something that is there, where it is.
fn refused(tokenizer: &Tokenizer, text: &[u8], error: &TokenizerError) {
    match *error {
        TokenizerError::UnknownByte { byte, at } => assert_eq!(text.get(at), Some(&byte)),
        TokenizerError::UnknownChar { found, at, index, vocab_size } => {
            let before = std::str::from_utf8(&text[..at]).expect("cut between characters");
            assert_eq!(before.chars().count(), index);
            assert!(text[at..].starts_with(found.encode_utf8(&mut [0; 4]).as_bytes()));
            assert_eq!(vocab_size, tokenizer.vocab_size());
        }
        TokenizerError::InvalidUtf8 { at } => {
            let error = std::str::from_utf8(text).expect_err("it is not");
            assert_eq!(error.valid_up_to(), at);
        }
        ref other => panic!("{other}"),
    }
    let line = error.to_string();
    assert!(!line.is_empty() && !line.contains(char::is_control), "one line: {line:?}");
}

/// Any numbers as ids give some text.
fn any_ids(tokenizer: &Tokenizer, choices: &mut Choices<'_>) {
    let ids: Vec<u32> = (0..choices.below(6)).map(|_| choices.number() as u32).collect();
    let text = tokenizer.decode(&ids);
    let parts: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.token_bytes(id).to_vec()).collect();
    assert!(text == parts);
    for &id in ids.iter().filter(|&&id| id as usize >= tokenizer.vocab_size()) {
        assert_eq!(tokenizer.token_bytes(id), "\u{FFFD}".as_bytes());
    }
}

/// Inputs made by hand that a fuzzer may start from.
pub fn seeds() -> Vec<Vec<u8>> {
    let shapes = [0u8, 4, 2, 3, 8, 12, 16, 48, 64, 2 + 48, 128, 136];
    shapes.iter().map(|&shape| (0..64).map(|i| if i == 0 { shape } else { i * 37 % 251 }).collect()).collect()
}
