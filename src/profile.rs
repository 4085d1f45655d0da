//! How long kernels take, and how close to what the machine can do: the launches of a recorded step, or a lone WGSL
//! kernel. Times come from timestamps around compute passes where the device has them; where it has none, whole submits
//! are measured, and the result says so.

mod statistics;

pub use statistics::{Ratio, Statistics};
