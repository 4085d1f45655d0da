//! Which shaders compute the three convolutions, and when.

use super::conv2d::extents;
use super::window::Window;
use super::{Activation, Conv2d, Conv2dWeightGrad, ConvTranspose2d, activation};
use crate::graph::Signature;
use crate::kernel::{Binding, Constant, Launch, Shader, Target, Variant, Word, linear_grid};

/// Sizes of the picture side and of the position side, as parameter blocks have them.
fn sizes(picture: [usize; 4], positions: [usize; 4], window: Window) -> Vec<(&'static str, Word)> {
    let mut parameters = vec![
        ("batch", picture[0].into()),
        ("in_h", picture[1].into()),
        ("in_w", picture[2].into()),
        ("in_c", picture[3].into()),
        ("out_h", positions[1].into()),
        ("out_w", positions[2].into()),
        ("out_c", positions[3].into()),
    ];
    parameters.extend(window.parameters());
    parameters
}

/// Constants and bindings of the epilogue: without a bias the kernel is bound in its place and never read as one.
fn epilogue(activation: Activation, signature: &Signature<'_>) -> (Vec<(&'static str, Constant)>, Vec<Binding>) {
    let biased = signature.inputs.len() == 3;
    let constants = vec![activation.constant(), ("BIAS", Constant::Bool(biased))];
    let bias = Binding::Input(if biased { 2 } else { 1 });
    (constants, vec![Binding::Input(0), Binding::Input(1), bias, Binding::Output(0)])
}

/// Kernels of [`Conv2d`].
pub(super) fn forward(op: &Conv2d, signature: &Signature<'_>, _target: &Target) -> Vec<Variant> {
    let (x, y) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
    let files = &[activation::SNIPPET, include_str!("../../shaders/conv2d_direct.wgsl")];
    let (constants, bindings) = epilogue(op.activation, signature);
    let launch = Launch {
        shader: Shader { name: "conv2d_direct", files },
        constants,
        parameters: sizes(x, y, op.window),
        bindings,
        workgroups: linear_grid(y[0] * y[1] * y[2] * y[3].div_ceil(4), 64),
    };
    vec![Variant::single("direct", 1.0, launch)]
}

/// Kernels of [`ConvTranspose2d`].
pub(super) fn transposed(op: &ConvTranspose2d, signature: &Signature<'_>, _target: &Target) -> Vec<Variant> {
    let (x, y) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
    let files = &[activation::SNIPPET, include_str!("../../shaders/conv_transpose2d_direct.wgsl")];
    let (constants, bindings) = epilogue(op.activation, signature);
    let launch = Launch {
        shader: Shader { name: "conv_transpose2d_direct", files },
        constants,
        parameters: sizes(x, y, op.window),
        bindings,
        workgroups: linear_grid(y[0] * y[1] * y[2] * y[3].div_ceil(4), 64),
    };
    vec![Variant::single("direct", 1.0, launch)]
}

/// Kernels of [`Conv2dWeightGrad`].
pub(super) fn weight_grad(op: &Conv2dWeightGrad, signature: &Signature<'_>, _target: &Target) -> Vec<Variant> {
    let (x, dy) = (extents(&signature.inputs[0]), extents(&signature.inputs[1]));
    let rows = x[0] * dy[1] * dy[2];
    let weights = op.window.taps() * x[3] * dy[3];
    let runs = rows.div_ceil(512).clamp(1, 64);
    let mut parameters = sizes(x, dy, op.window);
    parameters.extend([("runs", runs.into()), ("run_rows", rows.div_ceil(runs).into())]);
    let partial = Launch {
        shader: Shader {
            name: "conv2d_weight_grad_direct",
            files: &[include_str!("../../shaders/conv2d_weight_grad_direct.wgsl")],
        },
        constants: Vec::new(),
        parameters,
        bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Scratch(0)],
        workgroups: linear_grid(op.window.taps() * x[3] * dy[3].div_ceil(4) * runs, 64),
    };
    vec![split("direct", 1.0, partial, runs, weights)]
}

/// A variant that leaves `runs` partial results of `elements` each in its scratch, and then adds them in order.
fn split(name: &'static str, estimate_us: f64, partial: Launch, runs: usize, elements: usize) -> Variant {
    let sum = Launch {
        shader: Shader { name: "sum_rows", files: &[include_str!("../../shaders/sum_rows.wgsl")] },
        constants: Vec::new(),
        parameters: vec![
            ("rows", runs.into()),
            ("columns", elements.into()),
            ("runs", 1u32.into()),
            ("run_rows", runs.into()),
        ],
        bindings: vec![Binding::Scratch(0), Binding::Output(0)],
        workgroups: linear_grid(elements, 64),
    };
    Variant { name, launches: vec![partial, sum], scratch_bytes: vec![4 * runs * elements], estimate_us }
}
