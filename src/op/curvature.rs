//! The gradient of an activation's gradient with respect to the activation's output: for penalties of a Jacobian.

use super::activation::elementwise;
use super::{Activation, Case, Values, conv2d::reals, expect_f32, expect_inputs, expect_same};
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Shader, Target, Variant};
use crate::tensor::{Array, TensorType};

/// `g = u dy s'(y)`, where `s(y) = f'(x)` is the slope of an activation as a function of its output `y = f(x)`.
///
/// Inputs: u (the gradient of `dx = dy s(y)`), dy, y.
#[derive(Clone, Copy, Debug)]
pub struct ActivateCurvature {
    /// f.
    pub kind: Activation,
}

/// s'(y).
fn slope_of_slope(kind: Activation, y: f64) -> f64 {
    match kind {
        Activation::Linear | Activation::Relu | Activation::LeakyRelu { .. } => 0.0,
        Activation::Elu { .. } => f64::from(u8::from(y <= 0.0)),
        Activation::Sigmoid => 1.0 - 2.0 * y,
        Activation::Tanh => -2.0 * y,
        Activation::Softplus => (-y).exp(),
    }
}

impl Op for ActivateCurvature {
    fn name(&self) -> &'static str {
        "activate_curvature"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 3..=3)?;
        expect_f32(self.name(), &inputs[0])?;
        inputs[1..].iter().try_for_each(|ty| expect_same(self.name(), &inputs[0], ty))?;
        Ok(vec![inputs[0].clone()])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        const FILES: &[&str] = &[super::activation::SNIPPET, include_str!("../../shaders/activate_curvature.wgsl")];
        let shader = Shader { name: "activate_curvature", files: FILES };
        vec![elementwise(shader, self.kind.constants().into(), signature)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (u, dy, y) = (inputs[0].f64(), inputs[1].f64(), inputs[2].f64());
        for (i, g) in outputs[0].f64_mut().iter_mut().enumerate() {
            *g = u[i] * dy[i] * slope_of_slope(self.kind, y[i]);
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (u, dy, y) = (call.input(0), call.input(1), call.input(2));
        for (i, g) in call.output(0).iter_mut().enumerate() {
            *g = u[i] * dy[i] * slope_of_slope(self.kind, f64::from(y[i])) as f32;
        }
        true
    }
}

fn case(kind: Activation, dims: &[usize]) -> Case {
    let inputs = [(-2.0, 2.0), (-2.0, 2.0), (-0.9, 0.9)].map(|(lo, hi)| reals(dims, lo, hi)).into();
    Case::new(format!("{kind:?} {dims:?}"), ActivateCurvature { kind }, inputs)
}

/// An ELU whose output is 0, where the slope's slope jumps.
fn at_the_kink() -> Case {
    let ones = (TensorType::f32([3]), Values::Exact(vec![1.0; 3]));
    let y = (TensorType::f32([3]), Values::Exact(vec![-0.5, 0.0, 0.5]));
    let op = ActivateCurvature { kind: Activation::ELU };
    Case::new("at the kink", op, vec![ones.clone(), ones, y])
}

pub(super) fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 3] = [&[1], &[65], &[3, 5, 7, 11]];
    let all = Activation::NONLINEAR.iter().flat_map(|&kind| shapes.map(|dims| case(kind, dims)));
    all.chain([at_the_kink(), case(Activation::Sigmoid, &[4_194_305]).large()]).collect()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let kind = draw.one_of(&Activation::NONLINEAR);
    let dims = draw.dims();
    Ok(case(kind, &dims))
}
