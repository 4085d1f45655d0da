//! NumPy's `.npy` format (versions 1 to 3): reading numbers and labels, writing floats.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use super::picture::printable;
use crate::atomic_file::write_file;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

/// The first bytes of every `.npy` file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header that is read, in bytes; NumPy's own are under a few hundred.
const MAX_HEADER_BYTES: usize = 1 << 20;
/// Widest text label, in bytes.
const MAX_TEXT_BYTES: u64 = 4096;

/// What the numbers of an array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) kind: Kind,
    /// Bytes of one number or text.
    pub(super) size_bytes: u64,
    pub(super) big_endian: bool,
}

/// NumPy's kind letters: b, u, i, f, S and U.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
    Bytes,
    Unicode,
}

/// The header of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) element: Element,
    pub(super) shape: Vec<u64>,
    /// Whether the first axis is the contiguous one; never for less than two axes.
    fortran_order: bool,
}

impl Header {
    /// Reads the header of an array in C order, up to the first byte of the numbers. The error is the problem without
    /// the file's name.
    pub(super) fn read(reader: &mut impl Read) -> Result<Self, String> {
        let header = Self::read_any_order(reader)?;
        if header.fortran_order {
            return Err("the array is in Fortran order; save numpy.ascontiguousarray(x)".into());
        }
        Ok(header)
    }

    fn read_any_order(reader: &mut impl Read) -> Result<Self, String> {
        let mut take = |count: usize| {
            let mut bytes = Vec::new();
            let read = reader.take(count as u64).read_to_end(&mut bytes);
            read.ok().filter(|&n| n == count).map(|_| bytes).ok_or("the .npy header is truncated")
        };
        if take(MAGIC.len())? != MAGIC {
            return Err("not a .npy array: it does not begin with \\x93NUMPY".into());
        }
        let version = take(2)?[0];
        let length = match version {
            1 => take(2)?.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b)),
            2 | 3 => take(4)?.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b)),
            _ => return Err(format!(".npy version {version} is not known; wanted 1, 2 or 3")),
        };
        if length > MAX_HEADER_BYTES {
            return Err(format!("the .npy header claims {length} bytes"));
        }
        Self::parse(&String::from_utf8_lossy(&take(length)?))
    }

    /// From the text of a header: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str) -> Result<Self, String> {
        let field = |key: &str| {
            let (_, rest) = text.split_once(&format!("'{key}'"))?;
            rest.trim_start().strip_prefix(':').map(str::trim_start)
        };
        let malformed = || format!("the .npy header cannot be understood: {}", text.trim());
        let descr = field("descr").ok_or_else(malformed)?;
        let Some(descr) = descr.strip_prefix('\'').and_then(|d| d.split_once('\'')) else {
            return Err("an array of records; save one field, as plain numbers".into());
        };
        let shape = field("shape").and_then(|s| s.strip_prefix('(')?.split_once(')')).ok_or_else(malformed)?.0;
        let sizes = shape.split(',').map(str::trim).filter(|s| !s.is_empty());
        let shape: Vec<u64> = sizes.map(str::parse).collect::<Result<_, _>>().map_err(|_| malformed())?;
        let fortran_order = match field("fortran_order").ok_or_else(malformed)? {
            order if order.starts_with("False") => false,
            order if order.starts_with("True") => true,
            _ => return Err(malformed()),
        };
        let fortran_order = fortran_order && shape.len() > 1;
        let header = Self { element: Element::parse(descr.0)?, shape, fortran_order };
        header.bytes(0)?;
        Ok(header)
    }

    /// How many bytes the numbers take from dimension `first` on.
    pub(super) fn bytes(&self, first: usize) -> Result<u64, String> {
        let sizes = self.shape.iter().skip(first);
        sizes
            .copied()
            .try_fold(self.element.size_bytes, u64::checked_mul)
            .ok_or_else(|| format!("the shape {:?} is too large", self.shape))
    }
}

impl Element {
    pub(super) const F32: Self = Self { kind: Kind::Float, size_bytes: 4, big_endian: false };
    pub(super) const U8: Self = Self { kind: Kind::Unsigned, size_bytes: 1, big_endian: false };

    fn parse(descr: &str) -> Result<Self, String> {
        let unknown = || format!("numbers of type {descr:?} cannot be read; wanted u1, f4 or f8");
        let mut letters = descr.chars();
        let (order, kind) = (letters.next().ok_or_else(unknown)?, letters.next().ok_or_else(unknown)?);
        let number = letters.as_str().parse().map_err(|_| unknown());
        let (kind, size_bytes) = match (kind, number) {
            ('b', Ok(1)) => (Kind::Bool, 1),
            ('u', Ok(size @ (1 | 2 | 4 | 8))) => (Kind::Unsigned, size),
            ('i', Ok(size @ (1 | 2 | 4 | 8))) => (Kind::Signed, size),
            ('f', Ok(size @ (4 | 8))) => (Kind::Float, size),
            ('S', Ok(size @ 0..=MAX_TEXT_BYTES)) => (Kind::Bytes, size),
            ('U', Ok(size @ 0..=MAX_TEXT_BYTES)) => (Kind::Unicode, size * 4),
            ('O', _) => return Err("an array of Python objects; save numbers, or text as astype(str)".into()),
            _ => return Err(unknown()),
        };
        match order {
            '<' | '|' => Ok(Self { kind, size_bytes, big_endian: false }),
            '>' => Ok(Self { kind, size_bytes, big_endian: true }),
            _ => Err(unknown()),
        }
    }

    /// The number in `bytes`, of which there are `size_bytes`; text has none.
    fn number(self, bytes: &[u8]) -> f64 {
        let integer = || {
            let join = |n: u64, &b: &u8| n << 8 | u64::from(b);
            if self.big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
        };
        match (self.kind, self.size_bytes) {
            (Kind::Float, 4) => f64::from(f32::from_bits(integer() as u32)),
            (Kind::Float, _) => f64::from_bits(integer()),
            (Kind::Bool | Kind::Unsigned, _) => integer() as f64,
            (Kind::Signed, size) => {
                let unused = 64 - 8 * size as u32;
                ((integer() << unused) as i64 >> unused) as f64
            }
            (Kind::Bytes | Kind::Unicode, _) => f64::NAN,
        }
    }

    /// The numbers in `bytes` as f32.
    pub(super) fn floats(self, bytes: &[u8]) -> Vec<f32> {
        if self == Self::F32 {
            let (elements, _) = bytes.as_chunks();
            return elements.iter().map(|&element| f32::from_le_bytes(element)).collect();
        }
        let elements = bytes.chunks_exact(self.size_bytes.max(1) as usize);
        elements.map(|element| self.number(element) as f32).collect()
    }

    /// The text or number in `bytes` as the name of a class.
    fn label(self, bytes: &[u8]) -> Result<String, String> {
        match self.kind {
            Kind::Bytes => Ok(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_string()),
            Kind::Unicode => {
                let number = Self { kind: Kind::Unsigned, size_bytes: 4, big_endian: self.big_endian };
                let letters =
                    bytes.chunks_exact(4).map(|c| char::from_u32(number.number(c) as u32).unwrap_or('\u{fffd}'));
                Ok(letters.collect::<String>().trim_end_matches('\0').to_string())
            }
            _ => {
                let number = self.number(bytes);
                if number.fract() != 0.0 || !number.is_finite() {
                    return Err(format!("labels must be whole numbers or text, got {number}"));
                }
                Ok(format!("{number:.0}"))
            }
        }
    }
}

/// `count` bytes; the buffer grows with what is there, whatever a header claims.
pub(super) fn read_bytes(reader: &mut impl Read, count: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    match reader.take(count).read_to_end(&mut bytes) {
        // What is packed tells by an error that it ends too early.
        Err(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => Err(format!("cannot be read: {e}")),
        _ if bytes.len() as u64 == count => Ok(bytes),
        _ => Err("the array is truncated: there is less data than its header says; copy or save it again".into()),
    }
}

/// The labels in an array of shape (N,) or (N, 1): whole numbers or text.
pub(super) fn read_labels(reader: &mut impl Read) -> Result<Vec<String>, String> {
    let header = Header::read(reader)?;
    if !matches!(header.shape.as_slice(), [_] | [_, 1]) || header.element.size_bytes == 0 {
        return Err(format!("labels must have the shape (N,), got {:?}", header.shape));
    }
    let bytes = read_bytes(reader, header.bytes(0)?)?;
    bytes.chunks_exact(header.element.size_bytes as usize).map(|b| header.element.label(b)).collect()
}

/// A problem that may quote a damaged header, made short and fit to be shown.
pub(super) fn shown(problem: &str) -> String {
    const MAX_CHARS: usize = 300;
    printable(&problem.chars().take(MAX_CHARS).collect::<String>())
}

/// Reads an array of any number type as f32: its shape and its numbers in C order.
///
/// # Errors
/// A file that is no `.npy` array of numbers in C order, or is truncated.
pub fn read(path: &Path) -> Result<(Vec<usize>, Vec<f32>)> {
    let mut reader = BufReader::new(File::open(path).map_err(Error::io(path, "read"))?);
    let mut values = || {
        let header = Header::read(&mut reader)?;
        if matches!(header.element.kind, Kind::Bytes | Kind::Unicode) {
            return Err("an array of text; wanted numbers".to_string());
        }
        let shape = header.shape.iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>();
        let bytes = read_bytes(&mut reader, header.bytes(0)?)?;
        Ok((shape.map_err(|_| "the array is too large".to_string())?, header.element.floats(&bytes)))
    };
    values().map_err(|problem| Error::file(path, shown(&problem)))
}

/// What the numbers of a [`Numbers`] were in their file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberKind {
    /// Truth values, as 0 and 1.
    Bool,
    /// Whole numbers of any width, signed or not.
    Integer,
    /// Floats of 32 or 64 bits.
    Float,
}

/// An array of numbers as it stands in a file, in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// Extents, outermost first; none for a scalar.
    pub shape: Vec<usize>,
    /// What the file has.
    pub kind: NumberKind,
    /// The numbers; integers beyond 2^53 are rounded.
    pub values: Vec<f64>,
}

/// Reads an array of any number type, byte order and memory order without rounding floats.
///
/// # Errors
/// A file that is no `.npy` array of numbers, or is truncated.
pub fn read_numbers(path: &Path) -> Result<Numbers> {
    let mut reader = BufReader::new(File::open(path).map_err(Error::io(path, "read"))?);
    numbers(&mut reader).map_err(|problem| Error::file(path, shown(&problem)))
}

pub(super) fn numbers(reader: &mut impl Read) -> Result<Numbers, String> {
    let header = Header::read_any_order(reader)?;
    let kind = match header.element.kind {
        Kind::Bool => NumberKind::Bool,
        Kind::Unsigned | Kind::Signed => NumberKind::Integer,
        Kind::Float => NumberKind::Float,
        Kind::Bytes | Kind::Unicode => return Err("an array of text; wanted numbers".to_string()),
    };
    let shape: Vec<usize> = header
        .shape
        .iter()
        .map(|&n| usize::try_from(n).map_err(|_| "the array is too large".to_string()))
        .collect::<Result<_, _>>()?;
    let bytes = read_bytes(reader, header.bytes(0)?)?;
    let elements = bytes.chunks_exact(header.element.size_bytes.max(1) as usize);
    let values: Vec<f64> = elements.map(|element| header.element.number(element)).collect();
    let values = if header.fortran_order { to_c_order(&shape, &values) } else { values };
    Ok(Numbers { shape, kind, values })
}

/// The elements of a Fortran-ordered array of `shape` in C order.
fn to_c_order(shape: &[usize], values: &[f64]) -> Vec<f64> {
    let place = |index: usize| {
        // The last axis is the fastest in C order; its step in Fortran order is the product of those before.
        let (mut rest, mut at, mut step) = (index, 0, values.len());
        for &extent in shape.iter().rev() {
            step /= extent;
            at += rest % extent * step;
            rest /= extent;
        }
        at
    };
    (0..values.len()).filter_map(|index| values.get(place(index)).copied()).collect()
}

/// Writes `values`, an array of `shape` in C order, as little-endian f32; the file is complete or as it was.
///
/// # Errors
/// A shape that has another number of elements, or a file that cannot be written.
pub fn write(path: &Path, shape: &[usize], values: &[f32]) -> Result<()> {
    write_pieces(path, shape, &mut std::iter::once(Ok(values)))
}

/// As [`write()`], of an array that is made piece by piece, in order.
///
/// # Errors
/// The first error among the pieces, a shape that has another number of elements, or a file that cannot be written.
pub fn write_pieces<P: AsRef<[f32]>>(
    path: &Path,
    shape: &[usize],
    pieces: &mut dyn Iterator<Item = Result<P>>,
) -> Result<()> {
    let wanted = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    let mut count = 0_usize;
    let mut failed = None;
    let stored = write_file(path, |file| {
        write_header(file, shape)?;
        for piece in pieces {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    failed = Some(error);
                    return Err(io::Error::other("its numbers could not be had"));
                }
            };
            for value in piece.as_ref() {
                file.write_all(&value.to_le_bytes())?;
            }
            count += piece.as_ref().len();
        }
        if wanted == Some(count) {
            return Ok(());
        }
        failed = Some(Error::file(path, format!("{count} numbers do not have the shape {shape:?}")));
        Err(io::Error::other("its shape is another"))
    });
    failed.map_or(stored, Err)
}

fn write_header(file: &mut impl Write, shape: &[usize]) -> io::Result<()> {
    let sizes = shape.iter().map(|n| format!("{n},")).collect::<Vec<_>>().join(" ");
    let sizes = if shape.len() > 1 { sizes.trim_end_matches(',') } else { sizes.as_str() };
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The numbers begin at a multiple of 64 bytes, and a line feed ends the header.
    let length = (MAGIC.len() + 4 + text.len() + 1).next_multiple_of(64) - MAGIC.len() - 4;
    file.write_all(MAGIC)?;
    file.write_all(&[1, 0])?;
    file.write_all(&(length as u16).to_le_bytes())?;
    writeln!(file, "{text:<width$}", width = length - 1)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn headers_are_understood() {
        let header = Header::parse("{'descr': '>f8', 'fortran_order': False, 'shape': (3, 4), }   \n").unwrap();
        assert_eq!(header.shape, [3, 4]);
        assert_eq!(header.element, Element { kind: Kind::Float, size_bytes: 8, big_endian: true });
        assert!(!header.fortran_order);
        assert_eq!(header.bytes(1), Ok(32));
        assert_eq!(Header::parse("{'descr': '|u1', 'fortran_order': True, 'shape': (5,), }").unwrap().shape, [5]);
        for (text, reason) in [
            ("{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", "\"<c8\""),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", "Python objects"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", "records"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999), }", "too large"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "understood"),
            ("{'descr': '<f4'}", "understood"),
            ("", "understood"),
        ] {
            let problem = Header::parse(text).unwrap_err();
            assert!(problem.contains(reason), "{text}: {problem}");
        }
    }

    #[test]
    fn numbers_of_every_kind_and_order() {
        let element = |descr| Element::parse(descr).unwrap();
        assert_eq!(element("<f4").floats(&1.5f32.to_le_bytes()), [1.5]);
        assert_eq!(element(">f4").floats(&1.5f32.to_be_bytes()), [1.5]);
        assert_eq!(element(">f8").floats(&(-2.25f64).to_be_bytes()), [-2.25]);
        assert_eq!(element("<i2").floats(&(-3i16).to_le_bytes()), [-3.0]);
        assert_eq!(element(">i8").floats(&(-4i64).to_be_bytes()), [-4.0]);
        assert_eq!(element("<u4").floats(&7u32.to_le_bytes()), [7.0]);
        assert_eq!(element("|S4").label(b"cat\0").unwrap(), "cat");
        assert_eq!(element("<U2").label(&[0xe9, 0, 0, 0, 0, 0, 0, 0]).unwrap(), "é");
        assert!(element("<f4").label(&1.5f32.to_le_bytes()).is_err());
    }

    /// A file of version 1 with this header and these numbers.
    fn file(header: &str, numbers: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), numbers].concat()
    }

    #[test]
    fn fortran_order_is_put_right_or_refused() {
        // numpy.asfortranarray(numpy.arange(6, dtype=">i4").reshape(2, 3)) stores 0 3 1 4 2 5.
        let stored: Vec<u8> = [0_i32, 3, 1, 4, 2, 5].iter().flat_map(|n| n.to_be_bytes()).collect();
        let bytes = file("{'descr': '>i4', 'fortran_order': True, 'shape': (2, 3), }", &stored);
        let found = numbers(&mut bytes.as_slice()).unwrap();
        assert_eq!(
            found,
            Numbers { shape: vec![2, 3], kind: NumberKind::Integer, values: vec![0., 1., 2., 3., 4., 5.] }
        );
        assert!(Header::read(&mut bytes.as_slice()).unwrap_err().contains("Fortran"));
        let cube: Vec<f64> = (0..24).map(f64::from).collect();
        let fortran: Vec<f64> = (0..24).map(|i| f64::from(i % 2 * 12 + i / 2 % 3 * 4 + i / 6)).collect();
        assert_eq!(to_c_order(&[2, 3, 4], &fortran), cube);
        assert_eq!(to_c_order(&[2, 0], &[]), [0.0; 0]);
    }

    #[test]
    fn numbers_keep_what_f32_would_round() {
        let bytes = file("{'descr': '<f8', 'fortran_order': False, 'shape': (), }", &0.1_f64.to_le_bytes());
        let found = numbers(&mut bytes.as_slice()).unwrap();
        assert_eq!((found.shape, found.kind, found.values), (vec![], NumberKind::Float, vec![0.1]));
        let bytes = file("{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", &[1, 0]);
        assert_eq!(numbers(&mut bytes.as_slice()).unwrap().kind, NumberKind::Bool);
        assert!(numbers(&mut &bytes[..bytes.len() - 1]).unwrap_err().contains("truncated"));
        let bytes = file("{'descr': '|S2', 'fortran_order': False, 'shape': (1,), }", b"no");
        assert!(numbers(&mut bytes.as_slice()).unwrap_err().contains("text"));
    }

    #[test]
    fn written_arrays_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        for shape in [vec![6], vec![2, 3], vec![1, 1, 6], vec![]] {
            let values: Vec<f32> = (0..shape.iter().product()).map(|i| i as f32 * 0.5).collect();
            write(&path, &shape, &values).unwrap();
            assert_eq!(read(&path).unwrap(), (shape, values));
        }
        assert!(write(&path, &[7], &[0.0; 6]).unwrap_err().to_string().contains("6 numbers"));
        let mut pieces = [Ok(vec![1.0]), Err(Error::setting("device", "was lost"))].into_iter();
        assert!(write_pieces(&path, &[2], &mut pieces).unwrap_err().to_string().contains("was lost"));
        assert_eq!(read(&path).unwrap().0, [0; 0], "what was there stays");
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() % 64, 4, "a scalar after a header that fills whole lines of 64");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("a.npy: the array is truncated"));
    }
}
