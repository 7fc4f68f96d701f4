//! What a forward pass runs with, and over which tokens of which sequences.

use crate::cancel::CancelFlag;
use crate::kernels::{Input, Kernels, Team};
use crate::profile::{Profile, Stage};
use crate::watch::Watch;
use siskin_format::File;
use std::ops::Range;

/// Consecutive tokens of one sequence. The rows of all segments, one after the other, are the rows of the pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// Whose state.
    pub(crate) slot: usize,
    /// Position of the first token.
    pub(crate) position: usize,
    /// Position that stands at the first place of the caches.
    pub(crate) origin: usize,
    /// Its row.
    pub(crate) start: usize,
    /// Tokens.
    pub(crate) len: usize,
    /// How many of the last ones somebody wants the logits of.
    pub(crate) wanted: usize,
}

impl Segment {
    /// Place of the first token in the caches.
    pub(crate) fn place(&self) -> usize {
        self.position - self.origin
    }

    /// Rows of the segment.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

/// Weights, kernels and threads of a pass, and its tokens.
pub(crate) struct Cx<'a> {
    /// The file;
    pub(crate) file: &'a File,
    /// and its bytes, which hold all weights.
    pub(crate) weights: &'a [u8],
    pub(crate) kernels: &'static Kernels,
    pub(crate) team: &'a mut Team,
    /// Where times go, while somebody wants them.
    pub(crate) profile: Option<&'a mut Profile>,
    /// Who is told what matrices multiply.
    pub(crate) watch: Option<&'a mut Watch>,
    /// Stops the pass;
    pub(crate) cancel: &'a CancelFlag,
    /// and whether it has: its results are of no use then.
    pub(crate) cancelled: bool,
    /// Rows of this pass.
    pub(crate) tokens: usize,
    /// Whose they are; no two of the same sequence.
    pub(crate) segments: &'a mut [Segment],
}

impl Cx<'_> {
    /// What follows is part of `stage`.
    pub(crate) fn stage(&mut self, stage: Stage) {
        if let Some(profile) = &mut self.profile {
            profile.mark(Some(stage));
        }
    }

    /// The pass is over.
    pub(crate) fn end(&mut self) {
        if let Some(profile) = &mut self.profile {
            profile.mark(None);
        }
    }

    /// Some matrices, named by where they begin in the file, are about to multiply `x`.
    pub(crate) fn watch<const N: usize>(&mut self, starts: [usize; N], x: &Input) {
        if let Some(watch) = &mut self.watch {
            let name =
                |start| self.file.tensors().iter().find(|t| t.range.start == start).map_or("", |t| &t.name);
            watch(&starts.map(name), x.x, x.tokens);
        }
    }

    /// Whether to stop here. Once told to, a pass does not go on, even if the flag is cleared meanwhile.
    pub(crate) fn is_cancelled(&mut self) -> bool {
        self.cancelled |= self.cancel.is_cancelled();
        self.cancelled
    }

    /// Rows whose logits somebody wants.
    pub(crate) fn wanted(&self) -> usize {
        self.segments.iter().map(|segment| segment.wanted).sum()
    }

    /// Goes on with the wanted rows alone; [`keep`] must have moved them up.
    pub(crate) fn narrow(&mut self) {
        self.tokens = 0;
        for segment in self.segments.iter_mut() {
            segment.position += segment.len - segment.wanted;
            (segment.start, segment.len) = (self.tokens, segment.wanted);
            self.tokens += segment.len;
        }
    }
}

/// Moves the wanted rows of `data` `[rows, width]` to its front.
pub(crate) fn keep<T: Copy>(data: &mut [T], width: usize, segments: &[Segment]) {
    let mut to = 0;
    for segment in segments {
        let end = segment.start + segment.len;
        data.copy_within((end - segment.wanted) * width..end * width, to * width);
        to += segment.wanted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_rows_move_up() {
        let segment = |start, len, wanted| Segment { slot: 0, position: 0, origin: 0, start, len, wanted };
        let mut data: Vec<usize> = (0..7).flat_map(|row| [row, 10 * row]).collect();
        keep(&mut data, 2, &[segment(0, 3, 1), segment(3, 2, 0), segment(5, 2, 2)]);
        assert_eq!(data[..6], [2, 20, 5, 50, 6, 60]);
    }
}
