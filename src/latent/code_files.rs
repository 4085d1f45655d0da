//! Codes that stay in their files: one array, or the shards of a set.

use super::codes::{CodeSource, Codes};
use crate::data::npy_rows::NpyRows;
use crate::data::shard_files;
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

/// About how many bytes of codes a thread reads at a time.
const CHUNK_BYTES: usize = 4 << 20;

/// Codes (N, code), all finite, in one `.npy` file or in the shards of a set, which count as one array. Memory holds what is
/// being looked at.
///
/// ```
/// use degrain::data::Shard;
/// use degrain::latent::{CodeFiles, CodeSource, Codes};
/// use degrain::latent::search::{ExactSearch, Metric};
/// use degrain::session::Session;
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("codes.npy");
/// // Three processes, each of which has encoded its part of seven pictures.
/// for index in 0..3 {
///     let shard = Shard::new(index, 3)?;
///     let part = shard.range(7).flat_map(|i| [i as f32, 0.5]).collect();
///     Codes::new(part, 2)?.write(&shard.file(&path))?; // codes.0-of-3.npy, …
/// }
/// let codes = CodeFiles::open(&path)?; // or one of the shards, or the folder
/// assert_eq!(codes.len(), 7);
/// let mut search = ExactSearch::new(Session::cpu(), &codes, Metric::Euclidean)?;
/// assert_eq!(search.nearest(&[4.9, 0.5], 1)?[0][0].index, 5);
/// # Ok::<(), degrain::Error>(())
/// ```
pub struct CodeFiles {
    parts: Vec<Part>,
    dim: usize,
    len: usize,
    max_magnitude: f32,
}

/// One file of them.
struct Part {
    rows: NpyRows,
    /// Place of its first code in the set.
    first: usize,
}

impl CodeFiles {
    /// Opens what `path` stands for by [`shard_files`]: a file, or the shards of a set. Goes through all codes once.
    ///
    /// # Errors
    /// A shard that is missing, files that are no arrays of codes or of another width, numbers that are not finite, or
    /// no codes at all.
    pub fn open(path: &Path) -> Result<Self> {
        let files = shard_files(path)?;
        let (mut parts, mut len, mut dim) = (Vec::<Part>::new(), 0, 0);
        for file in &files {
            let rows = NpyRows::open(file)?;
            if let Some(first) = parts.first().filter(|_| rows.dim() != dim) {
                let problem =
                    format!("holds codes of {} values, but {} of {dim}", rows.dim(), first.rows.path().display());
                return Err(Error::file(file, problem));
            }
            dim = rows.dim();
            let first = len;
            len += rows.len();
            parts.push(Part { rows, first });
        }
        if len == 0 {
            return Err(Error::file(path, "holds no codes"));
        }
        let magnitudes = parts.iter().map(|part| largest(&part.rows)).collect::<Result<Vec<f32>>>()?;
        Ok(Self { parts, dim, len, max_magnitude: magnitudes.into_iter().fold(0.0, f32::max) })
    }

    /// The files, in the order of their codes.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().map(|part| part.rows.path())
    }

    /// All of them, in memory.
    ///
    /// # Errors
    /// Where a file cannot be read any more.
    pub fn load(&self) -> Result<Codes> {
        Codes::new(self.rows(0..self.len)?.into_owned(), self.dim)
    }
}

impl CodeSource for CodeFiles {
    fn len(&self) -> usize {
        self.len
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cow<'_, [f32]>> {
        if rows.start > rows.end || rows.end > self.len {
            let got = format!("{} to {}", rows.start, rows.end);
            return Err(Error::shape("codes", format!("rows within {}", self.len), got));
        }
        let start = self.parts.partition_point(|part| part.first + part.rows.len() <= rows.start);
        let mut values = Vec::new();
        for part in self.parts.iter().skip(start).take_while(|part| part.first < rows.end) {
            let from = rows.start.max(part.first) - part.first;
            let to = rows.end.min(part.first + part.rows.len()) - part.first;
            let more = part.rows.read(from..to)?;
            if values.is_empty() {
                values = more;
            } else {
                values.extend(more);
            }
        }
        Ok(Cow::Owned(values))
    }

    fn max_magnitude(&self) -> f32 {
        self.max_magnitude
    }
}

/// The largest magnitude in a file, of which all numbers must be finite.
fn largest(rows: &NpyRows) -> Result<f32> {
    let chunk = (CHUNK_BYTES / (4 * rows.dim())).max(1);
    let largest = (0..rows.len().div_ceil(chunk)).into_par_iter().map(|i| {
        let first = i * chunk;
        let values = rows.read(first..(first + chunk).min(rows.len()))?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let problem = format!("{} in code {}: all numbers must be finite", values[at], first + at / rows.dim());
            return Err(Error::file(rows.path(), problem));
        }
        Ok(values.iter().fold(0.0_f32, |most, value| most.max(value.abs())))
    });
    largest.try_reduce(|| 0.0, |a, b| Ok(a.max(b)))
}
