//! WGSL modules: joined, specialised by named constants, and reflected through naga, all without a device.

use super::source_text::{rebind, repeat};
use crate::error::{Error, Result};
use crate::kernel::{Constant, Launch, Shader, Word};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ScalarKind, StorageAccess, TypeInner};

/// What a module declares that a launch must agree with.
#[derive(Clone, PartialEq, Debug)]
pub struct Layout {
    /// Members of the parameter block at binding 0.
    pub parameters: Vec<Member>,
    /// Size of the parameter block in bytes, 0 without one.
    pub parameters_bytes: u32,
    /// Storage bindings 1, 2, …: whether each is written.
    pub storage_written: Vec<bool>,
    /// The module's own workgroup size.
    pub workgroup_size: [u32; 3],
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
}

/// The text of a shader with its constants bound, and with the sections that one of them counts as often as it says.
///
/// # Errors
/// If the shader has no such constant.
pub fn assemble(shader: Shader, constants: &[(&'static str, Constant)]) -> Result<String> {
    let mut text = shader.files.join("\n");
    for (name, value) in constants {
        text = rebind(&text, name, &value.to_string())
            .ok_or_else(|| shader_error(shader, format!("has no constant {name}")))?;
        if let Constant::U32(count) = *value
            && let Some(repeated) = repeat(&text, name, count)
        {
            text = repeated;
        }
    }
    Ok(text)
}

/// Parses, validates and reflects a module with one entry point `main`.
///
/// # Errors
/// If it is not valid WGSL, or not laid out as kernels are: one uniform block of scalars at binding 0 of group 0,
/// storage buffers at bindings 1, 2, … .
pub fn reflect(shader: Shader, text: &str) -> Result<Layout> {
    let (module, _) = parse(shader, text)?;
    let entry = module.entry_points.iter().find(|e| e.name == "main");
    let workgroup_size =
        entry.map(|e| e.workgroup_size).ok_or_else(|| shader_error(shader, "has no entry point main"))?;
    let mut layout = Layout {
        parameters: Vec::new(),
        parameters_bytes: 0,
        storage_written: Vec::new(),
        workgroup_size,
        workgroup_bytes: 0,
    };
    let mut bindings = Vec::new();
    for (_, variable) in module.global_variables.iter() {
        let inner = &module.types[variable.ty].inner;
        match (variable.space, &variable.binding) {
            (AddressSpace::Uniform, Some(at)) if at.group == 0 && at.binding == 0 => {
                (layout.parameters, layout.parameters_bytes) = block(&module, inner)
                    .ok_or_else(|| shader_error(shader, "parameters must be a struct of 32-bit scalars"))?;
            }
            (AddressSpace::Storage { access }, Some(at)) if at.group == 0 && at.binding > 0 => {
                bindings.push((at.binding, access.contains(StorageAccess::STORE)));
            }
            (AddressSpace::WorkGroup, _) => layout.workgroup_bytes += inner.size(module.to_ctx()),
            (_, None) => {}
            (_, Some(at)) => {
                let problem = format!("binding {}:{} is neither parameters (0:0) nor storage", at.group, at.binding);
                return Err(shader_error(shader, problem));
            }
        }
    }
    bindings.sort_unstable();
    if bindings.iter().enumerate().any(|(i, &(binding, _))| binding as usize != i + 1) {
        return Err(shader_error(shader, "storage bindings must be 1, 2, … without a gap"));
    }
    layout.storage_written = bindings.into_iter().map(|(_, written)| written).collect();
    Ok(layout)
}

/// A module and what the validator found out about it.
///
/// # Errors
/// If it is not valid WGSL, with the place in the text.
pub(super) fn parse(shader: Shader, text: &str) -> Result<(Module, ModuleInfo)> {
    let module = naga::front::wgsl::parse_str(text)
        .map_err(|e| shader_error(shader, e.emit_to_string_with_path(text, shader.name)))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    let info =
        validator.validate(&module).map_err(|e| shader_error(shader, e.emit_to_string_with_path(text, shader.name)))?;
    Ok((module, info))
}

/// A member of a parameter block: name, byte offset, scalar kind.
pub(super) type Member = (String, u32, ScalarKind);

/// Members of a struct of scalars, and its size.
fn block(module: &Module, inner: &TypeInner) -> Option<(Vec<Member>, u32)> {
    let TypeInner::Struct { members, span } = inner else { return None };
    let member = |m: &naga::StructMember| match module.types[m.ty].inner {
        TypeInner::Scalar(scalar) if scalar.width == 4 => Some((m.name.clone()?, m.offset, scalar.kind)),
        _ => None,
    };
    Some((members.iter().map(member).collect::<Option<_>>()?, *span))
}

impl Layout {
    /// The words of a launch's parameter block, laid out as the module declares it.
    ///
    /// # Errors
    /// If a member is missing, unknown or of another type, or the number of storage bindings differs.
    pub fn parameter_words(&self, launch: &Launch) -> Result<Vec<u32>> {
        let wrong = |problem: String| shader_error(launch.shader, problem);
        if launch.bindings.len() != self.storage_written.len() {
            let (got, wanted) = (launch.bindings.len(), self.storage_written.len());
            return Err(wrong(format!("declares {wanted} storage bindings and is launched with {got}")));
        }
        let mut words = vec![0; self.parameters_bytes as usize / 4];
        for (name, offset, kind) in &self.parameters {
            let given = launch.parameters.iter().find(|(n, _)| n == name);
            let (_, word) = given.ok_or_else(|| wrong(format!("parameter {name} is not given")))?;
            let fits = matches!(
                (word, kind),
                (Word::U32(_), ScalarKind::Uint) | (Word::I32(_), ScalarKind::Sint) | (Word::F32(_), ScalarKind::Float)
            );
            if !fits {
                return Err(wrong(format!("parameter {name} is declared {kind:?} and given {word:?}")));
            }
            words[*offset as usize / 4] = word.bits();
        }
        let unknown = |n: &str| !self.parameters.iter().any(|(name, _, _)| name == n);
        match launch.parameters.iter().find(|(n, _)| unknown(n)) {
            Some((name, _)) => Err(wrong(format!("has no parameter {name}"))),
            None => Ok(words),
        }
    }
}

pub(super) fn shader_error(shader: Shader, problem: impl Into<String>) -> Error {
    Error::Shader { name: shader.name.to_owned(), problem: problem.into() }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::kernel::Binding;

    const TEXT: &str = "const N: u32 = 4u;\nconst N_LONG: f32 = 1.0;\n\
        struct P { a: u32, b: f32 }\n@group(0) @binding(0) var<uniform> p: P;\n\
        @group(0) @binding(1) var<storage, read> x: array<f32>;\n\
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;\n\
        var<workgroup> tile: array<f32, N>;\n\
        @compute @workgroup_size(N, 2) fn main() { tile[0] = x[0]; y[p.a] = p.b * N_LONG + tile[0]; }";
    const SHADER: Shader = Shader { name: "test", files: &[TEXT] };

    fn launch(parameters: Vec<(&'static str, Word)>) -> Launch {
        let bindings = vec![Binding::Input(0), Binding::Output(0)];
        Launch { shader: SHADER, constants: Vec::new(), parameters, bindings, workgroups: [1; 3] }
    }

    #[test]
    fn constants_are_rebound_by_their_whole_name() {
        let text = assemble(SHADER, &[("N", Constant::U32(8)), ("N_LONG", Constant::F32(2.5))]).unwrap();
        assert!(text.contains("const N: u32 = 8u;") && text.contains("const N_LONG: f32 = 2.5f;"), "{text}");
        let layout = reflect(SHADER, &text).unwrap();
        assert_eq!(layout.workgroup_size, [8, 2, 1]);
        assert_eq!(layout.workgroup_bytes, 32);
        assert!(assemble(SHADER, &[("M", Constant::U32(8))]).unwrap_err().to_string().contains("no constant M"));
    }

    #[test]
    fn layout_follows_the_module() {
        let layout = reflect(SHADER, TEXT).unwrap();
        assert_eq!(layout.storage_written, [false, true]);
        let words = layout.parameter_words(&launch(vec![("b", 1.5.into()), ("a", 7u32.into())])).unwrap();
        assert_eq!(words, [7, 1.5f32.to_bits()]);
        let wrong = |p: Vec<(&'static str, Word)>| layout.parameter_words(&launch(p)).unwrap_err().to_string();
        assert!(wrong(vec![("a", 7u32.into())]).contains("b is not given"));
        assert!(wrong(vec![("a", 7u32.into()), ("b", 1u32.into())]).contains("declared Float"));
        let three = vec![("a", 7u32.into()), ("b", 1.5.into()), ("c", 1.5.into())];
        assert!(wrong(three).contains("no parameter c"));
    }

    #[test]
    fn errors_carry_the_place() {
        let text = "@compute @workgroup_size(1) fn main() { let x = y; }";
        let message = reflect(Shader { name: "bad", files: &[] }, text).unwrap_err().to_string();
        assert!(message.contains("bad") && message.contains(":1:"), "{message}");
    }
}
