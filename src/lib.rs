//! degrain trains autoencoders on any GPU that wgpu reaches (Vulkan, Metal, DX12), or on the CPU, and checks every
//! kernel against a reference.
//!
//! The way of a training step:
//!
//! ```text
//! graph  ->  plan  ->  recording  ->  replay, replay, replay        (GPU, or the fast CPU executor)
//!                 \->  reference                                    (f64 on the CPU: the oracle)
//! ```
//!
//! - A [`graph::Graph`] records [`op`]s on tensors; gradients are a reverse walk that records more of them.
//! - A [`plan::Plan`] drops what nothing needs, fuses, picks a kernel for each op and shares buffers. It is pure data.
//! - A [`session::Session`] owns the tensors of one device and replays recorded plans.
//! - Each op is one file under `op`: its shapes, gradient, kernels, the formula in `f64`, and the cases that every
//!   kernel must pass; [`validate`] and the tests walk [`op::OPS`].
//! - [`model`] turns a preset (a TOML file) into layers, [`train`] runs them over [`data`], [`latent`] and [`report`]
//!   look at the result, [`interop`] carries it to other frameworks and back, [`scale`] foretells the step of many ranks.
//!
//! ```
//! use degrain::graph::Graph;
//! use degrain::op::{Activate, Activation, Matmul};
//! use degrain::session::Session;
//! use degrain::tensor::{Class, TensorType};
//!
//! // y = relu(x w), and the gradient of its first row with respect to w.
//! let mut graph = Graph::new();
//! let x = graph.persistent(Class::Input, "x", TensorType::f32([2, 3]))?;
//! let w = graph.persistent(Class::Parameter, "w", TensorType::f32([3, 1]))?;
//! let z = graph.apply_one(Matmul::default(), &[x, w])?;
//! let y = graph.apply_one(Activate { kind: Activation::Relu }, &[z])?;
//! let upstream = graph.persistent(Class::Input, "upstream", TensorType::f32([2, 1]))?;
//! let gradient = graph.vector_jacobian(&[(y, upstream)], &[w])?[0];
//! graph.keep(y, "y")?;
//! graph.keep(gradient, "gradient")?;
//!
//! let mut session = Session::cpu();
//! let step = session.record(&graph)?;
//! session.write("x", &[1.0, 2.0, 3.0, -1.0, 0.0, -1.0])?;
//! session.write("w", &[1.0, 1.0, 1.0])?;
//! session.write("upstream", &[1.0, 0.0])?;
//! session.run(step, 1)?;
//! assert_eq!(session.read("y")?, [6.0, 0.0]);
//! assert_eq!(session.read("gradient")?, [1.0, 2.0, 3.0]);
//! # Ok::<(), degrain::Error>(())
//! ```

pub mod atomic_file;
pub mod cpu;
pub mod data;
pub mod error;
pub mod exchange;
pub mod gpu;
pub mod graph;
mod half;
pub mod interop;
pub mod kernel;
pub mod latent;
pub mod memory;
pub mod model;
pub mod op;
pub mod plan;
pub mod profile;
pub mod report;
pub mod scale;
pub mod session;
pub mod tensor;
pub mod train;
pub mod validate;

pub use error::{Error, Result};
