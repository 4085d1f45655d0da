//! Devices, shaders and recordings on wgpu: the only place that names a wgpu type.

mod device;
mod kernels;
mod lone;
mod pace;
mod pass_clock;
mod pipeline_store;
mod recording;
mod shader;
mod source_text;
mod timed_replay;
mod translate;

pub use device::{Adapter, DeviceKind, DeviceLoss, Gpu, StagedRead, adapters};
pub use lone::{BoundData, Checks, LoneBench, LoneBinding, LoneLimits, LoneModule, LonePass, LoneSource};
pub use recording::GpuProgram;
pub use shader::{Layout, assemble, reflect};
pub use translate::{Translation, Translator, translate};
