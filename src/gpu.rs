//! Devices, shaders and recordings on wgpu: the only place that names a wgpu type.

mod device;
mod pass_clock;
mod recording;
mod shader;
mod timed_replay;
mod translate;

pub use device::{Adapter, DeviceKind, Gpu, adapters};
pub use recording::GpuProgram;
pub use shader::{Layout, assemble, reflect};
pub use translate::{Translation, translate};
