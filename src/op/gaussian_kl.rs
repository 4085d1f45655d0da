//! The KL divergence of a diagonal Gaussian from the standard normal, and its gradient.

use super::mse::{infer_loss, loss_variant_scaled};
use super::{Case, Values, conv2d::reals, expect_inputs, expect_same};
use crate::cpu::vector::exp_m1;
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};

/// `y = weight * mean over the batch of -1/2 sum over z of (1 + l - m^2 - exp(l))`, a scalar (Kingma and Welling 2014,
/// appendix B), from inputs m (means) and l (logarithms of variances), both (B, …).
#[derive(Clone, Copy, Debug)]
pub struct GaussianKl {
    /// Factor of the divergence.
    pub weight: f32,
}

/// `dm = dy weight m / B` and `dl = dy weight (exp(l) - 1) / 2B`, from inputs m, l and the scalar dy.
#[derive(Clone, Copy, Debug)]
pub struct GaussianKlBackward {
    /// As in [`GaussianKl`].
    pub weight: f32,
}

fn batch(ty: &TensorType) -> usize {
    ty.shape.dims().first().copied().unwrap_or(1).max(1)
}

impl Op for GaussianKl {
    fn name(&self) -> &'static str {
        "gaussian_kl"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let outputs = infer_loss(self.name(), inputs)?;
        if inputs[0].shape.rank() == 0 {
            return Err(Error::shape(self.name(), "a batch", inputs[0].to_string()));
        }
        Ok(outputs)
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; 2]) };
        let op = GaussianKlBackward { weight: self.weight };
        Ok(graph.apply(op, &[node.inputs[0], node.inputs[1], dy])?.into_iter().map(Some).collect())
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let files = &[include_str!("../../shaders/mean_sum.wgsl"), include_str!("../../shaders/gaussian_kl.wgsl")];
        let scale = self.weight / batch(&signature.inputs[0]) as f32;
        vec![loss_variant_scaled(Shader { name: "gaussian_kl", files }, signature, scale)]
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let term = |(m, l): (&f64, &f64)| -0.5 * (1.0 + l - m * m - l.exp());
        let sum: f64 = inputs[0].f64().iter().zip(inputs[1].f64()).map(term).sum();
        outputs[0].f64_mut()[0] = f64::from(self.weight) * sum / batch(&signature.inputs[0]) as f64;
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (mean, logarithm) = (call.input(0), call.input(1));
        let sum = crate::cpu::reduce::sum_pairs(
            mean,
            logarithm,
            #[inline(always)]
            |m, l| 0.5 * (m * m + (exp_m1(l) - l)),
        );
        call.output(0)[0] = (f64::from(self.weight) * sum / batch(&signature.inputs[0]) as f64) as f32;
        true
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let terms = signature.inputs[0].shape.len();
        vec![Tolerance::Sum { terms, rtol: 1e-5, atol: 1e-5 }]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let mut outputs = vec![Array::zeros(&signature.outputs[0])];
        let term = |(m, l): (&f64, &f64)| 0.5 * (1.0 + l.abs() + m * m + l.exp());
        let sum: f64 = inputs[0].f64().iter().zip(inputs[1].f64()).map(term).sum();
        outputs[0].f64_mut()[0] = f64::from(self.weight).abs() * sum / batch(&signature.inputs[0]) as f64;
        outputs
    }
}

impl Op for GaussianKlBackward {
    fn name(&self) -> &'static str {
        "gaussian_kl_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 3..=3)?;
        infer_loss(self.name(), &inputs[..2])?;
        expect_same(self.name(), &TensorType::f32([]), &inputs[2])?;
        Ok(vec![inputs[0].clone(), inputs[0].clone()])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let elements = signature.inputs[0].shape.len();
        let launch = Launch {
            shader: Shader {
                name: "gaussian_kl_backward",
                files: &[include_str!("../../shaders/gaussian_kl_backward.wgsl")],
            },
            constants: Vec::new(),
            parameters: vec![
                ("elements", elements.into()),
                ("scale", (self.weight / batch(&signature.inputs[0]) as f32).into()),
            ],
            bindings: (0..3).map(Binding::Input).chain((0..2).map(Binding::Output)).collect(),
            workgroups: linear_grid(elements, 64),
        };
        vec![Variant::single("plain", elements as f64, launch)]
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let scale = inputs[2].f64()[0] * f64::from(self.weight) / batch(&signature.inputs[0]) as f64;
        for (i, (m, l)) in inputs[0].f64().iter().zip(inputs[1].f64()).enumerate() {
            outputs[0].f64_mut()[i] = scale * m;
            outputs[1].f64_mut()[i] = scale * 0.5 * (l.exp() - 1.0);
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (mean, logarithm) = (call.input(0), call.input(1));
        let scale = call.input(2)[0] * self.weight / batch(&signature.inputs[0]) as f32;
        call.output(0).iter_mut().zip(mean).for_each(|(d, m)| *d = scale * m);
        call.output(1).iter_mut().zip(logarithm).for_each(|(d, l)| *d = scale * 0.5 * (l.exp() - 1.0));
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::TRANSCENDENTAL; 2]
    }
}

const SHAPES: [&[usize]; 4] = [&[1, 1], &[3, 5], &[7, 40], &[64, 300]];

pub(super) fn cases() -> Vec<Case> {
    SHAPES
        .map(|dims| {
            let inputs = vec![reals(dims, -1.5, 1.5), reals(dims, -3.0, 2.0)];
            let case = Case::new(format!("{dims:?}"), GaussianKl { weight: 0.7 }, inputs);
            if dims[0] < 64 { case.with_gradients([0, 1]) } else { case }
        })
        .into()
}

pub(super) fn backward_cases() -> Vec<Case> {
    let case = |dims: &[usize]| {
        let inputs = vec![reals(dims, -1.5, 1.5), reals(dims, -3.0, 2.0), reals([], 0.5, 2.0)];
        Case::new(format!("{dims:?}"), GaussianKlBackward { weight: 0.7 }, inputs)
    };
    SHAPES.map(case).into_iter().chain([case(&[4_194_305, 1]).large()]).collect()
}

fn drawn(draw: &mut super::Draw) -> (Vec<usize>, Vec<(TensorType, Values)>) {
    let dims = draw.dims();
    let inputs = vec![reals(&dims[..], -1.5, 1.5), reals(&dims[..], -3.0, 2.0)];
    (dims, inputs)
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let (dims, inputs) = drawn(draw);
    Ok(draw.small(Case::new(format!("{dims:?}"), GaussianKl { weight: 1.5 }, inputs), [0, 1]))
}

pub(super) fn random_backward(draw: &mut super::Draw) -> Result<Case> {
    let (dims, mut inputs) = drawn(draw);
    inputs.push(reals([], 0.5, 2.0));
    Ok(Case::new(format!("{dims:?}"), GaussianKlBackward { weight: 1.5 }, inputs))
}
