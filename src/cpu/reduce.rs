//! Sums in an order that does not depend on the number of threads.

use rayon::prelude::*;

/// Elements per partial sum.
const RUN: usize = 4096;

/// Sum of `term(a, b)` over all pairs: `f32` within a run of neighbours, `f64` across the runs.
pub(crate) fn sum_pairs(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32 + Sync) -> f64 {
    let run = |(a, b): (&[f32], &[f32])| -> f64 {
        // Sixteen independent sums: one alone is a chain of dependent additions.
        let mut sums = [0f32; 16];
        let (a16, b16) = (a.chunks_exact(16), b.chunks_exact(16));
        let rest: f32 = a16.remainder().iter().zip(b16.remainder()).map(|(&a, &b)| term(a, b)).sum();
        for (a, b) in a16.zip(b16) {
            for (sum, (&a, &b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                *sum += term(a, b);
            }
        }
        sums.iter().map(|&s| f64::from(s)).sum::<f64>() + f64::from(rest)
    };
    let pairs = a.par_chunks(RUN).zip(b.par_chunks(RUN));
    let partial: Vec<f64> = pairs.map(|pair| super::vector::wide(|| run(pair))).collect();
    partial.iter().sum()
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
