//! The gradient of a convolution with respect to its kernel.

use super::{Axis, Padded};
use crate::cpu::scratch::{self, Scratch};
use crate::cpu::tile::{Left, Panels, Product, Run, copy};
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
const BLOCK: usize = 128;

/// Tasks, about, for the threads to share: with more of them x and dy are read more often.
const TASKS: usize = 16;

/// Most tasks that share the panels.
const GROUPS: usize = 4;

/// Channels of x whose rows of dw stand together: a cache line of them.
const CHANNELS: usize = 16;

/// Parts that each sum is cut into where all sums fit in a core's second-level cache several times.
const PARTS: usize = 8;

/// Floats of such sums: 128 KB.
const SMALL: usize = 1 << 15;

impl WeightGrad {
    /// Of this many channels of x and of dy.
    pub(crate) fn new(axes: [Axis; 2], channels: [usize; 2]) -> Self {
        Self { axes, padded: Padded::new(axes, channels[0]), channels, panels: Panels::new(channels[1]) }
    }

    fn positions(&self) -> usize {
        self.axes.map(Axis::output).iter().product()
    }

    /// Whether the gradients of a position are a row of a panel as they lie in memory.
    fn has_panels(&self) -> bool {
        self.channels[1] == self.panels.width()
    }

    /// Rows of dw: taps times channels of x.
    fn rows(&self) -> usize {
        self.axes.map(Axis::kernel).iter().product::<usize>() * self.channels[0]
    }

    /// Where a row of dw stands among the sums: all taps of a few channels side by side, so that a task that has some of
    /// the rows reads a part of each pixel.
    fn place(&self, row: usize) -> usize {
        let channels = self.channels[0];
        let (tap, channel) = (row / channels, row % channels);
        let first = channel / CHANNELS * CHANNELS;
        first * (self.rows() / channels) + tap * CHANNELS.min(channels - first) + channel - first
    }

    /// Products that are computed for each position, those with columns that are missing from a panel among them.
    pub(super) fn products(&self) -> usize {
        self.rows() * self.panels.floats(1, self.channels[1])
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
                let packed = if layout.is_packed() {
                    dy
                } else {
                    let packed = &mut packed[..self.panels.floats(depth, self.channels[1])];
                    layout.pack(dy, packed);
                    packed
                };
                let work =
                    Work { tiling, panels: self.panels, values: padded, step: layout.step(), rows, runs, packed, to };
                let tasks = sums.par_chunks_exact_mut(tiling.task_floats()).enumerate();
                tasks.for_each(|(i, sums)| work.add(i, sums));
            }
            tiling.collect(sums, self.channels[1], dw, |row| self.place(row));
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
        // Where the gradients are a panel as they are, runs may be shorter.
        let shorter = if of.has_panels() { 2 } else { 1 };
        Self { of, count, interleaved: count >= shorter * of.axes[1].output() }
    }

    /// Floats from one pixel of a picture to the next.
    fn pixel(&self) -> usize {
        self.of.channels[0] * if self.interleaved { self.count } else { 1 }
    }

    /// Where each row of dw has its first factor, and the runs of the factors behind it.
    fn places(&self, rows: &mut Vec<usize>, runs: &mut Vec<Run>) {
        let WeightGrad { axes, padded, channels, .. } = *self.of;
        rows.clear();
        for first in (0..channels[0]).step_by(CHANNELS) {
            for (dy, _) in axes[0].taps(0) {
                for (dx, _) in axes[1].taps(0) {
                    let pixel = padded.at([dy, dx]) / channels[0] * self.pixel();
                    rows.extend((first..channels[0].min(first + CHANNELS)).map(|channel| pixel + channel));
                }
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
                    copy(pixel, &mut to[picture * channels..][..channels]);
                }
            }
        });
    }

    /// Whether the gradients of all positions are a panel as they lie in memory.
    fn is_packed(&self) -> bool {
        !self.interleaved && self.of.has_panels()
    }

    /// Copies gradients into panels, in the order of the runs.
    fn pack(&self, dy: &[f32], packed: &mut [f32]) {
        let (width, columns, positions) = (self.of.panels.width(), self.of.channels[1], self.of.positions());
        let (run, stride) = if self.interleaved { (self.count, positions) } else { (positions, 1) };
        let panels = packed.par_chunks_mut(self.count * positions * width).enumerate();
        panels.for_each(|(i, panel)| {
            // One place of all pictures, or all places of one picture.
            let runs = panel.par_chunks_mut(run * width).enumerate();
            runs.with_min_len(BLOCK.div_ceil(run)).for_each(|(k, rows)| {
                let first = if self.interleaved { k } else { k * positions };
                for (j, row) in rows.chunks_exact_mut(width).enumerate() {
                    let dy = &dy[(first + j * stride) * columns..][..columns];
                    self.of.panels.copy_row(&dy[i * width..], row);
                }
            });
        });
    }
}

/// How the sums of dw are cut for the threads: a task has a range of rows in a few panels, for a part of the terms.
#[derive(Clone, Copy)]
struct Tiling {
    /// Rows of dw.
    all_rows: usize,
    /// Rows of one task.
    rows: usize,
    /// Panels of one task.
    panels: usize,
    /// Groups of panels.
    groups: usize,
    width: usize,
    /// Parts that each sum is cut into.
    parts: usize,
}

impl Tiling {
    fn new(all_rows: usize, all_panels: usize, width: usize) -> Self {
        if all_rows * all_panels * width <= SMALL {
            // A thread's part of x and of dy stays in its cache too.
            return Self { all_rows, rows: all_rows.max(1), panels: all_panels, groups: 1, width, parts: PARTS };
        }
        let panels = all_panels.div_ceil(GROUPS).max(1);
        let groups = all_panels.div_ceil(panels);
        // A multiple of all heights of a tile.
        let rows = all_rows.div_ceil(TASKS.div_ceil(groups)).next_multiple_of(12).min(all_rows);
        Self { all_rows, rows, panels, groups, width, parts: 1 }
    }

    /// Ranges of rows.
    fn ranges(&self) -> usize {
        self.all_rows.div_ceil(self.rows)
    }

    /// Floats of one task's sums in one panel.
    fn panel_floats(&self) -> usize {
        self.rows * self.width
    }

    /// Floats of one task's sums.
    fn task_floats(&self) -> usize {
        self.panels * self.panel_floats()
    }

    /// Floats of all sums.
    fn floats(&self) -> usize {
        self.parts * self.groups * self.ranges() * self.task_floats()
    }

    /// Adds the parts of each sum, in order, and writes the sums to dw; `place` takes a row of dw to its row here.
    fn collect(&self, sums: &[f32], columns: usize, dw: &mut [f32], place: impl Fn(usize) -> usize + Sync) {
        const ROWS: usize = 16;
        let part = self.floats() / self.parts;
        let tasks = dw.par_chunks_mut(columns * ROWS).enumerate();
        tasks.with_min_len(4096 / (columns * ROWS)).for_each(|(i, rows)| {
            for (row, dw) in (ROWS * i..).zip(rows.chunks_exact_mut(columns)) {
                let row = place(row);
                for (panel, dw) in dw.chunks_mut(self.width).enumerate() {
                    let task = panel / self.panels * self.ranges() + row / self.rows;
                    let place = panel % self.panels * self.panel_floats() + row % self.rows * self.width;
                    let sums = &sums[task * self.task_floats() + place..];
                    copy(&sums[..dw.len()], dw);
                    for more in 1..self.parts {
                        dw.iter_mut().zip(&sums[more * part..]).for_each(|(dw, sum)| *dw += sum);
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
        let Tiling { rows, panels, groups, width, parts, .. } = self.tiling;
        let (range, group, part) =
            (i % self.tiling.ranges(), i / self.tiling.ranges() % groups, i / (self.tiling.ranges() * groups));
        let rows = &self.rows[range * rows..((range + 1) * rows).min(self.rows.len())];
        let Some(len) = self.runs.first().map(|run| run.len) else { return };
        let panel_floats = (self.runs.len() * len * width).max(1);
        // Where the sums are many, each block brings all of them into the cache.
        let block = (if parts == 1 { 2 * BLOCK } else { BLOCK } / len).max(1);
        let blocks = self.runs.len().div_ceil(block);
        for first in (part * blocks / parts..(part + 1) * blocks / parts).map(|i| i * block) {
            let runs = &self.runs[first..(first + block).min(self.runs.len())];
            let left = Left { values: self.values, rows, runs, step: self.step };
            let of_group = self.packed.chunks_exact(panel_floats).skip(group * panels);
            for (panel, y) in of_group.zip(sums.chunks_exact_mut(self.tiling.panel_floats())) {
                let panel = &panel[first * len * width..];
                let to = &self.to[..rows.len()];
                Product { left, panels: self.panels, panel, pitch: width, columns: width, y, to, add: true }.run();
            }
        }
    }
}
