//! A convolution and the max-pooling behind it as one op, which never writes what the pooling leaves out.

use super::conv2d::{Sample, extents};
use super::window::{Padding, Window};
use super::{Activation, Case, Conv2d, MaxPool2d, conv_kernels};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Cost, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorType};

/// `y, argmax = max-pooling of f(bias + convolution of x by w)`, by windows of 2x2 that do not overlap.
///
/// Inputs: those of [`Conv2d`]. Outputs: those of [`MaxPool2d`]. The activation comes before the comparison, so that ties
/// are those of the two ops one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Conv2dMaxPool2d {
    /// The convolution with its bias and activation.
    pub conv: Conv2d,
}

impl Conv2dMaxPool2d {
    /// The convolution and the pooling as one, if the pooling is one of 2x2 that do not overlap.
    pub fn new(conv: Conv2d, pool: MaxPool2d) -> Option<Self> {
        let windows = pool.window == Window::square(2, 2) && pool.output == conv.output.map(|extent| extent / 2);
        windows.then_some(Self { conv })
    }

    /// The pooling.
    pub(crate) fn pool(&self) -> MaxPool2d {
        MaxPool2d { window: Window::square(2, 2), output: self.conv.output.map(|extent| extent / 2) }
    }

    /// The type of what is pooled.
    fn between(&self, inputs: &[TensorType]) -> Result<TensorType> {
        self.conv.infer(inputs)?.pop().ok_or_else(|| Error::shape(self.name(), "a convolution", "none"))
    }
}

impl Op for Conv2dMaxPool2d {
    fn name(&self) -> &'static str {
        "conv2d_max_pool2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        self.pool().infer(&[self.between(inputs)?])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        conv_kernels::pooled(self, signature, target)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let Ok(between) = self.between(signature.inputs) else { return };
        let between = [between];
        let mut pictures = [Array::zeros(&between[0])];
        self.conv.reference(&Signature { inputs: signature.inputs, outputs: &between }, inputs, &mut pictures);
        let pooling = Signature { inputs: &between, outputs: signature.outputs };
        self.pool().reference(&pooling, &[&pictures[0]], outputs);
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        crate::cpu::conv::forward_pooled(self, signature, call);
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let products = extents(&signature.inputs[0])[0] * self.conv.output.iter().product::<usize>();
        let [_, _, channels, out_c] = extents(&signature.inputs[1]);
        let products = products * self.conv.window.taps() * channels * out_c;
        Cost { flops: 2.0 * products as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let maximum = self.conv.tolerance(signature);
        [maximum, vec![Tolerance::Exact]].concat()
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        self.pooled(signature, |convolution| self.conv.magnitude(convolution, inputs))
    }

    fn filtered_magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        self.pooled(signature, |convolution| self.conv.filtered_magnitude(convolution, inputs))
    }

    fn computes_filtered(&self, signature: &Signature<'_>) -> bool {
        let between = self.between(signature.inputs);
        between.is_ok_and(|y| self.conv.computes_filtered(&Signature { inputs: signature.inputs, outputs: &[y] }))
    }
}

impl Conv2dMaxPool2d {
    /// Magnitudes of the convolution, as they pass the pool.
    fn pooled(&self, signature: &Signature<'_>, magnitude: impl FnOnce(&Signature<'_>) -> Vec<Array>) -> Vec<Array> {
        let Ok(between) = self.between(signature.inputs) else { return Vec::new() };
        let between = [between];
        let terms = magnitude(&Signature { inputs: signature.inputs, outputs: &between });
        let mut outputs: Vec<Array> = signature.outputs.iter().map(Array::zeros).collect();
        // The largest sum of terms in the window bounds that of the largest element.
        let pooling = Signature { inputs: &between, outputs: signature.outputs };
        self.pool().reference(&pooling, &[&terms[0]], &mut outputs);
        outputs
    }
}

fn case(label: String, input: [usize; 4], out_c: usize, op: Conv2d, biased: bool) -> Option<Case> {
    let op = Conv2dMaxPool2d { conv: op };
    let [kh, kw] = op.conv.window.kernel;
    // Multiples of 1/8: sums are exact in f32, so that no rounding decides which of two is larger.
    let eighths = |dims: &[usize], range: i32| {
        let ty = TensorType::f32(dims);
        let n = ty.shape.len();
        let value = |i: usize| f64::from((i as i32).wrapping_mul(7919).rem_euclid(2 * range + 1) - range) / 8.0;
        (ty, super::Values::Exact((0..n).map(value).collect()))
    };
    let mut inputs = vec![eighths(&input, 8), eighths(&[kh, kw, input[3], out_c], 5)];
    if biased {
        inputs.push(eighths(&[out_c], 4));
    }
    let case = Case::new(label, op, inputs);
    case.output_types().ok().map(|_| case)
}

pub(super) fn cases() -> Vec<Case> {
    let w = Window::square;
    let samples = [
        ([1, 2, 2, 1], 1, w(1, 1)),
        ([2, 4, 4, 3], 4, w(3, 1)),
        ([1, 5, 7, 3], 5, w(3, 1)),
        ([2, 6, 9, 4], 8, w(3, 1)),
        ([1, 9, 10, 5], 7, w(3, 2)),
        ([3, 10, 6, 17], 12, w(2, 1)),
        ([2, 16, 16, 3], 32, w(3, 1)),
        ([1, 8, 8, 32], 68, w(3, 1)),
        ([3, 7, 7, 8], 36, w(5, 1)),
    ];
    let mut cases = Vec::new();
    for (i, (input, out_c, window)) in samples.into_iter().enumerate() {
        for (padding, biased) in [(Padding::Same, true), (Padding::Valid, false)] {
            let Ok(conv) = Conv2d::new(window, padding, [input[1], input[2]]) else { continue };
            if conv.output.iter().any(|&extent| extent < 2) {
                continue;
            }
            // One that is exact, and one whose saturated ends are ties.
            let all = [Activation::Linear, Activation::Relu, Activation::LeakyRelu { slope: 0.5 }];
            let conv = Conv2d { activation: all[i % all.len()], ..conv };
            let label = format!("{input:?} -> {out_c} {window:?} {padding:?} {:?}", conv.activation);
            cases.extend(case(label, input, out_c, conv, biased));
        }
    }
    // Few terms, so that no two of different size are the same after a function that levels off.
    for activation in [Activation::ELU, Activation::Sigmoid, Activation::Tanh, Activation::Softplus] {
        let Ok(conv) = Conv2d::new(w(1, 1), Padding::Same, [6, 5]) else { continue };
        let conv = Conv2d { activation, ..conv };
        cases.extend(case(format!("{activation:?}"), [2, 6, 5, 3], 8, conv, true));
    }
    // Past 65,535 workgroups of 64 positions.
    if let Ok(op) = Conv2d::new(w(1, 1), Padding::Valid, [2050, 2048]) {
        cases.extend(case("large".to_owned(), [1, 2050, 2048, 1], 4, op, true).map(Case::large));
    }
    cases
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let Sample { input, out_c, window, padding } = draw.convolution();
    let [batch, height, width, channels] = input;
    let mut input = [batch, height + 2, width + 2, channels];
    let mut conv = Conv2d::new(window, padding, [input[1], input[2]])?;
    while conv.output.iter().any(|&extent| extent < 2) {
        input = [batch, 2 * input[1], 2 * input[2], channels];
        conv = Conv2d::new(window, padding, [input[1], input[2]])?;
    }
    conv.activation = draw.one_of(&[Activation::Linear, Activation::Relu]);
    let case = case(format!("{input:?} -> {out_c} {conv:?}"), input, out_c, conv, draw.flag());
    case.ok_or_else(|| Error::shape("conv2d_max_pool2d", "an output of 2x2 at least", format!("{conv:?}")))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_poolings_of_two_by_two_that_do_not_overlap_are_taken() {
        let conv = Conv2d::new(Window::square(3, 1), Padding::Same, [7, 8]).unwrap();
        let pool = |window, padding| MaxPool2d::new(window, padding, [7, 8]).unwrap();
        assert!(Conv2dMaxPool2d::new(conv, pool(Window::square(2, 2), Padding::Valid)).is_some());
        assert!(Conv2dMaxPool2d::new(conv, pool(Window::square(2, 2), Padding::Same)).is_none(), "a window of one row");
        assert!(Conv2dMaxPool2d::new(conv, pool(Window::square(3, 2), Padding::Valid)).is_none());
        assert!(Conv2dMaxPool2d::new(conv, pool(Window::square(2, 1), Padding::Valid)).is_none());
    }
}
