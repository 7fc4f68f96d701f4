//! What an optimiser knows of a tensor, and what an update rule knows of a step.

use siskin_format::schema::{Role, TensorSpec};

/// The role of a tensor, which decides how it is stepped and whether it decays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// A hidden weight matrix: decays, and is orthogonalised by Muon.
    Matrix,
    /// The token (or position) embedding: a table of rows, each seen only when its token is.
    Embedding,
    /// The output projection to the vocabulary.
    Head,
    /// A bias, a norm's weight, or any other tensor of rank 1.
    Vector,
}

/// One tensor of the flat parameter slice.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamInfo {
    /// The tensor's name, for messages.
    pub name: String,
    /// Output features of a matrix; the length of a vector.
    pub rows: usize,
    /// Input features of a matrix; 1 for a vector.
    pub cols: usize,
    /// The tensor's role.
    pub kind: ParamKind,
    /// How many matrices of equal height are stacked in the rows, such as 4 for the gates of an LSTM. Muon
    /// orthogonalises each by itself, as they are maps of their own.
    pub stacked: usize,
    /// Multiplies the learning rate of this tensor.
    pub lr_mult: f32,
    /// Whether weight decay applies. By default to matrices only: pulling a norm's weight, a bias or a rarely
    /// seen embedding row towards zero costs loss and regularises nothing.
    pub decays: bool,
}

impl ParamInfo {
    /// A matrix `[rows, cols]`, an embedding or a head; for a vector of length n pass `rows = n, cols = 1`.
    pub fn new(name: impl Into<String>, rows: usize, cols: usize, kind: ParamKind) -> Self {
        let decays = kind == ParamKind::Matrix;
        ParamInfo { name: name.into(), rows, cols, kind, stacked: 1, lr_mult: 1.0, decays }
    }

    /// The same tensor, holding `n` matrices of equal height one above the other.
    ///
    /// # Panics
    /// If the rows do not divide by `n`.
    pub fn stacked(mut self, n: usize) -> Self {
        assert!(n > 0 && self.rows.is_multiple_of(n), "{}: {} rows in {n} matrices", self.name, self.rows);
        self.stacked = n;
        self
    }

    /// What the schema says of a tensor; its gates are matrices of their own.
    pub fn from_spec(spec: &TensorSpec) -> Self {
        let kind = match spec.role {
            Role::Embedding | Role::Position => ParamKind::Embedding,
            Role::Head => ParamKind::Head,
            Role::Matrix | Role::MatrixToResidual | Role::Recurrent => ParamKind::Matrix,
            Role::NormWeight | Role::NormBias | Role::Bias | Role::TokenShift => ParamKind::Vector,
        };
        ParamInfo::new(spec.name.clone(), spec.rows, spec.cols, kind).stacked(spec.gates)
    }

    /// The number of elements.
    #[allow(clippy::len_without_is_empty)] // a tensor without elements does not exist
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }
}

/// What a rule needs to know about one step of one tensor, apart from the values.
///
/// Every rule first forms `g = grad_scale * grad + l2 * p` and multiplies `p` by `keep`.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The learning rate, schedule and multipliers included.
    pub lr: f32,
    /// Multiplies the gradient: averaging, clipping by norm, and the sign (−1 ascends).
    pub grad_scale: f32,
    /// Coupled weight decay λ: adds λ·p to the gradient, the gradient of ½λ‖p‖².
    pub l2: f32,
    /// Decoupled weight decay: p is multiplied by this, 1 − lr·λ.
    pub keep: f32,
    /// The number of this step, from 1.
    pub t: u64,
}
