//! What a forward pass runs with.

use crate::kernels::{Kernels, Team};
use crate::profile::{Profile, Stage};

/// Weights, kernels and threads of a pass, and where its tokens stand.
pub(crate) struct Cx<'a> {
    /// The file's bytes, which hold all weights.
    pub(crate) weights: &'a [u8],
    pub(crate) kernels: &'static Kernels,
    pub(crate) team: &'a mut Team,
    /// Where times go, while somebody wants them.
    pub(crate) profile: Option<&'a mut Profile>,
    /// Tokens of this pass.
    pub(crate) tokens: usize,
    /// Position of the first of them.
    pub(crate) position: usize,
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
}
