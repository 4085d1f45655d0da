//! How long kernels take, and how close to what the machine can do: the launches of a recorded step, or a lone WGSL
//! kernel. Times come from timestamps around compute passes where the device has them; where it has none, whole submits
//! are measured, and the result says so.

mod binding;
mod ceilings;
mod check;
mod compare;
mod contest;
mod hints;
mod kept;
mod kernel_profile;
mod launches;
mod lone;
mod statistics;
mod step;
mod throughput;
mod trace;
mod tune;

pub use binding::{Binding, Element, Fill, Value};
pub use ceilings::Ceilings;
pub use check::{Checked, Expected, WrongElement};
pub use compare::{Change, ComparedLaunch};
pub use contest::{Budget, Outcome, Stopped, Stopwatch, Turn, contest};
pub use kernel_profile::{BoundBuffer, CheckEffects, KernelProfile, TimedBy, duration, rate, ratio, wrap};
pub use launches::{Bound, Floor, LaunchProfile, Place};
pub use lone::{KernelBench, KernelContest, LoneKernel, Options, Output};
pub use statistics::{Ratio, Statistics};
pub use step::{KernelChoice, StepOptions, StepProfile, TensorMemory, profile_case, profile_graph};
pub use throughput::step_times;
pub use tune::{Tuned, forget_tuning, keep_tuning, kept_tuning, tune};
