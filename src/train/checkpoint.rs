//! Named tensors in a safetensors file: weights, optimiser state, counters.
//!
//! The same contents give the same bytes: tensors lie in the order of their names, metadata too, and nothing in the
//! file depends on the time or on the machine.

use crate::atomic_file::write_file;
use crate::error::{Error, Result};
use crate::model::Preset;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The key under which the format keeps its text entries.
const METADATA: &str = "__metadata__";
/// The entry of the checksum.
const CHECKSUM: &str = "crc32c";

/// The contents of a weight file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weights {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Array>,
    /// Texts by name, such as the preset or the step.
    pub metadata: BTreeMap<String, String>,
    /// The file that was read, for messages; empty for contents made here.
    pub path: PathBuf,
}

/// A tensor on the host, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Extents, slowest axis first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values.
    pub data: Data,
}

/// Values of one of the types that degrain stores.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// 32-bit unsigned integers: counters, generator state.
    U32(Vec<u32>),
}

impl Array {
    /// A tensor of f32.
    pub fn f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        Self { shape: shape.into(), data: Data::F32(values) }
    }

    /// A tensor of u32.
    pub fn u32(shape: impl Into<Vec<usize>>, values: Vec<u32>) -> Self {
        Self { shape: shape.into(), data: Data::U32(values) }
    }

    fn volume(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))
    }
}

impl Data {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::U32(values) => values.len(),
        }
    }

    /// The values as words, as a device holds them.
    pub fn words(&self) -> &[u32] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::U32(values) => values,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "F32",
            Self::U32(_) => "U32",
        }
    }

    /// Calls `write` with the values as little-endian bytes, a piece at a time.
    fn write(&self, write: &mut impl Write) -> std::io::Result<()> {
        const PIECE: usize = 1 << 14;
        let mut bytes = Vec::with_capacity(4 * PIECE.min(self.len()));
        let mut put = |piece: &mut dyn Iterator<Item = [u8; 4]>| {
            bytes.clear();
            bytes.extend(piece.flatten());
            write.write_all(&bytes)
        };
        match self {
            Self::F32(values) => {
                values.chunks(PIECE).try_for_each(|piece| put(&mut piece.iter().map(|x| x.to_le_bytes())))
            }
            Self::U32(values) => {
                values.chunks(PIECE).try_for_each(|piece| put(&mut piece.iter().map(|x| x.to_le_bytes())))
            }
        }
    }
}

impl Weights {
    /// What training begins with where it is given no weights: the preset's initial values, drawn from its seed.
    ///
    /// # Errors
    /// If the preset's layers do not fit together.
    pub fn initial(preset: &Preset) -> Result<Self> {
        let mut weights = Self::default();
        for p in preset.architecture()?.saved() {
            let values = preset.model.init.draw(preset.train.seed, p);
            weights.tensors.insert(p.name.clone(), Array::f32(p.shape.clone(), values));
        }
        Ok(weights)
    }

    /// Reads a whole file into memory.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::File`] if it is cut off, is no safetensors file, or has a tensor
    /// of another type than f32 and u32.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let failed = |error: safetensors::SafeTensorError| Error::file(path, describe(&error, bytes.len()));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(failed)?;
        let file = SafeTensors::deserialize(&bytes).map_err(failed)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            let data = match view.dtype() {
                Dtype::F32 => Data::F32(words(view.data()).map(f32::from_le_bytes).collect()),
                Dtype::U32 => Data::U32(words(view.data()).map(u32::from_le_bytes).collect()),
                other => {
                    let problem =
                        format!("tensor {name:?} holds {other:?}: only F32 and U32 are read, so convert it first");
                    return Err(Error::file(path, problem));
                }
            };
            tensors.insert(name.to_owned(), Array { shape: view.shape().to_vec(), data });
        }
        let metadata = header.metadata().iter().flatten().map(|(key, text)| (key.clone(), text.clone())).collect();
        let mut weights = Self { tensors, metadata, path: path.to_path_buf() };
        // Files of other programs have none.
        match weights.metadata.remove(CHECKSUM) {
            Some(written) if written != weights.checksum() => {
                Err(Error::file(path, "is damaged: its values are not those that were written"))
            }
            _ => Ok(weights),
        }
    }

    /// Writes a file that is complete or absent.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; [`Error::File`] for a tensor whose values do not fill its shape.
    pub fn write(&self, path: &Path) -> Result<()> {
        let header = self.header(path)?;
        write_file(path, |file| {
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(header.as_bytes())?;
            self.tensors.values().try_for_each(|array| array.data.write(file))
        })
    }

    /// The JSON header, padded with spaces to a multiple of 8 bytes so that the tensors are aligned. Written here
    /// because the library keeps metadata in a hash map, whose order differs from run to run.
    fn header(&self, path: &Path) -> Result<String> {
        let mut header = Map::new();
        let mut metadata = self.metadata.clone();
        metadata.insert(CHECKSUM.to_owned(), self.checksum());
        header.insert(METADATA.to_owned(), json!(metadata));
        let mut begin = 0;
        for (name, array) in &self.tensors {
            if array.volume() != Some(array.data.len()) || name == METADATA {
                let (shape, len) = (&array.shape, array.data.len());
                return Err(Error::file(path, format!("tensor {name:?} of shape {shape:?} cannot hold {len} values")));
            }
            let end = begin + 4 * array.data.len();
            let entry = json!({ "dtype": array.data.dtype(), "shape": array.shape, "data_offsets": [begin, end] });
            header.insert(name.clone(), entry);
            begin = end;
        }
        let mut text = Value::Object(header).to_string();
        text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
        Ok(text)
    }

    /// CRC-32C of all values: whether two ranks have the same bits.
    pub(super) fn bits(&self) -> u32 {
        let mut sum = Checksum(0);
        sum.add_values(self);
        sum.0
    }

    /// CRC-32C of the metadata and of all values as they stand in the file, in hexadecimal digits: what a disk or a copy did
    /// to them shows.
    fn checksum(&self) -> String {
        let mut sum = Checksum(0);
        for text in self.metadata.iter().flat_map(|(key, text)| [key, text]) {
            sum.add(text.as_bytes());
            sum.add(&[0]);
        }
        sum.add_values(self);
        format!("{:08x}", sum.0)
    }

    /// The first tensor, by name, that holds a value that is not finite.
    pub fn first_not_finite(&self) -> Option<&str> {
        let is_bad = |array: &Array| matches!(&array.data, Data::F32(values) if values.iter().any(|v| !v.is_finite()));
        self.tensors.iter().find(|(_, array)| is_bad(array)).map(|(name, _)| name.as_str())
    }

    /// Takes out the f32 tensor `name`, which must have this shape and only finite values.
    ///
    /// # Errors
    /// [`Error::File`] naming the file and the tensor.
    pub fn take_f32(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match self.take(name, shape)? {
            Data::F32(values) => match values.iter().position(|value| !value.is_finite()) {
                None => Ok(values),
                Some(index) => Err(self.problem(name, "has a value that is not finite", &format!("at index {index}"))),
            },
            Data::U32(_) => Err(self.problem(name, "holds U32", "wanted F32")),
        }
    }

    /// Takes out the u32 tensor `name`, which must have this shape.
    ///
    /// # Errors
    /// [`Error::File`] naming the file and the tensor.
    pub fn take_u32(&mut self, name: &str, shape: &[usize]) -> Result<Vec<u32>> {
        match self.take(name, shape)? {
            Data::U32(values) => Ok(values),
            Data::F32(_) => Err(self.problem(name, "holds F32", "wanted U32")),
        }
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Data> {
        match self.tensors.remove(name) {
            Some(array) if array.shape == shape => Ok(array.data),
            Some(array) => {
                Err(self.problem(name, &format!("has the shape {:?}", array.shape), &format!("wanted {shape:?}")))
            }
            None => Err(self.problem(name, "is missing", "the file belongs to another model")),
        }
    }

    /// The text kept under `key`.
    ///
    /// # Errors
    /// [`Error::File`] if there is none.
    pub fn text(&self, key: &str) -> Result<&str> {
        let text = self.metadata.get(key).map(String::as_str);
        text.ok_or_else(|| Error::file(&self.path, format!("has no entry {key:?} in its metadata")))
    }

    /// Ends the reading: nothing may be left that was not taken.
    ///
    /// # Errors
    /// [`Error::File`] naming the first tensor that nobody wanted.
    pub fn finish(self) -> Result<()> {
        match self.tensors.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.problem(name, "is not part of this model", "the file belongs to another one")),
        }
    }

    fn problem(&self, tensor: &str, found: &str, remark: &str) -> Error {
        Error::file(&self.path, format!("tensor {tensor:?} {found}: {remark}"))
    }
}

struct Checksum(u32);

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }

    /// All values, as they stand in a file.
    fn add_values(&mut self, weights: &Weights) {
        for array in weights.tensors.values() {
            // Writing to a checksum cannot fail.
            let _ = array.data.write(self);
        }
    }
}

impl Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The bytes of a file; never more than its size says, so that a pipe or a device cannot fill the memory.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let metadata = file.metadata().map_err(Error::io(path, "read"))?;
    if !metadata.is_file() {
        return Err(Error::file(path, "is no file: wanted a .safetensors file"));
    }
    let mut bytes = Vec::new();
    let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if bytes.try_reserve_exact(len).is_err() {
        return Err(Error::file(path, format!("does not fit into memory: {len} bytes")));
    }
    file.take(metadata.len()).read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
    Ok(bytes)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    bytes.as_chunks().0.iter().copied()
}

pub(crate) fn describe(error: &safetensors::SafeTensorError, len: usize) -> String {
    use safetensors::SafeTensorError as E;
    match error {
        E::HeaderTooSmall | E::InvalidHeaderLength | E::MetadataIncompleteBuffer => {
            format!("is cut off or no safetensors file ({len} bytes; {error})")
        }
        _ => format!("is damaged or no safetensors file ({error})"),
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
