//! The gradients of a layer's weights and of its bias as one op.

use super::conv2d::{extents, reals, samples};
use super::window::Window;
use super::{Activation, Case, Conv2d, Conv2dWeightGrad, Matmul, SumRows, conv_kernels};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Cost, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorType};

/// `dw` and `db` of a layer from its input x and the gradient dy of its sums: those of [`Conv2dWeightGrad`], or of a dense
/// layer `x^T dy`, and the sum of dy's rows.
///
/// Inputs: x, dy. Outputs: dw, db.
#[derive(Clone, Copy, Debug)]
pub struct WeightBiasGrad {
    /// Window of the convolution; none for a dense layer.
    pub window: Option<Window>,
}

const DENSE: Matmul = Matmul { transpose_a: true, transpose_b: false, activation: Activation::Linear };

impl WeightBiasGrad {
    /// Runs `with` on the op that gives the weights' gradient.
    fn weights<T>(&self, with: impl FnOnce(&dyn Op) -> T) -> T {
        match self.window {
            Some(window) => with(&Conv2dWeightGrad { window }),
            None => with(&DENSE),
        }
    }

    fn of_weights<'a>(signature: &Signature<'a>) -> Signature<'a> {
        Signature { inputs: signature.inputs, outputs: &signature.outputs[..1] }
    }

    fn of_bias<'a>(signature: &Signature<'a>) -> Signature<'a> {
        Signature { inputs: &signature.inputs[1..], outputs: &signature.outputs[1..] }
    }
}

impl Op for WeightBiasGrad {
    fn name(&self) -> &'static str {
        "weight_bias_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let mut outputs = self.weights(|op| op.infer(inputs))?;
        outputs.extend(SumRows.infer(&inputs[1..])?);
        Ok(outputs)
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let pictures = |ty: &TensorType| match ty.shape.matrix() {
            Some([rows, columns]) => [rows, 1, 1, columns],
            None => extents(ty),
        };
        let (x, dy) = (pictures(&signature.inputs[0]), pictures(&signature.inputs[1]));
        conv_kernels::weight_bias_grad(x, dy, self.window.unwrap_or(Window::square(1, 1)), signature, target)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [weights, bias] = outputs else { return };
        let one = std::slice::from_mut(weights);
        self.weights(|op| op.reference(&Self::of_weights(signature), inputs, one));
        SumRows.reference(&Self::of_bias(signature), &inputs[1..], std::slice::from_mut(bias));
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let [weights, bias] = &mut *call.outputs else { return false };
        let (mut weights, mut bias) = ([&mut **weights], [&mut **bias]);
        let mut of_weights = CpuCall { inputs: call.inputs, outputs: &mut weights };
        let mut of_bias = CpuCall { inputs: &call.inputs[1..], outputs: &mut bias };
        self.weights(|op| op.compute(&Self::of_weights(signature), &mut of_weights))
            && SumRows.compute(&Self::of_bias(signature), &mut of_bias)
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let weights = self.weights(|op| op.cost(&Self::of_weights(signature)));
        Cost { flops: weights.flops + signature.inputs[1].shape.len() as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let mut tolerances = self.weights(|op| op.tolerance(&Self::of_weights(signature)));
        tolerances.extend(SumRows.tolerance(&Self::of_bias(signature)));
        tolerances
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let mut magnitudes = self.weights(|op| op.magnitude(&Self::of_weights(signature), inputs));
        magnitudes.extend(SumRows.magnitude(&Self::of_bias(signature), &inputs[1..]));
        magnitudes
    }
}

fn case(label: String, window: Option<Window>, x: &[usize], dy: &[usize]) -> Case {
    Case::new(label, WeightBiasGrad { window }, vec![reals(x, -1.0, 1.0), reals(dy, -1.0, 1.0)])
}

/// The case of one convolution, if there is such a one.
fn convolution(sample: &super::conv2d::Sample) -> Option<Case> {
    let op = Conv2d::new(sample.window, sample.padding, [sample.input[1], sample.input[2]]).ok()?;
    let dy = [sample.input[0], op.output[0], op.output[1], sample.out_c];
    let label = format!("{:?} -> {} {:?} {:?}", sample.input, sample.out_c, sample.window, sample.padding);
    Some(case(label, Some(op.window), &sample.input, &dy))
}

pub(super) fn cases() -> Vec<Case> {
    let dense =
        [[1, 1, 1], [7, 9, 8], [64, 300, 5], [65, 3, 132], [50, 784, 36], [2100, 64, 32], [3, 68, 64], [5, 12, 68]];
    let dense = dense.into_iter().map(|[n, m, k]| case(format!("dense {n}x{m}x{k}"), None, &[n, m], &[n, k]));
    samples().iter().filter_map(convolution).chain(dense).collect()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    if draw.flag() {
        let [n, m, k] = [draw.extent() * draw.channels(), draw.channels(), draw.channels()];
        return Ok(case(format!("dense {n}x{m}x{k}"), None, &[n, m], &[n, k]));
    }
    let sample = draw.convolution();
    convolution(&sample)
        .ok_or_else(|| Error::shape("weight_bias_grad", "a window that fits", format!("{:?}", sample.window)))
}
