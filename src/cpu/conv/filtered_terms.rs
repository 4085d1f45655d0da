//! How large the terms are that minimal filtering adds up: what bounds its rounding.

use super::winograd::Winograd;
use super::{Sweep, axes, extents};
use crate::cpu::conv::axis::Axis;
use crate::graph::Signature;
use crate::op::Window;
use crate::tensor::Array;

/// |G|, |B|^T and |A|^T of F(2x2, 3x3).
const KERNEL: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [0.0, 0.0, 1.0]];
const INPUT: [[f64; 4]; 4] = [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]];
const OUTPUT: [[f64; 4]; 2] = [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]];

/// Whether a convolution, or a transposed one, is computed by minimal filtering on the CPU executor.
pub(crate) fn computes_filtered(window: Window, signature: &Signature<'_>, transposed: bool) -> bool {
    let (x, y) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
    Winograd::new(Sweep::new(axes(window, x, y, transposed), [x[3], y[3]])).is_some()
}

/// For each output of a convolution, or a transposed one, the sum of the absolute values of all terms behind it where it is
/// computed by minimal filtering: its formula with the absolute value of every factor. None where that is not possible.
pub(crate) fn filtered_terms(
    window: Window,
    signature: &Signature<'_>,
    inputs: &[&Array],
    transposed: bool,
) -> Option<Vec<f64>> {
    let (x_extents, y_extents) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
    let axes = axes(window, x_extents, y_extents, transposed);
    let channels = [x_extents[3], y_extents[3]];
    let (x, w) = (inputs[0].f64(), inputs[1].f64());
    if !window.suits_filtering() {
        return None;
    }
    let taps = axes.map(|axis: Axis| axis.taps(0).collect::<Vec<_>>());
    let weight = |tap: [usize; 2], i: usize, o: usize| {
        let at = tap[0] * axes[1].kernel() + tap[1];
        w[if transposed { (at * channels[1] + o) * channels[0] + i } else { (at * channels[0] + i) * channels[1] + o }]
    };
    // Transformed kernel: [point][input][output].
    let mut kernel = vec![0.0; 16 * channels[0] * channels[1]];
    for i in 0..channels[0] {
        for o in 0..channels[1] {
            let taps: [[f64; 3]; 3] =
                std::array::from_fn(|r| std::array::from_fn(|c| weight([taps[0][r].1, taps[1][c].1], i, o).abs()));
            for (point, value) in transform(&KERNEL, &taps).into_iter().flatten().enumerate() {
                kernel[(point * channels[0] + i) * channels[1] + o] = value;
            }
        }
    }
    let [batch, height, width, _] = x_extents;
    let [_, out_height, out_width, _] = y_extents;
    let first = [taps[0].first()?.0, taps[1].first()?.0];
    let mut terms = vec![0.0; batch * out_height * out_width * channels[1]];
    for picture in 0..batch {
        for (top, left) in (0..out_height).step_by(2).flat_map(|y| (0..out_width).step_by(2).map(move |x| (y, x))) {
            let pixel = |r: usize, c: usize, i: usize| {
                let y = (top + r).checked_add_signed(first[0]).filter(|y| *y < height)?;
                let at = (left + c).checked_add_signed(first[1]).filter(|x| *x < width)?;
                x.get(((picture * height + y) * width + at) * channels[0] + i).map(|value| value.abs())
            };
            let mut sums = vec![[0.0; 16]; channels[1]];
            for i in 0..channels[0] {
                let tile: [[f64; 4]; 4] =
                    std::array::from_fn(|r| std::array::from_fn(|c| pixel(r, c, i).unwrap_or(0.0)));
                for (point, value) in transform(&INPUT, &tile).into_iter().flatten().enumerate() {
                    let row = &kernel[(point * channels[0] + i) * channels[1]..][..channels[1]];
                    sums.iter_mut().zip(row).for_each(|(sum, factor)| sum[point] += value * factor);
                }
            }
            for (o, sums) in sums.iter().enumerate() {
                let tile: [[f64; 4]; 4] = std::array::from_fn(|r| std::array::from_fn(|c| sums[4 * r + c]));
                for (r, row) in transform(&OUTPUT, &tile).into_iter().enumerate() {
                    for (c, value) in row.into_iter().enumerate() {
                        if top + r < out_height && left + c < out_width {
                            let at = (picture * out_height + top + r) * out_width + left + c;
                            terms[at * channels[1] + o] = value;
                        }
                    }
                }
            }
        }
    }
    Some(terms)
}

/// `factors tile factors^T`.
fn transform<const N: usize, const M: usize>(factors: &[[f64; N]; M], tile: &[[f64; N]; N]) -> [[f64; M]; M] {
    let entry = |r: usize, c: usize| {
        let row = |k: usize| (0..N).map(|l| tile[k][l] * factors[c][l]).sum::<f64>();
        (0..N).map(|k| factors[r][k] * row(k)).sum::<f64>()
    };
    std::array::from_fn(|r| std::array::from_fn(|c| entry(r, c)))
}
