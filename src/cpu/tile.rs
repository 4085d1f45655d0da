//! Products of matrices whose left side lies scattered in memory: a tile of rows by a panel of columns at a time,
//! its sums in registers from the first product to the last. The left side is read where it is, each row at an offset
//! of its own and its columns in runs, so that the windows of a convolution need not be copied out first (implicit
//! GEMM). The right side is packed into panels once and read many times.
#![expect(
    clippy::needless_range_loop,
    reason = "rows and vectors of a tile are counted through several arrays at once"
)]

use pulp::{Arch, Simd, WithSimd};

/// Neighbouring columns of the left matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Floats from a row's first value to the first of these.
    pub(crate) at: usize,
    /// How many.
    pub(crate) len: usize,
}

/// The left matrix: element (i, k) is `values[rows[i] + run.at + step * j]`, where k is the j-th column of a run, the
/// runs counted through.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    /// Where its elements are.
    pub(crate) values: &'a [f32],
    /// Offset of each row's first value.
    pub(crate) rows: &'a [usize],
    /// The columns.
    pub(crate) runs: &'a [Run],
    /// Floats between neighbouring columns of a run.
    pub(crate) step: usize,
}

impl Left<'_> {
    pub(super) fn depth(&self) -> usize {
        self.runs.iter().map(|run| run.len).sum()
    }

    /// One past the furthest float from a row's first value.
    pub(super) fn reach(&self) -> usize {
        let last = |run: &Run| run.len.checked_sub(1).map_or(0, |last| run.at + last * self.step + 1);
        self.runs.iter().map(last).max().unwrap_or(0)
    }
}

/// Floats in a vector of this processor.
pub(crate) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    Arch::new().dispatch(Lanes)
}

/// Most columns of a panel: two vectors of AVX-512.
const WIDEST: usize = 32;

/// How a right matrix is cut into panels of columns, as wide as this processor's registers hold sums for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panels {
    width: usize,
}

impl Panels {
    /// The panels for a right matrix of so many columns.
    pub(crate) fn new(columns: usize) -> Self {
        let widest = if lanes() == 16 { WIDEST } else { 16 };
        // Half a panel where more would stay empty: 2 vectors of sums hide the latency of fewer products.
        Self { width: if columns <= widest / 2 { widest / 2 } else { widest } }
    }

    /// Columns of a panel.
    pub(crate) fn width(self) -> usize {
        self.width
    }

    /// Panels for this many columns.
    pub(crate) fn count(self, columns: usize) -> usize {
        columns.div_ceil(self.width)
    }

    /// Floats of a packed matrix.
    pub(crate) fn floats(self, depth: usize, columns: usize) -> usize {
        self.count(columns) * self.width * depth
    }

    /// The first column and the values of each panel.
    pub(crate) fn each(self, packed: &[f32], depth: usize) -> impl Iterator<Item = (usize, &[f32])> {
        let chunks = packed.chunks_exact((self.width * depth).max(1));
        chunks.enumerate().map(move |(i, panel)| (i * self.width, panel))
    }

    /// Copies a row of a panel, the columns that are missing filled up with zeros.
    pub(crate) fn copy_row(self, values: &[f32], row: &mut [f32]) {
        let columns = self.width.min(values.len());
        copy(&values[..columns], &mut row[..columns]);
        row[columns..].fill(0.0);
    }

    /// Copies a panel of `columns` columns from a matrix whose rows, one for each of the panel's, are `stride` floats
    /// apart.
    pub(crate) fn copy_rows(self, values: &[f32], stride: usize, columns: usize, panel: &mut [f32]) {
        for (i, row) in panel.chunks_exact_mut(self.width).enumerate() {
            self.copy_row(&values[i * stride..][..columns], row);
        }
    }

    /// Copies a panel of `columns` columns from a matrix whose columns are stored one after the other, `stride` floats
    /// apart.
    pub(crate) fn copy_columns(self, values: &[f32], stride: usize, columns: usize, panel: &mut [f32]) {
        if columns < self.width {
            panel.fill(0.0);
        }
        let depth = panel.len() / self.width;
        for (first, values) in (0..columns).step_by(8).zip(values.chunks(8 * stride)) {
            let rows = panel.chunks_exact_mut(self.width).map(|row| &mut row[first..]);
            // Eight columns at a time: their eight floats of a row lie side by side.
            if columns - first >= 8 {
                let column = |j: usize| &values[j * stride..j * stride + depth];
                let columns: [&[f32]; 8] = std::array::from_fn(column);
                for (k, row) in rows.enumerate() {
                    row[..8].copy_from_slice(&columns.map(|column| column[k]));
                }
            } else {
                for (k, row) in rows.enumerate() {
                    row.iter_mut()
                        .zip(values[k..].iter().step_by(stride))
                        .take(columns - first)
                        .for_each(|(to, v)| *to = *v);
                }
            }
        }
    }
}

/// Copies a few floats: eights of them without a call.
#[inline]
pub(crate) fn copy(from: &[f32], to: &mut [f32]) {
    let ((from8, rest), (to8, to_rest)) = (from.as_chunks::<8>(), to.as_chunks_mut::<8>());
    to8.iter_mut().zip(from8).for_each(|(to, from)| *to = *from);
    to_rest.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
}

/// `y[to[i] + j] (+)= sum over k of left[i, k] right[k, j]` for the columns j of one panel.
pub(crate) struct Product<'a> {
    pub(crate) left: Left<'a>,
    pub(crate) panels: Panels,
    /// For each k its columns side by side.
    pub(crate) panel: &'a [f32],
    /// Floats from one k to the next: the panels' width where they are packed.
    pub(crate) pitch: usize,
    /// Columns of the panel that count.
    pub(crate) columns: usize,
    /// Where the sums go.
    pub(crate) y: &'a mut [f32],
    /// Where each row's sums begin in y.
    pub(crate) to: &'a [usize],
    /// Whether the sums are added to what stands there.
    pub(crate) add: bool,
}

impl Product<'_> {
    /// Computes it, on this thread.
    pub(crate) fn run(self) {
        let Some(furthest) = self.left.rows.iter().max() else { return };
        assert!(furthest + self.left.reach() <= self.left.values.len(), "a left row ends outside");
        let depth = self.left.depth();
        let last = depth.checked_sub(1).map_or(0, |last| last * self.pitch + self.panels.width);
        assert!(last <= self.panel.len(), "a short panel");
        assert!(self.columns <= self.panels.width && self.left.rows.len() == self.to.len());
        assert!(self.to.iter().all(|to| to + self.columns <= self.y.len()), "a row of y ends outside");
        Arch::new().dispatch(self);
    }

    /// All tiles of M rows and V vectors; a last tile that is short computes its last row again.
    ///
    /// # Safety
    /// As `run` asserts.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const M: usize, const V: usize>(self, simd: S) {
        assert!(V * S::F32_LANES == self.panels.width, "a panel of another width");
        let whole = self.columns == self.panels.width;
        for (from, to) in self.left.rows.chunks(M).zip(self.to.chunks(M)) {
            let rows = filled_up(from);
            // SAFETY: the caller's, and every row is one of the left matrix.
            let sums = unsafe { sum_tile::<S, M, V>(simd, &self.left, &rows, self.panel.as_ptr(), self.pitch) };
            if let (true, Ok(to)) = (whole, <&[usize; M]>::try_from(to)) {
                // SAFETY: the caller's.
                unsafe { store_tile::<S, M, V>(simd, &sums, self.y.as_mut_ptr(), to, self.add) };
                continue;
            }
            let mut tile = [[0f32; WIDEST]; M];
            for m in 0..M {
                for v in 0..V {
                    // SAFETY: V vectors are at most WIDEST floats.
                    unsafe { tile[m].as_mut_ptr().cast::<S::f32s>().add(v).write_unaligned(sums[m][v]) };
                }
            }
            for (sums, &to) in tile.iter().zip(to) {
                for (y, sum) in self.y[to..to + self.columns].iter_mut().zip(sums) {
                    *y = if self.add { *y + sum } else { *sum };
                }
            }
        }
    }
}

/// M rows of at most as many, the last one again where some are missing.
#[inline(always)]
pub(super) fn filled_up<const M: usize>(rows: &[usize]) -> [usize; M] {
    let mut filled = [rows[rows.len() - 1]; M];
    filled[..rows.len()].copy_from_slice(rows);
    filled
}

/// Rows of a tile of two vectors of AVX-512, so that few are computed in vain: batches of 50 and 64 are no multiple of 12.
fn height(rows: usize) -> usize {
    [12, 10, 8].into_iter().min_by_key(|&height| rows.next_multiple_of(height)).unwrap_or(12)
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: only `run` gets here, and it has asserted that everything lies inside.
        unsafe {
            match (S::F32_LANES, self.panels.width) {
                (16, 32) => match height(self.left.rows.len()) {
                    8 => self.tiles::<S, 8, 2>(simd),
                    10 => self.tiles::<S, 10, 2>(simd),
                    _ => self.tiles::<S, 12, 2>(simd),
                },
                (16, _) => self.tiles::<S, 12, 1>(simd),
                (8, 16) => self.tiles::<S, 6, 2>(simd),
                (8, _) => self.tiles::<S, 12, 1>(simd),
                (4, 16) => self.tiles::<S, 6, 4>(simd),
                (4, _) => self.tiles::<S, 8, 2>(simd),
                (_, 16) => self.tiles::<S, 1, 16>(simd),
                _ => self.tiles::<S, 1, 8>(simd),
            }
        }
    }
}

/// The sums of a tile.
///
/// # Safety
/// Every row must have all the left matrix's runs inside its values, and the panel V vectors, `pitch` floats
/// apart, for each column of the runs.
#[inline(always)]
unsafe fn sum_tile<S: Simd, const M: usize, const V: usize>(
    simd: S,
    left: &Left<'_>,
    rows: &[usize; M],
    panel: *const f32,
    pitch: usize,
) -> [[S::f32s; V]; M] {
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    let mut right = panel;
    for run in left.runs {
        let mut a = left.values.as_ptr().wrapping_add(run.at);
        for _ in 0..run.len {
            let mut columns = [simd.splat_f32s(0.0); V];
            for v in 0..V {
                // SAFETY: the caller's.
                columns[v] = unsafe { right.cast::<S::f32s>().add(v).read_unaligned() };
            }
            for m in 0..M {
                // SAFETY: the caller's.
                let x = simd.splat_f32s(unsafe { *a.add(rows[m]) });
                for v in 0..V {
                    sums[m][v] = simd.mul_add_e_f32s(x, columns[v], sums[m][v]);
                }
            }
            right = right.wrapping_add(pitch);
            a = a.wrapping_add(left.step);
        }
    }
    sums
}

/// Puts the sums of a whole tile in their places.
///
/// # Safety
/// V vectors must fit in y from each place on.
#[inline(always)]
unsafe fn store_tile<S: Simd, const M: usize, const V: usize>(
    simd: S,
    sums: &[[S::f32s; V]; M],
    y: *mut f32,
    to: &[usize; M],
    add: bool,
) {
    for m in 0..M {
        for v in 0..V {
            // SAFETY: the caller's.
            unsafe {
                let y = y.add(to[m]).cast::<S::f32s>().add(v);
                y.write_unaligned(if add { simd.add_f32s(sums[m][v], y.read_unaligned()) } else { sums[m][v] });
            }
        }
    }
}
