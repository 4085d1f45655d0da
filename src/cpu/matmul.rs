//! Matrix products on the CPU, through the `gemm` crate.

use crate::graph::{CpuCall, Signature};
use crate::op::{Activation, Matmul};
use gemm::Parallelism;
use rayon::prelude::*;

/// A matrix in memory: its elements and the distance between columns and between rows.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) column_stride: usize,
    pub(crate) row_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix of this many stored columns, seen transposed if asked.
    pub(crate) fn new(values: &'a [f32], stored_columns: usize, transposed: bool) -> Self {
        let (column_stride, row_stride) = if transposed { (stored_columns, 1) } else { (1, stored_columns) };
        Self { values, column_stride, row_stride }
    }
}

/// Whether the product is added to what stands in y.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    /// y is overwritten.
    Fresh,
    /// y grows by the product.
    Sum,
}

/// `y (m, n) = a (m, k) b (k, n)`, y in rows.
pub(crate) fn product(
    [m, k, n]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    y: &mut [f32],
    into: Into,
    threads: Parallelism,
) {
    let last = |rows: usize, columns: usize, matrix: &Matrix<'_>| {
        (rows - 1) * matrix.row_stride + (columns - 1) * matrix.column_stride
    };
    if m * k * n == 0 {
        return;
    }
    assert!(last(m, k, &a) < a.values.len() && last(k, n, &b) < b.values.len() && m * n <= y.len());
    let signed = |stride: usize| stride.cast_signed();
    // SAFETY: the assertion above keeps every (row, column) of a, b and y inside its slice, y is borrowed
    // exclusively, and the alpha and beta given are those of y = beta-less or y + product.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            1,
            signed(n),
            into == Into::Sum,
            a.values.as_ptr(),
            signed(a.column_stride),
            signed(a.row_stride),
            b.values.as_ptr(),
            signed(b.column_stride),
            signed(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

/// Threads for a product of this many multiply-adds: small ones lose more by meeting than they gain.
pub(crate) fn threads_for(products: usize) -> Parallelism {
    if products < 1 << 21 { Parallelism::None } else { Parallelism::Rayon(0) }
}

/// `y = f(y + bias)` over rows of as many columns as there are biases.
pub(crate) fn finish(y: &mut [f32], columns: usize, bias: Option<&[f32]>, activation: Activation) {
    if bias.is_none() && activation == Activation::Linear {
        return;
    }
    let rows = (4096 / columns.max(1)).max(1) * columns.max(1);
    y.par_chunks_mut(rows).for_each(|rows| finish_rows(rows, columns, bias, activation));
}

/// As [`finish`], on this thread.
pub(crate) fn finish_rows(y: &mut [f32], columns: usize, bias: Option<&[f32]>, activation: Activation) {
    if let Some(bias) = bias {
        for row in y.chunks_exact_mut(columns) {
            row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
    }
    activation.apply_all(y);
}

/// The op on its buffers.
pub(crate) fn run(op: &Matmul, signature: &Signature<'_>, call: &mut CpuCall<'_>) {
    let Some(extents @ [m, k, n]) = op.extents(signature.inputs) else { return };
    let a = Matrix::new(call.input(0), if op.transpose_a { m } else { k }, op.transpose_a);
    let b = Matrix::new(call.input(1), if op.transpose_b { k } else { n }, op.transpose_b);
    let bias = call.optional_input(2);
    let y = call.output(0);
    product(extents, a, b, y, Into::Fresh, threads_for(m * k * n));
    finish(y, n, bias, op.activation);
}
