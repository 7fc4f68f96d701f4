//! From text files to batches, in bounded memory.
//!
//! [`Text`] reads files of any size; [`Dataset`] tokenizes them once, into a [`Cache`] of shards that is read a window at a
//! time; the loaders cut batches out of it:
//!
//! - [`Windows`]: windows of the training part in random order, for Transformers;
//! - [`Lanes`]: contiguous streams for recurrent models, whose state is carried from batch to batch
//!   (truncated backpropagation through time);
//! - [`Sequential`]: every token of the validation part, once;
//! - [`PairBatches`] and [`PairsInOrder`]: the same for pairs of source and target ([`Pairs`]).
//!
//! [`WindowMix`] and [`LaneMix`] draw from several texts by weight.
//!
//! What a loader will give next follows from its settings and a [`Cursor`] of two numbers, which checkpoints keep.

mod batch;
mod cache;
mod encode;
mod lanes;
mod mixture;
mod pair_batches;
mod pairs;
mod permutation;
mod sequential;
mod shard;
mod space;
mod text;
mod tokens;
mod windows;

pub use batch::{Batch, Cursor};
pub use cache::{Cache, Dataset, Event};
pub use encode::stream;
pub use lanes::Lanes;
pub use mixture::{LaneMix, WindowMix, shares};
pub use pair_batches::{PairBatches, PairsInOrder};
pub use pairs::{PairData, Pairs};
pub use sequential::Sequential;
pub use text::{Split, Text, TextReader, TextScan};
pub use tokens::Tokens;
pub use windows::Windows;
