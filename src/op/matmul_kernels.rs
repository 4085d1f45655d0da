//! Which shaders compute a matrix product, and when.

use super::conv_kernels::{self, DenseKernels};
use super::half_products::in_precision;
use super::{Activation, Matmul, activation};
use crate::graph::Signature;
use crate::kernel::{Binding, Constant, Launch, Shader, Target, Variant, linear_grid};

/// Kernels of [`Matmul`].
pub(super) fn variants(op: &Matmul, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
    let Some(extents) = op.extents(signature.inputs) else { return Vec::new() };
    let [lanes, matrix] = of_convolutions(op, signature, extents, target);
    let mut single = vec![direct(op, signature, extents, target), tiled(op, signature, extents, target)];
    single.extend(lanes);
    in_precision(single, matrix, signature, target)
}

/// The parts that both shaders share: constants, parameters, bindings.
fn launch(op: &Matmul, signature: &Signature<'_>, [m, k, n]: [usize; 3], shader: Shader) -> Launch {
    let biased = signature.inputs.len() == 3;
    let mut constants = op.activation.constants().to_vec();
    constants.extend([
        ("BIAS", Constant::Bool(biased)),
        ("TRANSPOSE_A", Constant::Bool(op.transpose_a)),
        ("TRANSPOSE_B", Constant::Bool(op.transpose_b)),
    ]);
    Launch {
        shader,
        constants,
        parameters: vec![("rows", m.into()), ("inner", k.into()), ("columns", n.into())],
        // Without a bias, b is bound in its place and never read as one.
        bindings: vec![
            Binding::Input(0),
            Binding::Input(1),
            Binding::Input(if biased { 2 } else { 1 }),
            Binding::Output(0),
        ],
        workgroups: [1, 1, 1],
    }
}

/// The kernels of convolutions, with one tap and pictures of one pixel.
fn of_convolutions(op: &Matmul, signature: &Signature<'_>, extents: [usize; 3], target: &Target) -> DenseKernels {
    let biased = signature.inputs.len() == 3;
    match (op.transpose_a, op.transpose_b) {
        (false, transposed) => conv_kernels::dense(extents, transposed, op.activation, biased, target),
        (true, false) if op.activation == Activation::Linear && !biased => {
            conv_kernels::dense_weight_grad(extents, target)
        }
        (true, _) => [None, None],
    }
}

/// Registers only, no barriers: a 4x4 tile per invocation.
fn direct(op: &Matmul, signature: &Signature<'_>, extents: [usize; 3], target: &Target) -> Variant {
    let files = &[activation::SNIPPET, include_str!("../../shaders/matmul_direct.wgsl")];
    let mut launch = launch(op, signature, extents, Shader { name: "matmul_direct", files });
    let [m, k, n] = extents;
    launch.workgroups = linear_grid(m.div_ceil(4) * n.div_ceil(4), 64);
    let products = (m * k * n) as f64;
    Variant::single("direct", products / if target.is_software() { 0.5e3 } else { 200e3 }, launch)
}

const TILED: Shader =
    Shader { name: "matmul_tiled", files: &[activation::SNIPPET, include_str!("../../shaders/matmul_tiled.wgsl")] };

/// A launch for several products of matrices a (m, k) and b (k, n), each kind one after the other in its buffer.
pub(super) fn several(matrices: usize, [m, k, n]: [usize; 3], a: Binding, b: Binding, y: Binding) -> Launch {
    Launch {
        shader: TILED,
        constants: vec![("BIAS", Constant::Bool(false))],
        parameters: vec![("rows", m.into()), ("inner", k.into()), ("columns", n.into()), ("matrices", matrices.into())],
        bindings: vec![a, b, b, y],
        workgroups: linear_grid(matrices * m.div_ceil(64) * n.div_ceil(64), 1),
    }
}

/// Tiles of 64x64 in workgroup memory, 4x4 per invocation.
fn tiled(op: &Matmul, signature: &Signature<'_>, extents: [usize; 3], target: &Target) -> Variant {
    let mut launch = launch(op, signature, extents, TILED);
    let [m, k, n] = extents;
    launch.parameters.push(("matrices", 1u32.into()));
    launch.workgroups = linear_grid(m.div_ceil(64) * n.div_ceil(64), 1);
    // Small products leave most of a tile empty, and few workgroups leave most of a GPU idle.
    let products = (m.next_multiple_of(64) * k * n.next_multiple_of(64)) as f64;
    Variant::single("tiled", products / if target.is_software() { 0.2e3 } else { 2e6 }, launch)
}
