//! Convolutions on the CPU: pictures unrolled into matrices, products through `gemm`, a few pictures at a time so
//! that the unrolled matrix stays in the cache. Pictures are dealt to threads; the number of parts does not depend
//! on the number of threads, so sums come out the same on any machine.

use super::matmul::{Into, Matrix, finish_rows, product};
use crate::graph::{CpuCall, Signature};
use crate::op::{Conv2d, Conv2dMaxPool2d, Conv2dWeightGrad, ConvTranspose2d, Window};
use crate::tensor::TensorType;
use gemm::Parallelism;
use rayon::prelude::*;
use std::cell::RefCell;

/// Floats of one unrolled matrix: half a megabyte, to stay in a core's second-level cache.
const UNROLLED: usize = 1 << 17;

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with this thread's scratch of `len` floats.
fn with_scratch<T>(len: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < len {
            scratch.resize(len, 0.0);
        }
        work(&mut scratch[..len])
    })
}

fn extents(ty: &TensorType) -> [usize; 4] {
    ty.shape.nhwc().unwrap_or([0; 4])
}

/// A convolution's sizes: the picture side (where the window slides) and the position side (one per window).
#[derive(Clone, Copy)]
struct Geometry {
    window: Window,
    picture: [usize; 3],
    positions: [usize; 2],
}

impl Geometry {
    fn new(window: Window, picture: [usize; 4], positions: [usize; 4]) -> Self {
        let [_, h, w, c] = picture;
        Self { window, picture: [h, w, c], positions: [positions[1], positions[2]] }
    }

    fn rows(&self) -> usize {
        self.positions[0] * self.positions[1]
    }

    fn columns(&self) -> usize {
        self.window.taps() * self.picture[2]
    }

    fn picture_len(&self) -> usize {
        self.picture.iter().product()
    }

    /// Pictures to unroll at once.
    fn group(&self) -> usize {
        (UNROLLED / (self.rows() * self.columns()).max(1)).max(1)
    }

    /// Calls `visit(unrolled offset, picture offset or none outside, floats)` for runs of neighbouring taps.
    fn each_run(&self, mut visit: impl FnMut(usize, Option<usize>, usize)) {
        let [height, width, channels] = self.picture;
        let [kh, kw] = self.window.kernel;
        let mut at = 0;
        for oy in 0..self.positions[0] {
            for ox in 0..self.positions[1] {
                for ky in 0..kh {
                    let iy = self.input_at(0, oy, ky, height);
                    let first = (ox * self.window.stride[1]).cast_signed() - self.window.padding[1].cast_signed();
                    let inside = first >= 0 && first.cast_unsigned() + kw <= width && self.window.dilation[1] == 1;
                    if inside {
                        let from = iy.map(|iy| (iy * width + first.cast_unsigned()) * channels);
                        visit(at, from, kw * channels);
                        at += kw * channels;
                        continue;
                    }
                    for kx in 0..kw {
                        let ix = self.input_at(1, ox, kx, width);
                        let from = iy.zip(ix).map(|(iy, ix)| (iy * width + ix) * channels);
                        visit(at, from, channels);
                        at += channels;
                    }
                }
            }
        }
    }

    fn input_at(&self, axis: usize, output: usize, tap: usize, n: usize) -> Option<usize> {
        let at = output * self.window.stride[axis] + tap * self.window.dilation[axis];
        at.checked_sub(self.window.padding[axis]).filter(|&i| i < n)
    }

    /// One row per position, one column per tap and channel.
    fn unroll(&self, picture: &[f32], unrolled: &mut [f32]) {
        self.each_run(|at, from, len| match from {
            Some(from) => unrolled[at..at + len].copy_from_slice(&picture[from..from + len]),
            None => unrolled[at..at + len].fill(0.0),
        });
    }

    /// Adds what was unrolled back to where it came from.
    fn roll(&self, unrolled: &[f32], picture: &mut [f32]) {
        self.each_run(|at, from, len| {
            if let Some(from) = from {
                let targets = &mut picture[from..from + len];
                targets.iter_mut().zip(&unrolled[at..at + len]).for_each(|(p, u)| *p += u);
            }
        });
    }
}

/// The op on its buffers.
pub(crate) fn forward(op: &Conv2d, signature: &Signature<'_>, call: &mut CpuCall<'_>) {
    let (x_extents, y_extents) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
    let geometry = Geometry::new(op.window, x_extents, y_extents);
    let (x, w, bias) = (call.input(0), call.input(1), call.optional_input(2));
    let out_c = y_extents[3];
    let group = geometry.group();
    let y_len = geometry.rows() * out_c;
    let pictures = x.par_chunks(group * geometry.picture_len());
    call.output(0).par_chunks_mut(group * y_len).zip(pictures).for_each(|(y, x)| {
        let count = y.len() / y_len;
        let unrolled_len = geometry.rows() * geometry.columns();
        with_scratch(count * unrolled_len, |unrolled| {
            for (picture, rows) in x.chunks(geometry.picture_len()).zip(unrolled.chunks_mut(unrolled_len)) {
                geometry.unroll(picture, rows);
            }
            let a = Matrix::new(unrolled, geometry.columns(), false);
            let shape = [count * geometry.rows(), geometry.columns(), out_c];
            product(shape, a, Matrix::new(w, out_c, false), y, Into::Fresh, Parallelism::None);
        });
        finish_rows(y, out_c, bias, op.activation);
    });
}

/// The op on its buffers: a few pictures at a time, so that what is pooled stays in the cache.
pub(crate) fn forward_pooled(op: &Conv2dMaxPool2d, signature: &Signature<'_>, call: &mut CpuCall<'_>) {
    let pool = op.pool();
    let (x_extents, [batch, pooled_h, pooled_w, out_c]) =
        (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
    let [out_h, out_w] = op.conv.output;
    let geometry = Geometry::new(op.conv.window, x_extents, [batch, out_h, out_w, out_c]);
    let (x, w, bias) = (call.input(0), call.input(1), call.optional_input(2));
    let group = geometry.group();
    let (y_len, pooled_len) = (geometry.rows() * out_c, pooled_h * pooled_w * out_c);
    let [maxima, places] = &mut *call.outputs else { return };
    let maxima = bytemuck::cast_slice_mut::<u32, f32>(maxima).par_chunks_mut(group * pooled_len);
    let outputs = maxima.zip(places.par_chunks_mut(group * pooled_len));
    outputs.zip(x.par_chunks(group * geometry.picture_len())).for_each(|((maxima, places), x)| {
        let count = maxima.len() / pooled_len;
        let unrolled_len = geometry.rows() * geometry.columns();
        with_scratch(count * (unrolled_len + y_len), |scratch| {
            let (unrolled, y) = scratch.split_at_mut(count * unrolled_len);
            for (picture, rows) in x.chunks(geometry.picture_len()).zip(unrolled.chunks_mut(unrolled_len)) {
                geometry.unroll(picture, rows);
            }
            let a = Matrix::new(unrolled, geometry.columns(), false);
            let shape = [count * geometry.rows(), geometry.columns(), out_c];
            product(shape, a, Matrix::new(w, out_c, false), y, Into::Fresh, Parallelism::None);
            finish_rows(y, out_c, bias, op.conv.activation);
            let pictures = maxima.chunks_mut(pooled_len).zip(places.chunks_mut(pooled_len));
            for ((maxima, places), y) in pictures.zip(y.chunks(y_len)) {
                pool.compute_picture(y, [out_h, out_w, out_c], maxima, places);
            }
        });
    });
}

/// The op on its buffers: the product first, then each tap's part added to its place.
pub(crate) fn transposed(op: &ConvTranspose2d, signature: &Signature<'_>, call: &mut CpuCall<'_>) {
    let (x_extents, y_extents) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
    let geometry = Geometry::new(op.window, y_extents, x_extents);
    let (x, w, bias) = (call.input(0), call.input(1), call.optional_input(2));
    let (in_c, out_c) = (x_extents[3], y_extents[3]);
    let group = geometry.group();
    let x_len = geometry.rows() * in_c;
    let positions = x.par_chunks(group * x_len);
    call.output(0).par_chunks_mut(group * geometry.picture_len()).zip(positions).for_each(|(y, x)| {
        let count = y.len() / geometry.picture_len();
        let unrolled_len = geometry.rows() * geometry.columns();
        y.fill(0.0);
        with_scratch(count * unrolled_len, |unrolled| {
            // w is (taps * out, in): seen transposed it takes a position's channels to all its taps.
            let shape = [count * geometry.rows(), in_c, geometry.columns()];
            let (a, b) = (Matrix::new(x, in_c, false), Matrix::new(w, in_c, true));
            product(shape, a, b, unrolled, Into::Fresh, Parallelism::None);
            for (picture, rows) in y.chunks_mut(geometry.picture_len()).zip(unrolled.chunks(unrolled_len)) {
                geometry.roll(rows, picture);
            }
        });
        finish_rows(y, out_c, bias, op.activation);
    });
}

/// Most parts that a weight gradient is summed in.
const PARTS: usize = 8;

/// The op on its buffers: each part sums its pictures, then the parts are added in order.
pub(crate) fn weight_grad(op: &Conv2dWeightGrad, signature: &Signature<'_>, call: &mut CpuCall<'_>) {
    let (x_extents, dy_extents) = (extents(&signature.inputs[0]), extents(&signature.inputs[1]));
    let geometry = Geometry::new(op.window, x_extents, dy_extents);
    let (x, dy) = (call.input(0), call.input(1));
    let out_c = dy_extents[3];
    let dy_len = geometry.rows() * out_c;
    let part = x_extents[0].div_ceil(PARTS).max(1);
    let dw = call.output(0);
    let pairs = x.par_chunks(part * geometry.picture_len()).zip(dy.par_chunks(part * dy_len));
    let parts: Vec<Vec<f32>> = pairs
        .map(|(x, dy)| {
            let mut sum = vec![0f32; geometry.columns() * out_c];
            let group = geometry.group();
            for (x, dy) in x.chunks(group * geometry.picture_len()).zip(dy.chunks(group * dy_len)) {
                add_weight_grad(&geometry, out_c, x, dy, &mut sum);
            }
            sum
        })
        .collect();
    dw.fill(0.0);
    for part in &parts {
        dw.iter_mut().zip(part).for_each(|(dw, part)| *dw += part);
    }
}

fn add_weight_grad(geometry: &Geometry, out_c: usize, x: &[f32], dy: &[f32], sum: &mut [f32]) {
    let unrolled_len = geometry.rows() * geometry.columns();
    let rows = dy.len() / out_c.max(1);
    with_scratch(rows * geometry.columns(), |unrolled| {
        for (picture, rows) in x.chunks(geometry.picture_len()).zip(unrolled.chunks_mut(unrolled_len)) {
            geometry.unroll(picture, rows);
        }
        let a = Matrix::new(unrolled, geometry.columns(), true);
        let b = Matrix::new(dy, out_c, false);
        product([geometry.columns(), rows, out_c], a, b, sum, Into::Sum, Parallelism::None);
    });
}
