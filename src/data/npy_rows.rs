//! A `.npy` array of rows that stays in its file: what is asked for is read, from any thread, and nothing else is kept.
//!
//! Files are read, not mapped: one that is cut short or changed meanwhile ends in an error, not in a signal, and the memory
//! that reading takes is that of the rows asked for.

use super::npy::{Element, Header, Kind, shown};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Numbers (N, D) in a `.npy` file.
pub(crate) struct NpyRows {
    path: PathBuf,
    file: File,
    header: Header,
    /// Bytes before the first number.
    offset: u64,
    len: usize,
    dim: usize,
}

impl NpyRows {
    /// Opens an array (N, D), or a lone row (D), of any number type in C order; N may be 0.
    ///
    /// # Errors
    /// A file that is no such array, or is truncated.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let problem = |problem: String| Error::file(path, shown(&problem));
        let mut reader = BufReader::new(File::open(path).map_err(Error::io(path, "read"))?);
        let header = Header::read(&mut reader).map_err(problem)?;
        if matches!(header.element.kind, Kind::Bytes | Kind::Unicode) {
            return Err(problem("an array of text; wanted numbers".to_owned()));
        }
        let (len, dim) = match header.shape[..] {
            [dim] if dim > 0 => (1, dim),
            [len, dim] if dim > 0 => (len, dim),
            _ => return Err(problem(format!("wanted codes as an array (N, code), got {:?}", header.shape))),
        };
        let offset = reader.stream_position().map_err(Error::io(path, "read"))?;
        let file = reader.into_inner();
        let has = file.metadata().map_err(Error::io(path, "read"))?.len();
        if offset.checked_add(header.bytes(0).map_err(problem)?).is_none_or(|wanted| wanted > has) {
            return Err(problem(TRUNCATED.to_owned()));
        }
        let size = |n: u64| usize::try_from(n).map_err(|_| problem("the array is too large".to_owned()));
        Ok(Self { path: path.to_owned(), file, offset, len: size(len)?, dim: size(dim)?, header })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Numbers in a row.
    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// These rows, one after the other, as `f32`.
    ///
    /// # Errors
    /// Rows that are not there, or a file that cannot be read any more.
    pub(crate) fn read(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        if rows.start > rows.end || rows.end > self.len {
            let got = format!("{} to {}", rows.start, rows.end);
            return Err(Error::shape("codes", format!("rows within {}", self.len), got));
        }
        let element = self.header.element;
        let row_bytes = self.dim as u64 * element.size_bytes;
        let read = |bytes: &mut [u8]| {
            let read = read_at(&self.file, bytes, self.offset + rows.start as u64 * row_bytes);
            read.map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Error::file(&self.path, TRUNCATED),
                _ => Error::io(&self.path, "read")(error),
            })
        };
        if element == Element::F32 && cfg!(target_endian = "little") {
            let mut values = vec![0.0_f32; rows.len() * self.dim];
            read(bytemuck::cast_slice_mut(&mut values))?;
            return Ok(values);
        }
        let mut bytes = vec![0; rows.len() * row_bytes as usize];
        read(&mut bytes)?;
        Ok(element.floats(&bytes))
    }
}

const TRUNCATED: &str = "the array is truncated: there is less data than its header says; copy or save it again";

/// Fills `bytes` from this place of the file, wherever others read at the same time.
#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], place: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, place)
}

/// Fills `bytes` from this place of the file, wherever others read at the same time.
#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut place: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, bytes, place)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = bytes.get_mut(count..).unwrap_or_default();
        place += count as u64;
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::npy;
    use super::*;
    use std::fs;

    #[test]
    fn any_rows_are_those_of_the_whole_array() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let values: Vec<f32> = (0..40).map(|i| i as f32 * 0.5 - 3.0).collect();
        npy::write(&path, &[10, 4], &values).unwrap();
        let rows = NpyRows::open(&path).unwrap();
        assert_eq!((rows.len(), rows.dim(), rows.path()), (10, 4, path.as_path()));
        for range in [0..10, 3..3, 10..10, 2..7, 9..10] {
            assert_eq!(rows.read(range.clone()).unwrap(), values[range.start * 4..range.end * 4]);
        }
        assert!(rows.read(3..11).is_err());
        // Cut short while it is open.
        let whole = fs::read(&path).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(whole.len() as u64 - 1).unwrap();
        assert_eq!(rows.read(0..9).unwrap(), values[..36]);
        assert!(rows.read(9..10).unwrap_err().to_string().contains("a.npy: the array is truncated"));
        assert!(NpyRows::open(&path).is_err());
    }

    #[test]
    fn other_numbers_are_rounded_and_other_arrays_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let file = |descr: &str, shape: &str, numbers: &[u8]| {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
            let length = (header.len() as u16).to_le_bytes();
            fs::write(&path, [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), numbers].concat()).unwrap();
            NpyRows::open(&path)
        };
        let doubles: Vec<u8> = [1.5_f64, -2.0, 0.25, 4.0].iter().flat_map(|value| value.to_be_bytes()).collect();
        assert_eq!(file(">f8", "2, 2", &doubles).unwrap().read(1..2).unwrap(), [0.25, 4.0]);
        assert_eq!(file(">f8", "4,", &doubles).unwrap().len(), 1);
        assert_eq!(file("<f4", "0, 3", &[]).unwrap().read(0..0).unwrap(), [0.0; 0]);
        for (descr, shape) in [("<f4", "2, 2, 1"), ("<f4", "3, 0"), ("<f4", ""), ("|S4", "2, 2"), ("<f4", "9, 2")] {
            assert!(file(descr, shape, &doubles).is_err(), "{descr} ({shape})");
        }
    }
}
