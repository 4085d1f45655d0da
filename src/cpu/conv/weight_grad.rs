//! The gradient of a convolution with respect to its kernel.

use super::{Axis, Padded};
use crate::cpu::scratch::{self, Scratch};
use crate::cpu::tile::{Left, Panels, Product, Run};
use rayon::prelude::*;

/// The product of all windows of x, seen as columns, by the gradients of all positions.
///
/// A batch is taken a few pictures at a time: first they are given their zeros and their gradients packed into panels,
/// then the tiles of dw, dealt to threads, each grow by these pictures' products. So a sum runs over the batch in one
/// order, whatever the threads, and no thread needs a dw of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightGrad {
    axes: [Axis; 2],
    padded: Padded,
    /// Channels of x and of dy.
    channels: [usize; 2],
    panels: Panels,
}

/// Floats of pictures and gradients that are taken at a time: 2 MB, a part of the last-level cache.
const AT_A_TIME: usize = 1 << 19;

/// Positions whose gradients, in a panel, stay in the first-level cache while tiles go over them.
const BLOCK: usize = 256;

/// Tasks, at least, for the threads to share.
const TASKS: usize = 32;

/// Most parts that a sum is cut into where dw alone gives too few tasks.
const PARTS: usize = 8;

impl WeightGrad {
    /// Of this many channels of x and of dy.
    pub(crate) fn new(axes: [Axis; 2], channels: [usize; 2]) -> Self {
        Self { axes, padded: Padded::new(axes, channels[0]), channels, panels: Panels::new(channels[1]) }
    }

    fn positions(&self) -> usize {
        self.axes.map(Axis::output).iter().product()
    }

    /// Rows of dw: taps times channels of x.
    fn rows(&self) -> usize {
        self.axes.map(Axis::kernel).iter().product::<usize>() * self.channels[0]
    }

    /// Writes dw.
    pub(crate) fn run(&self, x: &[f32], dy: &[f32], dw: &mut [f32]) {
        let (picture, gradient) = (self.padded.picture_len(), self.positions() * self.channels[1]);
        let batch = x.len() / picture.max(1);
        let packed_len = self.panels.floats(self.positions(), self.channels[1]);
        let group = (AT_A_TIME / (self.padded.len() + packed_len).max(1)).clamp(1, batch.max(1));
        let tiling = Tiling::new(self.rows(), self.panels.count(self.channels[1]), self.panels.width());
        scratch::with(|scratch| {
            let Scratch { floats, rows, to, runs, .. } = scratch;
            let lens = [group * self.padded.len(), group * packed_len, tiling.floats()];
            let (padded, rest) = floats.first(lens.iter().sum()).split_at_mut(lens[0]);
            let (packed, sums) = rest.split_at_mut(lens[1]);
            to.clear();
            to.extend((0..tiling.rows).map(|row| row * self.panels.width()));
            sums.fill(0.0);
            for (x, dy) in x.chunks(group * picture).zip(dy.chunks(group * gradient)) {
                let layout = Layout::new(self, x.len() / picture.max(1));
                layout.places(rows, runs);
                layout.pad(x, padded);
                let depth = layout.count * self.positions();
                let packed = &mut packed[..self.panels.floats(depth, self.channels[1])];
                layout.pack(dy, packed);
                let work =
                    Work { tiling, panels: self.panels, values: padded, step: layout.step(), rows, runs, packed, to };
                sums.par_chunks_mut(tiling.rows * self.panels.width())
                    .enumerate()
                    .for_each(|(i, sums)| work.add(i, sums));
            }
            tiling.collect(sums, self.channels[1], dw);
        });
    }
}

/// How a few pictures lie in memory, so that neighbouring terms of the sums lie in long runs: all pictures' pixels of
/// one place side by side, or, where the rows of a picture are longer than there are pictures, one picture after the
/// other.
#[derive(Clone, Copy)]
struct Layout<'a> {
    of: &'a WeightGrad,
    count: usize,
    interleaved: bool,
}

impl<'a> Layout<'a> {
    fn new(of: &'a WeightGrad, count: usize) -> Self {
        Self { of, count, interleaved: count >= of.axes[1].output() }
    }

    /// Floats from one pixel of a picture to the next.
    fn pixel(&self) -> usize {
        self.of.channels[0] * if self.interleaved { self.count } else { 1 }
    }

    /// Where each row of dw has its first factor, and the runs of the factors behind it.
    fn places(&self, rows: &mut Vec<usize>, runs: &mut Vec<Run>) {
        let WeightGrad { axes, padded, channels, .. } = *self.of;
        rows.clear();
        for (dy, _) in axes[0].taps(0) {
            for (dx, _) in axes[1].taps(0) {
                let pixel = padded.at([dy, dx]) / channels[0];
                rows.extend((0..channels[0]).map(|channel| pixel * self.pixel() + channel));
            }
        }
        runs.clear();
        let [height, width] = axes.map(Axis::output);
        let [down, right] = [axes[0].pitch() * padded.size[1], axes[1].pitch()].map(|pixels| pixels * self.pixel());
        if self.interleaved {
            let places = (0..height).flat_map(|oy| (0..width).map(move |ox| oy * down + ox * right));
            runs.extend(places.map(|at| Run { at, len: self.count }));
        } else {
            let places = (0..self.count).flat_map(|i| (0..height).map(move |oy| i * padded.len() + oy * down));
            runs.extend(places.map(|at| Run { at, len: width }));
        }
    }

    /// Floats between the factors of a run.
    fn step(&self) -> usize {
        self.of.channels[0] * if self.interleaved { 1 } else { self.of.axes[1].pitch() }
    }

    /// Copies pictures with zeros around them.
    fn pad(&self, x: &[f32], values: &mut [f32]) {
        let Padded { picture: [height, width, channels], before: [top, left], size } = self.of.padded;
        let (rows, pictures) = (size[0], if self.interleaved { self.count } else { 1 });
        let values = &mut values[..self.count * self.of.padded.len()];
        values.par_chunks_mut(size[1] * self.pixel()).enumerate().for_each(|(i, to)| {
            to.fill(0.0);
            let Some(y) = (i % rows).checked_sub(top).filter(|&y| y < height) else { return };
            for picture in 0..pictures {
                let row = &x[((i / rows + picture) * height + y) * width * channels..][..width * channels];
                let pixels = to[left * self.pixel()..].chunks_mut(self.pixel());
                for (to, pixel) in pixels.zip(row.chunks_exact(channels)) {
                    to[picture * channels..][..channels].copy_from_slice(pixel);
                }
            }
        });
    }

    /// Copies gradients into panels, in the order of the runs.
    fn pack(&self, dy: &[f32], packed: &mut [f32]) {
        let (width, columns, positions) = (self.of.panels.width(), self.of.channels[1], self.of.positions());
        let depth = self.count * positions;
        packed.par_chunks_mut(depth * width).enumerate().for_each(|(i, panel)| {
            for (k, row) in panel.chunks_exact_mut(width).enumerate() {
                let k = if self.interleaved { k % self.count * positions + k / self.count } else { k };
                self.of.panels.copy_row(&dy[k * columns + i * width..(k + 1) * columns], row);
            }
        });
    }
}

/// How the sums of dw are cut for the threads.
#[derive(Clone, Copy)]
struct Tiling {
    /// Rows of dw.
    all_rows: usize,
    /// Rows of one task.
    rows: usize,
    panels: usize,
    width: usize,
    /// Parts that each sum is cut into.
    parts: usize,
}

impl Tiling {
    fn new(all_rows: usize, panels: usize, width: usize) -> Self {
        // A multiple of all heights of a tile.
        let rows = (all_rows * panels).div_ceil(TASKS).next_multiple_of(12).min(all_rows).max(1);
        let tasks = all_rows.div_ceil(rows) * panels;
        Self { all_rows, rows, panels, width, parts: TASKS.div_ceil(tasks).min(PARTS) }
    }

    /// Tasks of one panel.
    fn per_panel(&self) -> usize {
        self.all_rows.div_ceil(self.rows)
    }

    /// Floats of all sums.
    fn floats(&self) -> usize {
        self.parts * self.panels * self.per_panel() * self.rows * self.width
    }

    /// Adds the parts of each sum, in order, and puts the sums in their places.
    fn collect(&self, sums: &[f32], columns: usize, dw: &mut [f32]) {
        let part = self.floats() / self.parts;
        let per_panel = part / self.panels;
        dw.par_chunks_mut(columns * 16).enumerate().for_each(|(i, rows)| {
            for (row, dw) in rows.chunks_exact_mut(columns).enumerate() {
                for (panel, dw) in dw.chunks_mut(self.width).enumerate() {
                    let at = panel * per_panel + (16 * i + row) * self.width;
                    dw.copy_from_slice(&sums[at..at + dw.len()]);
                    for more in 1..self.parts {
                        let sums = &sums[more * part + at..];
                        dw.iter_mut().zip(sums).for_each(|(dw, sum)| *dw += sum);
                    }
                }
            }
        });
    }
}

/// The products of a few pictures.
struct Work<'a> {
    tiling: Tiling,
    panels: Panels,
    values: &'a [f32],
    step: usize,
    rows: &'a [usize],
    runs: &'a [Run],
    packed: &'a [f32],
    to: &'a [usize],
}

impl Work<'_> {
    /// Adds the products of task `i` to its sums.
    fn add(&self, i: usize, sums: &mut [f32]) {
        let Tiling { rows, panels, width, parts, .. } = self.tiling;
        let (chunk, panel, part) =
            (i % self.tiling.per_panel(), i / self.tiling.per_panel() % panels, i / (self.tiling.per_panel() * panels));
        let rows = &self.rows[chunk * rows..((chunk + 1) * rows).min(self.rows.len())];
        let Some(len) = self.runs.first().map(|run| run.len) else { return };
        let panel = &self.packed[panel * self.runs.len() * len * width..][..self.runs.len() * len * width];
        let block = (BLOCK / len).max(1);
        let blocks = self.runs.len().div_ceil(block);
        let range = part * blocks / parts..(part + 1) * blocks / parts;
        for block_index in range {
            let first = block_index * block;
            let runs = &self.runs[first..(first + block).min(self.runs.len())];
            let product = Product {
                left: Left { values: self.values, rows, runs, step: self.step },
                panels: self.panels,
                panel: &panel[first * len * width..],
                columns: width,
                y: sums,
                to: &self.to[..rows.len()],
                add: true,
            };
            product.run();
        }
    }
}
