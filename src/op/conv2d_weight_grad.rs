//! The gradient of a convolution with respect to its kernel.

use super::conv_transpose2d::positions;
use super::conv2d::{extents, reals, samples, taps};
use super::window::Window;
use super::{Activation, Case, Conv2d, ConvTranspose2d, conv_kernels, expect_f32, expect_inputs};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Cost, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorId, TensorType};

/// `dw[a, ci, co] = sum over b, o of x[b, o * stride + a * dilation - padding, ci] dy[b, o, co]`.
///
/// Inputs: x (B, H, W, Cin), dy (B, OH, OW, Cout). Output: dw (kh, kw, Cin, Cout).
#[derive(Clone, Copy, Debug)]
pub struct Conv2dWeightGrad {
    /// Window of the convolution.
    pub window: Window,
}

impl Op for Conv2dWeightGrad {
    fn name(&self) -> &'static str {
        "conv2d_weight_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        inputs.iter().try_for_each(|ty| expect_f32(self.name(), ty))?;
        match (inputs[0].shape.nhwc(), inputs[1].shape.nhwc()) {
            (Some(x), Some(dy)) if x[0] == dy[0] => {
                let [kh, kw] = self.window.kernel;
                Ok(vec![TensorType::f32([kh, kw, x[3], dy[3]])])
            }
            _ => {
                let got = format!("{} and {}", inputs[0], inputs[1]);
                Err(Error::shape(self.name(), "x and dy of rank 4 and one batch size", got))
            }
        }
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        needed: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(upstream) = upstream[0] else { return Ok(vec![None; 2]) };
        let (x, dy) = (node.inputs[0], node.inputs[1]);
        let size = |graph: &Graph, id| [extents(graph.ty(id))[1], extents(graph.ty(id))[2]];
        let activation = Activation::Linear;
        let mut gradients = vec![None; 2];
        if needed[0] {
            let op = ConvTranspose2d { window: self.window, output: size(graph, x), activation };
            gradients[0] = Some(graph.apply_one(op, &[dy, upstream])?);
        }
        if needed[1] {
            let op = Conv2d { window: self.window, output: size(graph, dy), activation };
            gradients[1] = Some(graph.apply_one(op, &[x, upstream])?);
        }
        Ok(gradients)
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        conv_kernels::weight_grad(self, signature, target)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [_, height, width, channels] = extents(&signature.inputs[0]);
        let [batch, out_h, out_w, out_c] = extents(&signature.inputs[1]);
        let (x, dy) = (inputs[0].f64(), inputs[1].f64());
        let dw = outputs[0].f64_mut();
        dw.fill(0.0);
        for (b, oy, ox) in positions(batch, out_h, out_w) {
            let gradient = &dy[((b * out_h + oy) * out_w + ox) * out_c..][..out_c];
            for (ky, kx) in taps(self.window) {
                let iy = self.window.input_at(0, oy, ky, height);
                let ix = self.window.input_at(1, ox, kx, width);
                let (Some(iy), Some(ix)) = (iy, ix) else { continue };
                for ci in 0..channels {
                    let value = x[((b * height + iy) * width + ix) * channels + ci];
                    let row = ((ky * self.window.kernel[1] + kx) * channels + ci) * out_c;
                    for (dw, gradient) in dw[row..].iter_mut().zip(gradient) {
                        *dw += value * gradient;
                    }
                }
            }
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        crate::cpu::conv::weight_grad(self, signature, call);
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let products = signature.inputs[1].shape.len() * self.window.taps() * signature.inputs[0].shape.last();
        Cost { flops: 2.0 * products as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let [batch, out_h, out_w, _] = extents(&signature.inputs[1]);
        vec![Activation::Linear.sum_tolerance(batch * out_h * out_w)]
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |s: super::conv2d::Sample| {
        let forward = Conv2d::new(s.window, s.padding, [s.input[1], s.input[2]]).ok()?;
        let dy = reals([s.input[0], forward.output[0], forward.output[1], s.out_c], -1.0, 1.0);
        let inputs = vec![reals(s.input, -1.0, 1.0), dy];
        let label = format!("{:?} -> {} {:?}", s.input, s.out_c, forward.window);
        let case = Case::new(label, Conv2dWeightGrad { window: forward.window }, inputs);
        Some(if s.input.iter().product::<usize>() <= 500 { case.with_gradients([0, 1]) } else { case })
    };
    samples().into_iter().filter_map(case).collect()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let super::conv2d::Sample { input, out_c, window, padding } = draw.convolution();
    let Conv2d { window, output, .. } = Conv2d::new(window, padding, [input[1], input[2]])?;
    let inputs = vec![reals(input, -1.0, 1.0), reals([input[0], output[0], output[1], out_c], -1.0, 1.0)];
    let case = Case::new(format!("{input:?} -> {out_c} {window:?}"), Conv2dWeightGrad { window }, inputs);
    Ok(draw.small(case, [0, 1]))
}
