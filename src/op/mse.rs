//! Mean squared error and its gradient.

use super::{Activation, Case, conv2d::reals, expect_f32, expect_inputs, expect_same};
use crate::error::Result;
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Launch, Products, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};

const MSE: &str = include_str!("../../shaders/mse.wgsl");
/// The kernel of a loss gradient, but for the loss.
pub(super) const LOSS_BACKWARD: &str = include_str!("../../shaders/loss_backward.wgsl");

/// `y = mean over all elements of (x - target)^2`, a scalar.
#[derive(Clone, Copy, Debug)]
pub struct Mse;

/// `dx = dy * 2 (x - target) / N`, from inputs x, target and the scalar dy.
#[derive(Clone, Copy, Debug)]
pub struct MseBackward;

impl Op for Mse {
    fn name(&self) -> &'static str {
        "mse"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        infer_loss(self.name(), inputs)
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        needed: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; 2]) };
        let (x, target) = (node.inputs[0], node.inputs[1]);
        let dx = needed[0].then(|| graph.apply_one(MseBackward, &[x, target, dy])).transpose()?;
        // The square is symmetric: exchanging the two gives the other gradient.
        let dt = needed[1].then(|| graph.apply_one(MseBackward, &[target, x, dy])).transpose()?;
        Ok(vec![dx, dt])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        const FILES: &[&str] = &[include_str!("../../shaders/mean_sum.wgsl"), MSE];
        vec![loss_variant(Shader { name: "mse", files: FILES }, signature)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (x, target) = (inputs[0].f64(), inputs[1].f64());
        let sum: f64 = x.iter().zip(target).map(|(x, t)| (x - t) * (x - t)).sum();
        outputs[0].f64_mut()[0] = sum / x.len() as f64;
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (x, target) = (call.input(0), call.input(1));
        let sum = crate::cpu::reduce::sum_pairs(
            x,
            target,
            #[inline(always)]
            |x, t| (x - t) * (x - t),
        );
        call.output(0)[0] = (sum / x.len() as f64) as f32;
        true
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        vec![Activation::Linear.sum_tolerance(signature.inputs[0].shape.len())]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        // All terms are positive, but each comes from a difference whose own rounding counts.
        let mut outputs = vec![Array::zeros(&signature.outputs[0])];
        let pairs = inputs[0].f64().iter().zip(inputs[1].f64());
        let sum: f64 = pairs.map(|(x, t)| (x.abs() + t.abs()).powi(2)).sum();
        outputs[0].f64_mut()[0] = sum / inputs[0].len() as f64;
        outputs
    }
}

impl Op for MseBackward {
    fn name(&self) -> &'static str {
        "mse_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        infer_loss_backward(self.name(), inputs)
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let shader = Shader { name: "mse_backward", files: &[LOSS_BACKWARD, MSE] };
        vec![loss_backward_variant(shader, signature)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let scale = 2.0 * inputs[2].f64()[0] / inputs[0].len() as f64;
        let pairs = inputs[0].f64().iter().zip(inputs[1].f64());
        for (dx, (x, t)) in outputs[0].f64_mut().iter_mut().zip(pairs) {
            *dx = scale * (x - t);
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (x, target) = (call.input(0), call.input(1));
        let scale = 2.0 * call.input(2)[0] / x.len() as f32;
        crate::cpu::reduce::map_pairs(
            x,
            target,
            call.output(0),
            #[inline(always)]
            move |x, t| scale * (x - t),
        );
        true
    }
}

/// Types of a loss of (x, target): one scalar.
pub(super) fn infer_loss(op: &str, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
    expect_inputs(op, inputs, 2..=2)?;
    expect_f32(op, &inputs[0])?;
    expect_same(op, &inputs[0], &inputs[1])?;
    Ok(vec![TensorType::f32([])])
}

/// Types of the gradient of a loss of (x, target, dy).
pub(super) fn infer_loss_backward(op: &str, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
    expect_inputs(op, inputs, 3..=3)?;
    infer_loss(op, &inputs[..2])?;
    expect_same(op, &TensorType::f32([]), &inputs[2])?;
    Ok(vec![inputs[0].clone()])
}

/// A loss in two stages: sums over runs of elements, then their mean, both in a fixed order.
pub(super) fn loss_variant(shader: Shader, signature: &Signature<'_>) -> Variant {
    loss_variant_scaled(shader, signature, 1.0 / signature.inputs[0].shape.len() as f32)
}

/// As [`loss_variant`], with a factor of its own in place of one over the number of elements.
pub(super) fn loss_variant_scaled(shader: Shader, signature: &Signature<'_>, scale: f32) -> Variant {
    let elements = signature.inputs[0].shape.len();
    let runs = elements.div_ceil(256).clamp(1, 1024);
    let partial = Launch {
        shader,
        constants: Vec::new(),
        parameters: vec![
            ("elements", elements.into()),
            ("runs", runs.into()),
            ("run_elements", elements.div_ceil(runs).into()),
        ],
        bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Scratch(0)],
        workgroups: linear_grid(runs, 64),
    };
    let total = Launch {
        shader: Shader { name: "mean", files: &[include_str!("../../shaders/mean.wgsl")] },
        constants: Vec::new(),
        parameters: vec![("runs", runs.into()), ("scale", scale.into())],
        bindings: vec![Binding::Scratch(0), Binding::Output(0)],
        workgroups: [1, 1, 1],
    };
    Variant {
        name: "two-stage",
        launches: vec![partial, total],
        scratch_bytes: vec![4 * runs],
        estimate_us: elements as f64,
        products: Products::F32,
    }
}

/// A loss gradient, element by element; the block holds the number of elements.
pub(super) fn loss_backward_variant(shader: Shader, signature: &Signature<'_>) -> Variant {
    let elements = signature.inputs[0].shape.len();
    let launch = Launch {
        shader,
        constants: Vec::new(),
        parameters: vec![("elements", elements.into()), ("scale", (1.0 / elements as f32).into())],
        bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Input(2), Binding::Output(0)],
        workgroups: linear_grid(elements, 64),
    };
    Variant::single("plain", elements as f64, launch)
}

/// Sizes around the run length and past the number of runs.
pub(super) const SHAPES: [&[usize]; 6] = [&[1], &[255], &[256, 1], &[257], &[3, 5, 7, 2], &[40, 7_001]];

pub(super) fn cases() -> Vec<Case> {
    SHAPES
        .map(|dims| {
            let case = Case::new(format!("{dims:?}"), Mse, vec![reals(dims, -1.0, 1.0), reals(dims, -1.0, 1.0)]);
            if dims.iter().product::<usize>() < 1000 { case.with_gradients([0, 1]) } else { case }
        })
        .into()
}

pub(super) fn backward_cases() -> Vec<Case> {
    SHAPES
        .map(|dims| {
            let inputs = vec![reals(dims, -1.0, 1.0), reals(dims, -1.0, 1.0), reals([], 0.5, 2.0)];
            Case::new(format!("{dims:?}"), MseBackward, inputs)
        })
        .into_iter()
        .chain([large()])
        .collect()
}

/// Past 65,535 workgroups.
fn large() -> Case {
    let dims = [4_194_305];
    let inputs = vec![reals(dims, -1.0, 1.0), reals(dims, -1.0, 1.0), reals([], 0.5, 2.0)];
    Case::new("large", MseBackward, inputs).large()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let inputs = vec![reals(&dims[..], -1.0, 1.0), reals(&dims[..], -1.0, 1.0)];
    Ok(draw.small(Case::new(format!("{dims:?}"), Mse, inputs), [0, 1]))
}

pub(super) fn random_backward(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let inputs = vec![reals(&dims[..], -1.0, 1.0), reals(&dims[..], -1.0, 1.0), reals([], 0.5, 2.0)];
    Ok(Case::new(format!("{dims:?}"), MseBackward, inputs))
}
