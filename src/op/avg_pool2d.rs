//! Average-pooling and its gradient.

use super::conv_transpose2d::positions;
use super::conv2d::{extents, reals, taps};
use super::max_pool2d::pool_variant;
use super::window::{Padding, Window};
use super::{Activation, Case, conv_kernels, expect_f32, expect_inputs};
use crate::cpu::vector::wide;
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Constant, Cost, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};
use rayon::prelude::*;

/// `y = sum over the window of x / n`.
///
/// Input: x (B, H, W, C). Places outside x add nothing. Whether they count in n is a choice, see `count_padding`.
#[derive(Clone, Copy, Debug)]
pub struct AvgPool2d {
    /// Window, with its padding resolved.
    pub window: Window,
    /// Height and width of the output.
    pub output: [usize; 2],
    /// False: n is the number of taps inside x, as Keras and TensorFlow have it for SAME padding, and the default of
    /// ONNX. True: n is the number of taps, as PyTorch has it by default (`count_include_pad`).
    pub count_padding: bool,
}

/// `dx = sum over the windows that cover it of dy / n`, from input dy.
#[derive(Clone, Copy, Debug)]
pub struct AvgPool2dBackward {
    /// Window of the pooling.
    pub window: Window,
    /// Height and width of dx.
    pub input: [usize; 2],
    /// As in [`AvgPool2d`].
    pub count_padding: bool,
}

impl AvgPool2d {
    /// Pooling of a (height, width) input that does not count padding.
    ///
    /// # Errors
    /// If no window fits.
    pub fn new(window: Window, padding: Padding, input: [usize; 2]) -> Result<Self> {
        let (window, output) = window.over(padding, input)?;
        Ok(Self { window, output, count_padding: false })
    }
}

/// The taps of the window at (oy, ox) that lie inside the input, as `h * W + w`.
fn inside(window: Window, [height, width]: [usize; 2], oy: usize, ox: usize) -> impl Iterator<Item = usize> {
    taps(window).filter_map(move |(ky, kx)| {
        let (iy, ix) = (window.input_at(0, oy, ky, height), window.input_at(1, ox, kx, width));
        iy.zip(ix).map(|(iy, ix)| iy * width + ix)
    })
}

/// What the sum over the window at (oy, ox) is divided by.
fn divisor(window: Window, count_padding: bool, input: [usize; 2], oy: usize, ox: usize) -> usize {
    if count_padding { window.taps() } else { inside(window, input, oy, ox).count() }
}

impl Op for AvgPool2d {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
        let Some([batch, height, width, channels]) = inputs[0].shape.nhwc() else {
            return Err(Error::shape(self.name(), "x of rank 4", inputs[0].to_string()));
        };
        if inputs[0].shape.is_empty() || !self.window.all_meet([height, width], self.output) {
            let wanted = format!("an input that every window of {:?} meets", self.window);
            return Err(Error::shape(self.name(), wanted, inputs[0].to_string()));
        }
        Ok(vec![TensorType::f32([batch, self.output[0], self.output[1], channels])])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None]) };
        let [_, height, width, _] = extents(graph.ty(node.inputs[0]));
        let Self { window, count_padding, .. } = *self;
        let op = AvgPool2dBackward { window, input: [height, width], count_padding };
        Ok(vec![Some(graph.apply_one(op, &[dy])?)])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        const FILES: &[&str] = &[include_str!("../../shaders/avg_pool2d.wgsl")];
        const QUADS: &[&str] = &[conv_kernels::PAIRS, include_str!("../../shaders/avg_pool2d_quads.wgsl")];
        let plain = Shader { name: "avg_pool2d", files: FILES };
        let quads = Shader { name: "avg_pool2d_quads", files: QUADS };
        let (x, y) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
        variants(plain, quads, self.window, self.count_padding, [x, y, y], target)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [_, height, width, channels] = extents(&signature.inputs[0]);
        let [batch, out_h, out_w, _] = extents(&signature.outputs[0]);
        let x = inputs[0].f64();
        let y = outputs[0].f64_mut();
        for (i, (b, oy, ox)) in positions(batch, out_h, out_w).enumerate() {
            let n = divisor(self.window, self.count_padding, [height, width], oy, ox) as f64;
            for c in 0..channels {
                let plane = inside(self.window, [height, width], oy, ox);
                let sum: f64 = plane.map(|at| x[(b * height * width + at) * channels + c]).sum();
                y[i * channels + c] = sum / n;
            }
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let [_, height, width, channels] = extents(&signature.inputs[0]);
        let [_, out_h, out_w, _] = extents(&signature.outputs[0]);
        let x = call.input(0);
        call.output(0).par_chunks_mut(out_w * channels).enumerate().for_each(|(row, y)| {
            let (b, oy) = (row / out_h, row % out_h);
            let picture = &x[b * height * width * channels..][..height * width * channels];
            for (ox, y) in y.chunks_exact_mut(channels).enumerate() {
                y.fill(0.0);
                for at in inside(self.window, [height, width], oy, ox) {
                    let x = &picture[at * channels..][..channels];
                    wide(
                        #[inline(always)]
                        || y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
                    );
                }
                let n = divisor(self.window, self.count_padding, [height, width], oy, ox) as f32;
                y.iter_mut().for_each(|y| *y /= n);
            }
        });
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let sums = signature.outputs[0].shape.len() * self.window.taps();
        Cost { flops: sums as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        // The division is one rounding more than the sum's, of up to 2.5 units in the last place in WGSL.
        vec![Activation::Linear.sum_tolerance(self.window.taps() + 1)]
    }
}

impl Op for AvgPool2dBackward {
    fn name(&self) -> &'static str {
        "avg_pool2d_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
        let Some([batch, out_h, out_w, channels]) = inputs[0].shape.nhwc() else {
            return Err(Error::shape(self.name(), "dy of rank 4", inputs[0].to_string()));
        };
        if inputs[0].shape.is_empty() || !self.window.all_meet(self.input, [out_h, out_w]) {
            let wanted = format!("windows of {:?} over {:?}", self.window, self.input);
            return Err(Error::shape(self.name(), wanted, inputs[0].to_string()));
        }
        Ok(vec![TensorType::f32([batch, self.input[0], self.input[1], channels])])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        // The pooling is linear: its gradient's gradient is the pooling itself.
        let Some(upstream) = upstream[0] else { return Ok(vec![None]) };
        let [_, out_h, out_w, _] = extents(graph.ty(node.inputs[0]));
        let op = AvgPool2d { window: self.window, output: [out_h, out_w], count_padding: self.count_padding };
        Ok(vec![Some(graph.apply_one(op, &[upstream])?)])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        const FILES: &[&str] = &[COUNT, include_str!("../../shaders/avg_pool2d_backward.wgsl")];
        const QUADS: &[&str] =
            &[conv_kernels::PAIRS, COUNT, include_str!("../../shaders/avg_pool2d_backward_quads.wgsl")];
        let plain = Shader { name: "avg_pool2d_backward", files: FILES };
        let quads = Shader { name: "avg_pool2d_backward_quads", files: QUADS };
        let (y, x) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
        variants(plain, quads, self.window, self.count_padding, [x, y, x], target)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [batch, out_h, out_w, channels] = extents(&signature.inputs[0]);
        let [height, width] = self.input;
        let dy = inputs[0].f64();
        let dx = outputs[0].f64_mut();
        dx.fill(0.0);
        for (i, (b, oy, ox)) in positions(batch, out_h, out_w).enumerate() {
            let n = divisor(self.window, self.count_padding, self.input, oy, ox) as f64;
            for at in inside(self.window, self.input, oy, ox) {
                for c in 0..channels {
                    dx[(b * height * width + at) * channels + c] += dy[i * channels + c] / n;
                }
            }
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let [_, out_h, out_w, channels] = extents(&signature.inputs[0]);
        let Self { window, input: [height, width], count_padding } = *self;
        let samples = call.input(0).par_chunks(out_h * out_w * channels);
        call.output(0).par_chunks_mut(height * width * channels).zip(samples).for_each(|(dx, dy)| {
            dx.fill(0.0);
            for (i, dy) in dy.chunks_exact(channels).enumerate() {
                let (oy, ox) = (i / out_w, i % out_w);
                let n = divisor(window, count_padding, [height, width], oy, ox) as f32;
                for at in inside(window, [height, width], oy, ox) {
                    let dx = &mut dx[at * channels..][..channels];
                    wide(
                        #[inline(always)]
                        || dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy / n),
                    );
                }
            }
        });
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let sums = signature.inputs[0].shape.len() * self.window.taps();
        Cost { flops: sums as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Activation::Linear.sum_tolerance(self.window.taps() + 1)]
    }
}

/// Snippet that counts the taps of a window inside the picture.
const COUNT: &str = include_str!("../../shaders/pool_count.wgsl");

/// One invocation per element, or per four of them, of the last of the extents x, y and output.
fn variants(
    plain: Shader,
    quads: Shader,
    window: Window,
    count_padding: bool,
    [x, y, output]: [[usize; 4]; 3],
    target: &Target,
) -> Vec<Variant> {
    let elements: usize = output.iter().product();
    let mut plain = pool_variant(plain, window, x, y, elements, vec![Binding::Input(0), Binding::Output(0)]);
    plain.launches[0].constants.push(("COUNT_PADDING", Constant::Bool(count_padding)));
    if !conv_kernels::reads_pairs(target) || !x[3].is_multiple_of(4) {
        return vec![plain];
    }
    let mut launch = plain.launches[0].clone();
    launch.shader = quads;
    launch.workgroups = linear_grid(elements / 4, 64);
    let quads = Variant::single("quads", plain.estimate_us / 2.0, launch);
    vec![plain, quads]
}

/// Windows that overlap, leave gaps, reach over the border, and that have holes; channels in fours and not.
fn samples() -> Vec<([usize; 4], Window, Padding)> {
    let w = Window::square;
    let gaps = Window { kernel: [2, 1], stride: [3, 2], dilation: [1; 2], padding: [0; 2] };
    let holes = Window { kernel: [3, 2], stride: [1, 2], dilation: [2, 3], padding: [0; 2] };
    vec![
        ([1, 1, 1, 1], w(2, 2), Padding::Same),
        ([2, 4, 4, 3], w(2, 2), Padding::Valid),
        ([1, 7, 7, 2], w(2, 2), Padding::Same),
        ([1, 7, 7, 4], w(2, 2), Padding::Same),
        ([1, 7, 6, 2], w(3, 2), Padding::Valid),
        ([2, 5, 6, 3], w(3, 2), Padding::Same),
        ([1, 6, 5, 4], w(3, 1), Padding::Same),
        ([1, 3, 2, 5], w(5, 1), Padding::Same),
        ([1, 8, 9, 5], gaps, Padding::Valid),
        ([1, 8, 9, 4], gaps, Padding::Valid),
        ([2, 9, 8, 3], holes, Padding::Same),
        ([1, 9, 8, 8], holes, Padding::Valid),
        ([3, 16, 16, 33], w(2, 2), Padding::Same),
        ([2, 15, 13, 36], w(4, 3), Padding::Same),
        ([1, 1, 1, 1030], w(1, 1), Padding::Valid),
    ]
}

fn each_sample(make: impl Fn(AvgPool2d, [usize; 4]) -> Case) -> Vec<Case> {
    let each = |(dims, window, padding): ([usize; 4], Window, Padding)| {
        let op = AvgPool2d::new(window, padding, [dims[1], dims[2]]).ok()?;
        Some([false, true].map(|count_padding| {
            let mut case = make(AvgPool2d { count_padding, ..op }, dims);
            let counted = if count_padding { ", padding counted" } else { "" };
            case.label = format!("{dims:?} {window:?} {padding:?}{counted}");
            if dims.iter().product::<usize>() < 1000 { case.with_gradients([0]) } else { case }
        }))
    };
    samples().into_iter().filter_map(each).flatten().collect()
}

pub(super) fn cases() -> Vec<Case> {
    each_sample(|op, dims| Case::new("", op, vec![reals(dims, -1.0, 1.0)]))
}

pub(super) fn backward_cases() -> Vec<Case> {
    each_sample(|op, dims| {
        let dy = reals([dims[0], op.output[0], op.output[1], dims[3]], -1.0, 1.0);
        let AvgPool2d { window, count_padding, .. } = op;
        Case::new("", AvgPool2dBackward { window, input: [dims[1], dims[2]], count_padding }, vec![dy])
    })
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let (dims, window, padding) = draw.pooling();
    let op = AvgPool2d { count_padding: draw.flag(), ..AvgPool2d::new(window, padding, [dims[1], dims[2]])? };
    Ok(draw.small(Case::new(format!("{dims:?} {op:?}"), op, vec![reals(dims, -1.0, 1.0)]), [0]))
}

pub(super) fn random_backward(draw: &mut super::Draw) -> Result<Case> {
    let (dims, window, padding) = draw.pooling();
    let AvgPool2d { window, output, .. } = AvgPool2d::new(window, padding, [dims[1], dims[2]])?;
    let op = AvgPool2dBackward { window, input: [dims[1], dims[2]], count_padding: draw.flag() };
    let dy = reals([dims[0], output[0], output[1], dims[3]], -1.0, 1.0);
    Ok(draw.small(Case::new(format!("{dims:?} {op:?}"), op, vec![dy]), [0]))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::op::Values;

    fn pooled(count_padding: bool) -> Vec<f64> {
        let op = AvgPool2d::new(Window::square(2, 2), Padding::Same, [3, 3]).unwrap();
        let x = (TensorType::f32([1, 3, 3, 1]), Values::Exact((1..=9).map(f64::from).collect()));
        let case = Case::new("golden", AvgPool2d { count_padding, ..op }, vec![x]);
        case.expected(&case.arrays()).unwrap()[0].f64().to_vec()
    }

    #[test]
    fn padding_counts_only_where_asked() {
        assert_eq!(pooled(false), [3.0, 4.5, 7.5, 9.0]);
        assert_eq!(pooled(true), [3.0, 2.25, 3.75, 2.25]);
    }

    #[test]
    fn a_window_outside_the_picture_is_an_error() {
        // Taps at -1 and 2 around a row of two pixels: the second of three windows.
        let window = Window { kernel: [1, 2], stride: [1, 1], dilation: [1, 3], padding: [0, 3] };
        let op = AvgPool2d { window, output: [1, 5], count_padding: false };
        let message = op.infer(&[TensorType::f32([1, 1, 2, 1])]).unwrap_err().to_string();
        assert!(message.contains("every window"), "{message}");
        assert!(op.infer(&[TensorType::f32([1, 1, 3, 1])]).is_ok());
    }
}
