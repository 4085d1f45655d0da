//! Every specialised kernel in the languages of Vulkan, Metal and DX12, without any of them: the translator must be able
//! to express it, and Khronos' validator must accept the SPIR-V. Where `spirv-val` (Debian package spirv-tools) is not
//! installed its tests are reported as ignored, unless DEGRAIN_REQUIRE_SPIRV_VAL=1.
//!
//! With DEGRAIN_DUMP_SHADERS=DIR the texts are also written to that folder, one file each, for other compilers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::gpu::{Translator, assemble, translate};
use degrain::graph::Signature;
use degrain::kernel::{Shader, Target};
use degrain::op::OPS;
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let shaders = specialised();
    if let Some(folder) = std::env::var_os("DEGRAIN_DUMP_SHADERS") {
        dump(Path::new(&folder), &shaders);
    }
    let installed = Command::new("spirv-val").arg("--version").stdout(Stdio::null()).status().is_ok();
    let knows_matrices = installed && knows_cooperative_matrices();
    let required = std::env::var("DEGRAIN_REQUIRE_SPIRV_VAL").is_ok_and(|v| v == "1");
    let mut trials = vec![Trial::test("kernels_are_found", {
        let (names, texts) = (shaders.len(), shaders.values().map(BTreeSet::len).sum::<usize>());
        move || {
            if names >= 20 && texts > names { Ok(()) } else { Err(format!("{texts} texts of {names} shaders").into()) }
        }
    })];
    for (name, texts) in shaders {
        let again = texts.clone();
        trials.push(Trial::test(format!("translate::{name}"), move || expressible(name, &texts)));
        let (matrices, units) = (again.iter().any(|text| uses_matrix_units(text)), knows_matrices);
        let validate = Trial::test(format!("spirv_val::{name}"), move || valid(name, &again));
        trials.push(match installed {
            true if matrices && !units => {
                validate.with_kind("spirv-val is older than cooperative matrices").with_ignored_flag(true)
            }
            true => validate,
            false => validate.with_kind("spirv-val is not installed").with_ignored_flag(!required),
        });
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The texts that any case of any op launches, by the shader's name.
fn specialised() -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut shaders: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for case in OPS.iter().flat_map(|op| (op.cases)()) {
        let (inputs, outputs) = (case.input_types(), case.output_types().unwrap());
        for target in Target::ALL {
            let variants = case.op.variants(&Signature { inputs: &inputs, outputs: &outputs }, &target);
            for launch in variants.iter().flat_map(|variant| &variant.launches) {
                let text = assemble(launch.shader, &launch.constants).unwrap();
                shaders.entry(launch.shader.name).or_default().insert(text);
            }
        }
    }
    shaders
}

fn expressible(name: &'static str, texts: &BTreeSet<String>) -> Result<(), Failed> {
    for text in texts {
        let shader = Shader { name, files: &[] };
        if !uses_matrix_units(text) {
            translate(shader, text)?;
            continue;
        }
        // No DX12 device offers matrix units in wgpu, and Metal's are of 8x8 matrices.
        let translator = Translator::new(shader, text)?;
        translator.spirv()?;
        if text.contains("coop_mat8x8") {
            translator.msl()?;
        }
        if translator.hlsl().is_ok() {
            return Err(format!("{name} can be expressed in HLSL by now: translate it as the others").into());
        }
    }
    Ok(())
}

/// Whether this version of spirv-val, which prints the year of its release, has SPV_KHR_cooperative_matrix (June 2023).
fn knows_cooperative_matrices() -> bool {
    let said = Command::new("spirv-val").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&said);
    let year = text.split(" v").nth(1).and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    year.is_some_and(|year| year >= 2024)
}

/// Cooperative matrices are an extension of WGSL that naga has and other compilers have not.
fn uses_matrix_units(text: &str) -> bool {
    text.contains("enable wgpu_cooperative_matrix;")
}

/// Holds each module against the rules of Vulkan 1.1, the oldest that takes its version of SPIR-V; drivers with matrix units
/// have Vulkan 1.3.
fn valid(name: &'static str, texts: &BTreeSet<String>) -> Result<(), Failed> {
    for text in texts {
        let spirv = Translator::new(Shader { name, files: &[] }, text)?.spirv()?;
        let environment = if uses_matrix_units(text) { "vulkan1.3" } else { "vulkan1.1" };
        let mut child = Command::new("spirv-val")
            .args(["--target-env", environment, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("spirv-val (Debian package spirv-tools): {e}"))?;
        child.stdin.take().unwrap().write_all(bytemuck::cast_slice(&spirv))?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            return Err(format!("{name}: {}\n{text}", String::from_utf8_lossy(&said)).into());
        }
    }
    Ok(())
}

/// One file for each text, `NAME.N.wgsl`.
fn dump(folder: &Path, shaders: &BTreeMap<&str, BTreeSet<String>>) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, texts) in shaders {
        for (i, text) in texts.iter().enumerate() {
            std::fs::write(folder.join(format!("{name}.{i}.wgsl")), text).unwrap();
        }
    }
}
