//! Loops over pairs on all threads, and sums in an order that does not depend on how many threads there are.

use super::scratch;
use super::vector::wide;
use rayon::prelude::*;

/// Elements of a run, which one thread takes whole.
pub(crate) const RUN: usize = 4096;

/// Runs, at least, of a thread that does a few operations on each element: to wake another for fewer takes longer than
/// they do.
pub(crate) const LIGHT: usize = 4;

/// Most parts of a sum.
const PARTS: usize = 64;

/// Sum of `term(a, b)` over all pairs: `f32` within a run of neighbours, `f64` across the runs.
pub(crate) fn sum_pairs(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32 + Sync) -> f64 {
    let len = part_len(a.len());
    sum_parts(a.par_chunks(len).zip(b.par_chunks(len)), len, |(a, b)| {
        let runs = a.chunks(RUN).zip(b.chunks(RUN));
        runs.map(|(a, b)| {
            wide(
                #[inline(always)]
                || sum_run(a, b, &mut [(); RUN][..a.len()], |a, b, ()| term(a, b)),
            )
        })
        .sum()
    })
}

/// As [`sum_pairs`] and [`map_pairs`] at once: of what `f` gives the first are added up, and the second become y.
pub(crate) fn sum_and_map_pairs(
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    f: impl Fn(f32, f32) -> (f32, f32) + Sync + Copy,
) -> f64 {
    let len = part_len(a.len());
    let parts = a.par_chunks(len).zip(b.par_chunks(len)).zip(y.par_chunks_mut(len));
    sum_parts(parts, len, |((a, b), y)| {
        let runs = a.chunks(RUN).zip(b.chunks(RUN)).zip(y.chunks_mut(RUN));
        runs.map(|((a, b), y)| {
            wide(
                #[inline(always)]
                || {
                    sum_run(
                        a,
                        b,
                        y,
                        #[inline(always)]
                        |a, b, y| {
                            let (term, value) = f(a, b);
                            *y = value;
                            term
                        },
                    )
                },
            )
        })
        .sum()
    })
}

/// Elements of one part of a sum over so many.
fn part_len(elements: usize) -> usize {
    elements.div_ceil(RUN).div_ceil(PARTS).max(1) * RUN
}

/// The sum of at most [`PARTS`] parts of `len` elements each.
fn sum_parts<P: Send>(parts: impl IndexedParallelIterator<Item = P>, len: usize, sum: impl Fn(P) -> f64 + Sync) -> f64 {
    let mut sums = [0f64; PARTS];
    let parts = parts.zip(&mut sums).with_min_len((LIGHT / 2).div_ceil(len / RUN));
    parts.for_each(|(part, of_part)| *of_part = sum(part));
    sums.iter().sum()
}

/// Sum of the terms of one run, each of which may also leave something in its place of y.
#[inline(always)]
fn sum_run<Y>(a: &[f32], b: &[f32], y: &mut [Y], term: impl Fn(f32, f32, &mut Y) -> f32) -> f64 {
    // Sixteen independent sums: one alone is a chain of dependent additions.
    let mut sums = [0f32; 16];
    let ((a16, a_rest), (b16, b_rest), (y16, y_rest)) =
        (a.as_chunks::<16>(), b.as_chunks::<16>(), y.as_chunks_mut::<16>());
    for ((a, b), y) in a16.iter().zip(b16).zip(y16) {
        for k in 0..16 {
            sums[k] += term(a[k], b[k], &mut y[k]);
        }
    }
    let mut rest = 0.0;
    for ((&a, &b), y) in a_rest.iter().zip(b_rest).zip(y_rest) {
        rest += term(a, b, y);
    }
    sums.iter().map(|&s| f64::from(s)).sum::<f64>() + f64::from(rest)
}

/// `y = f(a, b)` for all pairs. What f captures should be moved into it: a reference might point into y, and what is
/// read anew for each element keeps a loop from being vectorised.
pub(crate) fn map_pairs(a: &[f32], b: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync + Copy) {
    let runs = y.par_chunks_mut(RUN).zip(a.par_chunks(RUN).zip(b.par_chunks(RUN)));
    runs.with_min_len(LIGHT).for_each(|(y, (a, b))| {
        wide(
            #[inline(always)]
            || {
                for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                    *y = f(a, b);
                }
            },
        );
    });
}

/// `y[c] = sum over rows of x[r, c]`.
pub(crate) fn sum_rows(x: &[f32], columns: usize, y: &mut [f32]) {
    // Short rows are taken several at a time, as one of as many columns as fill the vectors.
    let side_by_side = (32 / columns.max(1)).max(1);
    let width = columns * side_by_side;
    let rows = (x.len() / columns.max(1)).div_ceil(PARTS).max(RUN / columns.max(1)).max(64);
    let part = (rows.next_multiple_of(side_by_side) * columns).max(1);
    let parts = x.len().div_ceil(part);
    scratch::with(|scratch| {
        let sums = scratch.floats.first(parts * width);
        let pairs = sums.par_chunks_mut(width.max(1)).zip(x.par_chunks(part));
        pairs.with_min_len((2 * LIGHT * RUN).div_ceil(part)).for_each(|(sums, x)| {
            wide(
                #[inline(always)]
                || {
                    sums.fill(0.0);
                    for rows in x.chunks(width) {
                        for (sum, x) in sums.iter_mut().zip(rows) {
                            *sum += x;
                        }
                    }
                },
            );
        });
        for (c, y) in y.iter_mut().enumerate() {
            *y = sums[c..].iter().step_by(columns).map(|&sum| f64::from(sum)).sum::<f64>() as f32;
        }
    });
}
