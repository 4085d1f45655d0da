//! The tensors of a file that another framework's user saved.

use crate::data::npy::NumberKind;
use crate::data::npz;
use crate::error::{Error, Result};
use crate::half::from_half;
use crate::interop::weights::FORMAT;
use crate::train::checkpoint::{describe, read_bytes};
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// A file of named tensors.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Those of floats: in the order in which they were saved, or else as a reader would sort their names.
    pub(super) tensors: Vec<Tensor>,
    /// Whether the order is the one in which they were saved.
    pub(super) is_ordered: bool,
    /// Names of those of whole numbers, which are counters and no weights.
    pub(super) ignored: Vec<String>,
    /// Whether the file says that degrain wrote it.
    pub(super) is_ours: bool,
}

/// A tensor as it stands in the file, row-major.
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// A part of a name, so that `layer2` comes before `layer10`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Number(u64),
    Text(String),
}

impl Source {
    /// Reads a `.safetensors` or `.npz` file.
    ///
    /// # Errors
    /// A file of another format, damaged or empty, or with numbers that are not finite.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let is_npz = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz"));
        let is_safetensors = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"));
        let source = match (is_npz, is_safetensors) {
            (true, _) => Self::read_npz(path)?,
            (_, true) => Self::read_safetensors(path)?,
            _ => {
                let problem = "wanted .safetensors or .npz: save .pt, .h5 or .keras as one of these first";
                return Err(Error::file(path, problem));
            }
        };
        if source.tensors.is_empty() {
            return Err(Error::file(path, "holds no arrays of floats"));
        }
        match source.tensors.iter().find(|tensor| tensor.values.iter().any(|value| !value.is_finite())) {
            Some(tensor) => Err(Error::file(path, format!("tensor {:?} has a value that is not finite", tensor.name))),
            None => Ok(source),
        }
    }

    fn read_npz(path: &Path) -> Result<Self> {
        let mut source = Self::empty(path, true);
        for (name, numbers) in npz::read(path)? {
            match numbers.kind {
                NumberKind::Float => {
                    let values = numbers.values.iter().map(|&value| value as f32).collect();
                    source.tensors.push(Tensor { name, shape: numbers.shape, values });
                }
                NumberKind::Bool | NumberKind::Integer => source.ignored.push(name),
            }
        }
        Ok(source)
    }

    /// The format's libraries sort the tensors, so that their order says nothing.
    fn read_safetensors(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let failed = |error: safetensors::SafeTensorError| Error::file(path, describe(&error, bytes.len()));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(failed)?;
        let file = SafeTensors::deserialize(&bytes).map_err(failed)?;
        let mut source = Self::empty(path, false);
        let (key, text) = FORMAT;
        let format = header.metadata().as_ref().and_then(|metadata| metadata.get(key));
        source.is_ours = format.is_some_and(|format| format == text);
        for (name, view) in file.iter() {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
                Dtype::F64 => data.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
                Dtype::F16 => {
                    data.as_chunks().0.iter().map(|&bytes| from_half(u16::from_le_bytes(bytes)) as f32).collect()
                }
                // The upper half of an f32.
                Dtype::BF16 => {
                    let wide = |&bytes: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16);
                    data.as_chunks().0.iter().map(wide).collect()
                }
                Dtype::BOOL
                | Dtype::U8
                | Dtype::I8
                | Dtype::U16
                | Dtype::I16
                | Dtype::U32
                | Dtype::I32
                | Dtype::U64
                | Dtype::I64 => {
                    source.ignored.push(name.to_owned());
                    continue;
                }
                other => {
                    let problem = format!("tensor {name:?} holds {other:?}: convert it to F32 first");
                    return Err(Error::file(path, problem));
                }
            };
            source.tensors.push(Tensor { name: name.to_owned(), shape: view.shape().to_vec(), values });
        }
        source.tensors.sort_by_cached_key(|tensor| pieces(&tensor.name));
        source.ignored.sort();
        Ok(source)
    }

    fn empty(path: &Path, is_ordered: bool) -> Self {
        Self { path: path.to_path_buf(), tensors: Vec::new(), is_ordered, ignored: Vec::new(), is_ours: false }
    }
}

fn pieces(name: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let is_digit = |c: char| c.is_ascii_digit();
        let end = rest.find(|c| is_digit(c) != is_digit(first)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        pieces.push(match piece.parse() {
            Ok(number) => Piece::Number(number),
            Err(_) => Piece::Text(piece.to_owned()),
        });
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_a_reader_would_sort_them() {
        let mut names = ["0.bias", "10.weight", "2.weight", "conv2d_10/kernel", "conv2d/kernel", "conv2d_2/kernel"];
        names.sort_by_cached_key(|name| pieces(name));
        let wanted = ["0.bias", "2.weight", "10.weight", "conv2d/kernel", "conv2d_2/kernel", "conv2d_10/kernel"];
        assert_eq!(names, wanted);
    }
}
