//! Activations: `y = f(x)` and `dx = dy f'(x)`, the derivative taken from `y`.

use super::{Case, Values, conv_kernels, expect_f32, expect_inputs, expect_same};
use crate::cpu::vector::{self, wide};
use crate::error::Result;
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Constant, Launch, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Source of the snippet that kernels with an activation as epilogue are joined with.
pub(super) const SNIPPET: &str = include_str!("../../shaders/activation.wgsl");

/// A function applied to each element. All are monotonic with a slope of at most one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x`.
    #[default]
    Linear,
    /// `max(x, 0)`.
    Relu,
    /// `x` above zero, `exp(x) - 1` below (alpha = 1).
    Elu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Every activation but the identity.
    pub const NONLINEAR: [Self; 4] = [Self::Relu, Self::Elu, Self::Sigmoid, Self::Tanh];

    /// Number of this activation in the shaders.
    pub(super) fn constant(self) -> (&'static str, Constant) {
        ("ACTIVATION", Constant::U32(self as u32))
    }

    /// The formula.
    pub fn reference(self, x: f64) -> f64 {
        match self {
            Self::Linear => x,
            Self::Relu => x.max(0.0),
            Self::Elu if x > 0.0 => x,
            Self::Elu => x.exp_m1(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
        }
    }

    /// Replaces each element by its activation, in `f32`, for the CPU executor. One loop per function, so that
    /// each is vectorised.
    pub(crate) fn apply_all(self, values: &mut [f32]) {
        match self {
            Self::Linear => {}
            Self::Relu => wide(|| values.iter_mut().for_each(|x| *x = x.max(0.0))),
            Self::Elu => {
                wide(|| values.iter_mut().for_each(|x| *x = if *x > 0.0 { *x } else { vector::exp_m1(*x) }));
            }
            Self::Sigmoid => wide(|| values.iter_mut().for_each(|x| *x = vector::sigmoid(*x))),
            Self::Tanh => wide(|| values.iter_mut().for_each(|x| *x = vector::tanh(*x))),
        }
    }

    /// Multiplies each gradient by the slope at its output y.
    fn scale_by_slope(self, dx: &mut [f32], dy: &[f32], y: &[f32]) {
        let pairs = dx.iter_mut().zip(dy.iter().zip(y));
        match self {
            Self::Linear => pairs.for_each(|(dx, (dy, _))| *dx = *dy),
            Self::Relu => wide(|| pairs.for_each(|(dx, (dy, y))| *dx = if *y > 0.0 { *dy } else { 0.0 })),
            Self::Elu => wide(|| pairs.for_each(|(dx, (dy, y))| *dx = dy * (1.0 + y.min(0.0)))),
            Self::Sigmoid => wide(|| pairs.for_each(|(dx, (dy, y))| *dx = dy * (y * (1.0 - y)))),
            Self::Tanh => wide(|| pairs.for_each(|(dx, (dy, y))| *dx = dy * (1.0 - y * y))),
        }
    }

    /// Derivative at `x`, given `y = f(x)`.
    fn slope(self, y: f64) -> f64 {
        match self {
            Self::Linear => 1.0,
            Self::Relu => f64::from(u8::from(y > 0.0)),
            Self::Elu => 1.0 + y.min(0.0),
            Self::Sigmoid => y * (1.0 - y),
            Self::Tanh => 1.0 - y * y,
        }
    }

    /// Replaces `gradient` with the gradient before the activation, given its output `y`.
    pub(super) fn record_backward(self, graph: &mut Graph, dy: TensorId, y: TensorId) -> Result<TensorId> {
        if self == Self::Linear { Ok(dy) } else { graph.apply_one(ActivateBackward { kind: self }, &[dy, y]) }
    }

    /// How exact a sum of this many products is, with this activation as its epilogue.
    pub(super) fn sum_tolerance(self, terms: usize) -> Tolerance {
        let (rtol, atol) = match self.tolerance() {
            Tolerance::Close { rtol, atol } => (rtol, atol),
            _ => (0.0, 0.0),
        };
        Tolerance::Sum { terms, rtol, atol }
    }

    /// How exact this is element by element.
    pub(super) fn tolerance(self) -> Tolerance {
        match self {
            Self::Linear | Self::Relu => Tolerance::Exact,
            _ => Tolerance::TRANSCENDENTAL,
        }
    }
}

impl std::fmt::Display for Activation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Linear => "linear",
            Self::Relu => "relu",
            Self::Elu => "elu",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
        })
    }
}

/// `y = f(x)`.
#[derive(Clone, Copy, Debug)]
pub struct Activate {
    /// f.
    pub kind: Activation,
}

/// `dx = dy f'(x)`, from inputs `dy` and `y = f(x)`.
#[derive(Clone, Copy, Debug)]
pub struct ActivateBackward {
    /// f.
    pub kind: Activation,
}

impl Op for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
        Ok(vec![inputs[0].clone()])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _needed: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None]) };
        Ok(vec![Some(self.kind.record_backward(graph, dy, node.outputs[0])?)])
    }

    fn variants(&self, signature: &Signature<'_>, _target: &Target) -> Vec<Variant> {
        let files = &[SNIPPET, include_str!("../../shaders/activate.wgsl")];
        let shader = Shader { name: "activate", files };
        vec![elementwise(shader, vec![self.kind.constant()], signature)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        for (y, &x) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()) {
            *y = self.kind.reference(x);
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (x, kind) = (call.input(0), self.kind);
        call.output(0).par_chunks_mut(4096).zip(x.par_chunks(4096)).for_each(|(y, x)| {
            y.copy_from_slice(x);
            kind.apply_all(y);
        });
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![self.kind.tolerance()]
    }

    fn as_activation(&self) -> Option<Activation> {
        Some(self.kind)
    }
}

impl Op for ActivateBackward {
    fn name(&self) -> &'static str {
        "activate_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_f32(self.name(), &inputs[0])?;
        expect_same(self.name(), &inputs[0], &inputs[1])?;
        Ok(vec![inputs[0].clone()])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let files = &[SNIPPET, include_str!("../../shaders/activate_backward.wgsl")];
        let shader = Shader { name: "activate_backward", files };
        let plain = elementwise(shader, vec![self.kind.constant()], signature);
        let elements = signature.outputs[0].shape.len();
        if !conv_kernels::reads_pairs(target) || !elements.is_multiple_of(4) {
            return vec![plain];
        }
        const QUADS: &[&str] =
            &[SNIPPET, conv_kernels::PAIRS, include_str!("../../shaders/activate_backward_quads.wgsl")];
        let mut launch = plain.launches[0].clone();
        launch.shader = Shader { name: "activate_backward_quads", files: QUADS };
        launch.workgroups = linear_grid(elements / 4, 64);
        let quads = Variant::single("quads", plain.estimate_us / 2.0, launch);
        vec![plain, quads]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (dy, y) = (inputs[0].f64(), inputs[1].f64());
        for (dx, (&dy, &y)) in outputs[0].f64_mut().iter_mut().zip(dy.iter().zip(y)) {
            *dx = dy * self.kind.slope(y);
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (dy, y) = (call.input(0), call.input(1));
        let kind = self.kind;
        let rows = dy.par_chunks(4096).zip(y.par_chunks(4096));
        call.output(0).par_chunks_mut(4096).zip(rows).for_each(|(dx, (dy, y))| kind.scale_by_slope(dx, dy, y));
        true
    }
}

/// A launch of one invocation per element over all inputs and outputs in order, with `elements` as its block.
pub(super) fn elementwise(
    shader: Shader,
    constants: Vec<(&'static str, Constant)>,
    signature: &Signature<'_>,
) -> Variant {
    let elements = signature.outputs[0].shape.len();
    let inputs = (0..signature.inputs.len()).map(Binding::Input);
    let bindings = inputs.chain((0..signature.outputs.len()).map(Binding::Output)).collect();
    let parameters = vec![("elements", elements.into())];
    let workgroups = linear_grid(elements, 64);
    Variant::single("plain", elements as f64, Launch { shader, constants, parameters, bindings, workgroups })
}

/// Lengths around the workgroup size, and one of several axes.
const SHAPES: [&[usize]; 7] = [&[1], &[63], &[64], &[65], &[256], &[260], &[3, 5, 7, 11]];

pub(super) fn cases() -> Vec<Case> {
    let all = Activation::NONLINEAR.iter().flat_map(|&kind| SHAPES.map(|dims| (kind, dims)));
    let mut cases: Vec<Case> = all
        .map(|(kind, dims)| {
            let inputs = vec![(TensorType::f32(dims), Values::Uniform(-4.0, 4.0))];
            Case::new(format!("{kind:?} {dims:?}"), Activate { kind }, inputs).with_gradients([0])
        })
        .collect();
    let extremes = vec![0.0, -0.0, 1e-7, -1e-7, 100.0, -100.0, 1e30, -1e30];
    cases.extend(Activation::NONLINEAR.map(|kind| {
        let inputs = vec![(TensorType::f32([8]), Values::Exact(extremes.clone()))];
        Case::new(format!("{kind:?} extremes"), Activate { kind }, inputs)
    }));
    cases
}

pub(super) fn backward_cases() -> Vec<Case> {
    let all = Activation::NONLINEAR.iter().flat_map(|&kind| SHAPES.map(|dims| (kind, dims)));
    all.map(|(kind, dims)| {
        let ty = TensorType::f32(dims);
        let inputs = vec![(ty.clone(), Values::Uniform(-2.0, 2.0)), (ty, Values::Uniform(-0.9, 0.9))];
        Case::new(format!("{kind:?} {dims:?}"), ActivateBackward { kind }, inputs)
    })
    .collect()
}
