//! Up-sampling by repetition (nearest neighbour), and its gradient.

use super::conv_transpose2d::positions;
use super::conv2d::{extents, reals};
use super::{Activation, Case, conv_kernels, expect_f32, expect_inputs};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Cost, Launch, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};
use rayon::prelude::*;

/// `y[b, h, w, c] = x[b, floor(h / fh), floor(w / fw), c]`.
///
/// Input: x (B, H, W, C). Output: y (B, fh H, fw W, C), with the factors fh and fw.
#[derive(Clone, Copy, Debug)]
pub struct Upsample2d {
    /// How often each row and each column is repeated.
    pub factor: [usize; 2],
}

/// `dx = sum of dy over the block of factor[0] x factor[1] places that hold x`, from input dy.
#[derive(Clone, Copy, Debug)]
pub struct Upsample2dBackward {
    /// As in [`Upsample2d`].
    pub factor: [usize; 2],
}

impl Op for Upsample2d {
    fn name(&self) -> &'static str {
        "upsample2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
        let [fh, fw] = self.factor;
        let wrong =
            || Error::shape(self.name(), "x of rank 4 and factors from 1", format!("{} and {fh}x{fw}", inputs[0]));
        let fits = fh > 0 && fw > 0 && !inputs[0].shape.is_empty();
        let [batch, height, width, channels] = inputs[0].shape.nhwc().filter(|_| fits).ok_or_else(wrong)?;
        let (height, width) = height.checked_mul(fh).zip(width.checked_mul(fw)).ok_or_else(wrong)?;
        Ok(vec![TensorType::f32([batch, height, width, channels])])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        _: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None]) };
        Ok(vec![Some(graph.apply_one(Upsample2dBackward { factor: self.factor }, &[dy])?)])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        const FILES: &[&str] = &[include_str!("../../shaders/upsample2d.wgsl")];
        const QUADS: &[&str] = &[include_str!("../../shaders/upsample2d_quads.wgsl")];
        let shaders = [Shader { name: "upsample2d", files: FILES }, Shader { name: "upsample2d_quads", files: QUADS }];
        let x = extents(&signature.inputs[0]);
        variants(shaders, self.factor, x, signature, target)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [_, height, width, channels] = extents(&signature.inputs[0]);
        let [batch, out_h, out_w, _] = extents(&signature.outputs[0]);
        let (x, y) = (inputs[0].f64(), outputs[0].f64_mut());
        for (i, (b, oy, ox)) in positions(batch, out_h, out_w).enumerate() {
            let from = ((b * height + oy / self.factor[0]) * width + ox / self.factor[1]) * channels;
            y[i * channels..][..channels].copy_from_slice(&x[from..][..channels]);
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let [_, _, width, channels] = extents(&signature.inputs[0]);
        let [fh, fw] = self.factor;
        let rows = call.input(0).par_chunks(width * channels);
        call.output(0).par_chunks_mut(fh * width * fw * channels).zip(rows).for_each(|(y, x)| {
            let (first, rest) = y.split_at_mut(width * fw * channels);
            for (y, x) in first.chunks_exact_mut(fw * channels).zip(x.chunks_exact(channels)) {
                y.chunks_exact_mut(channels).for_each(|y| y.copy_from_slice(x));
            }
            rest.chunks_exact_mut(first.len()).for_each(|y| y.copy_from_slice(first));
        });
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        Cost { flops: 0.0, bytes: signature.bytes() }
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::Exact]
    }
}

impl Op for Upsample2dBackward {
    fn name(&self) -> &'static str {
        "upsample2d_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
        let [fh, fw] = self.factor;
        let some = fh > 0 && fw > 0 && !inputs[0].shape.is_empty();
        let whole = |[_, h, w, _]: &[usize; 4]| some && h % fh == 0 && w % fw == 0;
        let Some([batch, height, width, channels]) = inputs[0].shape.nhwc().filter(whole) else {
            let wanted = format!("dy of rank 4 in whole blocks of {fh}x{fw}");
            return Err(Error::shape(self.name(), wanted, inputs[0].to_string()));
        };
        Ok(vec![TensorType::f32([batch, height / fh, width / fw, channels])])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        _: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        // Linear: the gradient's gradient is the up-sampling itself.
        let Some(upstream) = upstream[0] else { return Ok(vec![None]) };
        Ok(vec![Some(graph.apply_one(Upsample2d { factor: self.factor }, &[upstream])?)])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        const FILES: &[&str] = &[include_str!("../../shaders/upsample2d_backward.wgsl")];
        const QUADS: &[&str] = &[conv_kernels::PAIRS, include_str!("../../shaders/upsample2d_backward_quads.wgsl")];
        let shaders = [
            Shader { name: "upsample2d_backward", files: FILES },
            Shader { name: "upsample2d_backward_quads", files: QUADS },
        ];
        let x = extents(&signature.outputs[0]);
        variants(shaders, self.factor, x, signature, target)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [_, height, width, channels] = extents(&signature.outputs[0]);
        let [batch, out_h, out_w, _] = extents(&signature.inputs[0]);
        let (dy, dx) = (inputs[0].f64(), outputs[0].f64_mut());
        dx.fill(0.0);
        for (i, (b, oy, ox)) in positions(batch, out_h, out_w).enumerate() {
            let to = ((b * height + oy / self.factor[0]) * width + ox / self.factor[1]) * channels;
            for c in 0..channels {
                dx[to + c] += dy[i * channels + c];
            }
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let [_, _, width, channels] = extents(&signature.outputs[0]);
        let [fh, fw] = self.factor;
        let blocks = call.input(0).par_chunks(fh * width * fw * channels);
        call.output(0).par_chunks_mut(width * channels).zip(blocks).for_each(|(dx, dy)| {
            dx.fill(0.0);
            for row in dy.chunks_exact(width * fw * channels) {
                for (dx, dy) in dx.chunks_exact_mut(channels).zip(row.chunks_exact(fw * channels)) {
                    for dy in dy.chunks_exact(channels) {
                        dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
                    }
                }
            }
        });
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        Cost { flops: signature.inputs[0].shape.len() as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Activation::Linear.sum_tolerance(self.factor[0] * self.factor[1])]
    }
}

/// One invocation per element of the output, or per four channels of it; x is the smaller picture.
fn variants(
    [plain, quads]: [Shader; 2],
    factor: [usize; 2],
    x: [usize; 4],
    signature: &Signature<'_>,
    target: &Target,
) -> Vec<Variant> {
    let elements = signature.outputs[0].shape.len();
    let launch = |shader, items| Launch {
        shader,
        constants: Vec::new(),
        parameters: vec![
            ("batch", x[0].into()),
            ("in_h", x[1].into()),
            ("in_w", x[2].into()),
            ("channels", x[3].into()),
            ("factor_h", factor[0].into()),
            ("factor_w", factor[1].into()),
        ],
        bindings: vec![Binding::Input(0), Binding::Output(0)],
        workgroups: linear_grid(items, 64),
    };
    let plain = Variant::single("plain", elements as f64, launch(plain, elements));
    if !conv_kernels::reads_pairs(target) || !x[3].is_multiple_of(4) {
        return vec![plain];
    }
    let quads = Variant::single("quads", elements as f64 / 2.0, launch(quads, elements / 4));
    vec![plain, quads]
}

/// Extents of x and factors: none, even and odd ones, unequal ones, channels in fours and not.
const SAMPLES: [([usize; 4], [usize; 2]); 8] = [
    ([1, 1, 1, 1], [1, 1]),
    ([1, 1, 1, 1], [3, 2]),
    ([2, 3, 5, 3], [2, 2]),
    ([1, 4, 3, 4], [2, 2]),
    ([3, 5, 2, 7], [1, 3]),
    ([2, 2, 7, 8], [3, 1]),
    ([2, 7, 5, 33], [2, 2]),
    ([1, 9, 9, 36], [5, 4]),
];

pub(super) fn cases() -> Vec<Case> {
    SAMPLES
        .map(|(dims, factor)| {
            let case =
                Case::new(format!("{dims:?} by {factor:?}"), Upsample2d { factor }, vec![reals(dims, -1.0, 1.0)]);
            if dims.iter().product::<usize>() < 1000 { case.with_gradients([0]) } else { case }
        })
        .into()
}

pub(super) fn backward_cases() -> Vec<Case> {
    SAMPLES
        .map(|([batch, h, w, channels], factor)| {
            let dims = [batch, h * factor[0], w * factor[1], channels];
            let inputs = vec![reals(dims, -1.0, 1.0)];
            let case = Case::new(format!("{dims:?} by {factor:?}"), Upsample2dBackward { factor }, inputs);
            if dims.iter().product::<usize>() < 1000 { case.with_gradients([0]) } else { case }
        })
        .into()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let (dims, factor) = (draw.pictures(), [draw.from(1..=3), draw.from(1..=3)]);
    let case = Case::new(format!("{dims:?} by {factor:?}"), Upsample2d { factor }, vec![reals(dims, -1.0, 1.0)]);
    Ok(draw.small(case, [0]))
}

pub(super) fn random_backward(draw: &mut super::Draw) -> Result<Case> {
    let ([batch, h, w, channels], factor) = (draw.pictures(), [draw.from(1..=3), draw.from(1..=3)]);
    let dims = [batch, h * factor[0], w * factor[1], channels];
    let op = Upsample2dBackward { factor };
    Ok(draw.small(Case::new(format!("{dims:?} by {factor:?}"), op, vec![reals(dims, -1.0, 1.0)]), [0]))
}
