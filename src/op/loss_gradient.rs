//! A loss and its gradient as one op, with the gradient of the activation that made what the loss is taken of.

use super::conv_kernels::{PAIRS, reads_pairs};
use super::conv2d::reals;
use super::mse::{SHAPES, infer_loss};
use super::{ActivateBackward, Activation, BceLogits, BceLogitsBackward, Case, Mse, MseBackward, Values, activation};
use crate::cpu::reduce::sum_and_map_pairs;
use crate::cpu::vector::softplus_tail_and_sigmoid;
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Launch, Products, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorType};

/// A loss of x and a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LossOp {
    /// [`Mse`].
    Mse,
    /// [`BceLogits`].
    BceLogits,
}

impl LossOp {
    fn value(self) -> &'static dyn Op {
        match self {
            Self::Mse => &Mse,
            Self::BceLogits => &BceLogits,
        }
    }

    fn gradient(self) -> &'static dyn Op {
        match self {
            Self::Mse => &MseBackward,
            Self::BceLogits => &BceLogitsBackward,
        }
    }
}

/// `loss of (x, target)`, and `dz = upstream * d loss / dx * f'(z)`, where `x = f(z)`.
///
/// Inputs: x, target. Outputs: the loss (scalar), dz.
#[derive(Clone, Copy, Debug)]
pub struct LossGradient {
    /// The loss.
    pub loss: LossOp,
    /// The gradient of the loss itself: what its weight in the objective makes of one.
    pub upstream: f32,
    /// f; [`Activation::Linear`] where x is what came last.
    pub activation: Activation,
}

/// Elements of one workgroup.
const GROUP_ELEMENTS: usize = 512;

impl Op for LossGradient {
    fn name(&self) -> &'static str {
        match self.loss {
            LossOp::Mse => "mse_gradient",
            LossOp::BceLogits => "bce_logits_gradient",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let mut outputs = infer_loss(self.name(), inputs)?;
        outputs.push(inputs[0].clone());
        Ok(outputs)
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        const PASS: &str = include_str!("../../shaders/loss_gradient.wgsl");
        const ELEMENTS: &str = include_str!("../../shaders/loss_elements.wgsl");
        const QUADS: &str = include_str!("../../shaders/loss_quads.wgsl");
        const MSE: &str = include_str!("../../shaders/mse.wgsl");
        const BCE: &str = include_str!("../../shaders/bce_logits.wgsl");
        let elements = signature.inputs[0].shape.len();
        let groups = elements.div_ceil(GROUP_ELEMENTS);
        let [shader, quads]: [(&str, &[&str]); 2] = match self.loss {
            LossOp::Mse => [
                ("mse_gradient", &[activation::SNIPPET, PASS, ELEMENTS, MSE]),
                ("mse_gradient_quads", &[activation::SNIPPET, PAIRS, PASS, QUADS, MSE]),
            ],
            LossOp::BceLogits => [
                ("bce_logits_gradient", &[activation::SNIPPET, PASS, ELEMENTS, BCE]),
                ("bce_logits_gradient_quads", &[activation::SNIPPET, PAIRS, PASS, QUADS, BCE]),
            ],
        };
        let [shader, quads] = [shader, quads].map(|(name, files)| Shader { name, files });
        let pass = Launch {
            shader,
            constants: self.activation.constants().into(),
            parameters: vec![
                ("elements", elements.into()),
                ("scale", ((f64::from(self.upstream) / elements as f64) as f32).into()),
            ],
            bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Scratch(0), Binding::Output(1)],
            workgroups: linear_grid(groups, 1),
        };
        let total = Launch {
            shader: Shader { name: "mean", files: &[include_str!("../../shaders/mean.wgsl")] },
            constants: Vec::new(),
            parameters: vec![("runs", groups.into()), ("scale", (1.0 / elements as f32).into())],
            bindings: vec![Binding::Scratch(0), Binding::Output(0)],
            workgroups: [1, 1, 1],
        };
        let variant = |name: &'static str, pass: Launch, per_element: f64| Variant {
            name,
            launches: vec![pass, total.clone()],
            scratch_bytes: vec![4 * groups],
            estimate_us: per_element * elements as f64,
            products: Products::F32,
        };
        let mut variants = vec![variant("two-stage", pass.clone(), 1.0)];
        if reads_pairs(target) && elements.is_multiple_of(4) {
            variants.push(variant("quads", Launch { shader: quads, ..pass }, 0.5));
        }
        variants
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [loss, gradient] = outputs else { return };
        let of_loss = Signature { inputs: signature.inputs, outputs: &signature.outputs[..1] };
        self.loss.value().reference(&of_loss, inputs, std::slice::from_mut(loss));
        let upstream = Array::F64(vec![f64::from(self.upstream)]);
        let types = [signature.inputs, &[TensorType::f32([])]].concat();
        let of_gradient = Signature { inputs: &types, outputs: &signature.outputs[1..] };
        let mut before = [gradient.clone()];
        self.loss.gradient().reference(&of_gradient, &[inputs[0], inputs[1], &upstream], &mut before);
        let types = [signature.outputs[1].clone(), signature.inputs[0].clone()];
        let of_slope = Signature { inputs: &types, outputs: &signature.outputs[1..] };
        let slope = ActivateBackward { kind: self.activation };
        slope.reference(&of_slope, &[&before[0], inputs[0]], std::slice::from_mut(gradient));
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (x, target) = (call.input(0), call.input(1));
        let scale = self.upstream / x.len() as f32;
        let sum = match self.loss {
            LossOp::Mse => sum_and_map_pairs(
                x,
                target,
                call.output(1),
                #[inline(always)]
                move |x, t| ((x - t) * (x - t), 2.0 * scale * (x - t)),
            ),
            LossOp::BceLogits => sum_and_map_pairs(
                x,
                target,
                call.output(1),
                #[inline(always)]
                move |x, t| {
                    let (tail, sigmoid) = softplus_tail_and_sigmoid(x);
                    (x.max(0.0) - x * t + tail, scale * (sigmoid - t))
                },
            ),
        };
        call.output(0)[0] = (sum / x.len() as f64) as f32;
        self.activation.scale_in_place(call.output(1), x);
        true
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let of_loss = Signature { inputs: signature.inputs, outputs: &signature.outputs[..1] };
        let gradient = match self.loss {
            LossOp::Mse => Tolerance::ELEMENTWISE,
            LossOp::BceLogits => Tolerance::TRANSCENDENTAL,
        };
        [self.loss.value().tolerance(&of_loss), vec![gradient]].concat()
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let of_loss = Signature { inputs: signature.inputs, outputs: &signature.outputs[..1] };
        let mut magnitudes = self.loss.value().magnitude(&of_loss, inputs);
        magnitudes.push(Array::zeros(&signature.outputs[1]));
        magnitudes
    }
}

/// x within the range of the activation, so that its slope is one that occurs.
fn case(loss: LossOp, activation: Activation, dims: &[usize]) -> Case {
    let reach = match (loss, activation) {
        (_, Activation::Softplus) => reals(dims, 0.0, 6.0),
        (LossOp::BceLogits, _) => reals(dims, -6.0, 6.0),
        (LossOp::Mse, _) => reals(dims, -0.9, 0.9),
    };
    // A gradient of about one, whatever the number of elements.
    let upstream = dims.iter().product::<usize>() as f32 / 4.0;
    let op = LossGradient { loss, upstream, activation };
    Case::new(format!("{dims:?} {activation:?}"), op, vec![reach, reals(dims, 0.0, 1.0)])
}

fn cases(loss: LossOp) -> Vec<Case> {
    let activations = [Activation::Linear].into_iter().chain(Activation::NONLINEAR);
    let mut cases: Vec<Case> = activations.map(|activation| case(loss, activation, &[3, 171])).collect();
    cases.extend(SHAPES.map(|dims| case(loss, Activation::Linear, dims)));
    cases.push(case(loss, Activation::Sigmoid, &[512]));
    cases.push(case(loss, Activation::Tanh, &[3, 172]));
    cases
}

pub(super) fn mse_cases() -> Vec<Case> {
    cases(LossOp::Mse)
}

pub(super) fn bce_cases() -> Vec<Case> {
    let mut cases = cases(LossOp::BceLogits);
    let logits = vec![100.0, -100.0, 100.0, -100.0, 0.0, 0.0, 30.0, -30.0, 1e-6];
    let targets = vec![1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.25, 0.75, 0.5];
    let ty = TensorType::f32([9]);
    let op = LossGradient { loss: LossOp::BceLogits, upstream: 3.0, activation: Activation::Linear };
    cases.push(Case::new("extremes", op, vec![(ty.clone(), Values::Exact(logits)), (ty, Values::Exact(targets))]));
    cases
}

pub(super) fn random_mse(draw: &mut super::Draw) -> Result<Case> {
    let activation = draw.activation();
    Ok(case(LossOp::Mse, activation, &draw.dims()))
}

pub(super) fn random_bce(draw: &mut super::Draw) -> Result<Case> {
    let activation = draw.activation();
    Ok(case(LossOp::BceLogits, activation, &draw.dims()))
}
