//! What a kernel becomes for each graphics API, without a device: the compilers behind Vulkan, Metal and DX12 are fed by
//! the same translator, so a construct that one of them cannot express shows up here on any machine.

use super::shader::{parse, shader_error};
use crate::error::{Error, Result};
use crate::kernel::Shader;
use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage, StorageAccess};

/// A kernel in the language of each API.
#[derive(Clone, PartialEq, Debug)]
pub struct Translation {
    /// For Vulkan: the words of a SPIR-V 1.3 module, which Vulkan 1.1 takes.
    pub spirv: Vec<u32>,
    /// For Metal: Metal Shading Language 2.3.
    pub msl: String,
    /// For DX12: HLSL for shader model 6.0.
    pub hlsl: String,
}

/// Bounds checks as a device opened with `checked` has them; without them there is only less to translate.
const CHECKS: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Restrict,
    buffer: BoundsCheckPolicy::Restrict,
    image_load: BoundsCheckPolicy::Restrict,
    binding_array: BoundsCheckPolicy::Restrict,
};
/// The oldest version that has subgroup operations.
const SPIRV: (u8, u8) = (1, 3);
/// The oldest version in which wgpu offers integers of 64 bits.
const METAL: (u8, u8) = (2, 3);

/// Translates a module with one entry point `main` to SPIR-V, MSL and HLSL.
///
/// # Errors
/// If it is not valid WGSL, or if one of the languages cannot express it; the message says which.
pub fn translate(shader: Shader, text: &str) -> Result<Translation> {
    let translator = Translator::new(shader, text)?;
    Ok(Translation { spirv: translator.spirv()?, msl: translator.msl()?, hlsl: translator.hlsl()? })
}

/// A parsed module with one entry point `main`, to be translated to some of the languages.
pub struct Translator<'a> {
    shader: Shader,
    text: &'a str,
    module: Module,
}

impl<'a> Translator<'a> {
    /// Parses a module.
    ///
    /// # Errors
    /// If it is not valid WGSL.
    pub fn new(shader: Shader, text: &'a str) -> Result<Self> {
        let (module, _) = parse(shader, text)?;
        Ok(Self { shader, text, module })
    }

    fn refused(&self, language: &str, problem: &str) -> Error {
        shader_error(self.shader, format!("not expressible in {language}: {problem}"))
    }

    /// The writers panic at what their language lacks (f64 in Metal), so each gets a module that was validated for it.
    fn validate(&self, language: &str, capabilities: Capabilities) -> Result<ModuleInfo> {
        let mut validator = Validator::new(ValidationFlags::all(), capabilities);
        let validated = validator.validate(&self.module);
        validated.map_err(|e| self.refused(language, &e.emit_to_string_with_path(self.text, self.shader.name)))
    }

    fn entry() -> (ShaderStage, String) {
        (ShaderStage::Compute, "main".to_owned())
    }

    /// The words of [`Translation::spirv`].
    ///
    /// # Errors
    /// If SPIR-V cannot express it.
    pub fn spirv(&self) -> Result<Vec<u32>> {
        let info = self.validate("SPIR-V", spv::supported_capabilities())?;
        let options = spv::Options { lang_version: SPIRV, bounds_check_policies: CHECKS, ..spv::Options::default() };
        let (shader_stage, entry_point) = Self::entry();
        let pipeline = spv::PipelineOptions { shader_stage, entry_point };
        let written = spv::write_vec(&self.module, &info, &options, Some(&pipeline));
        written.map_err(|e| self.refused("SPIR-V", &e.to_string()))
    }

    /// The text of [`Translation::msl`].
    ///
    /// # Errors
    /// If MSL cannot express it.
    pub fn msl(&self) -> Result<String> {
        let info = self.validate("MSL", msl::supported_capabilities())?;
        let options = metal_options(&self.module);
        let pipeline = msl::PipelineOptions { entry_point: Some(Self::entry()), ..msl::PipelineOptions::default() };
        let (text, written) = msl::write_string(&self.module, &info, &options, &pipeline)
            .map_err(|e| self.refused("MSL", &e.to_string()))?;
        check_entry_points(written.entry_point_names).map_err(|e| self.refused("MSL", &e))?;
        Ok(text)
    }

    /// The text of [`Translation::hlsl`].
    ///
    /// # Errors
    /// If HLSL cannot express it.
    pub fn hlsl(&self) -> Result<String> {
        let info = self.validate("HLSL", hlsl::supported_capabilities())?;
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_0, ..hlsl::Options::default() };
        let pipeline = hlsl::PipelineOptions { entry_point: Some(Self::entry()) };
        let mut text = String::new();
        let written = hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&self.module, &info, None)
            .map_err(|e| self.refused("HLSL", &e.to_string()))?;
        check_entry_points(written.entry_point_names).map_err(|e| self.refused("HLSL", &e))?;
        Ok(text)
    }
}

/// The writers report what is wrong with one entry point beside a text that lacks it.
fn check_entry_points<E: std::fmt::Display>(names: Vec<Result<String, E>>) -> Result<(), String> {
    match names.into_iter().next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(e)) => Err(e.to_string()),
        None => Err("has no entry point main".to_owned()),
    }
}

/// Metal numbers buffers by hand: each binding has its own number, and the sizes of all buffers, which bounds checks
/// read, come after the last.
fn metal_options(module: &Module) -> msl::Options {
    let mut resources = msl::EntryPointResources::default();
    let mut after = 0;
    for (_, variable) in module.global_variables.iter() {
        let Some(at) = variable.binding else { continue };
        let slot = u8::try_from(at.binding).unwrap_or(u8::MAX);
        let mutable =
            matches!(variable.space, AddressSpace::Storage { access } if access.contains(StorageAccess::STORE));
        resources.resources.insert(at, msl::BindTarget { buffer: Some(slot), mutable, ..msl::BindTarget::default() });
        after = after.max(slot.saturating_add(1));
    }
    resources.sizes_buffer = Some(after);
    msl::Options {
        lang_version: METAL,
        per_entry_point_map: std::iter::once(("main".to_owned(), resources)).collect(),
        fake_missing_bindings: false,
        bounds_check_policies: CHECKS,
        ..msl::Options::default()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const SHADER: Shader = Shader { name: "twice", files: &[] };

    #[test]
    fn each_language_names_the_buffers() {
        let text = "@group(0) @binding(1) var<storage, read> x: array<f32>;\n\
            @group(0) @binding(2) var<storage, read_write> y: array<f32>;\n\
            @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) i: vec3<u32>) { y[i.x] = 2.0 * x[i.x]; }";
        let translation = translate(SHADER, text).unwrap();
        assert_eq!(translation.spirv[..2], [0x0723_0203, 0x0001_0300], "magic number and version");
        assert!(
            translation.msl.contains("[[buffer(1)]]") && translation.msl.contains("[[buffer(3)]]"),
            "{}",
            translation.msl
        );
        assert!(translation.hlsl.contains("register(u2)"), "{}", translation.hlsl);
    }

    #[test]
    fn what_a_language_cannot_express_is_an_error_that_names_it() {
        let text = "@group(0) @binding(1) var<storage, read_write> y: array<f64>;\n\
            @compute @workgroup_size(1) fn main() { y[0] = 1.0lf; }";
        let message = translate(SHADER, text).unwrap_err().to_string();
        assert!(message.contains("twice: not expressible in MSL"), "{message}");
    }
}
