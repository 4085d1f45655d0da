//! 2-D transposed convolution: the gradient of a convolution with respect to its input, as an op of its own.

use super::conv2d::{check_inputs, extents, magnitude_before, reals, samples, taps};
use super::window::{Padding, Window};
use super::{Activate, Activation, Case, Conv2d, Conv2dWeightGrad, SumRows, Values, conv_kernels};
use crate::cpu::conv::{computes_filtered, filtered_terms};
use crate::error::Result;
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Cost, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorId, TensorType};
use std::sync::Arc;

/// `y[b, i * stride + a * dilation - padding, co] += sum over ci of x[b, i, ci] w[a, co, ci]`, then the bias and f.
///
/// Inputs: x (B, H, W, Cin), w (kh, kw, Cout, Cin), and optionally bias (Cout). Positions that no tap reaches hold
/// f(bias).
#[derive(Clone, Copy, Debug)]
pub struct ConvTranspose2d {
    /// Window of the convolution whose gradient this is.
    pub window: Window,
    /// Height and width of the output.
    pub output: [usize; 2],
    /// f.
    pub activation: Activation,
}

impl ConvTranspose2d {
    /// The transposed convolution of a (height, width) input by `window`, aligned as Keras does: the gradient of
    /// the convolution with the same kernel, stride and padding.
    ///
    /// # Errors
    /// If the output would be empty.
    pub fn new(window: Window, padding: Padding, input: [usize; 2]) -> Result<Self> {
        let (window, output) = window.transposed_over(padding, input)?;
        Ok(Self { window, output, activation: Activation::Linear })
    }
}

impl Op for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [batch, ..] =
            check_inputs(self.name(), self.window, inputs, |w, x_channels| (w[3] == x_channels).then_some(w[2]))?;
        let channels = inputs[1].shape.dims()[2];
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
            let op = Conv2d { window: self.window, output: [height, width], activation: Activation::Linear };
            gradients[0] = Some(graph.apply_one(op, &[dy, w])?);
        }
        if needed[1] {
            // The roles change sides: the picture of the convolution is dy, the gradient of its output is x.
            gradients[1] = Some(graph.apply_one(Conv2dWeightGrad { window: self.window }, &[dy, x])?);
        }
        if needed.get(2) == Some(&true) {
            gradients[2] = Some(graph.apply_one(SumRows, &[dy])?);
        }
        Ok(gradients)
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        conv_kernels::transposed(self, signature, target)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [batch, height, width, channels] = extents(&signature.inputs[0]);
        let [_, out_h, out_w, out_c] = extents(&signature.outputs[0]);
        let (x, w) = (inputs[0].f64(), inputs[1].f64());
        let y = outputs[0].f64_mut();
        match inputs.get(2) {
            Some(bias) => y.chunks_exact_mut(out_c).for_each(|row| row.copy_from_slice(bias.f64())),
            None => y.fill(0.0),
        }
        for (b, iy, ix) in positions(batch, height, width) {
            for (ky, kx) in taps(self.window) {
                // Scattering from x: the tap's place in y is where the convolution would have read.
                let oy = self.window.input_at(0, iy, ky, out_h);
                let ox = self.window.input_at(1, ix, kx, out_w);
                let (Some(oy), Some(ox)) = (oy, ox) else { continue };
                let pixel = &x[((b * height + iy) * width + ix) * channels..][..channels];
                for co in 0..out_c {
                    let row = &w[((ky * self.window.kernel[1] + kx) * out_c + co) * channels..][..channels];
                    let sum: f64 = pixel.iter().zip(row).map(|(x, w)| x * w).sum();
                    y[((b * out_h + oy) * out_w + ox) * out_c + co] += sum;
                }
            }
        }
        y.iter_mut().for_each(|z| *z = self.activation.reference(*z));
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        crate::cpu::conv::transposed(self, signature, call);
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let [_, _, out_c, _] = extents(&signature.inputs[1]);
        let products = signature.inputs[0].shape.len() * self.window.taps() * out_c;
        Cost { flops: 2.0 * products as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let [_, _, _, channels] = extents(&signature.inputs[1]);
        // Taps that reach one output: those whose distance from the first is a multiple of the stride.
        let per_axis = |axis: usize| {
            let steps = (0..self.window.kernel[axis]).map(|tap| tap * self.window.dilation[axis]);
            steps.filter(|step| step % self.window.stride[axis] == 0).count()
        };
        vec![self.activation.sum_tolerance(per_axis(0) * per_axis(1) * channels + 1)]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        magnitude_before(self.activation, &Self { activation: Activation::Linear, ..*self }, signature, inputs)
    }

    fn filtered_magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let mut magnitude = self.magnitude(signature, inputs);
        if let Some(terms) = filtered_terms(self.window, signature, inputs, true) {
            magnitude[0].f64_mut().iter_mut().zip(terms).for_each(|(sum, terms)| *sum = sum.max(terms));
        }
        magnitude
    }

    fn computes_filtered(&self, signature: &Signature<'_>) -> bool {
        computes_filtered(self.window, signature, true)
    }

    fn fuse(&self, next: &dyn Op) -> Option<Arc<dyn Op>> {
        let activation = next.downcast_ref::<Activate>().filter(|_| self.activation == Activation::Linear)?.kind;
        Some(Arc::new(Self { activation, ..*self }))
    }
}

/// All (sample, row, column) of a batch of pictures.
pub(super) fn positions(batch: usize, height: usize, width: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..batch).flat_map(move |b| (0..height).flat_map(move |y| (0..width).map(move |x| (b, y, x))))
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (i, s) in samples().into_iter().enumerate() {
        let Ok(mut op) = ConvTranspose2d::new(s.window, s.padding, [s.input[1], s.input[2]]) else { continue };
        let [kh, kw] = s.window.kernel;
        let mut inputs = vec![reals(s.input, -1.0, 1.0), reals([kh, kw, s.out_c, s.input[3]], -0.5, 0.5)];
        let label = format!("{:?} -> {} {:?} {:?}", s.input, s.out_c, s.window, s.padding);
        let small = s.input.iter().product::<usize>() <= 1000;
        let mut push = |label: String, op: ConvTranspose2d, inputs: &[(TensorType, Values)]| {
            let case = Case::new(label, op, inputs.to_vec());
            cases.push(if small { case.with_gradients(0..inputs.len()) } else { case });
        };
        push(format!("{label}, no bias"), op, &inputs);
        inputs.push(reals([s.out_c], -1.0, 1.0));
        op.activation = Activation::NONLINEAR[i % Activation::NONLINEAR.len()];
        push(format!("{label}, {:?}", op.activation), op, &inputs);
    }
    cases.extend(gradient_sized_cases());
    cases
}

/// Outputs of a size that is not the stride's multiple, as the gradients of convolutions have them.
fn gradient_sized_cases() -> impl Iterator<Item = Case> {
    samples().into_iter().filter_map(|s| {
        let forward = Conv2d::new(s.window, s.padding, [s.input[1], s.input[2]]).ok()?;
        let [batch, height, width, channels] = s.input;
        let op = ConvTranspose2d { window: forward.window, output: [height, width], activation: Activation::Linear };
        let [kh, kw] = s.window.kernel;
        let x = reals([batch, forward.output[0], forward.output[1], s.out_c], -1.0, 1.0);
        let inputs = vec![x, reals([kh, kw, channels, s.out_c], -0.5, 0.5)];
        Some(Case::new(format!("gradient of {:?} -> {} {:?}", s.input, s.out_c, forward.window), op, inputs))
    })
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let super::conv2d::Sample { input, out_c, window, padding } = draw.convolution();
    let whole = ConvTranspose2d::new(window, padding, [input[1], input[2]])?;
    let op = ConvTranspose2d { activation: draw.activation(), ..whole };
    let [kh, kw] = window.kernel;
    let mut inputs = vec![reals(input, -1.0, 1.0), reals([kh, kw, out_c, input[3]], -0.5, 0.5)];
    if draw.flag() {
        inputs.push(reals([out_c], -1.0, 1.0));
    }
    let all = 0..inputs.len();
    Ok(draw.small(Case::new(format!("{input:?} -> {out_c} {op:?}"), op, inputs), all))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn all_ones(kernel: usize) -> Vec<f64> {
        let op = ConvTranspose2d::new(Window::square(kernel, 2), Padding::Same, [2, 2]).unwrap();
        let x = (TensorType::f32([1, 2, 2, 1]), Values::Exact(vec![1.0, 2.0, 3.0, 4.0]));
        let w = (TensorType::f32([kernel, kernel, 1, 1]), Values::Exact(vec![1.0; kernel * kernel]));
        let case = Case::new("golden", op, vec![x, w]);
        case.expected(&case.arrays()).unwrap()[0].f64().to_vec()
    }

    #[test]
    fn stride_two_is_aligned_as_keras_has_it() {
        assert_eq!(all_ones(3), [1., 1., 3., 2., 1., 1., 3., 2., 4., 4., 10., 6., 3., 3., 7., 4.]);
        assert_eq!(all_ones(2), [1., 1., 2., 2., 1., 1., 2., 2., 3., 3., 4., 4., 3., 3., 4., 4.]);
    }
}
