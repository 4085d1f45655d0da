//! Lone kernels from any WGSL text, with buffers at any group and binding: reflected without a device, then compiled
//! with and without run-time checks, and timed.

mod bench;
mod limits;
mod loops;
mod module;
#[cfg(test)]
mod module_tests;

pub use bench::{BoundData, Checks, LoneBench, LonePass};
pub use limits::LoneLimits;
pub use module::{LoneBinding, LoneModule, LoneSource};
