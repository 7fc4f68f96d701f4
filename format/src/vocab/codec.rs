//! Vocabulary to section bytes and back. The layout is documented in the [parent module](super).

use super::{
    ChatTemplate, MAX_CHAT_LEN, Merge, PreTokenizer, SpecialIds, Tables, TokenKind, Vocab, VocabError,
    VocabKind,
};
use super::{check_counts, check_token_len};
use crate::memory;

const HEADER_LEN: usize = 36;
/// The counts that version 2 adds.
const EXTENSION_LEN: usize = 12;
const HAS_SCORES: u16 = 1;
const ADD_BOS: u16 = 2;
const ADD_SPACE_PREFIX: u16 = 4;
const IGNORE_MERGES: u16 = 8;
const NO_ID: u32 = u32::MAX;

impl Vocab {
    /// The section's bytes. The same vocabulary always gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(HEADER_LEN + 7 * self.len() + self.0.bytes.len() + 12 * self.0.merges.len());
        let extended = self.0.needs_version_2();
        put_u32(&mut out, if extended { 2 } else { 1 });
        out.push(match self.0.kind {
            VocabKind::Byte => 0,
            VocabKind::Char => 1,
            VocabKind::Bpe => 2,
            VocabKind::SentencePiece => 3,
        });
        out.push(self.0.pre_tokenizer.code());
        let mut flags = 0;
        for (is_set, flag) in [
            (self.0.scores.is_some(), HAS_SCORES),
            (self.0.add_bos, ADD_BOS),
            (self.0.add_space_prefix, ADD_SPACE_PREFIX),
            (self.0.ignore_merges, IGNORE_MERGES),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        out.extend_from_slice(&flags.to_le_bytes());
        for count in [self.len(), self.0.merges.len(), self.0.bytes.len()] {
            put_u32(&mut out, count as u32); // bounded by the caps
        }
        let SpecialIds { bos, eos, unk, pad } = self.0.special;
        for id in [bos, eos, unk, pad] {
            put_u32(&mut out, id.unwrap_or(NO_ID));
        }
        if extended {
            let n_chat = self.0.chat.as_ref().map_or(0, ChatTemplate::section_len);
            for count in [self.0.lstrip.len(), self.0.rstrip.len(), n_chat] {
                put_u32(&mut out, count as u32);
            }
        }
        for (token, _) in self.tokens() {
            out.extend_from_slice(&(token.len() as u16).to_le_bytes());
        }
        out.extend(self.0.kinds.iter().map(|kind| match kind {
            TokenKind::Normal => 0u8,
            TokenKind::Control => 1,
            TokenKind::Byte => 2,
            TokenKind::Unknown => 3,
            TokenKind::UserDefined => 4,
        }));
        out.extend_from_slice(&self.0.bytes);
        out.resize(out.len().next_multiple_of(4), 0);
        for score in self.0.scores.iter().flatten() {
            out.extend_from_slice(&score.to_le_bytes());
        }
        for merge in &self.0.merges {
            for id in [merge.left, merge.right, merge.result] {
                put_u32(&mut out, id);
            }
        }
        for &id in self.0.lstrip.iter().chain(&self.0.rstrip) {
            put_u32(&mut out, id);
        }
        if let Some(chat) = &self.0.chat {
            chat.write(&mut out);
        }
        out
    }

    /// Reads and checks a section. Any bytes give a vocabulary or an error; memory stays below twice the
    /// section's size.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn from_bytes(section: &[u8]) -> Result<Vocab, VocabError> {
        let mut r = Fields { bytes: section, at: 0 };
        let header = Header::read(&mut r)?;
        let needed = header.section_len();
        if (section.len() as u64) < needed {
            return Err(VocabError::Truncated { needed, found: section.len() });
        }
        if section.len() as u64 > needed {
            return Err(VocabError::TrailingBytes { expected: needed, found: section.len() });
        }
        let n = header.n_tokens as usize;
        let ends = read_lengths(r.take(2 * n)?, header.n_bytes)?;
        let kinds = read_kinds(r.take(n)?, header.version)?;
        let bytes = memory::collect(r.take(header.n_bytes as usize)?.iter().copied())?;
        let offset = r.at;
        if r.take(offset.next_multiple_of(4) - offset)?.iter().any(|&b| b != 0) {
            return Err(VocabError::Padding { offset });
        }
        let scores = match header.flags & HAS_SCORES != 0 {
            true => Some(memory::collect(words(r.take(4 * n)?).map(f32::from_bits))?),
            false => None,
        };
        let merges = r.take(12 * header.n_merges as usize)?.chunks_exact(12).map(|merge| {
            let mut ids = words(merge);
            let mut next = || ids.next().unwrap_or(NO_ID); // chunks_exact gives three words
            Merge { left: next(), right: next(), result: next() }
        });
        let merges = memory::collect(merges)?;
        let mut ids = |n: u32| memory::collect(words(r.take(4 * n as usize)?)).map_err(VocabError::from);
        let (lstrip, rstrip) = (ids(header.n_lstrip)?, ids(header.n_rstrip)?);
        let chat = match header.n_chat {
            0 => None,
            n => Some(ChatTemplate::read(r.take(n as usize)?)?),
        };
        let Header { version, kind, pre_tokenizer, flags, special, .. } = header;
        let (add_bos, add_space_prefix) = (flags & ADD_BOS != 0, flags & ADD_SPACE_PREFIX != 0);
        let ignore_merges = flags & IGNORE_MERGES != 0;
        let mut tables =
            Tables { kind, pre_tokenizer, ends, kinds, bytes, scores, merges, special, ..Tables::default() };
        (tables.add_bos, tables.add_space_prefix, tables.ignore_merges) =
            (add_bos, add_space_prefix, ignore_merges);
        (tables.lstrip, tables.rstrip, tables.chat) = (lstrip, rstrip, chat);
        if version == 2 && !tables.needs_version_2() {
            return Err(VocabError::NeedlessVersion);
        }
        tables.checked()
    }
}

struct Header {
    version: u32,
    kind: VocabKind,
    pre_tokenizer: PreTokenizer,
    flags: u16,
    n_tokens: u32,
    n_merges: u32,
    n_bytes: u32,
    special: SpecialIds,
    n_lstrip: u32,
    n_rstrip: u32,
    n_chat: u32,
}

impl Header {
    fn read(r: &mut Fields) -> Result<Header, VocabError> {
        let version = r.u32()?;
        if !(1..=2).contains(&version) {
            return Err(VocabError::Version { found: version });
        }
        let unknown = |field, found| VocabError::Code { field, found };
        let kind = match r.u8()? {
            0 => VocabKind::Byte,
            1 => VocabKind::Char,
            2 => VocabKind::Bpe,
            3 if version >= 2 => VocabKind::SentencePiece,
            code => return Err(unknown("kind", code.into())),
        };
        let code = r.u8()?;
        let pre_tokenizer =
            PreTokenizer::from_code(code).filter(|_| version >= 2 || code <= PreTokenizer::Gpt2.code());
        let pre_tokenizer = pre_tokenizer.ok_or(unknown("pre-tokenizer", code.into()))?;
        let flags = r.u16()?;
        let known =
            if version >= 2 { HAS_SCORES | ADD_BOS | ADD_SPACE_PREFIX | IGNORE_MERGES } else { HAS_SCORES };
        if flags & !known != 0 {
            return Err(unknown("flags", flags.into()));
        }
        let (n_tokens, n_merges, n_bytes) = (r.u32()?, r.u32()?, r.u32()?);
        check_counts(n_tokens.into(), n_merges.into())?;
        let mut id = || r.u32().map(|id| (id != NO_ID).then_some(id));
        let special = SpecialIds { bos: id()?, eos: id()?, unk: id()?, pad: id()? };
        let (n_lstrip, n_rstrip, n_chat) =
            if version >= 2 { (r.u32()?, r.u32()?, r.u32()?) } else { (0, 0, 0) };
        if n_chat as usize > MAX_CHAT_LEN || n_chat % 4 != 0 {
            return Err(VocabError::ChatLength { len: n_chat.into() });
        }
        for (list, n) in [("lstrip", n_lstrip), ("rstrip", n_rstrip)] {
            if n > n_tokens {
                return Err(VocabError::StripCount { list, found: n, n_tokens });
            }
        }
        let header = Header {
            version,
            kind,
            pre_tokenizer,
            flags,
            n_tokens,
            n_merges,
            n_bytes,
            special,
            n_lstrip,
            n_rstrip,
            n_chat,
        };
        Ok(header)
    }

    /// Length of the whole section. In u64, so that no declared count can wrap it.
    fn section_len(&self) -> u64 {
        let n = u64::from(self.n_tokens);
        let head = HEADER_LEN + if self.version >= 2 { EXTENSION_LEN } else { 0 };
        let text = head as u64 + 3 * n + u64::from(self.n_bytes);
        let scores = if self.flags & HAS_SCORES != 0 { 4 * n } else { 0 };
        let strips = 4 * (u64::from(self.n_lstrip) + u64::from(self.n_rstrip));
        text.next_multiple_of(4) + scores + 12 * u64::from(self.n_merges) + strips + u64::from(self.n_chat)
    }
}

/// Lengths to ends; their sum must be what the header declares.
fn read_lengths(lengths: &[u8], n_bytes: u32) -> Result<Vec<u32>, VocabError> {
    let mut end = 0u32; // at most 2^20 tokens of 2^10 bytes
    let mut ends = memory::with_capacity(lengths.len() / 2)?;
    for (id, len) in lengths.chunks_exact(2).enumerate() {
        let len = u16::from_le_bytes([len[0], len[1]]);
        check_token_len(id, len.into())?;
        end += u32::from(len);
        ends.push(end);
    }
    if end != n_bytes {
        return Err(VocabError::ByteCount { found: n_bytes.into(), expected: end.into() });
    }
    Ok(ends)
}

fn read_kinds(codes: &[u8], version: u32) -> Result<Vec<TokenKind>, VocabError> {
    let mut kinds = memory::with_capacity(codes.len())?;
    for &code in codes {
        kinds.push(token_kind(code, version)?);
    }
    Ok(kinds)
}

fn token_kind(code: u8, version: u32) -> Result<TokenKind, VocabError> {
    match code {
        0 => Ok(TokenKind::Normal),
        1 => Ok(TokenKind::Control),
        2 => Ok(TokenKind::Byte),
        3 => Ok(TokenKind::Unknown),
        4 if version >= 2 => Ok(TokenKind::UserDefined),
        _ => Err(VocabError::Code { field: "token kind", found: code.into() }),
    }
}

pub(super) fn words(bytes: &[u8]) -> impl ExactSizeIterator<Item = u32> {
    bytes.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Takes fields from the front; refuses to read past the end.
pub(super) struct Fields<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], VocabError> {
        let needed = self.at as u64 + len as u64;
        let error = VocabError::Truncated { needed, found: self.bytes.len() };
        let end = self.at.checked_add(len).ok_or(error.clone())?;
        let field = self.bytes.get(self.at..end).ok_or(error)?;
        self.at = end;
        Ok(field)
    }

    fn u8(&mut self) -> Result<u8, VocabError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, VocabError> {
        let b = self.take(2)?;
        Ok(u16::from_le_bytes([b[0], b[1]]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, VocabError> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }
}
