//! degrain trains autoencoders on any GPU that wgpu reaches, or on the CPU.

pub mod cpu;
pub mod data;
pub mod error;
pub mod gpu;
pub mod graph;
pub mod kernel;
pub mod latent;
pub mod model;
pub mod op;
pub mod plan;
pub mod report;
pub mod session;
pub mod tensor;
pub mod train;
pub mod validate;

pub use error::{Error, Result};
