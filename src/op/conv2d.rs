//! 2-D convolution (cross-correlation, as all frameworks have it), NHWC, kernels (kh, kw, in, out).

use super::window::{Padding, Window};
use super::{Activate, Activation, Case, Conv2dWeightGrad, ConvTranspose2d, SumRows, Values, conv_kernels, expect_f32};
use crate::cpu::conv::{computes_filtered, filtered_terms};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Cost, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorId, TensorType};
use std::sync::Arc;

/// `y[b, o, co] = f(bias[co] + sum over a, ci of x[b, o * stride + a * dilation - padding, ci] w[a, ci, co])`.
///
/// Inputs: x (B, H, W, Cin), w (kh, kw, Cin, Cout), and optionally bias (Cout).
#[derive(Clone, Copy, Debug)]
pub struct Conv2d {
    /// Window, with its padding resolved.
    pub window: Window,
    /// Height and width of the output; windows may end beyond the input, where it is zero.
    pub output: [usize; 2],
    /// f.
    pub activation: Activation,
}

impl Conv2d {
    /// The convolution of a (height, width) input by `window` with this padding.
    ///
    /// # Errors
    /// If no window fits.
    pub fn new(window: Window, padding: Padding, input: [usize; 2]) -> Result<Self> {
        let (window, output) = window.over(padding, input)?;
        Ok(Self { window, output, activation: Activation::Linear })
    }
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [batch, ..] =
            check_inputs(self.name(), self.window, inputs, |w, x_channels| (w[2] == x_channels).then_some(w[3]))?;
        let channels = inputs[1].shape.last();
        Ok(vec![TensorType::f32([batch, self.output[0], self.output[1], channels])])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        needed: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; node.inputs.len()]) };
        let dy = self.activation.record_backward(graph, dy, node.outputs[0])?;
        let (x, w) = (node.inputs[0], node.inputs[1]);
        let [_, height, width, _] = extents(graph.ty(x));
        let mut gradients = vec![None; node.inputs.len()];
        if needed[0] {
            let op = ConvTranspose2d { window: self.window, output: [height, width], activation: Activation::Linear };
            gradients[0] = Some(graph.apply_one(op, &[dy, w])?);
        }
        if needed[1] {
            gradients[1] = Some(graph.apply_one(Conv2dWeightGrad { window: self.window }, &[x, dy])?);
        }
        if needed.get(2) == Some(&true) {
            gradients[2] = Some(graph.apply_one(SumRows, &[dy])?);
        }
        Ok(gradients)
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        conv_kernels::forward(self, signature, target)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [_, height, width, channels] = extents(&signature.inputs[0]);
        let [batch, out_h, out_w, out_c] = extents(&signature.outputs[0]);
        let (x, w) = (inputs[0].f64(), inputs[1].f64());
        let bias = inputs.get(2).map(|b| b.f64());
        let y = outputs[0].f64_mut();
        let mut sums = vec![0.0; out_c];
        for b in 0..batch {
            for (oy, ox) in (0..out_h).flat_map(|oy| (0..out_w).map(move |ox| (oy, ox))) {
                sums.fill(0.0);
                for (ky, kx) in taps(self.window) {
                    let iy = self.window.input_at(0, oy, ky, height);
                    let ix = self.window.input_at(1, ox, kx, width);
                    let (Some(iy), Some(ix)) = (iy, ix) else { continue };
                    for ci in 0..channels {
                        let value = x[((b * height + iy) * width + ix) * channels + ci];
                        let row = ((ky * self.window.kernel[1] + kx) * channels + ci) * out_c;
                        for (sum, w) in sums.iter_mut().zip(&w[row..]) {
                            *sum += value * w;
                        }
                    }
                }
                for (co, sum) in sums.iter().enumerate() {
                    let z = sum + bias.map_or(0.0, |bias| bias[co]);
                    y[((b * out_h + oy) * out_w + ox) * out_c + co] = self.activation.reference(z);
                }
            }
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        crate::cpu::conv::forward(self, signature, call);
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let [_, _, channels, _] = extents(&signature.inputs[1]);
        let products = signature.outputs[0].shape.len() * self.window.taps() * channels;
        Cost { flops: 2.0 * products as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let [_, _, channels, _] = extents(&signature.inputs[1]);
        vec![self.activation.sum_tolerance(self.window.taps() * channels + 1)]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        magnitude_before(self.activation, &Self { activation: Activation::Linear, ..*self }, signature, inputs)
    }

    fn filtered_magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let mut magnitude = self.magnitude(signature, inputs);
        if let Some(terms) = filtered_terms(self.window, signature, inputs, false) {
            magnitude[0].f64_mut().iter_mut().zip(terms).for_each(|(sum, terms)| *sum = sum.max(terms));
        }
        magnitude
    }

    fn computes_filtered(&self, signature: &Signature<'_>) -> bool {
        computes_filtered(self.window, signature, false)
    }

    fn fuse(&self, next: &dyn Op) -> Option<Arc<dyn Op>> {
        let activation = next.downcast_ref::<Activate>().filter(|_| self.activation == Activation::Linear)?.kind;
        Some(Arc::new(Self { activation, ..*self }))
    }
}

/// The four extents of a checked picture or kernel tensor.
pub(super) fn extents(ty: &TensorType) -> [usize; 4] {
    ty.shape.nhwc().unwrap_or([0; 4])
}

/// All taps (row, column) of a window.
pub(super) fn taps(window: Window) -> impl Iterator<Item = (usize, usize)> {
    (0..window.kernel[0]).flat_map(move |ky| (0..window.kernel[1]).map(move |kx| (ky, kx)))
}

/// Magnitudes of the sum before an activation, times what the activation's slope may make of an error in it.
/// `linear` is the op without the activation.
pub(super) fn magnitude_before(
    activation: Activation,
    linear: &dyn Op,
    signature: &Signature<'_>,
    inputs: &[&Array],
) -> Vec<Array> {
    let absolute: Vec<Array> = inputs.iter().map(|a| a.abs()).collect();
    let mut outputs: Vec<Array> = signature.outputs.iter().map(Array::zeros).collect();
    linear.reference(signature, &absolute.iter().collect::<Vec<_>>(), &mut outputs);
    outputs.iter_mut().for_each(|y| y.f64_mut().iter_mut().for_each(|y| *y *= activation.steepest()));
    outputs
}

/// Checks x, w and bias of a convolution. `channels` gives the output channels where the kernel's extents suit
/// the input's channels. Returns the extents of x.
pub(super) fn check_inputs(
    op: &str,
    window: Window,
    inputs: &[TensorType],
    channels: impl Fn([usize; 4], usize) -> Option<usize>,
) -> Result<[usize; 4]> {
    super::expect_inputs(op, inputs, 2..=3)?;
    inputs.iter().try_for_each(|ty| expect_f32(op, ty))?;
    let (Some(x), Some(w)) = (inputs[0].shape.nhwc(), inputs[1].shape.nhwc()) else {
        return Err(Error::shape(op, "x and w of rank 4", format!("{} and {}", inputs[0], inputs[1])));
    };
    let fits = [w[0], w[1]] == window.kernel && window.stride.iter().chain(&window.dilation).all(|&n| n > 0);
    let Some(out) = channels(w, x[3]).filter(|_| fits && !inputs[0].shape.is_empty()) else {
        let wanted = format!("a {}x{} kernel for {} channels", window.kernel[0], window.kernel[1], x[3]);
        return Err(Error::shape(op, wanted, inputs[1].to_string()));
    };
    if inputs.get(2).is_some_and(|bias| bias.shape.dims() != [out]) {
        return Err(Error::shape(op, format!("bias f32[{out}]"), inputs[2].to_string()));
    }
    Ok(x)
}

/// One convolution to try: input, output channels, window, padding.
pub(super) struct Sample {
    pub(super) input: [usize; 4],
    pub(super) out_c: usize,
    pub(super) window: Window,
    pub(super) padding: Padding,
}

/// Shapes around every tile size, both paddings, strides and dilations that do not divide, and the layers of the
/// bundled models at a small batch.
pub(super) fn samples() -> Vec<Sample> {
    let sample = |input, out_c, window, padding| Sample { input, out_c, window, padding };
    let w = Window::square;
    let uneven = Window { kernel: [2, 5], stride: [2, 1], dilation: [1, 2], padding: [0; 2] };
    let holes = |kernel, stride, dilation| Window { dilation: [dilation; 2], ..w(kernel, stride) };
    vec![
        sample([1, 1, 1, 1], 1, w(1, 1), Padding::Same),
        sample([1, 1, 1, 2], 3, w(3, 1), Padding::Same),
        sample([2, 4, 4, 3], 4, w(3, 1), Padding::Same),
        sample([1, 5, 7, 3], 5, w(3, 1), Padding::Same),
        sample([2, 6, 9, 4], 8, w(3, 1), Padding::Valid),
        sample([1, 9, 10, 5], 7, w(3, 2), Padding::Same),
        sample([2, 8, 8, 4], 12, w(3, 2), Padding::Valid),
        sample([1, 11, 13, 2], 3, uneven, Padding::Same),
        sample([1, 12, 12, 6], 2, uneven, Padding::Valid),
        sample([1, 7, 7, 1], 16, w(5, 1), Padding::Same),
        sample([3, 10, 6, 17], 9, w(2, 2), Padding::Same),
        sample([1, 8, 8, 33], 65, w(3, 1), Padding::Same),
        sample([2, 16, 16, 32], 64, w(3, 1), Padding::Same),
        sample([3, 4, 4, 64], 36, w(3, 1), Padding::Same),
        sample([5, 2, 2, 128], 64, w(3, 1), Padding::Same),
        sample([2, 32, 32, 3], 32, w(3, 1), Padding::Same),
        sample([2, 16, 16, 3], 32, w(3, 2), Padding::Same),
        sample([2, 8, 8, 32], 64, w(3, 2), Padding::Same),
        sample([1, 7, 9, 8], 68, w(3, 1), Padding::Same),
        sample([1, 5, 13, 4], 28, w(3, 1), Padding::Same),
        sample([3, 13, 5, 6], 12, w(3, 1), Padding::Same),
        sample([2, 9, 7, 20], 32, w(3, 2), Padding::Same),
        sample([2, 3, 3, 68], 8, w(1, 1), Padding::Same),
        sample([1, 9, 8, 4], 8, holes(3, 1, 2), Padding::Same),
        sample([1, 11, 10, 3], 5, holes(3, 1, 3), Padding::Valid),
        sample([1, 10, 9, 8], 4, holes(2, 2, 2), Padding::Same),
        sample([2, 12, 9, 4], 36, holes(3, 2, 3), Padding::Same),
        sample([2, 16, 16, 32], 64, holes(3, 1, 2), Padding::Same),
        // The usual decoder layer: its padding is odd, so that one phase starts before the picture.
        sample([1, 8, 10, 4], 8, w(4, 2), Padding::Same),
        // Other steps along rows than along columns, for kernels that want channels in fours.
        sample([1, 10, 9, 4], 8, uneven, Padding::Same),
        // Few channels out of many, as the last layer of a decoder has them: sums over lanes on the CPU executor.
        sample([2, 7, 9, 20], 1, w(3, 1), Padding::Same),
        sample([1, 8, 5, 36], 2, w(2, 1), Padding::Valid),
        sample([1, 6, 7, 17], 3, w(3, 2), Padding::Same),
        // More positions than one run of a weight gradient has, and a last run that is shorter.
        sample([1, 23, 29, 2], 3, w(3, 1), Padding::Same),
    ]
}

/// Real values of this shape, in `lo..hi`.
pub(super) fn reals(dims: impl Into<crate::tensor::Shape>, lo: f64, hi: f64) -> (TensorType, Values) {
    (TensorType::f32(dims), Values::Uniform(lo, hi))
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, s) in samples().into_iter().enumerate() {
        let Ok(mut op) = Conv2d::new(s.window, s.padding, [s.input[1], s.input[2]]) else { continue };
        let [kh, kw] = s.window.kernel;
        let mut inputs = vec![reals(s.input, -1.0, 1.0), reals([kh, kw, s.input[3], s.out_c], -0.5, 0.5)];
        let label = format!("{:?} -> {} {:?} {:?}", s.input, s.out_c, s.window, s.padding);
        let small = s.input.iter().product::<usize>() <= 1000;
        let mut push = |label: String, op: Conv2d, inputs: &[(TensorType, Values)]| {
            let case = Case::new(label, op, inputs.to_vec());
            cases.push(if small { case.with_gradients(0..inputs.len()) } else { case });
        };
        push(format!("{label}, no bias"), op, &inputs);
        inputs.push(reals([s.out_c], -1.0, 1.0));
        op.activation = Activation::NONLINEAR[i % Activation::NONLINEAR.len()];
        push(format!("{label}, {:?}", op.activation), op, &inputs);
    }
    // Past 65,535 workgroups: of 64 pixels in some kernels, of 64 tiles of four channels in another.
    if let Ok(op) = Conv2d::new(Window::square(1, 1), Padding::Valid, [2049, 2048]) {
        let inputs = vec![reals([1, 2049, 2048, 1], -1.0, 1.0), reals([1, 1, 1, 1], 0.5, 1.0)];
        cases.push(Case::new("large", op, inputs).large());
    }
    cases
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let Sample { input, out_c, window, padding } = draw.convolution();
    let op = Conv2d { activation: draw.activation(), ..Conv2d::new(window, padding, [input[1], input[2]])? };
    let [kh, kw] = window.kernel;
    let mut inputs = vec![reals(input, -1.0, 1.0), reals([kh, kw, input[3], out_c], -0.5, 0.5)];
    if draw.flag() {
        inputs.push(reals([out_c], -1.0, 1.0));
    }
    let all = 0..inputs.len();
    Ok(draw.small(Case::new(format!("{input:?} -> {out_c} {op:?}"), op, inputs), all))
}
