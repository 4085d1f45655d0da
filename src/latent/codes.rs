//! Codes of pictures, as one array.

use crate::data::{Dataset, npy};
use crate::error::{Error, Result};
use crate::train::Inference;
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

/// Codes (N, code), all finite, wherever they are: what an exact search goes through.
pub trait CodeSource: Sync {
    /// How many codes there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers in one code, at least one.
    fn dim(&self) -> usize;

    /// These codes, (rows, code).
    ///
    /// # Errors
    /// Rows that are not there, or a file that cannot be read any more.
    fn rows(&self, rows: Range<usize>) -> Result<Cow<'_, [f32]>>;

    /// The largest magnitude of all numbers.
    fn max_magnitude(&self) -> f32;
}

impl CodeSource for Codes {
    fn len(&self) -> usize {
        self.len()
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cow<'_, [f32]>> {
        let values = rows.start.checked_mul(self.dim).zip(rows.end.checked_mul(self.dim));
        let values = values.and_then(|(start, end)| self.values.get(start..end));
        let missing = || {
            let got = format!("{} to {}", rows.start, rows.end);
            Error::shape("codes", format!("rows within {}", self.len()), got)
        };
        values.map(Cow::Borrowed).ok_or_else(missing)
    }

    fn max_magnitude(&self) -> f32 {
        self.values.par_iter().map(|value| value.abs()).reduce(|| 0.0, f32::max)
    }
}

/// Codes (N, code), all finite, in the order of their pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    values: Vec<f32>,
    dim: usize,
}

impl Codes {
    /// `values` (N, `dim`), code after code.
    ///
    /// # Errors
    /// No numbers in a code, a part of a code, or one that is not finite.
    pub fn new(values: Vec<f32>, dim: usize) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            let wanted = "whole codes of at least one number";
            return Err(Error::shape("codes", wanted, format!("{} numbers for codes of {dim}", values.len())));
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(Error::shape("codes", "finite numbers", format!("{} in code {}", values[at], at / dim))),
            None => Ok(Self { values, dim }),
        }
    }

    /// The codes of all pictures of `data`, in their order; `advance` hears how many more are done.
    ///
    /// # Errors
    /// If the pictures are of another size than the network takes, the device is lost, or the network gives numbers that
    /// are not finite.
    pub fn of(network: &mut Inference, data: &Dataset, advance: &mut dyn FnMut(usize)) -> Result<Self> {
        let dim = network.code_len();
        let mut values = Vec::with_capacity(data.len() * dim);
        let rows: Vec<u32> = (0..data.len() as u32).collect();
        network.encode_rows(data, &rows, &mut |codes| {
            values.extend_from_slice(codes);
            advance(codes.len() / dim);
            Ok(())
        })?;
        Self::new(values, dim)
    }

    /// Reads a `.npy` file (N, code), or a lone code (code).
    ///
    /// # Errors
    /// A file that is no such array, or holds numbers that are not finite.
    pub fn read(path: &Path) -> Result<Self> {
        let (shape, values) = npy::read(path)?;
        let dim = match shape[..] {
            [dim] | [_, dim] if dim > 0 && !values.is_empty() => dim,
            _ => return Err(Error::file(path, format!("wanted codes as an array (N, code), got {shape:?}"))),
        };
        Self::new(values, dim).map_err(|error| Error::file(path, error.to_string()))
    }

    /// Writes a `.npy` file (N, code) of f32: it is complete or as it was.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        npy::write(path, &[self.len(), self.dim], &self.values)
    }

    /// How many codes there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers in one code.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All numbers, (N, code).
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Code `i`, if there is one.
    pub fn get(&self, i: usize) -> Option<&[f32]> {
        self.values.chunks_exact(self.dim).nth(i)
    }

    /// The codes in their order.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.dim)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_are_whole_and_finite() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes.npy");
        let codes = Codes::new(vec![1.0, -2.0, 0.5, 3.0, f32::MIN_POSITIVE, 6.0], 3).unwrap();
        codes.write(&path).unwrap();
        assert_eq!(Codes::read(&path).unwrap(), codes);
        assert_eq!((codes.len(), codes.get(1), codes.get(2)), (2, Some(&codes.values()[3..]), None));
        assert!(Codes::new(vec![0.0; 5], 3).is_err() && Codes::new(Vec::new(), 0).is_err());
        assert!(Codes::new(vec![0.0, f32::NAN], 2).is_err());
        npy::write(&path, &[1, 2, 2], &[0.0; 4]).unwrap();
        assert!(Codes::read(&path).unwrap_err().to_string().contains("codes.npy: wanted codes"));
    }
}
