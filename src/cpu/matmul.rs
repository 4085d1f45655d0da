//! Matrix products on the CPU: a panel of columns at a time; those of few rows through the `gemm` crate.

use super::scratch::{self, Scratch};
use super::tile::{Left, Panels, Product, Run};
use crate::graph::{CpuCall, Signature};
use crate::op::{Activation, Matmul};
use gemm::Parallelism;
use rayon::prelude::*;
use std::marker::PhantomData;

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

/// `y = f(y + bias)` over rows of as many columns as there are biases, on this thread.
pub(crate) fn finish_rows(y: &mut [f32], columns: usize, bias: Option<&[f32]>, activation: Activation) {
    if let Some(bias) = bias {
        for row in y.chunks_exact_mut(columns) {
            row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
    }
    activation.apply_all(y);
}

/// Rows below which packing the right side costs more than it gains.
const FEW_ROWS: usize = 4;

/// Tasks, at least, for the threads to share.
const TASKS: usize = 16;

/// Most rows of a task.
const ROWS: usize = 480;

/// Products that one thread takes at least: 10 us of them, to wake another takes some.
const ALONE: usize = 1 << 18;

/// The op on its buffers. A task is a panel of columns by a range of rows: it packs its panel, multiplies, and finishes
/// its part while that is in the cache.
pub(crate) fn run(op: &Matmul, signature: &Signature<'_>, call: &mut CpuCall<'_>) {
    let Some([m, k, n]) = op.extents(signature.inputs) else { return };
    let (a, b, bias) = (call.input(0), call.input(1), call.optional_input(2));
    let y = call.output(0);
    if m < FEW_ROWS {
        let a = Matrix::new(a, if op.transpose_a { m } else { k }, op.transpose_a);
        let b = Matrix::new(b, if op.transpose_b { k } else { n }, op.transpose_b);
        product([m, k, n], a, b, y, Into::Fresh, Parallelism::None);
        return finish_rows(y, n, bias, op.activation);
    }
    let panels = Panels::new(n);
    let ranges = TASKS.div_ceil(panels.count(n));
    let rows = m.div_ceil(ranges).next_multiple_of(12).min(ROWS);
    let ranges = m.div_ceil(rows);
    let tasks = (0..panels.count(n) * ranges).into_par_iter();
    let alone = ALONE / (rows * k * panels.width());
    let y = Columns::new(y, n);
    tasks.with_min_len(alone.max(1)).for_each(|task| {
        let (first, range) =
            (task / ranges * panels.width(), task % ranges * rows..(task % ranges * rows + rows).min(m));
        let columns = panels.width().min(n - first);
        scratch::with(|scratch| {
            let Scratch { floats, rows, to, .. } = scratch;
            let (panel, block) =
                floats.first(panels.width() * k + range.len() * columns).split_at_mut(panels.width() * k);
            match op.transpose_b {
                false => panels.copy_rows(&b[first..], n, columns, panel),
                true => panels.copy_columns(&b[first * k..], k, columns, panel),
            }
            rows.clear();
            rows.extend(range.clone().map(|i| if op.transpose_a { i } else { i * k }));
            to.clear();
            to.extend((0..range.len()).map(|i| i * columns));
            let runs = &[Run { at: 0, len: k }];
            let left = Left { values: a, rows, runs, step: if op.transpose_a { m } else { 1 } };
            Product { left, panels, panel, columns, y: block, to, add: false }.run();
            finish_rows(block, columns, bias.map(|bias| &bias[first..first + columns]), op.activation);
            for (i, row) in range.zip(block.chunks_exact(columns)) {
                // SAFETY: no other task has both this panel and this row.
                unsafe { y.write(i, first, row) };
            }
        });
    });
}

/// A matrix whose columns are written by several threads.
#[derive(Clone, Copy)]
struct Columns<'a> {
    values: *mut f32,
    len: usize,
    columns: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is only written to, through `write`, whose caller sees to it that no two threads write one element.
unsafe impl Send for Columns<'_> {}
// SAFETY: as above.
unsafe impl Sync for Columns<'_> {}

impl<'a> Columns<'a> {
    fn new(values: &'a mut [f32], columns: usize) -> Self {
        Self { len: values.len(), values: values.as_mut_ptr(), columns, borrow: PhantomData }
    }

    /// Writes neighbouring elements of row `i` from column `first` on.
    ///
    /// # Safety
    /// No other thread may write these elements meanwhile.
    unsafe fn write(&self, i: usize, first: usize, values: &[f32]) {
        let at = i * self.columns + first;
        assert!(at + values.len() <= self.len);
        // SAFETY: inside, as asserted, and `values` is not part of a matrix that is borrowed exclusively.
        unsafe { self.values.add(at).copy_from_nonoverlapping(values.as_ptr(), values.len()) };
    }
}
