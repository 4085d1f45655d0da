//! A kernel swept over pictures: convolutions and transposed convolutions.

use super::winograd::Winograd;
use super::{Axis, Padded};
use crate::cpu::dots::{self, Dots};
use crate::cpu::scratch::{self, Scratch};
use crate::cpu::tile::{Left, Panels, Product, Run, lanes};
use rayon::prelude::*;

/// A convolution's kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weights<'a> {
    /// (kh, kw, in, out).
    Forward(&'a [f32]),
    /// (kh, kw, out, in).
    Transposed(&'a [f32]),
}

/// A kernel swept over pictures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    pub(super) axes: [Axis; 2],
    pub(super) padded: Padded,
    /// Channels read and channels written.
    pub(super) channels: [usize; 2],
    pub(super) panels: Panels,
}

/// Outputs that the same taps reach, along both axes.
#[derive(Clone, Copy)]
pub(super) struct Phase {
    sweep: Sweep,
    phase: [usize; 2],
}

/// Fewest pixels of a group of pictures, so that a panel of the kernel is read for many tiles.
const GROUP: usize = 64;

/// Pixels whose windows stay in the second-level cache while all panels go over them.
const PIXELS: usize = 192;

/// Most groups that the smallest batches are cut into, for the threads to share.
const GROUPS: usize = 8;

/// Lanes from which on sums over them pay for more than one channel. 28x28 16->1 took 1,122 us in panels and 156 so with
/// AVX-512, 879 and 256 with AVX2 and 1,466 and 668 with four lanes; 16->3 879 and 235, 909 and 523, 1,471 and 2,053.
const WIDE: usize = 8;

/// A few pictures that the kernel is swept over.
pub(crate) struct Group<'a> {
    floats: usize,
    compute: &'a dyn Fn(&mut [f32]),
}

impl Group<'_> {
    /// Floats of its output pictures.
    pub(crate) fn output_len(&self) -> usize {
        self.floats
    }

    /// Writes its output pictures.
    pub(crate) fn compute(&self, y: &mut [f32]) {
        (self.compute)(y);
    }
}

impl Sweep {
    /// Of this many channels read and written.
    pub(crate) fn new(axes: [Axis; 2], channels: [usize; 2]) -> Self {
        Self { axes, padded: Padded::new(axes, channels[0]), channels, panels: Panels::new(channels[1]) }
    }

    /// Whether neighbouring channels read are the lanes of vectors, because there are too few that are written.
    pub(super) fn is_narrow(&self) -> bool {
        let [inputs, outputs] = self.channels;
        outputs <= dots::TOGETHER && inputs >= lanes() && (outputs == 1 || lanes() >= WIDE)
    }

    /// Floats of one output picture.
    pub(super) fn output_len(&self) -> usize {
        self.axes.map(Axis::output).iter().product::<usize>() * self.channels[1]
    }

    pub(super) fn phases(self) -> impl Iterator<Item = Phase> {
        let [rows, columns] = self.axes.map(Axis::phases);
        (0..rows * columns).map(move |i| Phase { sweep: self, phase: [i / columns, i % columns] })
    }

    /// Pictures that one thread takes at a time.
    fn group(&self, batch: usize) -> usize {
        let pixels = self.phases().map(|phase| phase.positions()).max().unwrap_or(1).max(1);
        GROUP.div_ceil(pixels).min(batch.div_ceil(GROUPS)).max(1)
    }

    /// Sweeps the kernel over all pictures of x. `finish` is given each group of output pictures while they are in the cache.
    pub(crate) fn run(&self, x: &[f32], w: Weights<'_>, y: &mut [f32], finish: impl Fn(&mut [f32]) + Sync) {
        let len = self.output_len();
        let work = |y: &mut [f32], group: Group<'_>| {
            group.compute(y);
            finish(y);
        };
        self.run_groups(x, w, |pictures| y.par_chunks_mut(pictures * len), work);
    }

    /// Sweeps the kernel over all pictures of x, a group of pictures at a time: `parts` deals something to groups of so
    /// many pictures, and `work` is given a part and its group, whose outputs it may have computed where it likes.
    pub(crate) fn run_groups<P: IndexedParallelIterator>(
        &self,
        x: &[f32],
        w: Weights<'_>,
        parts: impl FnOnce(usize) -> P,
        work: impl Fn(P::Item, Group<'_>) + Sync,
    ) {
        match Winograd::new(*self) {
            Some(winograd) => winograd.run_groups(x, w, parts, work),
            None => self.run_direct(x, w, parts, work),
        }
    }

    /// As [`Sweep::run_groups`], by the definition.
    pub(super) fn run_direct<P: IndexedParallelIterator>(
        &self,
        x: &[f32],
        w: Weights<'_>,
        parts: impl FnOnce(usize) -> P,
        work: impl Fn(P::Item, Group<'_>) + Sync,
    ) {
        let group = self.group(x.len() / self.padded.picture_len().max(1));
        self.with_packed(w, |packed| {
            self.deal(x, parts(group), group, work, |x, y, scratch| self.run_group(x, packed, y, scratch));
        });
    }

    /// Deals groups of so many pictures, each with its part, to the threads; `run_group` computes the outputs of one.
    pub(super) fn deal<P: IndexedParallelIterator>(
        &self,
        x: &[f32],
        parts: P,
        group: usize,
        work: impl Fn(P::Item, Group<'_>) + Sync,
        run_group: impl Fn(&[f32], &mut [f32], &mut Scratch) + Sync,
    ) {
        let picture = self.padded.picture_len();
        parts.zip(x.par_chunks(group * picture)).for_each(|(part, x)| {
            let compute = |y: &mut [f32]| scratch::with(|scratch| run_group(x, y, scratch));
            work(part, Group { floats: x.len() / picture * self.output_len(), compute: &compute });
        });
    }

    /// Runs `work` with the kernel in panels, phase by phase.
    pub(crate) fn with_packed<T>(&self, w: Weights<'_>, work: impl FnOnce(&[f32]) -> T) -> T {
        let len = self.phases().map(|phase| phase.packed_len()).sum();
        scratch::with(|scratch| {
            let packed = scratch.floats.first(len);
            let mut rest = &mut *packed;
            for phase in self.phases() {
                let (panels, others) = rest.split_at_mut(phase.packed_len());
                phase.pack(w, panels);
                rest = others;
            }
            work(packed)
        })
    }

    /// The output pictures for these pictures, on this thread.
    pub(crate) fn run_group(&self, x: &[f32], packed: &[f32], y: &mut [f32], scratch: &mut Scratch) {
        let Scratch { floats, rows, to, runs, .. } = scratch;
        let count = x.len() / self.padded.picture_len().max(1);
        let values = if self.padded.is_bare() {
            x
        } else {
            let padded = floats.first(count * self.padded.len());
            self.padded.fill(x, padded);
            padded
        };
        let mut rest = packed;
        for phase in self.phases() {
            let (packed, others) = rest.split_at(phase.packed_len());
            rest = others;
            phase.places(count, rows, to);
            phase.runs(runs);
            if runs.is_empty() {
                // Between the taps of a kernel that is smaller than its stride, or has holes.
                to.iter().for_each(|&to| y[to..to + self.channels[1]].fill(0.0));
            }
            for (rows, to) in rows.chunks(PIXELS).zip(to.chunks(PIXELS)) {
                let left = Left { values, rows, runs, step: 1 };
                if self.is_narrow() {
                    Dots { left, right: packed, columns: self.channels[1], y, to }.run();
                    continue;
                }
                for (first, panel) in self.panels.each(packed, phase.depth()) {
                    let (pitch, columns) = (self.panels.width(), self.panels.width().min(self.channels[1] - first));
                    let y = &mut y[first..];
                    Product { left, panels: self.panels, panel, pitch, columns, y, to, add: false }.run();
                }
            }
        }
    }
}

impl Phase {
    /// Outputs of one picture.
    fn positions(&self) -> usize {
        let [rows, columns] = self.size();
        rows * columns
    }

    fn size(&self) -> [usize; 2] {
        [0, 1].map(|i| self.sweep.axes[i].positions(self.phase[i]))
    }

    fn taps(&self) -> impl Iterator<Item = ([isize; 2], [usize; 2])> {
        let Self { sweep, phase } = *self;
        let columns = move || sweep.axes[1].taps(phase[1]);
        sweep.axes[0].taps(phase[0]).flat_map(move |(dy, ky)| columns().map(move |(dx, kx)| ([dy, dx], [ky, kx])))
    }

    /// Products behind one output: taps times channels.
    fn depth(&self) -> usize {
        self.taps().count() * self.sweep.channels[0]
    }

    fn packed_len(&self) -> usize {
        let Sweep { channels: [_, outputs], panels, .. } = self.sweep;
        if self.sweep.is_narrow() { self.depth() * outputs } else { panels.floats(self.depth(), outputs) }
    }

    /// Copies the phase's taps for one output channel after the other.
    fn pack_columns(&self, w: Weights<'_>, packed: &mut [f32]) {
        let Sweep { axes, channels: [inputs, outputs], .. } = self.sweep;
        for (o, column) in packed.chunks_exact_mut(self.depth().max(1)).enumerate() {
            for ((_, [ky, kx]), column) in self.taps().zip(column.chunks_exact_mut(inputs)) {
                let tap = (ky * axes[1].kernel() + kx) * inputs * outputs;
                match w {
                    Weights::Forward(w) => {
                        let w = w[tap + o..].iter().step_by(outputs);
                        column.iter_mut().zip(w).for_each(|(column, w)| *column = *w);
                    }
                    Weights::Transposed(w) => column.copy_from_slice(&w[tap + o * inputs..][..inputs]),
                }
            }
        }
    }

    /// Copies the phase's taps into panels: for each tap and input channel a row of output channels.
    pub(super) fn pack(&self, w: Weights<'_>, packed: &mut [f32]) {
        if self.sweep.is_narrow() {
            return self.pack_columns(w, packed);
        }
        let Sweep { axes, channels: [inputs, outputs], panels, .. } = self.sweep;
        let width = panels.width();
        let per_panel = (self.depth() * width).max(1);
        packed.par_chunks_mut(per_panel).enumerate().for_each(|(i, panel)| {
            let first = i * width;
            let columns = width.min(outputs - first);
            for ((_, [ky, kx]), rows) in self.taps().zip(panel.chunks_exact_mut(inputs * width)) {
                let tap = (ky * axes[1].kernel() + kx) * inputs * outputs;
                match w {
                    Weights::Forward(w) => panels.copy_rows(&w[tap + first..], outputs, columns, rows),
                    Weights::Transposed(w) => panels.copy_columns(&w[tap + first * inputs..], inputs, columns, rows),
                }
            }
        });
    }

    /// Where the windows of all positions of `count` pictures begin, and where their outputs go.
    fn places(&self, count: usize, rows: &mut Vec<usize>, to: &mut Vec<usize>) {
        let Sweep { axes, padded, channels, .. } = self.sweep;
        let [height, width] = self.size();
        let output = axes.map(Axis::output);
        rows.clear();
        to.clear();
        for picture in 0..count {
            for qy in 0..height {
                let from = picture * padded.len() + qy * axes[0].pitch() * padded.row_len();
                let oy = picture * output[0] + self.phase[0] + qy * axes[0].phases();
                for qx in 0..width {
                    rows.push(from + qx * axes[1].pitch() * padded.picture[2]);
                    to.push((oy * output[1] + self.phase[1] + qx * axes[1].phases()) * channels[1]);
                }
            }
        }
    }

    /// The taps as runs of neighbouring floats.
    fn runs(&self, runs: &mut Vec<Run>) {
        runs.clear();
        for (shift, _) in self.taps() {
            let run = Run { at: self.sweep.padded.at(shift), len: self.sweep.channels[0] };
            match runs.last_mut() {
                Some(last) if last.at + last.len == run.at => last.len += run.len,
                _ => runs.push(run),
            }
        }
    }
}
