//! The gradients of a convolution behind a max-pooling, from the pooled gradient: its spread over the pixels is never
//! written.

use super::conv2d::reals;
use super::window::{Padding, Window};
use super::{
    Case, Conv2d, ConvTranspose2d, LinearOp, MaxPool2dBackward, TimesSlope, Values, WeightBiasGrad, conv_kernels,
};
use crate::error::{Error, Result};
use crate::graph::{Op, Signature};
use crate::kernel::{Cost, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorType};

/// An op that reads the gradient of what was pooled.
#[derive(Clone, Copy, Debug)]
pub enum UnpooledOp {
    /// The gradient of the convolution's input: reads it as x.
    Input(ConvTranspose2d),
    /// The same, times the slope of what the input came from.
    InputSlope(TimesSlope),
    /// The gradients of the convolution's kernel and bias: reads it as dy.
    Weights(WeightBiasGrad),
}

impl UnpooledOp {
    fn op(&self) -> &dyn Op {
        match self {
            Self::Input(op) => op,
            Self::InputSlope(op) => op,
            Self::Weights(op) => op,
        }
    }

    /// Which input of the op the spread gradient is.
    fn spread(&self) -> usize {
        usize::from(matches!(self, Self::Weights(_)))
    }

    /// The op's inputs but for the spread gradient, and that.
    pub(crate) fn without_spread<T: Copy>(&self, inputs: &[T]) -> Option<(Vec<T>, T)> {
        let spread = *inputs.get(self.spread())?;
        let others = inputs.iter().enumerate().filter(|(i, _)| *i != self.spread()).map(|(_, other)| *other);
        Some((others.collect(), spread))
    }

    /// The op's inputs, given the spread gradient and the others.
    fn with_spread<T>(&self, spread: T, others: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut inputs: Vec<T> = others.into_iter().collect();
        inputs.insert(self.spread().min(inputs.len()), spread);
        inputs
    }
}

/// The op on the gradient of a max-pooling by windows of 2x2 that do not overlap.
///
/// Inputs: the gradient of the pooled tensor, the places of the maxima, then the op's others. Outputs: those of the op.
#[derive(Clone, Copy, Debug)]
pub struct Unpooled {
    of: UnpooledOp,
    /// Height and width of what was pooled.
    size: [usize; 2],
}

impl Unpooled {
    /// The op and the gradient of a pooling before it as one, if the pooling is one of 2x2 that do not overlap.
    pub fn new(of: UnpooledOp, pool: &MaxPool2dBackward) -> Option<Self> {
        (pool.window == Window::square(2, 2)).then_some(Self { of, size: pool.input })
    }

    fn pool(&self) -> MaxPool2dBackward {
        MaxPool2dBackward { window: Window::square(2, 2), input: self.size }
    }

    /// Types of the op's inputs.
    fn inner(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        super::expect_inputs(self.name(), inputs, 3..=4)?;
        let spread = self.pool().infer(&inputs[..2])?;
        let pooled = inputs[0].shape.nhwc().map(|[_, height, width, _]| [height, width]);
        if pooled != Some(self.size.map(|extent| extent / 2)) {
            let wanted = format!("a pooled gradient of {:?}", self.size.map(|extent| extent / 2));
            return Err(Error::shape(self.name(), wanted, inputs[0].to_string()));
        }
        Ok(self.of.with_spread(spread[0].clone(), inputs[2..].iter().cloned()))
    }

    /// The spread gradient.
    fn spread(&self, ty: &TensorType, signature: &Signature<'_>, inputs: &[&Array]) -> Array {
        let types = [ty.clone()];
        let mut spread = [Array::zeros(ty)];
        let of_pool = Signature { inputs: &signature.inputs[..2], outputs: &types };
        self.pool().reference(&of_pool, &inputs[..2], &mut spread);
        let [spread] = spread;
        spread
    }
}

impl Op for Unpooled {
    fn name(&self) -> &'static str {
        match self.of {
            UnpooledOp::Input(_) | UnpooledOp::InputSlope(_) => "unpooled_input_grad",
            UnpooledOp::Weights(_) => "unpooled_weight_grad",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        self.of.op().infer(&self.inner(inputs)?)
    }

    /// The op's own kernels, with other loads.
    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let Ok(inner) = self.inner(signature.inputs) else { return Vec::new() };
        let variants = self.of.op().variants(&Signature { inputs: &inner, outputs: signature.outputs }, target);
        // Pooled gradient, places of the maxima, then the others in their order.
        let spread = self.of.spread();
        let renamed = move |i: usize| match i {
            i if i == spread => 0,
            i => 2 + i - usize::from(i > spread),
        };
        variants.into_iter().filter_map(|variant| conv_kernels::unpooled(variant, renamed, 1)).collect()
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let Ok(inner) = self.inner(signature.inputs) else { return };
        let spread = self.spread(&inner[self.of.spread()], signature, inputs);
        let of_op = Signature { inputs: &inner, outputs: signature.outputs };
        self.of.op().reference(&of_op, &self.of.with_spread(&spread, inputs[2..].iter().copied()), outputs);
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let Ok(inner) = self.inner(signature.inputs) else { return Cost::default() };
        let cost = self.of.op().cost(&Signature { inputs: &inner, outputs: signature.outputs });
        Cost { flops: cost.flops, bytes: signature.bytes() }
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let Ok(inner) = self.inner(signature.inputs) else { return Vec::new() };
        self.of.op().tolerance(&Signature { inputs: &inner, outputs: signature.outputs })
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let Ok(inner) = self.inner(signature.inputs) else { return Vec::new() };
        let spread = self.spread(&inner[self.of.spread()], signature, inputs);
        let of_op = Signature { inputs: &inner, outputs: signature.outputs };
        self.of.op().magnitude(&of_op, &self.of.with_spread(&spread, inputs[2..].iter().copied()))
    }
}

/// A convolution whose output is pooled, and the channels on both sides.
struct Sample {
    input: [usize; 4],
    out_c: usize,
    conv: Conv2d,
}

impl Sample {
    fn new(input: [usize; 4], out_c: usize, window: Window, padding: Padding) -> Option<Self> {
        let conv = Conv2d::new(window, padding, [input[1], input[2]]).ok()?;
        conv.output.iter().all(|&extent| extent >= 2).then_some(Self { input, out_c, conv })
    }

    /// The pooled gradient, and the places of maxima: any of the window's four.
    fn pooled(&self) -> Vec<(TensorType, Values)> {
        let [out_h, out_w] = self.conv.output;
        let [batch, height, width, channels] = [self.input[0], out_h / 2, out_w / 2, self.out_c];
        let places = (0..batch * height * width * channels).map(|i| {
            let pixel = i / channels;
            let (row, column) = (pixel / width % height, pixel % width);
            let corner = i.wrapping_mul(7919) / 5 % 4;
            ((2 * row + corner / 2) * out_w + 2 * column + corner % 2) as u32
        });
        let shape = [batch, height, width, channels];
        vec![reals(shape, -1.0, 1.0), (TensorType::u32(shape), Values::Words(places.collect()))]
    }

    fn case(&self, of: UnpooledOp, others: Vec<(TensorType, Values)>) -> Case {
        let label = format!("{:?} -> {} {:?} {of:?}", self.input, self.out_c, self.conv.window);
        let mut inputs = self.pooled();
        inputs.extend(others);
        Case::new(label, Unpooled { of, size: self.conv.output }, inputs)
    }

    fn input_grad(&self, slope: Option<super::Activation>) -> Option<Case> {
        let [kh, kw] = self.conv.window.kernel;
        let [batch, height, width, channels] = self.input;
        let product = ConvTranspose2d {
            window: self.conv.window,
            output: [height, width],
            activation: super::Activation::Linear,
        };
        let w = reals([kh, kw, channels, self.out_c], -0.5, 0.5);
        let Some(kind) = slope else { return Some(self.case(UnpooledOp::Input(product), vec![w])) };
        let op = TimesSlope::new(LinearOp::ConvTranspose2d(product), super::ActivateBackward { kind })?;
        let y = reals([batch, height, width, channels], -0.9, 0.9);
        Some(self.case(UnpooledOp::InputSlope(op), vec![w, y]))
    }

    fn weight_grad(&self) -> Case {
        let op = WeightBiasGrad { window: Some(self.conv.window) };
        self.case(UnpooledOp::Weights(op), vec![reals(self.input, -1.0, 1.0)])
    }
}

fn samples() -> impl Iterator<Item = Sample> {
    let w = Window::square;
    let samples = [
        ([1, 2, 2, 1], 1, w(1, 1), Padding::Same),
        ([2, 5, 7, 3], 5, w(3, 1), Padding::Same),
        ([2, 8, 6, 4], 8, w(3, 1), Padding::Valid),
        ([1, 11, 10, 5], 7, w(3, 2), Padding::Same),
        ([3, 7, 6, 17], 12, w(2, 1), Padding::Same),
        ([2, 16, 16, 3], 32, w(3, 1), Padding::Same),
        ([1, 8, 8, 33], 65, w(3, 1), Padding::Same),
        ([5, 4, 4, 64], 36, w(3, 1), Padding::Same),
    ];
    samples.into_iter().filter_map(|(input, out_c, window, padding)| Sample::new(input, out_c, window, padding))
}

pub(super) fn input_grad_cases() -> Vec<Case> {
    let kinds = [None, Some(super::Activation::Relu), Some(super::Activation::ELU)];
    samples().zip(kinds.into_iter().cycle()).filter_map(|(sample, kind)| sample.input_grad(kind)).collect()
}

pub(super) fn weight_grad_cases() -> Vec<Case> {
    samples().map(|sample| sample.weight_grad()).collect()
}

fn random(draw: &mut super::Draw) -> Result<Sample> {
    let super::conv2d::Sample { input: [batch, height, width, channels], out_c, mut window, padding } =
        draw.convolution();
    // The kernels that go by phase take no holes.
    window.dilation = [1; 2];
    let [stride_h, stride_w] = window.stride;
    let input = [batch, height + 2 * stride_h, width + 2 * stride_w, channels];
    let wanted = || Error::shape("unpooled", "an output of 2x2 at least", format!("{window:?}"));
    Sample::new(input, out_c, window, padding).ok_or_else(wanted)
}

pub(super) fn random_input_grad(draw: &mut super::Draw) -> Result<Case> {
    let slope = draw.flag().then(|| draw.one_of(&super::Activation::NONLINEAR));
    let sample = random(draw)?;
    sample.input_grad(slope).ok_or_else(|| Error::shape("unpooled", "a linear product", format!("{:?}", sample.conv)))
}

pub(super) fn random_weight_grad(draw: &mut super::Draw) -> Result<Case> {
    Ok(random(draw)?.weight_grad())
}
