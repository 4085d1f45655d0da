//! Convolutions on the CPU as implicit matrix products: pictures are copied only to put zeros around them, a tile of
//! output pixels reads its windows where they lie, and the kernel is packed once per run. Groups of pictures are dealt
//! to threads; no sum depends on how they are dealt, so results are the same on any number of threads.

mod axis;
mod filtered_terms;
mod sweep;
mod weight_grad;
mod winograd;

pub(crate) use filtered_terms::{computes_filtered, filtered_terms};
pub(crate) use sweep::{Group, Sweep, Weights};
pub(crate) use weight_grad::WeightGrad;

use super::matmul::finish_rows;
use super::scratch;
use crate::graph::{CpuCall, Signature};
use crate::op::{Conv2d, Conv2dMaxPool2d, Conv2dWeightGrad, ConvTranspose2d, Window};
use crate::tensor::TensorType;
use axis::Axis;
use rayon::prelude::*;

fn extents(ty: &TensorType) -> [usize; 4] {
    ty.shape.nhwc().unwrap_or([0; 4])
}

/// Pictures with zeros around them.
#[derive(Clone, Copy, Debug)]
struct Padded {
    /// Height, width and channels without the zeros.
    picture: [usize; 3],
    /// Rows of zeros above and columns before.
    before: [usize; 2],
    /// Height and width with them.
    size: [usize; 2],
}

impl Padded {
    fn new(axes: [Axis; 2], channels: usize) -> Self {
        let [[top, bottom], [left, right]] = axes.map(Axis::padding);
        let [height, width] = axes.map(Axis::input);
        Self {
            picture: [height, width, channels],
            before: [top, left],
            size: [height + top + bottom, width + left + right],
        }
    }

    /// The same pictures with zeros elsewhere.
    fn with_zeros(self, before: [usize; 2], size: [usize; 2]) -> Self {
        Self { before, size, ..self }
    }

    /// Floats of a picture without its zeros.
    fn picture_len(&self) -> usize {
        self.picture.iter().product()
    }

    /// Floats of a picture.
    fn len(&self) -> usize {
        self.size[0] * self.size[1] * self.picture[2]
    }

    /// Floats of a row of pixels.
    fn row_len(&self) -> usize {
        self.size[1] * self.picture[2]
    }

    /// Whether a picture is as it was.
    fn is_bare(&self) -> bool {
        self.len() == self.picture_len()
    }

    /// Offset of the pixel at (y, x) of a picture, in which the zeros before have negative places.
    fn at(&self, [y, x]: [isize; 2]) -> usize {
        let place = |i: usize, at: isize| at.wrapping_add_unsigned(self.before[i]).cast_unsigned();
        (place(0, y) * self.size[1] + place(1, x)) * self.picture[2]
    }

    /// Copies pictures and puts the zeros around them.
    fn fill(&self, pictures: &[f32], padded: &mut [f32]) {
        let [_, width, channels] = self.picture;
        let row = width * channels;
        let (start, end) = (self.before[0] * self.row_len(), self.before[1] * channels);
        let pairs = pictures.chunks_exact(self.picture_len()).zip(padded.chunks_exact_mut(self.len()));
        for (picture, padded) in pairs {
            let (above, rest) = padded.split_at_mut(start);
            above.fill(0.0);
            let (inside, below) = rest.split_at_mut(self.picture[0] * self.row_len());
            below.fill(0.0);
            for (padded, picture) in inside.chunks_exact_mut(self.row_len()).zip(picture.chunks_exact(row)) {
                padded[..end].fill(0.0);
                padded[end..end + row].copy_from_slice(picture);
                padded[end + row..].fill(0.0);
            }
        }
    }
}

fn axes(window: Window, input: [usize; 4], output: [usize; 4], transposed: bool) -> [Axis; 2] {
    [0, 1].map(|i| Axis::new(window, i, input[i + 1], output[i + 1], transposed))
}

/// The op on its buffers.
pub(crate) fn forward(op: &Conv2d, signature: &Signature<'_>, call: &mut CpuCall<'_>) {
    let (x_extents, y_extents) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
    let sweep = Sweep::new(axes(op.window, x_extents, y_extents, false), [x_extents[3], y_extents[3]]);
    let (x, w, bias) = (call.input(0), Weights::Forward(call.input(1)), call.optional_input(2));
    sweep.run(x, w, call.output(0), |y| finish_rows(y, y_extents[3], bias, op.activation));
}

/// The op on its buffers.
pub(crate) fn forward_pooled(op: &Conv2dMaxPool2d, signature: &Signature<'_>, call: &mut CpuCall<'_>) {
    let (x_extents, [batch, .., out_c]) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
    let [out_h, out_w] = op.conv.output;
    let y_extents = [batch, out_h, out_w, out_c];
    let sweep = Sweep::new(axes(op.conv.window, x_extents, y_extents, false), [x_extents[3], out_c]);
    let (x, w, bias) = (call.input(0), Weights::Forward(call.input(1)), call.optional_input(2));
    let [maxima, places] = &mut *call.outputs else { return };
    let (maxima, pool) = (bytemuck::cast_slice_mut::<u32, f32>(maxima), op.pool());
    let pooled_len = maxima.len() / batch.max(1);
    // Only what is pooled leaves the cache.
    let work = |(maxima, places): (&mut [f32], &mut [u32]), group: Group<'_>| {
        scratch::with(|scratch| {
            let y = scratch.floats.first(group.output_len());
            group.compute(y);
            finish_rows(y, out_c, bias, op.conv.activation);
            pool.compute_rows(y, y_extents, 0, maxima, places);
        });
    };
    sweep.run_groups(
        x,
        w,
        |pictures| {
            let len = pictures * pooled_len;
            maxima.par_chunks_mut(len).zip(places.par_chunks_mut(len))
        },
        work,
    );
}

/// The op on its buffers.
pub(crate) fn transposed(op: &ConvTranspose2d, signature: &Signature<'_>, call: &mut CpuCall<'_>) {
    let (x_extents, y_extents) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
    let sweep = Sweep::new(axes(op.window, x_extents, y_extents, true), [x_extents[3], y_extents[3]]);
    let (x, w, bias) = (call.input(0), Weights::Transposed(call.input(1)), call.optional_input(2));
    sweep.run(x, w, call.output(0), |y| finish_rows(y, y_extents[3], bias, op.activation));
}

/// The op on its buffers.
pub(crate) fn weight_grad(op: &Conv2dWeightGrad, signature: &Signature<'_>, call: &mut CpuCall<'_>) {
    let (x_extents, dy_extents) = (extents(&signature.inputs[0]), extents(&signature.inputs[1]));
    kernel_gradient(op.window, [x_extents, dy_extents], call.input(0), call.input(1), call.output(0));
}

/// The gradient with respect to the kernel of a convolution of x (extents first) whose output's gradient is dy.
fn kernel_gradient(window: Window, [x_extents, dy_extents]: [[usize; 4]; 2], x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let channels = [x_extents[3], dy_extents[3]];
    let direct = WeightGrad::new(axes(window, x_extents, dy_extents, false), channels);
    let [inputs, outputs] = channels;
    // At stride one dw is also that of a transposed convolution from dy to x, whose columns are the channels of x: with
    // few channels of dy, its panels are fuller.
    let turned = axes(window, dy_extents, x_extents, true);
    let turned_gradient = WeightGrad::new(turned, [outputs, inputs]);
    if turned.iter().any(|axis| axis.phases() > 1) || direct.products() <= turned_gradient.products() {
        return direct.run(x, dy, dw);
    }
    scratch::with(|scratch| {
        let transposed = scratch.floats.first(dw.len());
        turned_gradient.run(dy, x, transposed);
        // Its taps come in the opposite order.
        let taps = transposed.chunks_exact(inputs * outputs).rev();
        for (dw, tap) in dw.chunks_exact_mut(inputs * outputs).zip(taps) {
            for (ci, dw) in dw.chunks_exact_mut(outputs).enumerate() {
                dw.iter_mut().zip(tap[ci..].iter().step_by(inputs)).for_each(|(dw, sum)| *dw = *sum);
            }
        }
    });
}
