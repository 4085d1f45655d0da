//! From a user's pictures to an in-memory data set.
//!
//! [`open`] reads folders, archives, single pictures and arrays (the table below), brings every picture to
//! one [`Target`] size, and gives a [`Dataset`]: pixels, sample after sample, with names, labels where the source has
//! them, and an account of everything that could not be used.
//!
//! | source | told by |
//! |---|---|
//! | a folder, with its sub-folders | being a folder |
//! | `.tar`, `.tgz`, `.tar.gz`, `.zip` of pictures | content |
//! | one picture of any format that the `image` crate was built with | content |
//! | `.npy`, `.npz` (u8, f32, f64) | content |
//! | IDX as MNIST has it, also gzipped; its labels are found beside it | content |
//! | lines of numbers, one sample a line, also gzipped | content |
//! | a folder of such arrays; a file without labels is one category, named after it | being a folder without pictures |
//!
//! A target may ask for [`Patches`] of each picture file instead, and [`Photos`] brings pictures one by one at their own
//! size.
//!
//! Decoded folders and archives are kept in a cache ([`CacheMode`]), so that the second start is immediate.
//!
//! ```
//! use degrain::data::{self, SplitKind};
//!
//! let emoji = data::bundled_emoji()?;
//! let split = data::split(emoji.len(), emoji.groups.as_deref(), 0.1, SplitKind::Seeded(1))?;
//! let mut first = vec![0.0; emoji.sample_len()];
//! emoji.sample_f32(split.train[0] as usize, -0.5, &mut first);
//! assert!(first.iter().all(|x| (-0.5..=0.5).contains(x)));
//! # Ok::<(), degrain::Error>(())
//! ```

mod archive;
mod array_folder;
mod arrays;
mod attributes;
mod bundled;
mod cache;
mod channels;
mod dataset;
mod emoji;
mod fit;
mod folder;
mod idx;
mod kind;
mod labelling;
mod labels;
mod lines;
pub mod npy;
pub(crate) mod npy_rows;
pub mod npz;
mod numbers;
mod patches;
mod photos;
mod picture;
mod probe;
mod quickdraw;
mod rows;
mod shard;
mod shard_files;
mod sharded;
mod source;
mod split;
mod target;

pub use attributes::Attributes;
pub use bundled::{BUNDLED, bundled};
pub use cache::{CacheMode, cache_folder};
pub use dataset::{Dataset, Skipped, Values};
pub use emoji::bundled_emoji;
pub use labels::{Labels, read_labels};
pub use numbers::Numbers;
pub use photos::{Photo, Photos};
pub use probe::{Probe, probe};
pub use quickdraw::bundled_quickdraw;
pub use shard::Shard;
pub use shard_files::shard_files;
pub use sharded::open_shard;
pub use source::{Progress, open};
pub use split::{Split, SplitKind, split, stratified_split};
pub use target::{Patches, Target};

#[cfg(test)]
mod tests;
