//! Runs a plan on the CPU: in `f64` through every op's reference (the oracle), and fast in `f32` through the
//! kernels in this folder.

pub(crate) mod conv;
pub(crate) mod dots;
mod executor;
pub(crate) mod matmul;
pub(crate) mod nearest;
pub(crate) mod noise;
mod oracle;
pub(crate) mod reduce;
pub(crate) mod scratch;
pub(crate) mod tile;
pub(crate) mod vector;

pub use executor::CpuProgram;
pub(crate) use executor::has_kernel;
pub use oracle::Oracle;
