//! Training: checkpoints and the run folder.

pub mod atomic_file;
pub mod checkpoint;
pub mod row_log;
pub mod run_dir;

pub use checkpoint::{Array, Data, Weights};
pub use row_log::{EpochRow, RowLog, StepRow};
pub use run_dir::RunDir;
