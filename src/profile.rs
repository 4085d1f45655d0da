//! How long kernels take, and how close to what the machine can do: the launches of a recorded step, or a lone WGSL
//! kernel. Times come from timestamps around compute passes where the device has them; where it has none, whole submits
//! are measured, and the result says so.

mod ceilings;
mod compare;
mod launches;
mod statistics;
mod step;
mod trace;

pub use ceilings::Ceilings;
pub use compare::{Change, ComparedLaunch};
pub use launches::{Bound, LaunchProfile, Place};
pub use statistics::{Ratio, Statistics};
pub use step::{StepOptions, StepProfile, TensorMemory, profile_case, profile_graph};
