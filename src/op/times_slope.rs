//! A product whose result is multiplied by an activation's derivative: the gradient of a layer's input, and of what is
//! before the activation that the input came from, as one op.

use super::{ActivateBackward, Activation, Case, Conv2d, ConvTranspose2d, Matmul, Values};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Constant, Cost, Launch, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorType};

/// A linear op: no bias and no activation of its own.
#[derive(Clone, Copy, Debug)]
pub enum LinearOp {
    /// The gradient of a transposed convolution's input.
    Conv2d(Conv2d),
    /// The gradient of a convolution's input.
    ConvTranspose2d(ConvTranspose2d),
    /// The gradient of a dense layer's input.
    Matmul(Matmul),
}

impl LinearOp {
    fn op(&self) -> &dyn Op {
        match self {
            Self::Conv2d(op) => op,
            Self::ConvTranspose2d(op) => op,
            Self::Matmul(op) => op,
        }
    }

    /// Whether nothing follows the products, and the kernels of the op can take a slope.
    fn is_linear(&self) -> bool {
        match self {
            Self::Conv2d(op) => op.activation == Activation::Linear,
            Self::ConvTranspose2d(op) => op.activation == Activation::Linear,
            Self::Matmul(op) => op.activation == Activation::Linear && !op.transpose_a,
        }
    }
}

/// `dx = (the linear op of its inputs) f'(x)`, the derivative taken from `y = f(x)`.
///
/// Inputs: the two of the linear op, then y. Output: that of the linear op.
#[derive(Clone, Copy, Debug)]
pub struct TimesSlope {
    product: LinearOp,
    kind: Activation,
}

impl TimesSlope {
    /// The product and then the gradient of an activation, if the product has nothing behind it.
    pub fn new(product: LinearOp, slope: ActivateBackward) -> Option<Self> {
        product.is_linear().then_some(Self { product, kind: slope.kind })
    }

    /// The activation, where the product is that of a dense layer's upstream and its weights as the layer has them.
    pub(crate) fn of_dense_input(&self) -> Option<Activation> {
        match self.product {
            LinearOp::Matmul(op) if op.transpose_b && !op.transpose_a => Some(self.kind),
            _ => None,
        }
    }

    fn slope(&self) -> ActivateBackward {
        ActivateBackward { kind: self.kind }
    }

    /// The linear op's signature.
    fn of_product<'a>(&self, signature: &Signature<'a>) -> Signature<'a> {
        Signature { inputs: &signature.inputs[..2], outputs: signature.outputs }
    }

    /// Types of the gradient and of y.
    fn of_slope<'a>(&self, types: &'a [TensorType; 2], signature: &Signature<'a>) -> Signature<'a> {
        Signature { inputs: types, outputs: signature.outputs }
    }
}

impl Op for TimesSlope {
    fn name(&self) -> &'static str {
        match self.product {
            LinearOp::Conv2d(_) => "conv2d_times_slope",
            LinearOp::ConvTranspose2d(_) => "conv_transpose2d_times_slope",
            LinearOp::Matmul(_) => "matmul_times_slope",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        super::expect_inputs(self.name(), inputs, 3..=3)?;
        if !self.product.is_linear() {
            return Err(Error::shape(self.name(), "a product that nothing follows", format!("{:?}", self.product)));
        }
        let outputs = self.product.op().infer(&inputs[..2])?;
        self.slope().infer(&[outputs[0].clone(), inputs[2].clone()])
    }

    /// The product's own kernels, with another end.
    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let mut variants = self.product.op().variants(&self.of_product(signature), target);
        // Others round its operands.
        let of_product = |launch: &&mut Launch| launch.constants.iter().any(|(name, _)| *name == "ACTIVATION");
        for launch in variants.iter_mut().flat_map(|variant| &mut variant.launches).filter(of_product) {
            launch.constants.retain(|(name, _)| !matches!(*name, "ACTIVATION" | "COEFFICIENT"));
            launch.constants.extend(self.kind.constants());
            launch.constants.push(("SLOPED", Constant::Bool(true)));
            // Their third binding is the bias, which there is none of.
            launch.bindings[2] = Binding::Input(2);
        }
        variants
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        self.product.op().reference(&self.of_product(signature), &inputs[..2], outputs);
        let types = [signature.outputs[0].clone(), signature.inputs[2].clone()];
        let gradient = outputs[0].clone();
        self.slope().reference(&self.of_slope(&types, signature), &[&gradient, inputs[2]], outputs);
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let y = call.input(2);
        let mut outputs = [&mut *call.outputs[0]];
        let mut product = CpuCall { inputs: &call.inputs[..2], outputs: &mut outputs };
        if !self.product.op().compute(&self.of_product(signature), &mut product) {
            return false;
        }
        self.kind.scale_in_place(call.output(0), y);
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let product = self.product.op().cost(&self.of_product(signature));
        Cost { flops: product.flops + signature.outputs[0].shape.len() as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let terms = match self.product.op().tolerance(&self.of_product(signature)).first() {
            Some(Tolerance::Sum { terms, .. }) => *terms,
            _ => 1,
        };
        // The slope's own error comes on top.
        let Tolerance::Close { rtol, atol } = Tolerance::ELEMENTWISE else { return Vec::new() };
        vec![Tolerance::Sum { terms, rtol, atol }]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let product = self.product.op().magnitude(&self.of_product(signature), &inputs[..2]);
        self.sloped(product, signature, inputs)
    }

    fn filtered_magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let product = self.product.op().filtered_magnitude(&self.of_product(signature), &inputs[..2]);
        self.sloped(product, signature, inputs)
    }

    fn computes_filtered(&self, signature: &Signature<'_>) -> bool {
        self.product.op().computes_filtered(&self.of_product(signature))
    }
}

impl TimesSlope {
    /// Magnitudes of the product, as they pass the slope.
    fn sloped(&self, mut outputs: Vec<Array>, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let types = [signature.outputs[0].clone(), signature.inputs[2].clone()];
        let terms = outputs[0].clone();
        self.slope().reference(&self.of_slope(&types, signature), &[&terms, inputs[2]], &mut outputs);
        outputs.iter().map(Array::abs).collect()
    }
}

/// The product's case, under the gradient of an activation.
fn case(product: LinearOp, kind: Activation, from: &Case) -> Option<Case> {
    let op = TimesSlope { product, kind };
    let output = product.op().infer(&from.input_types()[..2]).ok()?.pop()?;
    let mut inputs = from.inputs[..2].to_vec();
    inputs.push((output, Values::Uniform(-0.9, 0.9)));
    let case = Case::new(format!("{kind:?} behind {}", from.label), op, inputs);
    Some(if from.large { case.large() } else { case })
}

/// Cases from those of the product without a bias.
fn cases(of_product: Vec<Case>, product: impl Fn(&Case) -> Option<LinearOp>) -> Vec<Case> {
    let plain = of_product.iter().filter(|case| case.inputs.len() == 2);
    let linear = plain.filter_map(|case| Some((product(case).filter(LinearOp::is_linear)?, case)));
    let kinds = Activation::NONLINEAR.iter().cycle();
    linear.zip(kinds).filter_map(|((product, from), &kind)| case(product, kind, from)).collect()
}

/// The op of a case, if it is of this kind.
pub(super) fn conv2d_cases() -> Vec<Case> {
    cases(super::conv2d::cases(), |case| case.op.downcast_ref().copied().map(LinearOp::Conv2d))
}

pub(super) fn conv_transpose2d_cases() -> Vec<Case> {
    cases(super::conv_transpose2d::cases(), |case| case.op.downcast_ref().copied().map(LinearOp::ConvTranspose2d))
}

pub(super) fn matmul_cases() -> Vec<Case> {
    cases(super::matmul::cases(), |case| case.op.downcast_ref().copied().map(LinearOp::Matmul))
}

/// A random case from one of the product, without its activation and bias.
fn random(draw: &mut super::Draw, of_product: &Case, product: LinearOp) -> Result<Case> {
    let kind = draw.one_of(&Activation::NONLINEAR);
    case(product, kind, of_product).ok_or_else(|| Error::shape("times_slope", "a product", of_product.label.clone()))
}

pub(super) fn random_conv2d(draw: &mut super::Draw) -> Result<Case> {
    let from = super::conv2d::random(draw)?;
    let op: Conv2d =
        from.op.downcast_ref().copied().ok_or_else(|| Error::shape("times_slope", "a convolution", &from.label))?;
    random(draw, &from, LinearOp::Conv2d(Conv2d { activation: Activation::Linear, ..op }))
}

pub(super) fn random_conv_transpose2d(draw: &mut super::Draw) -> Result<Case> {
    let from = super::conv_transpose2d::random(draw)?;
    let op: ConvTranspose2d = from
        .op
        .downcast_ref()
        .copied()
        .ok_or_else(|| Error::shape("times_slope", "a transposed convolution", &from.label))?;
    random(draw, &from, LinearOp::ConvTranspose2d(ConvTranspose2d { activation: Activation::Linear, ..op }))
}

pub(super) fn random_matmul(draw: &mut super::Draw) -> Result<Case> {
    let mut from = super::matmul::random(draw)?;
    let op: Matmul =
        from.op.downcast_ref().copied().ok_or_else(|| Error::shape("times_slope", "a product", &from.label))?;
    if op.transpose_a
        && let Some([k, m]) = from.inputs[0].0.shape.matrix()
    {
        from.inputs[0].0 = TensorType::f32([m, k]);
    }
    let op = Matmul { transpose_a: false, activation: Activation::Linear, ..op };
    random(draw, &from, LinearOp::Matmul(op))
}
