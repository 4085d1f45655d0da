//! Binary cross-entropy from logits and its gradient.

use super::mse::{LOSS_BACKWARD, SHAPES, infer_loss, infer_loss_backward, loss_backward_variant, loss_variant};
use super::{Case, Values, conv2d::reals};
use crate::cpu::reduce::{map_pairs, sum_pairs};
use crate::cpu::vector::{sigmoid, softplus_tail};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Shader, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorId, TensorType};

/// `y = mean of max(x, 0) - x t + log1p(exp(-|x|))` over all elements, from inputs x (logits) and t in [0, 1].
#[derive(Clone, Copy, Debug)]
pub struct BceLogits;

/// `dx = dy (sigmoid(x) - t) / N`, from inputs x, t and the scalar dy.
#[derive(Clone, Copy, Debug)]
pub struct BceLogitsBackward;

impl Op for BceLogits {
    fn name(&self) -> &'static str {
        "bce_logits"
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
        if needed[1] {
            return Err(Error::NotDifferentiable { op: "bce_logits with respect to its target".to_owned() });
        }
        let Some(dy) = upstream[0] else { return Ok(vec![None; 2]) };
        let dx = graph.apply_one(BceLogitsBackward, &[node.inputs[0], node.inputs[1], dy])?;
        Ok(vec![Some(dx), None])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let files = &[include_str!("../../shaders/mean_sum.wgsl"), include_str!("../../shaders/bce_logits.wgsl")];
        vec![loss_variant(Shader { name: "bce_logits", files }, signature)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (x, target) = (inputs[0].f64(), inputs[1].f64());
        let term = |(x, t): (&f64, &f64)| x.max(0.0) - x * t + (-x.abs()).exp().ln_1p();
        outputs[0].f64_mut()[0] = x.iter().zip(target).map(term).sum::<f64>() / x.len() as f64;
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (x, target) = (call.input(0), call.input(1));
        let sum = sum_pairs(
            x,
            target,
            #[inline(always)]
            |x, t| x.max(0.0) - x * t + softplus_tail(x),
        );
        call.output(0)[0] = (sum / x.len() as f64) as f32;
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::TRANSCENDENTAL]
    }
}

impl Op for BceLogitsBackward {
    fn name(&self) -> &'static str {
        "bce_logits_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        infer_loss_backward(self.name(), inputs)
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let files = &[LOSS_BACKWARD, include_str!("../../shaders/bce_logits.wgsl")];
        vec![loss_backward_variant(Shader { name: "bce_logits_backward", files }, signature)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let scale = inputs[2].f64()[0] / inputs[0].len() as f64;
        let pairs = inputs[0].f64().iter().zip(inputs[1].f64());
        for (dx, (x, t)) in outputs[0].f64_mut().iter_mut().zip(pairs) {
            *dx = scale * (1.0 / (1.0 + (-x).exp()) - t);
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (x, target) = (call.input(0), call.input(1));
        let scale = call.input(2)[0] / x.len() as f32;
        map_pairs(
            x,
            target,
            call.output(0),
            #[inline(always)]
            move |x, t| scale * (sigmoid(x) - t),
        );
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::TRANSCENDENTAL]
    }
}

/// Logits of every size and targets of exactly 0 and 1 among them.
fn extremes() -> Vec<(TensorType, Values)> {
    let logits = vec![100.0, -100.0, 100.0, -100.0, 0.0, 0.0, 30.0, -30.0, 1e-6];
    let targets = vec![1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.25, 0.75, 0.5];
    vec![(TensorType::f32([9]), Values::Exact(logits)), (TensorType::f32([9]), Values::Exact(targets))]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = SHAPES
        .map(|dims| {
            let case = Case::new(format!("{dims:?}"), BceLogits, vec![reals(dims, -6.0, 6.0), reals(dims, 0.0, 1.0)]);
            if dims.iter().product::<usize>() < 1000 { case.with_gradients([0]) } else { case }
        })
        .into();
    cases.push(Case::new("extremes", BceLogits, extremes()).with_gradients([0]));
    cases
}

pub(super) fn backward_cases() -> Vec<Case> {
    let mut cases: Vec<Case> = SHAPES
        .map(|dims| {
            let inputs = vec![reals(dims, -6.0, 6.0), reals(dims, 0.0, 1.0), reals([], 0.5, 2.0)];
            Case::new(format!("{dims:?}"), BceLogitsBackward, inputs)
        })
        .into();
    let mut inputs = extremes();
    inputs.push(reals([], 0.5, 2.0));
    cases.push(Case::new("extremes", BceLogitsBackward, inputs));
    cases
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let inputs = vec![reals(&dims[..], -6.0, 6.0), reals(&dims[..], 0.0, 1.0)];
    Ok(draw.small(Case::new(format!("{dims:?}"), BceLogits, inputs), [0]))
}

pub(super) fn random_backward(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let inputs = vec![reals(&dims[..], -6.0, 6.0), reals(&dims[..], 0.0, 1.0), reals([], 0.5, 2.0)];
    Ok(Case::new(format!("{dims:?}"), BceLogitsBackward, inputs))
}
