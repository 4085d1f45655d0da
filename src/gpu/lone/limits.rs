//! What a device allows a kernel, checked before its driver sees the kernel.

use super::module::LoneModule;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use serde::{Deserialize, Serialize};

/// Limits of an opened device.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct LoneLimits {
    /// Invocations in one workgroup.
    pub invocations: u32,
    /// Invocations in one workgroup by axis.
    pub workgroup_size: [u32; 3],
    /// Workgroup memory, in bytes.
    pub workgroup_memory_bytes: u32,
    /// Workgroups of one dispatch along each axis.
    pub workgroups: u32,
    /// Bind groups.
    pub groups: u32,
    /// Storage buffers of one kernel.
    pub storage_buffers: u32,
    /// Uniform buffers of one kernel.
    pub uniform_buffers: u32,
    /// Largest storage buffer, in bytes.
    pub storage_bytes: u64,
    /// Largest uniform buffer, in bytes.
    pub uniform_bytes: u64,
    /// Smallest and largest subgroup.
    pub subgroup_size: [u32; 2],
    /// Whether a driver runs the kernels on the processor.
    pub software: bool,
}

impl LoneLimits {
    /// Of this device.
    pub(super) fn of(gpu: &Gpu) -> Self {
        let (limits, info) = (gpu.device.limits(), gpu.device.adapter_info());
        Self {
            invocations: limits.max_compute_invocations_per_workgroup,
            workgroup_size: [
                limits.max_compute_workgroup_size_x,
                limits.max_compute_workgroup_size_y,
                limits.max_compute_workgroup_size_z,
            ],
            workgroup_memory_bytes: limits.max_compute_workgroup_storage_size,
            workgroups: limits.max_compute_workgroups_per_dimension,
            groups: limits.max_bind_groups,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            uniform_buffers: limits.max_uniform_buffers_per_shader_stage,
            storage_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            uniform_bytes: limits.max_uniform_buffer_binding_size.min(limits.max_buffer_size),
            subgroup_size: [info.subgroup_min_size, info.subgroup_max_size],
            software: gpu.target().is_software(),
        }
    }
}

impl LoneModule {
    /// Checks a kernel, its workgroup counts and the sizes of its buffers in bytes against a device.
    ///
    /// # Errors
    /// The first limit that is exceeded, by name, with both numbers.
    pub fn check_limits(&self, limits: &LoneLimits, workgroups: [u32; 3], bound: &[([u32; 2], u64)]) -> Result<()> {
        let wrong = |problem: String| Err(Error::file(&self.name, problem));
        let [x, y, z] = self.workgroup_size;
        let invocations = u64::from(x) * u64::from(y) * u64::from(z);
        if invocations > u64::from(limits.invocations) {
            let most = limits.invocations;
            return wrong(format!(
                "the workgroup size {x},{y},{z} makes {invocations} invocations, more than the device's {most}: set a \
                 smaller --workgroup-size"
            ));
        }
        if let Some(axis) = (0..3).find(|&axis| self.workgroup_size[axis] > limits.workgroup_size[axis]) {
            let (size, most) = (self.workgroup_size[axis], limits.workgroup_size[axis]);
            return wrong(format!(
                "the workgroup size {x},{y},{z} has {size} invocations along {}, more than the device's {most}: set \
                 another --workgroup-size",
                ["x", "y", "z"][axis]
            ));
        }
        if self.workgroup_bytes > limits.workgroup_memory_bytes {
            let (bytes, most) = (self.workgroup_bytes, limits.workgroup_memory_bytes);
            return wrong(format!("uses {bytes} bytes of workgroup memory, more than the device's {most}"));
        }
        if let Some(count) = workgroups.into_iter().find(|&count| count > limits.workgroups) {
            let most = limits.workgroups;
            let problem = format!("{count} along one axis is more than the device's {most}: spread them over y and z");
            return Err(Error::setting("--workgroups", problem));
        }
        if workgroups.contains(&0) {
            return Err(Error::setting("--workgroups", "0 along one axis runs nothing"));
        }
        self.check_buffers(limits, bound)
    }

    fn check_buffers(&self, limits: &LoneLimits, bound: &[([u32; 2], u64)]) -> Result<()> {
        let wrong = |problem: String| Err(Error::file(&self.name, problem));
        for (uniform, kind, most) in
            [(false, "storage", limits.storage_buffers), (true, "uniform", limits.uniform_buffers)]
        {
            let count = self.bindings.iter().filter(|b| b.uniform == uniform).count();
            if count > most as usize {
                return wrong(format!("uses {count} {kind} buffers, more than the device's {most}"));
            }
        }
        for b in &self.bindings {
            let (group, binding) = (b.group, b.binding);
            if group >= limits.groups {
                let groups = limits.groups;
                return wrong(format!(
                    "binding {group}:{binding}: the device has groups 0 to {}",
                    groups.saturating_sub(1)
                ));
            }
            let (most, kind) =
                if b.uniform { (limits.uniform_bytes, "uniform") } else { (limits.storage_bytes, "storage") };
            let size = bound.iter().find(|(at, _)| *at == [group, binding]).map_or(0, |(_, size)| *size);
            if size > most {
                let problem = format!("{size} bytes are more than the device's largest {kind} buffer, {most}");
                return Err(Error::setting(format!("--bind {group}:{binding}"), problem));
            }
        }
        Ok(())
    }
}

impl LoneLimits {
    /// WebGPU's default limits, with the subgroup size of most GPUs.
    pub const DEFAULT: Self = Self {
        invocations: 256,
        workgroup_size: [256, 256, 64],
        workgroup_memory_bytes: 16 << 10,
        workgroups: 65_535,
        groups: 4,
        storage_buffers: 8,
        uniform_buffers: 12,
        storage_bytes: 128 << 20,
        uniform_bytes: 64 << 10,
        subgroup_size: [32, 32],
        software: false,
    };
}
