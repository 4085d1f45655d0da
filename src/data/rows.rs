//! Samples that stand one after the other in a stream of numbers: the data part of arrays and IDX files.

use crate::data::npy::{Element, Kind, read_bytes};
use crate::data::source::Progress;
use crate::data::{Target, Values, fit};
use rayon::prelude::*;
use std::io::{self, Read};

/// About how many bytes are read and resized at a time.
const CHUNK_BYTES: u64 = 8 << 20;
/// Largest sample, in pixels.
const MAX_PIXELS: u64 = 100_000_000;

/// What a stream holds.
pub(super) struct Rows {
    pub(super) count: u64,
    /// How many stand before them and were passed over.
    pub(super) skipped: u64,
    /// Height, width, channels (1 or 3) of each.
    pub(super) shape: [u64; 3],
    pub(super) element: Element,
}

impl Rows {
    /// Those from sample `first` on, and the bytes of the ones before them, which the caller passes over.
    pub(super) fn part(self, first: usize) -> (Self, u64) {
        let skipped = self.count.min(first as u64);
        let sample_bytes = self.shape.iter().fold(self.element.size_bytes, |n, &size| n.saturating_mul(size));
        (Self { count: self.count - skipped, skipped, ..self }, skipped.saturating_mul(sample_bytes))
    }

    /// The first `limit` samples at the target's size. The error is the problem without the file's name.
    pub(super) fn read(
        &self,
        reader: &mut impl Read,
        target: &Target,
        limit: usize,
        progress: &dyn Progress,
    ) -> Result<Values, String> {
        let [h, w, c] = self.shape;
        let pixels = h.checked_mul(w).filter(|&n| (1..=MAX_PIXELS).contains(&n));
        let Some(numbers) = pixels.map(|n| n * c) else {
            return Err(format!("a sample of {h}x{w} pixels; wanted 1 to {MAX_PIXELS}"));
        };
        let row_bytes = numbers * self.element.size_bytes;
        let count = self.count.min(limit as u64);
        if count == 0 {
            return Err("holds no samples".into());
        }
        progress.total(count.saturating_mul(row_bytes));
        let shape = [h as usize, w as usize, c as usize];
        let is_u8 = self.element == Element::U8;
        let (mut all_bytes, mut all_floats) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < count {
            let rows = (CHUNK_BYTES / row_bytes).max(1).min(count - at);
            let bytes = read_bytes(reader, rows * row_bytes)?;
            if is_u8 {
                append(&mut all_bytes, bytes, shape, target);
            } else {
                let floats = self.element.floats(&bytes);
                if let Some(bad) = floats.iter().position(|x| !x.is_finite()) {
                    let row = self.skipped + at + bad as u64 / numbers;
                    return Err(format!("row {row} holds NaN or infinity; all numbers must be finite"));
                }
                append(&mut all_floats, floats, shape, target);
            }
            progress.advance(rows * row_bytes);
            at += rows;
        }
        Ok(if is_u8 { Values::U8(all_bytes.into()) } else { Values::F32(all_floats.into()) })
    }
}

/// Reads this many bytes and forgets them.
pub(super) fn pass_over(reader: &mut impl Read, count: u64) -> Result<(), String> {
    match io::copy(&mut reader.take(count), &mut io::sink()) {
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err(format!("cannot be read: {e}")),
        // What is missing is told where the samples behind it are read.
        _ => Ok(()),
    }
}

/// Whether samples can be made of these numbers.
pub(super) fn check_element(element: Element) -> Result<(), String> {
    match element {
        Element { kind: Kind::Float, .. } | Element::U8 => Ok(()),
        _ => {
            Err("pictures must be u8 (0 to 255), f32 or f64; convert with astype('uint8') or astype('float32')".into())
        }
    }
}

/// Adds samples of `shape`, brought to the target's size.
pub(super) fn append<T: fit::Pixel>(all: &mut Vec<T>, more: Vec<T>, shape: [usize; 3], target: &Target) {
    if shape == target.shape() {
        all.extend(more);
        return;
    }
    let samples = more.par_chunks_exact(shape.iter().product::<usize>().max(1));
    let resized: Vec<Vec<T>> = samples.map(|sample| fit::fit(sample, shape, target)).collect();
    all.extend(resized.iter().flatten());
}
