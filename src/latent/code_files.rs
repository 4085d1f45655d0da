//! Codes that stay in their files: one array, or the shards of a set.

use super::codes::{CodeSource, Codes};
use crate::data::Shard;
use crate::data::npy_rows::NpyRows;
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// About how many bytes of codes a thread reads at a time.
const CHUNK_BYTES: usize = 4 << 20;
/// Missing shards that are named one by one.
const MAX_NAMED: usize = 8;

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
    /// Opens `path`: an array of codes; a shard, and with it the other ones of its set; a name such as `codes.npy` of which
    /// there are only shards; or a folder that holds one set. Goes through all codes once.
    ///
    /// # Errors
    /// A shard that is missing, files that are no arrays of codes or of another width, numbers that are not finite, or
    /// no codes at all.
    pub fn open(path: &Path) -> Result<Self> {
        let files = files(path)?;
        let (mut parts, mut len, mut dim) = (Vec::<Part>::new(), 0, 0);
        for file in &files {
            let rows = NpyRows::open(file)?;
            if let Some(first) = parts.first().filter(|_| rows.dim() != dim) {
                let problem = format!("holds codes of {} values, but {} of {dim}", rows.dim(), name(first.rows.path()));
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

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The files that `path` stands for, in the order of their shards.
///
/// # Errors
/// No such file, a shard that is missing, or a folder that holds several sets or none.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_dir() {
        return match &sets(path, None)?[..] {
            [] => Err(Error::file(path, "holds no shards of codes such as codes.0-of-4.npy: name the file")),
            [(whole, count)] => complete(whole, *count),
            several => {
                let names = several.iter().map(|(whole, count)| format!("{} in {count}", name(whole)));
                let names = names.collect::<Vec<_>>().join(", ");
                Err(Error::file(path, format!("holds several sets of shards ({names}): name a file of one of them")))
            }
        };
    }
    if let Some((whole, shard)) = Shard::of_file(path) {
        return complete(&whole, shard.count());
    }
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match &(if folder.is_dir() { sets(folder, Some(path))? } else { Vec::new() })[..] {
        [(_, count)] => complete(path, *count),
        [] => Err(Error::file(path, "no such file, and no shards of it such as codes.0-of-4.npy")),
        several => {
            let counts = several.iter().map(|(_, count)| count.to_string()).collect::<Vec<_>>().join(" and of ");
            Err(Error::file(path, format!("there are sets of {counts} shards of it: name a file of one of them")))
        }
    }
}

/// What shards in `folder` are parts of, and of how many: of `only`, where it is given, else of any array.
fn sets(folder: &Path, only: Option<&Path>) -> Result<Vec<(PathBuf, usize)>> {
    let mut sets = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let file = folder.join(entry.map_err(Error::io(folder, "read"))?.file_name());
        let array = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"));
        let Some((whole, shard)) = Shard::of_file(&file) else { continue };
        let wanted = only.map_or(array, |only| whole.file_name() == only.file_name());
        if wanted {
            sets.insert((only.map_or(whole, Path::to_owned), shard.count()));
        }
    }
    Ok(sets.into_iter().collect())
}

/// All shards of `whole`, which must be there.
fn complete(whole: &Path, count: usize) -> Result<Vec<PathBuf>> {
    let folder = whole.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // What is there is looked up, not what should be: a name may claim any number of shards.
    let mut there = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let file = whole.with_file_name(entry.map_err(Error::io(folder, "read"))?.file_name());
        if let Some((of, shard)) = Shard::of_file(&file)
            && of == whole
            && shard.count() == count
        {
            there.insert(shard.index(), file);
        }
    }
    if there.len() == count {
        return Ok(there.into_values().collect());
    }
    let missing = (0..count).filter(|index| !there.contains_key(index)).take(MAX_NAMED);
    let names = missing.filter_map(|index| Some(name(&Shard::new(index, count).ok()?.file(whole))));
    let names = names.collect::<Vec<_>>().join(", ");
    let missing = count - there.len();
    let (verb, more) = (if missing == 1 { "is" } else { "are" }, if missing > MAX_NAMED { ", …" } else { "" });
    Err(Error::file(whole, format!("{missing} of its {count} shards {verb} missing: {names}{more}")))
}
