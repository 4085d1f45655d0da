//! Memory that kernels work in, kept from step to step: a replayed step allocates none.

use super::tile::Run;
use std::cell::RefCell;

/// What one kernel, or one part of it on one thread, works in.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Values.
    pub(crate) floats: Aligned<f32>,
    /// Sums in double precision.
    pub(crate) doubles: Aligned<f64>,
    /// Offsets of rows that are read.
    pub(crate) rows: Vec<usize>,
    /// Offsets of rows that are written.
    pub(crate) to: Vec<usize>,
    /// Runs of neighbouring columns.
    pub(crate) runs: Vec<Run>,
}

/// Values that start on a cache line.
#[derive(Default)]
pub(crate) struct Aligned<T>(Vec<T>);

impl<T: Copy + Default> Aligned<T> {
    /// The first `len` of them, whatever they are.
    pub(crate) fn first(&mut self, len: usize) -> &mut [T] {
        const LINE: usize = 64;
        let line = LINE / size_of::<T>();
        if self.0.len() < len + line {
            self.0.resize(len + line, T::default());
        }
        let start = self.0.as_ptr().align_offset(LINE).min(line);
        &mut self.0[start..start + len]
    }
}

thread_local! {
    /// A kernel takes the last one and its parts, on the same thread, the ones before.
    static IDLE: RefCell<Vec<Scratch>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with scratch that nothing else uses meanwhile, whatever else this thread does within `work`.
pub(crate) fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = IDLE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = work(&mut scratch);
    IDLE.with_borrow_mut(|idle| idle.push(scratch));
    result
}
