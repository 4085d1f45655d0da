//! Convolutions of 3x3 taps and stride one by Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray, “Fast
//! algorithms for convolutional neural networks”, 2016): tiles of 4x4 inputs and the kernel are each transformed by a few
//! additions, their element-wise products summed over channels as sixteen matrix products, and the sums transformed into
//! tiles of 2x2 outputs. That takes 16 products where the definition takes 36.
//!
//! All its factors are 0, 1/2 and 1, so that it is no less exact than the definition: against the sums in `f64` its worst
//! error was 0.013 to 0.030 of the tolerance of a convolution (4 sqrt(K) 2^-24 sum |x w|), that of the direct way 0.018 to
//! 0.051, over the layers of `lfw-conv` at batch 64. An output whose own inputs are far smaller than those around them gets
//! the rounding of the latter all the same, which `filtered_terms` bounds.
#![expect(clippy::needless_range_loop, reason = "rows and columns of small matrices are counted alike")]

use super::Axis;
use super::sweep::{Group, Sweep, Weights};
use crate::cpu::scratch::{self, Scratch};
use crate::cpu::tile::{Left, Product, Run};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Products per tile, input and output channel.
const POINTS: usize = 16;

/// What these products take, in products of the direct way, whose sums are longer.
const PRODUCTS: usize = 18;

/// What both transforms take for each channel of a tile, in products of the direct way. Both from Zen 3, AVX2, one
/// thread, batch 64, direct / filtered in ms: 16x16x32 to 64 7.3 / 6.6, 8x8x64 to 128 6.9 / 4.7, 8x8x128 to 64 6.7 /
/// 5.4, 4x4x128 to 256 7.7 / 4.6; 14x14x32 to 32 1.70 / 1.73, 14x14x16 to 16 0.46 / 0.56 (batch 32).
const TRANSFORMS: usize = 288;

/// Floats of transformed tiles that are made at a time: 192 KB, a part of a core's second-level cache.
const AT_A_TIME: usize = 3 << 14;

/// A sweep of 3x3 taps at stride one.
#[derive(Clone, Copy)]
pub(super) struct Winograd {
    sweep: Sweep,
    /// Tiles of one picture, down and across.
    tiles: [usize; 2],
    /// Height and width of a picture with as many zeros around it as its tiles reach.
    size: [usize; 2],
    /// Rows of zeros above and columns before.
    before: [usize; 2],
}

impl Winograd {
    /// This sweep by minimal filtering, where that is possible and, by the products and additions of both ways, pays.
    pub(super) fn new(sweep: Sweep) -> Option<Self> {
        let axes = sweep.axes;
        let [inputs, outputs] = sweep.channels;
        let mut before = [0; 2];
        for (before, axis) in before.iter_mut().zip(axes) {
            let mut shifts = axis.taps(0).map(|(shift, _)| shift);
            let first = shifts.next()?;
            let neighbours = shifts.eq([first + 1, first + 2]);
            if !neighbours || axis.phases() != 1 || axis.pitch() != 1 || first > 0 {
                return None;
            }
            *before = first.unsigned_abs();
        }
        let tiles = axes.map(|axis| axis.output().div_ceil(2));
        let size = tiles.map(|tiles| 2 * tiles + 2);
        if (0..2).any(|i| before[i] + axes[i].input() > size[i]) {
            return None;
        }
        let direct: usize = axes.map(|axis| axis.output() * axis.kernel()).iter().product::<usize>() * inputs * outputs;
        let filtered =
            tiles.iter().product::<usize>() * (PRODUCTS * inputs * outputs + TRANSFORMS * (inputs + outputs));
        // Vectors of all widths divide the input channels.
        let pays = inputs.is_multiple_of(16) && !sweep.is_narrow() && filtered < direct;
        pays.then_some(Self { sweep, tiles, size, before })
    }

    fn padded_len(&self) -> usize {
        self.size[0] * self.size[1] * self.sweep.channels[0]
    }

    /// Tiles of one picture.
    fn count(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Tiles that are transformed at a time.
    fn block(&self) -> usize {
        (AT_A_TIME / (POINTS * self.sweep.channels[0]) / 12 * 12).max(12)
    }

    /// As [`Sweep::run_groups`].
    pub(super) fn run_groups<P: IndexedParallelIterator>(
        &self,
        x: &[f32],
        w: Weights<'_>,
        parts: impl FnOnce(usize) -> P,
        work: impl Fn(P::Item, Group<'_>) + Sync,
    ) {
        let batch = x.len() / self.sweep.padded.picture_len().max(1);
        let group = self.block().div_ceil(self.count()).min(batch.div_ceil(8)).max(1);
        self.with_transformed(w, |kernel| {
            self.sweep.deal(x, parts(group), group, work, |x, y, scratch| self.run_group(x, kernel, y, scratch));
        });
    }

    /// Runs `work` with the transformed kernel: for each panel sixteen matrices of input channels by the panel's columns.
    fn with_transformed<T>(&self, w: Weights<'_>, work: impl FnOnce(&[f32]) -> T) -> T {
        let [inputs, outputs] = self.sweep.channels;
        let plane = inputs * self.sweep.panels.width();
        let count = self.sweep.panels.count(outputs);
        let Some(phase) = self.sweep.phases().next() else { return work(&[]) };
        scratch::with(|scratch| {
            let (packed, kernel) = scratch.floats.first(count * (9 + POINTS) * plane).split_at_mut(count * 9 * plane);
            phase.pack(w, packed);
            let panels = kernel.par_chunks_exact_mut(POINTS * plane).zip(packed.par_chunks_exact(9 * plane));
            panels.for_each(|(kernel, taps)| Arch::new().dispatch(KernelTransform { taps, kernel, plane }));
            work(kernel)
        })
    }

    fn run_group(&self, x: &[f32], kernel: &[f32], y: &mut [f32], scratch: &mut Scratch) {
        let Scratch { floats, rows, to, .. } = scratch;
        let Sweep { channels: [inputs, outputs], panels, padded, .. } = self.sweep;
        let pictures = x.len() / padded.picture_len().max(1);
        let (all, width) = (pictures * self.count(), panels.width());
        let block = self.block().min(all);
        let lens = [pictures * self.padded_len(), POINTS * block * inputs, POINTS * block * width];
        let (values, rest) = floats.first(lens.iter().sum()).split_at_mut(lens[0]);
        let (tiles, sums) = rest.split_at_mut(lens[1]);
        padded.with_zeros(self.before, self.size).fill(x, values);
        for first in (0..all).step_by(block) {
            let count = (all - first).min(block);
            to.clear();
            to.extend((first..first + count).map(|tile| self.tile_at(tile)));
            let tiles = &mut tiles[..POINTS * count * inputs];
            let row = self.size[1] * inputs;
            Arch::new().dispatch(InputTransform { values, at: to, row, channels: inputs, tiles });
            rows.clear();
            rows.extend((0..count).map(|tile| tile * inputs));
            to.clear();
            to.extend((0..count).map(|tile| tile * width));
            let sums = &mut sums[..POINTS * count * width];
            for (panel, kernel) in kernel.chunks_exact(POINTS * inputs * width).enumerate() {
                let matrices = kernel.chunks_exact(inputs * width).zip(tiles.chunks_exact(count * inputs));
                for ((panel, values), y) in matrices.zip(sums.chunks_exact_mut(count * width)) {
                    let left = Left { values, rows, runs: &[Run { at: 0, len: inputs }], step: 1 };
                    Product { left, panels, panel, pitch: width, columns: width, y, to, add: false }.run();
                }
                let columns = width.min(outputs - panel * width);
                let y = &mut y[panel * width..];
                let transform =
                    OutputTransform { sums, count, width, columns, y, at: |tile| self.outputs_at(first + tile) };
                Arch::new().dispatch(transform);
            }
        }
    }

    /// Offset of a tile's first input among the padded pictures.
    fn tile_at(&self, tile: usize) -> usize {
        let (picture, place) = (tile / self.count(), tile % self.count());
        let [row, column] = [place / self.tiles[1], place % self.tiles[1]].map(|at| 2 * at);
        picture * self.padded_len() + (row * self.size[1] + column) * self.sweep.channels[0]
    }

    /// Offsets of a tile's four outputs, none for those beyond the picture.
    fn outputs_at(&self, tile: usize) -> [Option<usize>; 4] {
        let (picture, place) = (tile / self.count(), tile % self.count());
        let [row, column] = [place / self.tiles[1], place % self.tiles[1]].map(|at| 2 * at);
        let [height, width] = self.sweep.axes.map(Axis::output);
        [0, 1, 2, 3].map(|i| {
            let (y, x) = (row + i / 2, column + i % 2);
            (y < height && x < width).then_some(((picture * height + y) * width + x) * self.sweep.channels[1])
        })
    }
}

/// U = G g G^T for each element of a plane, G = (1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1).
struct KernelTransform<'a> {
    /// Nine planes.
    taps: &'a [f32],
    /// Sixteen.
    kernel: &'a mut [f32],
    plane: usize,
}

impl WithSimd for KernelTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { taps, kernel, plane } = self;
        assert!(taps.len() >= 9 * plane && kernel.len() >= POINTS * plane && plane.is_multiple_of(S::F32_LANES));
        let half = simd.splat_f32s(0.5);
        let zero = simd.splat_f32s(0.0);
        for at in (0..plane).step_by(S::F32_LANES) {
            let mut halfway = [[zero; 3]; 4];
            for j in 0..3 {
                let mut g = [zero; 3];
                for i in 0..3 {
                    // SAFETY: a vector at `at` lies in a plane, as asserted.
                    g[i] = unsafe { load::<S>(taps, (3 * i + j) * plane + at) };
                }
                let t = kernel_points(simd, g, half);
                for i in 0..4 {
                    halfway[i][j] = t[i];
                }
            }
            for i in 0..4 {
                let u = kernel_points(simd, halfway[i], half);
                for j in 0..4 {
                    // SAFETY: as above.
                    unsafe { store::<S>(kernel, (4 * i + j) * plane + at, u[j]) };
                }
            }
        }
    }
}

#[inline(always)]
fn kernel_points<S: Simd>(simd: S, g: [S::f32s; 3], half: S::f32s) -> [S::f32s; 4] {
    let ends = simd.mul_f32s(half, simd.add_f32s(g[0], g[2]));
    let middle = simd.mul_f32s(half, g[1]);
    [g[0], simd.add_f32s(ends, middle), simd.sub_f32s(ends, middle), g[2]]
}

/// V = B^T d B for each channel of each tile, B^T = (1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1).
struct InputTransform<'a> {
    values: &'a [f32],
    /// Offset of each tile's first pixel.
    at: &'a [usize],
    /// Floats of a row of pixels.
    row: usize,
    channels: usize,
    /// Sixteen matrices of tiles by channels.
    tiles: &'a mut [f32],
}

impl WithSimd for InputTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { values, at, row, channels, tiles } = self;
        let plane = at.len() * channels;
        let last = at.iter().max().map_or(0, |at| at + 3 * row + 4 * channels);
        assert!(last <= values.len() && tiles.len() >= POINTS * plane && channels.is_multiple_of(S::F32_LANES));
        let zero = simd.splat_f32s(0.0);
        for (tile, &at) in at.iter().enumerate() {
            for c in (0..channels).step_by(S::F32_LANES) {
                let mut halfway = [[zero; 4]; 4];
                for j in 0..4 {
                    let mut d = [zero; 4];
                    for i in 0..4 {
                        // SAFETY: the tile's last pixel is inside, as asserted.
                        d[i] = unsafe { load::<S>(values, at + i * row + j * channels + c) };
                    }
                    let t = input_points(simd, d);
                    for i in 0..4 {
                        halfway[i][j] = t[i];
                    }
                }
                for i in 0..4 {
                    let v = input_points(simd, halfway[i]);
                    for j in 0..4 {
                        // SAFETY: a vector of the tile's channels lies in each matrix, as asserted.
                        unsafe { store::<S>(tiles, (4 * i + j) * plane + tile * channels + c, v[j]) };
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn input_points<S: Simd>(simd: S, d: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(d[0], d[2]), simd.add_f32s(d[1], d[2]), simd.sub_f32s(d[2], d[1]), simd.sub_f32s(d[1], d[3])]
}

/// Y = A^T M A for each column of each tile, A^T = (1 1 1 0; 0 1 -1 -1).
struct OutputTransform<'a, F> {
    /// Sixteen matrices of tiles by the panel's columns.
    sums: &'a [f32],
    count: usize,
    width: usize,
    /// Columns that count.
    columns: usize,
    y: &'a mut [f32],
    /// Offsets of a tile's outputs.
    at: F,
}

impl<F: Fn(usize) -> [Option<usize>; 4]> WithSimd for OutputTransform<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sums, count, width, columns, y, at } = self;
        let plane = count * width;
        assert!(sums.len() >= POINTS * plane && width.is_multiple_of(S::F32_LANES) && columns <= width);
        let zero = simd.splat_f32s(0.0);
        for tile in 0..count {
            let places = at(tile);
            assert!(places.iter().flatten().all(|at| at + columns <= y.len()));
            for c in (0..columns).step_by(S::F32_LANES) {
                let mut halfway = [[zero; 4]; 2];
                for j in 0..4 {
                    let from = tile * width + c;
                    let mut m = [zero; 4];
                    for i in 0..4 {
                        // SAFETY: a vector of the tile's columns lies in each matrix, as asserted.
                        m[i] = unsafe { load::<S>(sums, (4 * i + j) * plane + from) };
                    }
                    let t = output_points(simd, m);
                    for i in 0..2 {
                        halfway[i][j] = t[i];
                    }
                }
                for i in 0..2 {
                    let outputs = output_points(simd, halfway[i]);
                    for j in 0..2 {
                        let Some(at) = places[2 * i + j] else { continue };
                        if c + S::F32_LANES <= columns {
                            // SAFETY: the columns from the place on lie in y, as asserted.
                            unsafe { store::<S>(y, at + c, outputs[j]) };
                        } else {
                            let mut last = [0f32; 16];
                            // SAFETY: no vector is longer than 16 floats.
                            unsafe { store::<S>(&mut last, 0, outputs[j]) };
                            y[at + c..at + columns].copy_from_slice(&last[..columns - c]);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn output_points<S: Simd>(simd: S, m: [S::f32s; 4]) -> [S::f32s; 2] {
    [simd.add_f32s(simd.add_f32s(m[0], m[1]), m[2]), simd.sub_f32s(simd.sub_f32s(m[1], m[2]), m[3])]
}

/// A vector of neighbouring floats.
///
/// # Safety
/// They must lie in `values`.
#[inline(always)]
unsafe fn load<S: Simd>(values: &[f32], at: usize) -> S::f32s {
    // SAFETY: the caller's.
    unsafe { values.as_ptr().add(at).cast::<S::f32s>().read_unaligned() }
}

/// Writes a vector of neighbouring floats.
///
/// # Safety
/// They must lie in `values`.
#[inline(always)]
unsafe fn store<S: Simd>(values: &mut [f32], at: usize, vector: S::f32s) {
    // SAFETY: the caller's.
    unsafe { values.as_mut_ptr().add(at).cast::<S::f32s>().write_unaligned(vector) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::conv::axes;
    use crate::op::Window;

    const SIZE: usize = 7;

    fn sweep([inputs, outputs]: [usize; 2], transposed: bool) -> Sweep {
        let window = Window { padding: [1; 2], ..Window::square(3, 1) };
        let extents = [0, SIZE, SIZE, 0];
        Sweep::new(axes(window, extents, extents, transposed), [inputs, outputs])
    }

    fn values(n: usize, factor: usize) -> Vec<f32> {
        (0..n).map(|i| (i * factor % 1009) as f32 / 504.5 - 1.0).collect()
    }

    #[test]
    fn it_is_taken_where_channels_are_many() {
        assert!(Winograd::new(sweep([64, 72], false)).is_some() && Winograd::new(sweep([80, 64], true)).is_some());
        assert!(Winograd::new(sweep([8, 8], false)).is_none(), "few channels");
        assert!(Winograd::new(sweep([72, 64], false)).is_none(), "channels that no vector divides");
    }

    #[test]
    fn its_error_is_that_of_the_direct_way() {
        for (channels @ [inputs, outputs], transposed) in [([64, 72], false), ([80, 64], true)] {
            let (sweep, count) = (sweep(channels, transposed), 3);
            let (x, w) = (values(count * SIZE * SIZE * inputs, 7919), values(9 * inputs * outputs, 31));
            let weights = if transposed { Weights::Transposed(&w) } else { Weights::Forward(&w) };
            let mut y = [vec![0.0; count * SIZE * SIZE * outputs], vec![0.0; count * SIZE * SIZE * outputs]];
            let len = sweep.output_len();
            let compute = |y: &mut [f32], group: Group<'_>| group.compute(y);
            sweep.run_direct(&x, weights, |pictures| y[0].par_chunks_mut(pictures * len), compute);
            let Some(winograd) = Winograd::new(sweep) else { panic!("{channels:?} are not filtered") };
            winograd.run_groups(&x, weights, |pictures| y[1].par_chunks_mut(pictures * len), compute);
            for at in (0..y[0].len()).step_by(13) {
                let (place, co) = (at / outputs, at % outputs);
                let (picture, row, column) = (place / (SIZE * SIZE), place / SIZE % SIZE, place % SIZE);
                let (mut sum, mut magnitude) = (0.0, 0.0);
                for tap in 0..9 {
                    let [iy, ix] = [(row, tap / 3), (column, tap % 3)].map(|(at, tap)| {
                        let shift = if transposed { 2 - tap } else { tap };
                        (at + shift).checked_sub(1).filter(|&at| at < SIZE)
                    });
                    let (Some(iy), Some(ix)) = (iy, ix) else { continue };
                    for ci in 0..inputs {
                        let w = w[if transposed {
                            (tap * outputs + co) * inputs + ci
                        } else {
                            (tap * inputs + ci) * outputs + co
                        }];
                        let term = f64::from(x[((picture * SIZE + iy) * SIZE + ix) * inputs + ci]) * f64::from(w);
                        (sum, magnitude) = (sum + term, magnitude + term.abs());
                    }
                }
                let tolerance = 4.0 * (9.0 * inputs as f64).sqrt() * 2f64.powi(-24) * magnitude;
                for (y, way) in y.iter().zip(["directly", "filtered"]) {
                    let error = (f64::from(y[at]) - sum).abs();
                    assert!(
                        error <= 0.2 * tolerance,
                        "{way}: {} at {at}, wanted {sum} within {tolerance:e} / 5",
                        y[at]
                    );
                }
            }
        }
    }
}
