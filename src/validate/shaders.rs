//! What is seen of a launch without a device: its shader, its parameter block, its bindings, its limits.

use super::kernel::BlockMember;
use crate::error::{Error, Result};
use crate::gpu::{assemble, reflect};
use crate::kernel::{Binding, Constant, Launch, Shader, Target};

/// A Rust struct that a shader's parameter block must be laid out as.
#[derive(Clone, Debug)]
pub(super) struct BlockLayout {
    pub(super) shader: Shader,
    pub(super) constants: Vec<(&'static str, Constant)>,
    pub(super) members: &'static [BlockMember],
    pub(super) size_bytes: usize,
}

impl BlockLayout {
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |problem: String| Error::Shader { name: self.shader.name.to_owned(), problem };
        let layout = reflect(self.shader, &assemble(self.shader, &self.constants)?)?;
        let declared: Vec<String> = layout
            .parameters
            .iter()
            .map(|(name, offset, kind)| member(name, *offset as usize, wgsl_kind(*kind)))
            .collect();
        let given: Vec<String> = self.members.iter().map(|m| member(m.name, m.offset_bytes, m.kind)).collect();
        if let Some(at) = (0..declared.len().max(given.len())).find(|&i| declared.get(i) != given.get(i)) {
            let side = |members: &[String]| members.get(at).map_or("nothing", String::as_str).to_owned();
            let (declared, given) = (side(&declared), side(&given));
            return Err(wrong(format!("parameter block: member {at} is {declared} in WGSL and {given} in Rust")));
        }
        if layout.parameters_bytes as usize != self.size_bytes {
            let (declared, given) = (layout.parameters_bytes, self.size_bytes);
            return Err(wrong(format!("parameter block: {declared} bytes in WGSL and {given} in Rust")));
        }
        Ok(())
    }
}

fn member(name: &str, offset_bytes: usize, kind: &str) -> String {
    format!("{name}: {kind} at byte {offset_bytes}")
}

fn wgsl_kind(kind: naga::ScalarKind) -> &'static str {
    match kind {
        naga::ScalarKind::Uint => "u32",
        naga::ScalarKind::Sint => "i32",
        naga::ScalarKind::Float => "f32",
        _ => "another kind",
    }
}

/// Most workgroups that WebGPU launches along one axis.
const MAX_WORKGROUPS: u32 = 65_535;

/// Checks one launch against its shader and the target.
pub(super) fn check_launch(launch: &Launch, target: &Target) -> Result<()> {
    let wrong = |problem: String| Error::Shader { name: launch.shader.name.to_owned(), problem };
    let text = assemble(launch.shader, &launch.constants)?;
    let layout = reflect(launch.shader, &text)?;
    layout.parameter_words(launch)?;
    let invocations: u32 = layout.workgroup_size.iter().product();
    let limits = [
        ("invocations in a workgroup", invocations, target.max_invocations),
        ("bytes of workgroup memory", layout.workgroup_bytes, target.workgroup_memory_bytes),
        ("storage buffers", layout.storage_written.len() as u32, target.max_storage_buffers),
    ];
    if let Some((what, has, limit)) = limits.into_iter().find(|(_, has, limit)| has > limit) {
        return Err(wrong(format!("{has} {what}, WebGPU allows {limit}")));
    }
    if !launch.workgroups.iter().all(|n| (1..=MAX_WORKGROUPS).contains(n)) {
        return Err(wrong(format!("{:?} workgroups, each axis takes 1 to {MAX_WORKGROUPS}", launch.workgroups)));
    }
    for (at, (binding, &written)) in launch.bindings.iter().zip(&layout.storage_written).enumerate() {
        if matches!(binding, Binding::Input(_)) && written {
            return Err(wrong(format!("binding {} is an input and declared read_write", at + 1)));
        }
    }
    Ok(())
}
