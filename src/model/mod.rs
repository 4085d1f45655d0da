//! The network as data: presets, layers, shapes, initial values and the printed summary.
//!
//! A [`Preset`] is what a user writes: a TOML file with the picture size, two lists of layers and the training
//! settings. [`Architecture::resolve`] turns its layers into exact shapes, parameter names and FLOPs, and finds
//! everything that cannot work. [`Summary`] prints that, and [`Init`] draws the first values of the parameters.
//!
//! ```
//! use degrain::model::{Preset, Summary};
//!
//! let mut preset = Preset::load("lfw-conv")?;
//! preset.set("model.code=8")?;
//! assert_eq!(Summary::of(&preset)?.layers[0].output, [32, 32, 32]);
//! # Ok::<(), degrain::Error>(())
//! ```

mod check;
mod convolutional;
mod identity;
pub mod init;
pub mod layer;
pub mod network;
pub mod preset;
pub mod schedule;
pub mod settings;
pub mod shapes;
mod sizes;
pub mod stages;
pub mod summary;
pub mod train_table;
pub mod workload;

pub use init::Init;
pub use layer::{Activation, Layer, Padding};
pub use network::{Mode, Random, Recorded};
pub use preset::Preset;
pub use schedule::Schedule;
pub use settings::{BatchNormKind, Convention, JacobianNorm, Loss, Noise, OptimizerKind, Split};
pub use shapes::{Architecture, Parameter, ResolvedLayer, Side, Switches};
pub use stages::Stage;
pub use summary::Summary;
pub use workload::{WORKLOADS, Workload};
