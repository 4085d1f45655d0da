//! Kernels for matrix units on devices that have none: the files as they are, but for the cooperative operations, in whose
//! place calls of `emulation.wgsl` are put. What is left unseen is what those operations themselves do.

use crate::altered::Alter;
use degrain::graph::{Op, Signature};
use degrain::kernel::{MatrixUnits, Precision, Products, Shader, Target, Variant};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

/// What is emulated: every size of matrices, over subgroups of different sizes.
pub(crate) const UNITS: [MatrixUnits; 2] = [MatrixUnits { size: 16, lanes: 32 }, MatrixUnits { size: 8, lanes: 64 }];

/// Leaves an op the kernels that it has on these units, emulated.
#[derive(Debug)]
pub(crate) struct Emulation {
    pub(crate) units: MatrixUnits,
    /// Whether the units leave out the last product of each slice.
    pub(crate) faulty: bool,
}

impl Emulation {
    /// The target with the units.
    pub(crate) fn target(&self, target: &Target) -> Target {
        Target { f16: true, precision: Precision::F16, matrix_units: Some(self.units), ..*target }
    }
}

impl Alter for Emulation {
    fn variants(&self, op: &dyn Op, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let mut variants = op.variants(signature, &self.target(target));
        variants.retain(|variant| variant.products == Products::MatrixUnits);
        for variant in &mut variants {
            // Its sums round to the nearest, which the tighter tolerance asks for.
            variant.products = Products::F16;
            for launch in &mut variant.launches {
                launch.shader = emulated(launch.shader, self.faulty);
            }
        }
        variants
    }
}

/// The shader with other texts, which live as long as the test.
fn emulated(shader: Shader, faulty: bool) -> Shader {
    static FILES: LazyLock<Mutex<HashMap<(Shader, bool), Shader>>> = LazyLock::new(Mutex::default);
    if !shader.files.iter().any(|file| file.contains("wgpu_cooperative_matrix")) {
        return shader;
    }
    *FILES.lock().unwrap().entry((shader, faulty)).or_insert_with(|| {
        let mut files: Vec<&'static str> = shader.files.iter().map(|file| &*without_units(file).leak()).collect();
        let emulation = include_str!("emulation.wgsl");
        files.push(if faulty { emulation.replace("k < SIZE;", "k < SIZE - 1u;").leak() } else { emulation });
        Shader { files: files.leak(), ..shader }
    })
}

/// The text with calls of `emulation.wgsl` in place of cooperative operations.
fn without_units(file: &'static str) -> String {
    let line = |line: &'static str| match line {
        "alias Sum = coop_mat8x8<f32, C>;" => "const SIZE: u32 = 8u;",
        "alias Sum = coop_mat16x16<f32, C>;" => "const SIZE: u32 = 16u;",
        other if other.contains("wgpu_cooperative_matrix") || other.contains("coop_mat") => "",
        other => other,
    };
    let mut text: String = file.lines().flat_map(|text| [line(text), "\n"]).collect();
    for (from, to) in [
        ("coopLoadT<Left>(&left[", "load_left(lane, "),
        ("coopLoadT<Right>(&right[", "load_right(lane, "),
        ("coopLoadT<Sum>(&sums[", "load_sum(lane, "),
        ("coopMultiplyAdd(", "multiply_add(lane, "),
        ("coopStoreT(", "store_sum(lane, "),
        (", &sums[", ", "),
        ("], LEFT_STRIDE)", ", LEFT_STRIDE)"),
        ("], RIGHT_STRIDE)", ", RIGHT_STRIDE)"),
        ("], TILE)", ", TILE)"),
    ] {
        text = text.replace(from, to);
    }
    assert!(!text.contains("coop"), "an operation that is not emulated: {text}");
    text
}
