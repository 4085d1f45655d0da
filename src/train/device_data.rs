//! How a data set lies on the device: all of it, or a ring that its pictures stream through.

use super::program::names;
use crate::data::Values;
use crate::error::{Error, Result};
use crate::kernel::Target;
use crate::op::MAX_CHUNKS;
use crate::session::Session;
use crate::tensor::{Shape, TensorType, pack_rows};
use std::ops::Range;

/// Rows of bytes or reals in one to [`MAX_CHUNKS`] buffers.
#[derive(Clone)]
pub(super) struct DeviceData {
    sample: Shape,
    chunks: Vec<TensorType>,
    /// Whether the rows are a ring.
    ring: bool,
}

impl DeviceData {
    /// All `rows` samples of this kind.
    ///
    /// # Errors
    /// If they do not fit the device's buffers.
    pub(super) fn resident(sample: [usize; 3], rows: usize, bytes: bool, target: Option<&Target>) -> Result<Self> {
        Self::split(sample, rows, bytes, target, false).ok_or_else(|| {
            let row_bytes = row_type(&sample, 1, bytes).size_bytes();
            let problem = format!("{rows} pictures of {row_bytes} bytes exceed the device's buffers");
            Error::setting("data", problem)
        })
    }

    /// A ring of `rows` samples; none where even they do not fit the device's buffers.
    pub(super) fn ring(sample: [usize; 3], rows: usize, bytes: bool, target: Option<&Target>) -> Option<Self> {
        Self::split(sample, rows, bytes, target, true)
    }

    fn split(sample: [usize; 3], rows: usize, bytes: bool, target: Option<&Target>, ring: bool) -> Option<Self> {
        let row_bytes = row_type(&sample, 1, bytes).size_bytes().max(1) as u64;
        let per_chunk = target.map_or(rows, |t| (t.max_binding_bytes / row_bytes) as usize).clamp(1, rows.max(1));
        if rows.div_ceil(per_chunk) > MAX_CHUNKS {
            return None;
        }
        let chunk = |first: usize| row_type(&sample, per_chunk.min(rows - first), bytes);
        let chunks = (0..rows).step_by(per_chunk).map(chunk).collect();
        Some(Self { sample: sample[..].into(), chunks, ring })
    }

    /// Shape of one sample.
    pub(super) fn sample(&self) -> &Shape {
        &self.sample
    }

    /// Types of the buffers.
    pub(super) fn chunks(&self) -> &[TensorType] {
        &self.chunks
    }

    /// Rows of the ring, where it is one.
    pub(super) fn ring_rows(&self) -> Option<usize> {
        self.ring.then(|| self.rows())
    }

    fn rows(&self) -> usize {
        self.chunks.iter().map(|ty| ty.shape.dims()[0]).sum()
    }

    /// Bytes of all buffers.
    pub(super) fn size_bytes(&self) -> u64 {
        self.chunks.iter().map(|ty| ty.size_bytes() as u64).sum()
    }

    /// Writes packed rows to the device, from row `first` on.
    ///
    /// # Errors
    /// If there is not room for so many, or the device is lost.
    pub(super) fn write(&self, session: &mut Session, first: usize, words: &[u32]) -> Result<()> {
        let Some(row_words) = self.chunks.first().map(|ty| ty.words() / ty.shape.dims()[0].max(1)) else {
            return Ok(());
        };
        let (mut row, mut left) = (first, words);
        let mut start = 0;
        for (c, ty) in self.chunks.iter().enumerate() {
            let end = start + ty.shape.dims()[0];
            let count = end.saturating_sub(row).min(left.len() / row_words);
            if row >= start && count > 0 {
                let (now, rest) = left.split_at(count * row_words);
                session.write_part(&names::chunk(c), (row - start) * row_words, now)?;
                (row, left) = (row + count, rest);
            }
            start = end;
        }
        if left.is_empty() {
            return Ok(());
        }
        Err(Error::shape("data", format!("rows up to {start}"), format!("{} words more", left.len())))
    }

    /// Writes all of a data set, a part at a time.
    ///
    /// # Errors
    /// As [`DeviceData::write`].
    pub(super) fn write_all(&self, session: &mut Session, values: &Values) -> Result<()> {
        const PART_ROWS: usize = 1 << 14;
        let (rows, columns) = (self.rows(), self.sample.len());
        for first in (0..rows).step_by(PART_ROWS) {
            let part = first..rows.min(first + PART_ROWS);
            self.write(session, first, &pack(values, columns, part.start * columns..part.end * columns))?;
        }
        Ok(())
    }
}

fn row_type(sample: &[usize; 3], rows: usize, bytes: bool) -> TensorType {
    let columns: usize = sample.iter().product();
    if bytes { TensorType::u8([rows, columns]) } else { TensorType::f32([rows, columns]) }
}

/// Whole rows as the words that the device holds.
fn pack(values: &Values, columns: usize, numbers: Range<usize>) -> Vec<u32> {
    match values {
        Values::U8(bytes) => pack_rows(&bytes[numbers], columns),
        Values::F32(reals) => bytemuck::cast_slice(&reals[numbers]).to_vec(),
    }
}

/// The samples with these indices, in this order, as the words that the device holds. An index past the end is an empty
/// row.
pub(super) fn pack_samples(values: &Values, columns: usize, indices: &[u32]) -> Vec<u32> {
    let row_words = match values {
        Values::U8(_) => columns.div_ceil(4),
        Values::F32(_) => columns,
    };
    let mut words = vec![0; indices.len() * row_words];
    for (&index, packed) in indices.iter().zip(words.chunks_exact_mut(row_words.max(1))) {
        let range = index as usize * columns..(index as usize + 1) * columns;
        match values {
            Values::U8(bytes) => {
                if let Some(row) = bytes.get(range) {
                    bytemuck::cast_slice_mut::<u32, u8>(packed)[..columns].copy_from_slice(row);
                }
            }
            Values::F32(reals) => {
                if let Some(row) = reals.get(range) {
                    packed.copy_from_slice(bytemuck::cast_slice(row));
                }
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::graph::Graph;
    use crate::tensor::Class;

    /// A session with the chunks of `data`, and something that uses them.
    fn session(data: &DeviceData) -> Session {
        let mut session = Session::cpu();
        let mut graph = Graph::new();
        for (c, ty) in data.chunks().iter().enumerate() {
            let chunk = graph.persistent(Class::Input, &names::chunk(c), ty.clone()).unwrap();
            let rows = graph.persistent(Class::Input, "rows", TensorType::u32([1])).unwrap();
            let clock = graph.persistent(Class::State, "clock", crate::op::Tick::clock()).unwrap();
            let op = crate::op::Gather { sample: data.sample().clone(), batch: 1, offset: 0.0, ring: false };
            let row = graph.apply(op, &[rows, clock, chunk]).unwrap()[0];
            graph.keep(row, &format!("row {c}")).unwrap();
        }
        session.record(&graph).unwrap();
        session
    }

    fn read(session: &mut Session, data: &DeviceData) -> Vec<u32> {
        (0..data.chunks().len()).flat_map(|c| session.read_words(&names::chunk(c)).unwrap()).collect()
    }

    #[test]
    fn data_past_the_binding_limit_is_split_into_chunks() {
        let target = Target { max_binding_bytes: 1000, ..Target::DEFAULT_LIMITS };
        let count = 1100;
        let bytes = Values::U8((0..count * 7).map(|i| (i % 251) as u8).collect());
        let reals = Values::F32((0..count * 7).map(|i| i as f32).collect());
        // Rows of 7 bytes are padded to 8.
        for (values, row_bytes, per_chunk) in [(bytes, 8, 125), (reals, 28, 35)] {
            let is_bytes = matches!(values, Values::U8(_));
            let data = DeviceData::resident([1, 7, 1], count, is_bytes, Some(&target)).unwrap();
            assert!(data.chunks.iter().all(|ty| ty.size_bytes() <= 1000), "{:?}", data.chunks);
            assert_eq!(data.chunks.len(), count.div_ceil(per_chunk));
            let whole = DeviceData::resident([1, 7, 1], count, is_bytes, None).unwrap();
            let (mut split, mut one) = (session(&data), session(&whole));
            data.write_all(&mut split, &values).unwrap();
            whole.write_all(&mut one, &values).unwrap();
            let words = read(&mut split, &data);
            assert_eq!(words.len() * 4, count * row_bytes);
            assert_eq!(words, read(&mut one, &whole));
            let all: Vec<u32> = (0..count as u32).collect();
            assert_eq!(words, pack_samples(&values, 7, &all));
            let most = per_chunk * MAX_CHUNKS;
            assert!(DeviceData::resident([1, 7, 1], most, is_bytes, Some(&target)).is_ok());
            assert!(DeviceData::resident([1, 7, 1], most + 1, is_bytes, Some(&target)).is_err());
        }
    }

    #[test]
    fn a_part_may_cross_chunks_and_must_not_pass_the_end() {
        let target = Target { max_binding_bytes: 24, ..Target::DEFAULT_LIMITS };
        let ring = DeviceData::ring([1, 7, 1], 8, true, Some(&target)).unwrap();
        assert_eq!((ring.chunks.len(), ring.ring_rows(), ring.size_bytes()), (3, Some(8), 64));
        let mut session = session(&ring);
        ring.write(&mut session, 2, &[1, 1, 2, 2, 3, 3, 4, 4, 5, 5]).unwrap();
        assert_eq!(read(&mut session, &ring), [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0, 0]);
        assert!(ring.write(&mut session, 7, &[1; 4]).is_err());
    }
}
