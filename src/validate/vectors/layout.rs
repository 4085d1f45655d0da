//! Where the axes of a case's arrays stand, and where this crate has them.

use super::case_file::Layout;
use crate::tensor::Shape;

/// What an array is to its op: how many axes it has, and how the layout orders them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Element by element: any number of axes, the order does not matter.
    Elements,
    /// One number per channel.
    Vector,
    /// A matrix that has no layout.
    Matrix,
    /// Activations (N, H, W, C).
    Picture,
    /// Whole numbers (N, H, W, C), stored as integers or floats.
    Indices,
    /// Activations of two or more axes with the channels last; in `nchw` they come second.
    Channels,
    /// The kernel of a convolution (kh, kw, in, out), or of a transposed one (kh, kw, out, in): reversed pairs in
    /// `nchw` either way.
    Kernel,
    /// The weight of a dense layer (in, out).
    DenseWeight,
}

impl Role {
    /// How many axes such an array has, if that is given.
    pub(super) fn wants_rank(self, rank: usize) -> bool {
        match self {
            Self::Elements => true,
            Self::Vector => rank == 1,
            Self::Matrix | Self::DenseWeight => rank == 2,
            Self::Channels => rank >= 2,
            Self::Picture | Self::Indices | Self::Kernel => rank == 4,
        }
    }

    /// The same in words.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Self::Elements => "any axes",
            Self::Vector => "one axis",
            Self::Matrix | Self::DenseWeight => "two axes",
            Self::Channels => "two axes or more",
            Self::Picture | Self::Indices | Self::Kernel => "four axes",
        }
    }

    /// The axis in the file of each of our axes.
    pub(super) fn axes(self, layout: Layout, rank: usize) -> Vec<usize> {
        match (layout, self) {
            (Layout::Nchw, Self::Picture | Self::Indices | Self::Channels) if rank > 2 => {
                std::iter::once(0).chain(2..rank).chain([1]).collect()
            }
            (Layout::Nchw, Self::Kernel) if rank == 4 => vec![2, 3, 1, 0],
            (Layout::Nchw, Self::DenseWeight) if rank == 2 => vec![1, 0],
            _ => (0..rank).collect(),
        }
    }
}

/// The permutation that undoes this one.
pub(super) fn inverse(axes: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; axes.len()];
    for (to, &from) in axes.iter().enumerate() {
        if let Some(place) = inverse.get_mut(from) {
            *place = to;
        }
    }
    inverse
}

/// The extents with axis `axes[i]` in place `i`.
pub(super) fn permuted_shape(shape: &Shape, axes: &[usize]) -> Shape {
    axes.iter().filter_map(|&axis| shape.dims().get(axis).copied()).collect::<Vec<usize>>().into()
}

/// The elements with axis `axes[i]` of `shape` in place `i`. `values` has as many as the shape says.
pub(super) fn permuted(values: &[f64], shape: &Shape, axes: &[usize]) -> Vec<f64> {
    if axes.is_sorted() {
        return values.to_vec();
    }
    let mut steps = vec![1; shape.rank()];
    for axis in (1..shape.rank()).rev() {
        steps[axis - 1] = steps[axis] * shape.dims()[axis];
    }
    let to = permuted_shape(shape, axes);
    let mut index = vec![0; axes.len()];
    let mut out = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let at: usize = index.iter().zip(axes).map(|(i, &axis)| i * steps[axis]).sum();
        out.push(values[at]);
        for (place, extent) in index.iter_mut().zip(to.dims()).rev() {
            *place += 1;
            if *place < *extent {
                break;
            }
            *place = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pictures_and_kernels_by_hand() {
        // (1, 2, 1, 3): two channels of one row of three.
        let file = [1., 2., 3., 10., 20., 30.];
        let axes = Role::Picture.axes(Layout::Nchw, 4);
        assert_eq!(permuted_shape(&Shape::from([1, 2, 1, 3]), &axes), Shape::from([1, 1, 3, 2]));
        assert_eq!(permuted(&file, &Shape::from([1, 2, 1, 3]), &axes), [1., 10., 2., 20., 3., 30.]);
        assert_eq!(Role::Kernel.axes(Layout::Nchw, 4), [2, 3, 1, 0]);
        assert_eq!(Role::Channels.axes(Layout::Nchw, 2), [0, 1]);
        assert_eq!(Role::Channels.axes(Layout::Nchw, 3), [0, 2, 1]);
        assert_eq!(Role::DenseWeight.axes(Layout::Nchw, 2), [1, 0]);
        assert_eq!(Role::Kernel.axes(Layout::Nhwc, 4), [0, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn there_and_back(a in 1_usize..4, b in 1_usize..4, c in 1_usize..4, d in 1_usize..4) {
            let shape = Shape::from([a, b, c, d]);
            let values: Vec<f64> = (0..shape.len() as u32).map(f64::from).collect();
            for role in [Role::Picture, Role::Kernel] {
                let axes = role.axes(Layout::Nchw, 4);
                let ours = permuted(&values, &shape, &axes);
                let back = permuted(&ours, &permuted_shape(&shape, &axes), &inverse(&axes));
                prop_assert_eq!(&back, &values);
            }
        }
    }
}
