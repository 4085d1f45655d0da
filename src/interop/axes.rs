//! Axes of arrays put in another order.

/// The array `values` of `shape`, in C order, with its axes in the order `axes`: axis i of the result is axis `axes[i]`
/// of the source, as NumPy's `transpose` has it. `axes` must name each axis once.
pub(super) fn transpose(values: &[f32], shape: &[usize], axes: &[usize]) -> Vec<f32> {
    let mut steps = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        steps[axis - 1] = steps[axis] * shape[axis];
    }
    let mut transposed = Vec::with_capacity(values.len());
    if !values.is_empty() {
        let order: Vec<(usize, usize)> = axes.iter().map(|&axis| (shape[axis], steps[axis])).collect();
        gather(values, 0, &order, &mut transposed);
    }
    transposed
}

/// Appends the elements from `start` on, axis after axis of (extent, step), the last one fastest.
fn gather(values: &[f32], start: usize, order: &[(usize, usize)], into: &mut Vec<f32>) {
    match order {
        [] => into.extend(values.get(start)),
        [(extent, step)] => into.extend((0..*extent).filter_map(|i| values.get(start + i * step))),
        [(extent, step), rest @ ..] => (0..*extent).for_each(|i| gather(values, start + i * step, rest, into)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_move_as_in_numpy() {
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        // numpy.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)[1, 1, 2] is element [1, 2, 1].
        let moved = transpose(&values, &[2, 3, 4], &[2, 0, 1]);
        assert_eq!(moved[6 + 3 + 2], (12 + 2 * 4 + 1) as f32);
        assert_eq!(transpose(&moved, &[4, 2, 3], &[1, 2, 0]), values);
        assert_eq!(transpose(&values, &[24], &[0]), values);
        assert_eq!(transpose(&[7.0], &[], &[]), [7.0]);
        assert_eq!(transpose(&[], &[0, 3], &[1, 0]), [0.0; 0]);
    }
}
