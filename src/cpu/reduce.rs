//! Loops over pairs on all threads, and sums in an order that does not depend on how many threads there are.

use rayon::prelude::*;

/// Elements per partial sum.
const RUN: usize = 4096;

/// Sum of `term(a, b)` over all pairs: `f32` within a run of neighbours, `f64` across the runs.
pub(crate) fn sum_pairs(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32 + Sync) -> f64 {
    let run = |(a, b): (&[f32], &[f32])| -> f64 {
        // Sixteen independent sums: one alone is a chain of dependent additions.
        let mut sums = [0f32; 16];
        let ((a16, a_rest), (b16, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
        let rest: f32 = a_rest.iter().zip(b_rest).map(|(&a, &b)| term(a, b)).sum();
        for (a, b) in a16.iter().zip(b16) {
            let terms: [f32; 16] = std::array::from_fn(|k| term(a[k], b[k]));
            sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
        }
        sums.iter().map(|&s| f64::from(s)).sum::<f64>() + f64::from(rest)
    };
    let pairs = a.par_chunks(RUN).zip(b.par_chunks(RUN));
    let partial: Vec<f64> = pairs.map(|pair| super::vector::wide(|| run(pair))).collect();
    partial.iter().sum()
}

/// `y = f(a, b)` for all pairs.
pub(crate) fn map_pairs(a: &[f32], b: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    y.par_chunks_mut(RUN).zip(a.par_chunks(RUN).zip(b.par_chunks(RUN))).for_each(|(y, (a, b))| {
        super::vector::wide(|| y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (&a, &b))| *y = f(a, b)));
    });
}

/// `y[c] = sum over rows of x[r, c]`.
pub(crate) fn sum_rows(x: &[f32], columns: usize, y: &mut [f32]) {
    let rows_per_run = (RUN / columns.max(1)).max(16);
    let partial: Vec<Vec<f32>> = x
        .par_chunks(rows_per_run * columns.max(1))
        .map(|run| {
            let mut sums = vec![0f32; columns];
            super::vector::wide(|| {
                for row in run.chunks_exact(columns) {
                    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
            });
            sums
        })
        .collect();
    for (c, y) in y.iter_mut().enumerate() {
        *y = partial.iter().map(|sums| f64::from(sums[c])).sum::<f64>() as f32;
    }
}
