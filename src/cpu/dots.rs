//! Products of matrices whose right side has each column whole in memory: where [`tile`](super::tile) has a column in each lane
//! of a vector, here the lanes are neighbouring terms of one sum, which are added up at the end. For few columns, which would
//! leave most lanes empty, and for right sides that would have to be transposed into panels.
#![expect(
    clippy::needless_range_loop,
    reason = "rows and columns of a tile are counted through several arrays at once"
)]

use super::tile::{Left, filled_up};
use pulp::{Arch, Simd, WithSimd};

/// Columns that are taken together: their sums and those of a few rows fill the registers.
pub(crate) const TOGETHER: usize = 4;

/// `y[to[i] + j] = sum over k of left[i, k] right[j, k]`; the columns of the left matrix are neighbours in memory.
pub(crate) struct Dots<'a> {
    pub(crate) left: Left<'a>,
    /// Each column of the right matrix whole, one after the other.
    pub(crate) right: &'a [f32],
    /// How many there are.
    pub(crate) columns: usize,
    /// Where the sums go.
    pub(crate) y: &'a mut [f32],
    /// Where each row's sums begin in y.
    pub(crate) to: &'a [usize],
}

impl Dots<'_> {
    /// Computes it, on this thread.
    pub(crate) fn run(self) {
        let Some(furthest) = self.left.rows.iter().max() else { return };
        assert!(
            self.left.step == 1 && furthest + self.left.reach() <= self.left.values.len(),
            "a left row ends outside"
        );
        assert_eq!(self.right.len(), self.left.depth() * self.columns, "a right matrix of another depth");
        assert!(self.left.rows.len() == self.to.len());
        Arch::new().dispatch(self);
    }

    /// All rows, M at a time, so that these stay in the first-level cache while all columns go over them; the last ones that
    /// are fewer end with a row that is computed again.
    ///
    /// # Safety
    /// As `run` asserts.
    #[inline(always)]
    unsafe fn rows<S: Simd, const M: usize>(self, simd: S) {
        let depth = self.left.depth();
        for (from, to) in self.left.rows.chunks(M).zip(self.to.chunks(M)) {
            let rows: [usize; M] = filled_up(from);
            for first in (0..self.columns).step_by(TOGETHER) {
                let right = &self.right[first * depth..];
                let y = &mut self.y[first..];
                // SAFETY: the caller's, and every row is one of the left matrix.
                unsafe {
                    match self.columns - first {
                        1 => store(&sums::<S, M, 1>(simd, &self.left, &rows, right, depth), y, to),
                        2 => store(&sums::<S, M, 2>(simd, &self.left, &rows, right, depth), y, to),
                        3 => store(&sums::<S, M, 3>(simd, &self.left, &rows, right, depth), y, to),
                        _ => store(&sums::<S, M, 4>(simd, &self.left, &rows, right, depth), y, to),
                    }
                }
            }
        }
    }
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: only `run` gets here, and it has asserted that everything lies inside.
        unsafe {
            match (S::F32_LANES, self.columns) {
                (16, _) => self.rows::<S, 6>(simd),
                (_, 1) => self.rows::<S, 8>(simd),
                (_, 2) => self.rows::<S, 4>(simd),
                _ => self.rows::<S, 2>(simd),
            }
        }
    }
}

/// Puts the sums of a few rows in their places.
#[inline(always)]
fn store<const M: usize, const C: usize>(sums: &[[f32; C]; M], y: &mut [f32], to: &[usize]) {
    for (sums, &to) in sums.iter().zip(to) {
        y[to..to + C].copy_from_slice(sums);
    }
}

/// The sums of M rows.
///
/// # Safety
/// Every row must have all the left matrix's runs inside its values, and the right matrix `depth` terms for each column, as
/// many as the runs have together.
#[inline(always)]
unsafe fn sums<S: Simd, const M: usize, const C: usize>(
    simd: S,
    left: &Left<'_>,
    rows: &[usize; M],
    right: &[f32],
    depth: usize,
) -> [[f32; C]; M] {
    let mut sums = [[simd.splat_f32s(0.0); C]; M];
    let mut k = 0;
    for run in left.runs {
        let mut starts = [left.values.as_ptr().wrapping_add(run.at); M];
        for m in 0..M {
            starts[m] = starts[m].wrapping_add(rows[m]);
        }
        let whole = run.len - run.len % S::F32_LANES;
        for i in (0..whole).step_by(S::F32_LANES) {
            let mut columns = [simd.splat_f32s(0.0); C];
            for c in 0..C {
                // SAFETY: the caller's.
                columns[c] = unsafe { right.as_ptr().add(c * depth + k + i).cast::<S::f32s>().read_unaligned() };
            }
            for m in 0..M {
                // SAFETY: the caller's.
                let x = unsafe { starts[m].add(i).cast::<S::f32s>().read_unaligned() };
                for c in 0..C {
                    sums[m][c] = simd.mul_add_e_f32s(x, columns[c], sums[m][c]);
                }
            }
        }
        if whole < run.len {
            let mut columns = [simd.splat_f32s(0.0); C];
            for c in 0..C {
                columns[c] = simd.partial_load_f32s(&right[c * depth + k + whole..c * depth + k + run.len]);
            }
            for m in 0..M {
                // SAFETY: the caller's.
                let x = unsafe { std::slice::from_raw_parts(starts[m].add(whole), run.len - whole) };
                let x = simd.partial_load_f32s(x);
                for c in 0..C {
                    sums[m][c] = simd.mul_add_e_f32s(x, columns[c], sums[m][c]);
                }
            }
        }
        k += run.len;
    }
    let mut totals = [[0.0; C]; M];
    for m in 0..M {
        for c in 0..C {
            totals[m][c] = simd.reduce_sum_f32s(sums[m][c]);
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::tile::Run;

    #[test]
    fn sums_are_those_of_the_definition_for_every_number_of_columns_and_rows() {
        let value = |i: usize| (i * 7919 % 1009) as f32 / 504.5 - 1.0;
        // Runs that are shorter and longer than vectors of all widths, and none that is their multiple.
        let runs = [Run { at: 3, len: 5 }, Run { at: 11, len: 70 }, Run { at: 100, len: 33 }];
        let depth: usize = runs.iter().map(|run| run.len).sum();
        for columns in 0..=9 {
            for count in [1, 2, 5, 6, 8, 13] {
                let rows: Vec<usize> = (0..count).map(|i| i * 37 % 64).collect();
                let values: Vec<f32> = (0..64 + 133).map(value).collect();
                let right: Vec<f32> = (0..columns * depth).map(|i| value(i + 5)).collect();
                // Backwards, with a gap that nothing may be written to.
                let to: Vec<usize> = (0..count).rev().map(|i| i * (columns + 1)).collect();
                let mut y = vec![9.0; count * (columns + 1)];
                let left = Left { values: &values, rows: &rows, runs: &runs, step: 1 };
                Dots { left, right: &right, columns, y: &mut y, to: &to }.run();
                for (row, to) in rows.iter().zip(&to) {
                    assert_eq!(y[to + columns], 9.0, "{count} rows of {columns} columns");
                    for j in 0..columns {
                        let places = runs.iter().flat_map(|run| run.at..run.at + run.len);
                        let terms = places.zip(&right[j * depth..]).map(|(at, w)| f64::from(values[row + at] * w));
                        let wanted: f64 = terms.sum();
                        let found = f64::from(y[to + j]);
                        assert!((found - wanted).abs() < 1e-5, "{found} is not {wanted}: {count} rows of {columns}");
                    }
                }
            }
        }
    }
}
