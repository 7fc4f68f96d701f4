//! From the scores of SentencePiece's pieces to merges.

use siskin_format::vocab::{Merge, TokenKind};
use std::collections::HashMap;

/// The merges of SentencePiece's BPE, which has none but takes, of all neighbours that make a piece, the pair whose piece has
/// the best score: every way to make a normal token of two others, in the order of the scores, of equal scores in that of the
/// ids. A vocabulary that keeps the scores takes the leftmost of those with equal scores, as SentencePiece does. `scores[id]` is that of `tokens[id]`; a token without one is the last.
pub fn merges_from_scores(tokens: &[(Vec<u8>, TokenKind)], scores: &[f32]) -> Vec<Merge> {
    let normal = || tokens.iter().enumerate().filter(|(_, (_, kind))| *kind == TokenKind::Normal);
    let ids: HashMap<&[u8], u32> = normal().map(|(id, (bytes, _))| (bytes.as_slice(), id as u32)).collect();
    let mut merges = Vec::new();
    for (result, (bytes, _)) in normal() {
        let starts = (1..bytes.len()).filter(|&at| bytes[at] & 0xC0 != 0x80);
        merges.extend(starts.filter_map(|at| {
            let (&left, &right) = (ids.get(&bytes[..at])?, ids.get(&bytes[at..])?);
            Some(Merge { left, right, result: result as u32 })
        }));
    }
    let score = |merge: &Merge| scores.get(merge.result as usize).copied().unwrap_or(f32::NEG_INFINITY);
    merges.sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.result.cmp(&b.result)));
    merges
}
