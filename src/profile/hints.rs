//! What a kernel's launch says about how well it can fill a device.

use super::kernel_profile::BoundBuffer;
use crate::gpu::LoneLimits;

/// How a kernel is launched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'a> {
    pub(super) workgroups: [u32; 3],
    pub(super) workgroup_size: [u32; 3],
    pub(super) workgroup_memory_bytes: u32,
    pub(super) buffers: &'a [BoundBuffer],
    pub(super) has_loops: bool,
    /// The driver's name and version.
    pub(super) device: &'a str,
}

impl Shape<'_> {
    /// Invocations of one workgroup.
    pub(super) fn invocations(&self) -> u32 {
        self.workgroup_size.iter().product()
    }
}

/// Workgroups that keep a small GPU busy: it has tens of cores, and each wants several.
const FILLING_WORKGROUPS: u64 = 64;
/// Workgroups that should fit into the limit of workgroup memory together, so that one computes while others wait.
const RESIDENT_WORKGROUPS: u32 = 4;

/// Short sentences, most telling first.
pub(super) fn hints(shape: &Shape<'_>, limits: &LoneLimits) -> Vec<String> {
    let mut hints = Vec::new();
    let invocations = shape.invocations();
    let [smallest, largest] = limits.subgroup_size;
    let subgroup = if smallest == largest { largest.to_string() } else { format!("{smallest} to {largest}") };
    if smallest > 0 && !invocations.is_multiple_of(smallest) {
        let idle = smallest - invocations % smallest;
        hints.push(format!(
            "a workgroup of {invocations} is no multiple of the subgroup size, {subgroup}: {idle} lanes or more of each \
             idle"
        ));
    } else if largest > smallest && !invocations.is_multiple_of(largest) {
        hints.push(format!(
            "a workgroup of {invocations} does not fill subgroups of {largest}, if the driver picks those"
        ));
    }
    let count: u64 = shape.workgroups.iter().map(|&n| u64::from(n)).product();
    let filling = match (limits.software, std::thread::available_parallelism()) {
        (true, Ok(threads)) => threads.get() as u64,
        _ => FILLING_WORKGROUPS,
    };
    if count < filling {
        let workgroups = if count == 1 { "1 workgroup is".to_owned() } else { format!("{count} workgroups are") };
        let needed = if limits.software { "threads of the processor" } else { "that keep even a small GPU busy" };
        hints.push(format!("{workgroups} fewer than the {filling} {needed}"));
    }
    let memory = shape.workgroup_memory_bytes;
    if let Some(fitting) = limits.workgroup_memory_bytes.checked_div(memory).filter(|n| *n < RESIDENT_WORKGROUPS) {
        let limit = limits.workgroup_memory_bytes;
        let workgroups = if fitting == 1 { "1 workgroup".to_owned() } else { format!("{fitting} workgroups") };
        hints.push(format!(
            "{memory} bytes of workgroup memory: {workgroups} at most fit into {limit} bytes, the least that a core has"
        ));
    }
    if let Some(buffer) = shape.buffers.iter().find(|buffer| buffer.read && buffer.written) {
        let BoundBuffer { binding, name, .. } = buffer;
        hints.push(format!(
            "{binding} ({name}) is read and written: from its second run on the kernel works on what it wrote itself"
        ));
    }
    if shape.has_loops && shape.device.contains("llvmpipe") {
        hints.push(
            "llvmpipe ends all loops of an invocation after 65,535 turns together: one with more is neither right nor as \
             slow as it would be"
                .to_owned(),
        );
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(workgroups: [u32; 3], workgroup_size: [u32; 3], memory: u32, buffers: &[BoundBuffer]) -> String {
        let shape =
            Shape { workgroups, workgroup_size, workgroup_memory_bytes: memory, buffers, has_loops: true, device: "" };
        hints(&shape, &LoneLimits::DEFAULT).join("\n")
    }

    #[test]
    fn a_launch_that_fills_the_device_gets_no_hint() {
        assert_eq!(told([16, 4, 1], [8, 8, 1], 4096, &[]), "");
    }

    #[test]
    fn what_leaves_the_device_idle_is_told() {
        let odd = told([64, 1, 1], [40, 1, 1], 0, &[]);
        assert!(odd.contains("a workgroup of 40") && odd.contains("24 lanes or more"), "{odd}");
        assert!(told([3, 1, 1], [64, 1, 1], 0, &[]).contains("3 workgroups are fewer than the 64"));
        assert!(told([64, 1, 1], [64, 1, 1], 16 << 10, &[]).contains("1 workgroup at most"));
        assert!(told([64, 1, 1], [64, 1, 1], 5000, &[]).contains("3 workgroups at most"));
    }

    #[test]
    fn work_in_place_is_told() {
        let buffer = |read, written| BoundBuffer {
            binding: "0:3".to_owned(),
            name: "x".to_owned(),
            kind: "storage".to_owned(),
            size_bytes: 4,
            read,
            written,
        };
        assert!(told([64, 1, 1], [64, 1, 1], 0, &[buffer(true, true)]).starts_with("0:3 (x) is read and written"));
        assert_eq!(told([64, 1, 1], [64, 1, 1], 0, &[buffer(true, false), buffer(false, true)]), "");
    }
}
