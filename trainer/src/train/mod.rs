//! Training runs: from settings and texts to a trained model.

pub mod budget;
pub mod corpus;
pub mod descent;
pub mod feed;
pub mod fit;
pub mod interrupt;
pub mod log;
pub mod quantized;
pub mod restarts;
pub mod run;
pub mod run_dir;
pub mod step_sizes;
pub mod trained;
pub mod trainer;
