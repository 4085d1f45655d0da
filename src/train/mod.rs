//! Training: the loop, what it records on a device, checkpoints, the run folder, and the trained network at work.

mod batches;
pub mod checkpoint;
mod device_data;
pub mod events;
pub mod inference;
mod noise;
mod objective;
mod optimizer;
mod placement;
pub mod pretraining;
mod program;
mod rate;
mod room;
pub mod row_log;
pub mod run_dir;
mod source;
mod state;
mod steps;
pub mod synthetic;
pub mod tiles;
pub mod trainer;
pub mod validation;

pub use checkpoint::{Array, Data, Weights};
pub use events::{Ending, Event, Observer, Outcome, TrainOptions};
pub use inference::{Evaluated, Inference};
pub use noise::{add_noise, add_noise_to};
pub use pretraining::{Pretrained, pretrain};
pub use program::{step_bytes, step_graph, step_plan};
pub use row_log::{EpochRow, RowLog, StepRow, read_rows};
pub use run_dir::RunDir;
pub use synthetic::{SyntheticLoss, SyntheticStep, synthetic_encode, synthetic_loss, synthetic_step};
pub use tiles::{TileOptions, denoise_rows, denoise_tiled};
pub use trainer::Trainer;
pub use validation::validation_loss;
