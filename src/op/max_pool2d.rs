//! Max-pooling with the place of each maximum, and its gradient. The first maximum in row-major order of the
//! window wins, forward and backward, and takes the whole gradient.

use super::conv2d::{extents, reals, taps};
use super::window::{Padding, Window};
use super::{Case, MaxPool2dPick, Values, conv_kernels, expect_f32, expect_inputs};
use crate::cpu::vector::wide;
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};
use rayon::prelude::*;

/// `y = max over the window of x`, and `argmax`, the maximum's `h * W + w` in the plane of its channel.
///
/// Input: x (B, H, W, C). Places outside x never win.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d {
    /// Window, with its padding resolved.
    pub window: Window,
    /// Height and width of the output.
    pub output: [usize; 2],
}

/// `dx[argmax] = sum of dy` over the windows whose maximum is there, from inputs dy and argmax.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2dBackward {
    /// Window of the pooling.
    pub window: Window,
    /// Height and width of dx.
    pub input: [usize; 2],
}

impl MaxPool2d {
    /// Pooling of a (height, width) input.
    ///
    /// # Errors
    /// If no window fits, or if a window would lie wholly outside.
    pub fn new(window: Window, padding: Padding, input: [usize; 2]) -> Result<Self> {
        let (window, output) = window.over(padding, input)?;
        Ok(Self { window, output })
    }

    /// The first maximum of the window at (oy, ox): its value and `h * W + w`.
    fn first_maximum<T: PartialOrd + Copy>(
        &self,
        [height, width]: [usize; 2],
        (oy, ox): (usize, usize),
        value: impl Fn(usize) -> T,
    ) -> Option<(T, usize)> {
        let mut best: Option<(T, usize)> = None;
        for (ky, kx) in taps(self.window) {
            let iy = self.window.input_at(0, oy, ky, height);
            let ix = self.window.input_at(1, ox, kx, width);
            let (Some(iy), Some(ix)) = (iy, ix) else { continue };
            let at = iy * width + ix;
            if best.is_none_or(|(max, _)| value(at) > max) {
                best = Some((value(at), at));
            }
        }
        best
    }
}

impl MaxPool2d {
    /// Pools pictures (B, height, width, channels), row by row on all threads.
    pub(crate) fn compute_pictures(&self, x: &[f32], extents: [usize; 4], y: &mut [f32], argmax: &mut [u32]) {
        let row_len = (self.output[1] * extents[3]).max(1);
        let rows = y.par_chunks_mut(row_len).zip(argmax.par_chunks_mut(row_len)).enumerate();
        rows.for_each(|(row, (y, argmax))| self.compute_rows(x, extents, row, y, argmax));
    }

    /// Pools pictures (B, height, width, channels), the rows of windows from `first` on that y and argmax are of.
    pub(crate) fn compute_rows(
        &self,
        x: &[f32],
        [_, height, width, channels]: [usize; 4],
        first: usize,
        y: &mut [f32],
        argmax: &mut [u32],
    ) {
        let row_len = (self.output[1] * channels).max(1);
        let plane_len = height * width * channels;
        let halves = self.window == Window::square(2, 2) && (0..2).all(|i| 2 * self.output[i] <= [height, width][i]);
        wide(
            #[inline(always)]
            || {
                for (i, (y, argmax)) in y.chunks_mut(row_len).zip(argmax.chunks_mut(row_len)).enumerate() {
                    let (b, oy) = ((first + i) / self.output[0], (first + i) % self.output[0]);
                    let plane = &x[b * plane_len..][..plane_len];
                    if halves {
                        halve_row(plane, [width, channels], oy, y, argmax);
                    } else {
                        self.compute_row(plane, [height, width, channels], oy, y, argmax);
                    }
                }
            },
        );
    }

    /// One row of windows of a picture.
    #[inline(always)]
    fn compute_row(
        &self,
        x: &[f32],
        [height, width, channels]: [usize; 3],
        oy: usize,
        y: &mut [f32],
        argmax: &mut [u32],
    ) {
        for (ox, (y, argmax)) in y.chunks_exact_mut(channels).zip(argmax.chunks_exact_mut(channels)).enumerate() {
            let mut first = true;
            for (ky, kx) in taps(self.window) {
                let iy = self.window.input_at(0, oy, ky, height);
                let ix = self.window.input_at(1, ox, kx, width);
                let (Some(iy), Some(ix)) = (iy, ix) else { continue };
                let at = iy * width + ix;
                let x = &x[at * channels..][..channels];
                if first {
                    y.copy_from_slice(x);
                    argmax.fill(at as u32);
                    first = false;
                } else {
                    keep_larger(y, argmax, x, at as u32);
                }
            }
        }
    }
}

impl Op for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
        let Some([batch, height, width, channels]) = inputs[0].shape.nhwc() else {
            return Err(Error::shape(self.name(), "x of rank 4", inputs[0].to_string()));
        };
        if !self.window.all_meet([height, width], self.output) {
            let wanted = format!("an input that every window of {:?} meets", self.window);
            return Err(Error::shape(self.name(), wanted, inputs[0].to_string()));
        }
        let shape = [batch, self.output[0], self.output[1], channels];
        Ok(vec![TensorType::f32(shape), TensorType::u32(shape)])
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
        let op = MaxPool2dBackward { window: self.window, input: [height, width] };
        Ok(vec![Some(graph.apply_one(op, &[dy, node.outputs[1]])?)])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let shader = Shader { name: "max_pool2d", files: &[include_str!("../../shaders/max_pool2d.wgsl")] };
        let bindings = vec![Binding::Input(0), Binding::Output(0), Binding::Output(1)];
        let (x, y) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
        let plain = pool_variant(shader, self.window, x, y, y.iter().product(), bindings);
        if !conv_kernels::reads_pairs(target) || !x[3].is_multiple_of(4) {
            return vec![plain];
        }
        const QUADS: &[&str] = &[conv_kernels::PAIRS, include_str!("../../shaders/max_pool2d_quads.wgsl")];
        let mut launch = plain.launches[0].clone();
        launch.shader = Shader { name: "max_pool2d_quads", files: QUADS };
        launch.workgroups = linear_grid(y.iter().product::<usize>() / 4, 64);
        let quads = Variant::single("quads", plain.estimate_us / 2.0, launch);
        vec![plain, quads]
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [_, height, width, channels] = extents(&signature.inputs[0]);
        let [batch, out_h, out_w, _] = extents(&signature.outputs[0]);
        let x = inputs[0].f64();
        let [y, argmax] = outputs else { return };
        for (b, oy, ox) in super::conv_transpose2d::positions(batch, out_h, out_w) {
            for c in 0..channels {
                let value = |at: usize| x[(b * height * width + at) * channels + c];
                let Some((max, at)) = self.first_maximum([height, width], (oy, ox), value) else { continue };
                let i = ((b * out_h + oy) * out_w + ox) * channels + c;
                y.f64_mut()[i] = max;
                argmax.u32_mut()[i] = at as u32;
            }
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let x = call.input(0);
        let [y, argmax] = &mut *call.outputs else { return false };
        self.compute_pictures(x, extents(&signature.inputs[0]), bytemuck::cast_slice_mut(y), argmax);
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::Exact, Tolerance::Exact]
    }
}

impl Op for MaxPool2dBackward {
    fn name(&self) -> &'static str {
        "max_pool2d_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_f32(self.name(), &inputs[0])?;
        let fits = inputs[1] == TensorType::u32(inputs[0].shape.clone());
        let (Some([batch, _, _, channels]), true) = (inputs[0].shape.nhwc(), fits) else {
            let got = format!("{} and {}", inputs[0], inputs[1]);
            return Err(Error::shape(self.name(), "dy of rank 4 and its argmax", got));
        };
        Ok(vec![TensorType::f32([batch, self.input[0], self.input[1], channels])])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(u) = upstream[0] else { return Ok(vec![None, None]) };
        Ok(vec![Some(graph.apply_one(MaxPool2dPick { window: self.window }, &[u, node.inputs[1]])?), None])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let files = &[include_str!("../../shaders/max_pool2d_backward.wgsl")];
        let shader = Shader { name: "max_pool2d_backward", files };
        let bindings = vec![Binding::Input(0), Binding::Input(1), Binding::Output(0)];
        let (y, x) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
        let plain = pool_variant(shader, self.window, x, y, x.iter().product(), bindings);
        // Each element of x must lie in one window exactly.
        let w = self.window;
        let tiled = w.stride == w.kernel && w.dilation == [1, 1] && w.padding == [0, 0];
        let covered = (0..2).all(|axis| y[1 + axis] * w.kernel[axis] >= x[1 + axis]);
        if !conv_kernels::reads_pairs(target) || !x[3].is_multiple_of(4) || !tiled || !covered {
            return vec![plain];
        }
        const WINDOWS: &[&str] = &[conv_kernels::PAIRS, include_str!("../../shaders/max_pool2d_backward_windows.wgsl")];
        let mut launch = plain.launches[0].clone();
        launch.shader = Shader { name: "max_pool2d_backward_windows", files: WINDOWS };
        launch.parameters.truncate(8);
        launch.workgroups = linear_grid(y.iter().product::<usize>() / 4, 64);
        let windows = Variant::single("windows", plain.estimate_us / 4.0, launch);
        vec![plain, windows]
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [batch, height, width, channels] = extents(&signature.outputs[0]);
        let per_sample = inputs[0].len() / batch.max(1);
        let (dy, argmax) = (inputs[0].f64(), inputs[1].u32());
        let dx = outputs[0].f64_mut();
        dx.fill(0.0);
        for (i, (&dy, &at)) in dy.iter().zip(argmax).enumerate() {
            let (b, c) = (i / per_sample, i % channels);
            dx[(b * height * width + at as usize) * channels + c] += dy;
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let [batch, height, width, channels] = extents(&signature.outputs[0]);
        let per_sample = signature.inputs[0].shape.len() / batch.max(1);
        let (dy, argmax) = (call.input(0), call.inputs[1]);
        let samples = dy.par_chunks(per_sample).zip(argmax.par_chunks(per_sample));
        call.output(0).par_chunks_mut(height * width * channels).zip(samples).for_each(|(dx, (dy, argmax))| {
            dx.fill(0.0);
            for (dy, argmax) in dy.chunks_exact(channels).zip(argmax.chunks_exact(channels)) {
                for (c, (dy, &at)) in dy.iter().zip(argmax).enumerate() {
                    dx[at as usize * channels + c] += dy;
                }
            }
        });
        true
    }
}

/// One row of windows of 2x2 that do not overlap, all inside: each pixel is read once, and nothing is read back.
#[inline(always)]
fn halve_row(x: &[f32], [width, channels]: [usize; 2], oy: usize, y: &mut [f32], argmax: &mut [u32]) {
    for (ox, (y, argmax)) in y.chunks_exact_mut(channels).zip(argmax.chunks_exact_mut(channels)).enumerate() {
        let at = 2 * (oy * width + ox);
        let (upper, lower) = (&x[at * channels..][..2 * channels], &x[(at + width) * channels..][..2 * channels]);
        let ((a, b), (c, d)) = (upper.split_at(channels), lower.split_at(channels));
        let values = a.iter().zip(b).zip(c.iter().zip(d));
        for ((y, argmax), ((a, b), (c, d))) in y.iter_mut().zip(argmax).zip(values) {
            let (mut best, mut place) = (*a, at as u32);
            for (value, at) in [(*b, at + 1), (*c, at + width), (*d, at + width + 1)] {
                take_larger(&mut best, &mut place, value, at as u32);
            }
            (*y, *argmax) = (best, place);
        }
    }
}

/// Where x is larger than y, it and its place take over.
#[inline(always)]
fn keep_larger(y: &mut [f32], argmax: &mut [u32], x: &[f32], at: u32) {
    y.iter_mut().zip(argmax).zip(x).for_each(|((y, argmax), &x)| take_larger(y, argmax, x, at));
}

/// If x is larger than y, it and its place take over; no branches, so that loops over it are vectorised.
#[inline(always)]
fn take_larger(y: &mut f32, argmax: &mut u32, x: f32, at: u32) {
    let larger = x > *y;
    *y = if larger { x } else { *y };
    *argmax = if larger { at } else { *argmax };
}

/// One invocation per element of the tensor with `elements` elements.
pub(super) fn pool_variant(
    shader: Shader,
    window: Window,
    x: [usize; 4],
    y: [usize; 4],
    elements: usize,
    bindings: Vec<Binding>,
) -> Variant {
    let mut parameters = vec![
        ("batch", x[0].into()),
        ("in_h", x[1].into()),
        ("in_w", x[2].into()),
        ("out_h", y[1].into()),
        ("out_w", y[2].into()),
        ("channels", x[3].into()),
    ];
    parameters.extend(window.parameters());
    let launch = Launch { shader, constants: Vec::new(), parameters, bindings, workgroups: linear_grid(elements, 64) };
    Variant::single("plain", elements as f64, launch)
}

/// Pools of the models, overlapping windows, odd sizes, gaps between windows and padding.
pub(super) fn samples() -> Vec<([usize; 4], Window, Padding)> {
    let gaps = Window { kernel: [2, 1], stride: [3, 2], dilation: [1; 2], padding: [0; 2] };
    let holes = Window { kernel: [3, 2], stride: [1, 2], dilation: [2, 3], padding: [0; 2] };
    vec![
        ([1, 1, 1, 1], Window::square(2, 2), Padding::Same),
        ([2, 4, 4, 3], Window::square(2, 2), Padding::Valid),
        ([1, 7, 7, 2], Window::square(2, 2), Padding::Same),
        ([1, 7, 7, 2], Window::square(2, 2), Padding::Valid),
        ([2, 5, 6, 3], Window::square(3, 2), Padding::Same),
        ([1, 6, 5, 4], Window::square(3, 1), Padding::Same),
        ([1, 8, 9, 5], gaps, Padding::Valid),
        ([3, 16, 16, 33], Window::square(2, 2), Padding::Same),
        ([3, 6, 6, 8], Window::square(2, 2), Padding::Valid),
        ([2, 5, 7, 12], Window::square(2, 2), Padding::Same),
        ([1, 8, 9, 3], holes, Padding::Same),
        ([2, 7, 8, 4], holes, Padding::Valid),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (dims, window, padding) in samples() {
        let Ok(op) = MaxPool2d::new(window, padding, [dims[1], dims[2]]) else { continue };
        let label = format!("{dims:?} {window:?} {padding:?}");
        let case = Case::new(label.clone(), op, vec![reals(dims, -1.0, 1.0)]);
        cases.push(if dims.iter().product::<usize>() < 1000 { case.with_gradients([0]) } else { case });
        cases.push(Case::new(format!("{label}, negative"), op, vec![reals(dims, -2.0, -1.0)]));
        let ties = (TensorType::f32(dims), Values::Integers(0, 3));
        cases.push(Case::new(format!("{label}, ties"), op, vec![ties]));
    }
    // Past 65,535 workgroups.
    if let Ok(op) = MaxPool2d::new(Window::square(2, 1), Padding::Same, [2049, 2048]) {
        cases.push(Case::new("large", op, vec![reals([1, 2049, 2048, 1], -1.0, 1.0)]).large());
    }
    cases
}

pub(super) fn backward_cases() -> Vec<Case> {
    let case = |(dims, window, padding): ([usize; 4], Window, Padding)| {
        let forward = MaxPool2d::new(window, padding, [dims[1], dims[2]]).ok()?;
        let ties = Case::new("x", forward, vec![(TensorType::f32(dims), Values::Integers(0, 3))]);
        let argmax = ties.expected(&ties.arrays()).ok()?[1].u32().to_vec();
        let shape = [dims[0], forward.output[0], forward.output[1], dims[3]];
        let inputs = vec![reals(shape, -1.0, 1.0), (TensorType::u32(shape), Values::Words(argmax))];
        let op = MaxPool2dBackward { window: forward.window, input: [dims[1], dims[2]] };
        let case = Case::new(format!("{dims:?} {window:?} {padding:?}"), op, inputs);
        Some(if dims.iter().product::<usize>() < 1000 { case.with_gradients([0]) } else { case })
    };
    samples().into_iter().filter_map(case).collect()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let (dims, window, padding) = draw.pooling();
    let op = MaxPool2d::new(window, padding, [dims[1], dims[2]])?;
    let label = format!("{dims:?} {op:?}");
    if draw.flag() {
        return Ok(Case::new(label, op, vec![(TensorType::f32(dims), Values::Integers(0, 4))]));
    }
    Ok(draw.small(Case::new(label, op, vec![reals(dims, -2.0, 1.0)]), [0]))
}

pub(super) fn random_backward(draw: &mut super::Draw) -> Result<Case> {
    let (dims, window, padding) = draw.pooling();
    let MaxPool2d { window, output } = MaxPool2d::new(window, padding, [dims[1], dims[2]])?;
    let ties = Case::new("x", MaxPool2d { window, output }, vec![(TensorType::f32(dims), Values::Integers(0, 3))]);
    let argmax = ties.expected(&ties.arrays())?[1].u32().to_vec();
    let shape = [dims[0], output[0], output[1], dims[3]];
    let inputs = vec![reals(shape, -1.0, 1.0), (TensorType::u32(shape), Values::Words(argmax))];
    let op = MaxPool2dBackward { window, input: [dims[1], dims[2]] };
    Ok(draw.small(Case::new(format!("{dims:?} {window:?}"), op, inputs), [0]))
}
