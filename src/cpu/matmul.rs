//! Matrix products on the CPU: a panel of columns at a time; those of few rows through the `gemm` crate.

use super::dots::Dots;
use super::scratch::{self, Scratch};
use super::tile::{Left, Panels, Product, Run, copy, lanes};
use super::vector::wide;
use crate::graph::{CpuCall, Signature};
use crate::op::{Activation, Matmul};
use gemm::Parallelism;
use rayon::prelude::*;
use std::marker::PhantomData;

/// A matrix in memory: its elements and the distance between columns and between rows.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    column_stride: usize,
    row_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix of this many stored columns, seen transposed if asked.
    pub(super) fn new(values: &'a [f32], stored_columns: usize, transposed: bool) -> Self {
        let (column_stride, row_stride) = if transposed { (stored_columns, 1) } else { (1, stored_columns) };
        Self { values, column_stride, row_stride }
    }
}

/// `y (m, n) = a (m, k) b (k, n)`, y in rows, on this thread.
pub(super) fn product([m, k, n]: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, y: &mut [f32]) {
    let last = |rows: usize, columns: usize, matrix: &Matrix<'_>| {
        (rows - 1) * matrix.row_stride + (columns - 1) * matrix.column_stride
    };
    if m * k * n == 0 {
        return;
    }
    assert!(last(m, k, &a) < a.values.len() && last(k, n, &b) < b.values.len() && m * n <= y.len());
    let signed = |stride: usize| stride.cast_signed();
    // SAFETY: the assertion above keeps every (row, column) of a, b and y inside its slice, y is borrowed
    // exclusively, and what stands in it is not read.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            1,
            signed(n),
            false,
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
            Parallelism::None,
        );
    }
}

/// `y = f(y + bias)` over rows of as many columns as there are biases, on this thread.
pub(crate) fn finish_rows(y: &mut [f32], columns: usize, bias: Option<&[f32]>, activation: Activation) {
    if let Some(bias) = bias {
        // Short rows several at a time, by the biases of as many: loops of a few elements are all beginning and end.
        const SIDE_BY_SIDE: usize = 128;
        let rows = (SIDE_BY_SIDE / columns.max(1)).max(1);
        let mut repeated = [0.0; SIDE_BY_SIDE];
        let bias = if rows == 1 {
            bias
        } else {
            repeated.chunks_exact_mut(columns).for_each(|row| row.copy_from_slice(bias));
            &repeated[..rows * columns]
        };
        wide(
            #[inline(always)]
            || {
                for rows in y.chunks_mut(bias.len()) {
                    rows.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
                }
            },
        );
    }
    activation.apply_all(y);
}

/// Rows below which packing the right side costs more than it gains.
const FEW_ROWS: usize = 4;

/// Rows from which on tasks are ranges of rows, each of this many; below they are panels of columns.
const MANY_ROWS: usize = 384;

/// Terms from which on sums over two rows, as they lie in memory, pay for adding up the lanes of each.
const LONG: usize = 256;

/// Lanes from which on the processor takes right sides as they lie in memory. Sums over two rows: 64x784 by 128x784 took
/// 112 us packed and 59 so with AVX-512, but 104 and 149 with AVX2, whose fewer registers share less of what is loaded.
const WIDE: usize = 16;

/// Columns of a task that sums them so: rows of the left side are read once for all of them.
const DOTS: usize = 16;

/// Rows of a task that takes all columns, where there are many.
const RANGE: usize = 48;

/// Products that one thread takes at least: 10 us of them, to wake another takes some.
const ALONE: usize = 1 << 18;

/// The op on its buffers: the right side is packed into panels, then ranges of rows or panels of columns are dealt to
/// threads, which finish their part of y while it is in the cache.
pub(crate) fn run(op: &Matmul, signature: &Signature<'_>, call: &mut CpuCall<'_>) {
    let Some(extents @ [m, k, n]) = op.extents(signature.inputs) else { return };
    let (a, b, bias) = (call.input(0), call.input(1), call.optional_input(2));
    let y = call.output(0);
    if m < FEW_ROWS {
        let a = Matrix::new(a, if op.transpose_a { m } else { k }, op.transpose_a);
        let b = Matrix::new(b, if op.transpose_b { k } else { n }, op.transpose_b);
        product(extents, a, b, y);
        return finish_rows(y, n, bias, op.activation);
    }
    let panels = Panels::new(n);
    let (transposed, activation) = (op.transpose_a, op.activation);
    let work = Work { extents, a, transposed, panels, right: b, pitch: n, bias, activation };
    // Few terms, or short rows: the lines of a panel stay in the first-level cache where they are, and packing them costs
    // more. 64x128 by 128x784 took 200 us packed and 165 so, 64x784 by 784x32 45 and 35; 64x784 by 784x128 175 and 195.
    // With AVX-512 the latter took 110 and 72, and 50x784 by 784x300 165 and 115.
    let bare = !op.transpose_b && (k <= 256 || k * n <= if lanes() >= WIDE { 1 << 18 } else { 1 << 15 });
    if bare && m < MANY_ROWS {
        return if work.prefers_rows() { work.by_rows(y) } else { work.by_panels(y) };
    }
    if op.transpose_b && !op.transpose_a && k >= LONG && m < MANY_ROWS && lanes() >= WIDE {
        return work.by_dots(y);
    }
    scratch::with(|scratch| {
        let packed = scratch.floats.first(panels.floats(k, n));
        let right = pack(panels, [k, n], b, op.transpose_b, packed);
        let work = Work { right, pitch: panels.width(), ..work };
        if m < MANY_ROWS { work.by_panels(y) } else { work.by_rows(y) }
    });
}

/// Copies a right side into panels.
fn pack<'a>(panels: Panels, [k, n]: [usize; 2], b: &[f32], transposed: bool, packed: &'a mut [f32]) -> &'a [f32] {
    // Panels of a task: four of them read whole cache lines side by side.
    const SIDE_BY_SIDE: usize = 4;
    let width = panels.width();
    let tasks = packed.par_chunks_mut(SIDE_BY_SIDE * k * width).enumerate();
    tasks.with_min_len((1 << 15) / (SIDE_BY_SIDE * k * width)).for_each(|(task, packed)| {
        let first = task * SIDE_BY_SIDE * width;
        if transposed {
            for (i, panel) in packed.chunks_exact_mut(k * width).enumerate() {
                let first = first + i * width;
                panels.copy_columns(&b[first * k..], k, width.min(n - first), panel);
            }
            return;
        }
        for (row, b) in b.chunks_exact(n).enumerate() {
            for (panel, b) in packed.chunks_exact_mut(k * width).zip(b[first..].chunks(width)) {
                panels.copy_row(b, &mut panel[row * width..][..width]);
            }
        }
    });
    packed
}

/// A product.
#[derive(Clone, Copy)]
struct Work<'a> {
    extents: [usize; 3],
    a: &'a [f32],
    transposed: bool,
    panels: Panels,
    /// Packed, or as it was given.
    right: &'a [f32],
    /// Floats from a row of a panel to the next.
    pitch: usize,
    bias: Option<&'a [f32]>,
    activation: Activation,
}

impl Work<'_> {
    /// One panel of y after the other.
    fn by_panels(&self, y: &mut [f32]) {
        let [m, k, n] = self.extents;
        let width = self.panels.width();
        let tasks = (0..self.panels.count(n)).into_par_iter();
        let y = Columns::new(y, n);
        tasks.with_min_len((ALONE / (m * k * width)).max(1)).for_each(|i| {
            let first = i * width;
            let columns = width.min(n - first);
            scratch::with(|scratch| {
                let Scratch { floats, rows, to, .. } = scratch;
                let (block, last) = floats.first(m * columns + k * width).split_at_mut(m * columns);
                let (panels, panel, pitch) = self.panel(i, last);
                rows.clear();
                rows.extend((0..m).map(|i| if self.transposed { i } else { i * k }));
                to.clear();
                to.extend((0..m).map(|i| i * columns));
                let left = Left {
                    values: self.a,
                    rows,
                    runs: &[Run { at: 0, len: k }],
                    step: if self.transposed { m } else { 1 },
                };
                Product { left, panels, panel, pitch, columns, y: block, to, add: false }.run();
                self.finish(block, columns, first, &y);
            });
        });
    }

    /// Panel `i` of the right side, with its width and pitch. A last one that is short and lies where it was given is packed into
    /// `last`.
    fn panel<'a>(&'a self, i: usize, last: &'a mut [f32]) -> (Panels, &'a [f32], usize) {
        let [_, k, n] = self.extents;
        let width = self.panels.width();
        let first = i * width;
        let columns = width.min(n - first);
        if self.pitch == width {
            (self.panels, &self.right[first * k..], width)
        } else if columns == width {
            (self.panels, &self.right[first..], self.pitch)
        } else {
            let panels = Panels::new(columns);
            let last = &mut last[..k * panels.width()];
            panels.copy_rows(&self.right[first..], n, columns, last);
            (panels, last, panels.width())
        }
    }

    /// A few columns of y after the other, each a sum over its column of b, which is a row in memory.
    fn by_dots(&self, y: &mut [f32]) {
        let [m, k, n] = self.extents;
        let tasks = (0..n.div_ceil(DOTS)).into_par_iter();
        let y = Columns::new(y, n);
        tasks.with_min_len((ALONE / (m * k * DOTS)).max(1)).for_each(|i| {
            let first = i * DOTS;
            let columns = DOTS.min(n - first);
            scratch::with(|scratch| {
                let Scratch { floats, rows, to, .. } = scratch;
                let block = floats.first(m * columns);
                rows.clear();
                rows.extend((0..m).map(|i| i * k));
                to.clear();
                to.extend((0..m).map(|i| i * columns));
                let left = Left { values: self.a, rows, runs: &[Run { at: 0, len: k }], step: 1 };
                Dots { left, right: &self.right[first * k..][..columns * k], columns, y: block, to }.run();
                self.finish(block, columns, first, &y);
            });
        });
    }

    /// Finishes columns of y from `first` on, which no other task has, and writes them to their place.
    fn finish(&self, block: &mut [f32], columns: usize, first: usize, y: &Columns<'_>) {
        finish_rows(block, columns, self.bias.map(|bias| &bias[first..first + columns]), self.activation);
        for (i, row) in block.chunks_exact(columns).enumerate() {
            // SAFETY: the caller's word that no other task has these columns.
            unsafe { y.write(i, first, row) };
        }
    }

    /// Whether ranges of rows are better tasks than panels: there are rows enough for all threads, and too few panels, or panels
    /// so short that what each costs beside its products tells.
    fn prefers_rows(&self) -> bool {
        let ([m, k, n], threads, width) = (self.extents, rayon::current_num_threads(), self.panels.width());
        let panels = self.panels.count(n);
        m >= 16 * threads && (panels < threads || panels > 4 && m * k * width <= ALONE)
    }

    /// Rows of y of a task that takes all columns.
    fn range(&self) -> usize {
        let m = self.extents[0];
        if m < MANY_ROWS { m.div_ceil(rayon::current_num_threads()).next_multiple_of(8) } else { RANGE }
    }

    /// One range of rows of y after the other.
    fn by_rows(&self, y: &mut [f32]) {
        let [m, k, n] = self.extents;
        let (width, range) = (self.panels.width(), self.range());
        let tasks = y.par_chunks_mut(range * n).enumerate();
        tasks.with_min_len(ALONE / (range * k * n)).for_each(|(i, y)| {
            let (first, count) = (i * range, y.len() / n);
            scratch::with(|scratch| {
                let Scratch { floats, rows, to, .. } = scratch;
                rows.clear();
                to.clear();
                to.extend((0..count).map(|i| i * n));
                let gathered = self.transposed && self.panels.count(n) > 2;
                let part_len = if gathered { count * k } else { 0 };
                let (part, last) = floats.first(part_len + width * k).split_at_mut(part_len);
                let (values, step) = if gathered {
                    // The range's part of each stored row side by side: far apart, each would be on a page of its own.
                    for (part, a) in part.chunks_exact_mut(count).zip(self.a.chunks_exact(m)) {
                        copy(&a[first..first + count], part);
                    }
                    rows.extend(0..count);
                    (&*part, count)
                } else if self.transposed {
                    rows.extend(first..first + count);
                    (self.a, m)
                } else {
                    rows.extend((0..count).map(|i| i * k));
                    (&self.a[first * k..(first + count) * k], 1)
                };
                let left = Left { values, rows, runs: &[Run { at: 0, len: k }], step };
                for i in 0..self.panels.count(n) {
                    let columns = width.min(n - i * width);
                    let (panels, panel, pitch) = self.panel(i, last);
                    Product { left, panels, panel, pitch, columns, y: &mut y[i * width..], to, add: false }.run();
                }
            });
            finish_rows(y, n, self.bias, self.activation);
        });
    }
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
        // SAFETY: inside, as asserted, and nobody else's meanwhile.
        copy(values, unsafe { std::slice::from_raw_parts_mut(self.values.add(at), values.len()) });
    }
}
