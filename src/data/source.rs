//! What a path given by the user is, and the data set that comes of it.

use crate::data::archive::{self, Packing};
use crate::data::cache::{self, CacheMode, Stamp};
use crate::data::kind::Kind;
use crate::data::{Dataset, Labels, Skipped, Target, Values, array_folder, arrays, folder, idx, lines, picture};
use crate::error::{Error, Result};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Most memory that the decoded pictures of one source may take, in bytes.
const MAX_DATASET_BYTES: usize = 1 << 36;
/// Longest problem that is told, in characters: some quote the file.
const MAX_PROBLEM_CHARS: usize = 400;

/// Hears how far reading has come, in bytes of input, from any thread. What comes out of the cache is not told.
pub trait Progress: Sync {
    /// A source of this many bytes begins.
    fn total(&self, bytes: u64);
    /// So many more bytes of it are done.
    fn advance(&self, bytes: u64);
}

/// Nobody listens.
impl Progress for () {
    fn total(&self, _: u64) {}
    fn advance(&self, _: u64) {}
}

/// One picture of a folder or archive: its pixels at the target's size, or those of its patches, or why there are none.
pub(super) struct Decoded<T = Vec<u8>> {
    pub(super) name: String,
    pub(super) pixels: Result<T, String>,
}

/// Reads the sources, one after the other, up to `limit` samples in all; where the target asks for patches, those of up to
/// `limit` pictures.
///
/// Files that should be pictures and are not, among good ones, are listed in [`Dataset::skipped`]. Folders and archives
/// are looked up in the cache and kept there, except where a limit ends the reading of a folder early.
///
/// # Errors
/// A source that is missing, of no known kind, damaged as a whole, or without one good picture.
pub fn open(
    sources: &[PathBuf],
    target: &Target,
    limit: Option<usize>,
    cache: &CacheMode,
    progress: &dyn Progress,
) -> Result<Dataset> {
    target.check()?;
    if limit == Some(0) {
        return Err(Error::setting("--limit", "wanted at least 1 picture, got 0"));
    }
    let mut left = limit.unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    for path in sources {
        if left == 0 {
            break;
        }
        let mut part = open_one(path, target, left, cache, progress).map_err(one_line)?;
        // Patches have groups, one for each picture; arrays are not cut.
        let samples = if part.groups.is_some() { target.samples_per_picture() } else { 1 };
        part.limit(left.saturating_mul(samples));
        part.origin = path.display().to_string();
        left -= part.len() / samples;
        parts.push(part);
    }
    Dataset::concat(parts)
}

/// The error with a problem that may quote a damaged file made short and fit to be shown.
pub(super) fn one_line(error: Error) -> Error {
    match error {
        Error::File { path, problem } => {
            let short: String = problem.chars().take(MAX_PROBLEM_CHARS).collect();
            Error::file(path, picture::printable(&short))
        }
        other => other,
    }
}

pub(super) fn open_one(
    path: &Path,
    target: &Target,
    limit: usize,
    mode: &CacheMode,
    progress: &dyn Progress,
) -> Result<Dataset> {
    match Kind::of(path)? {
        Kind::Folder => open_folder(path, target, limit, mode, progress),
        Kind::Archive(packing) => open_archive(path, packing, target, mode, progress),
        Kind::Picture => open_picture(path, target),
        array => open_array(path, array, target, 0..limit, progress),
    }
}

/// The samples `window` of a file of them, as far as they are there.
pub(super) fn open_array(
    path: &Path,
    kind: Kind,
    target: &Target,
    window: Range<usize>,
    progress: &dyn Progress,
) -> Result<Dataset> {
    let category = || array_folder::category(path);
    let (values, labels, category) = match kind {
        Kind::Npy => (arrays::read_npy(path, target, window.clone(), progress)?, None, category()),
        Kind::Lines => (lines::read(path, target, window.clone(), progress)?, None, category()),
        Kind::Npz => {
            let (values, labels) = arrays::read_npz(path, target, window.clone(), progress)?;
            (values, labels, None)
        }
        Kind::Idx => {
            let (values, labels) = idx::read(path, target, window.clone(), progress)?;
            (values, labels, None)
        }
        _ => return Err(Error::file(path, "holds labels: name the file of pictures, and they are found beside it")),
    };
    let count = values.len() / target.sample_len();
    let names = (window.start..window.start + count).map(|row| format!("#{row}")).collect();
    Ok(Dataset { labels, category, ..Dataset::new(target.shape(), values, names) })
}

fn open_folder(
    path: &Path,
    target: &Target,
    limit: usize,
    mode: &CacheMode,
    progress: &dyn Progress,
) -> Result<Dataset> {
    let listing = folder::list(path)?;
    let entry = cache::Entry::new(mode, path, target, listing.stamp());
    if let Some(dataset) = entry.as_ref().and_then(cache::Entry::load) {
        return Ok(dataset);
    }
    if listing.is_without_pictures()
        && let Some(arrays) = array_folder::read(path, &listing, target, limit, progress)?
    {
        return Ok(arrays);
    }
    let (mut dataset, mut pixels) = (empty(target), Vec::new());
    dataset.skipped.clone_from(&listing.skipped);
    dataset.ignored = listing.others.len();
    let complete = listing.decode(0..listing.len(), target, limit, progress, |picture| {
        push(&mut dataset, &mut pixels, picture, target, path)
    })?;
    finish(&mut dataset, pixels, path, listing.example())?;
    if let Some(entry) = entry.filter(|_| complete) {
        // A cache that cannot be written costs time at the next start, nothing else.
        drop(entry.store(&dataset));
    }
    Ok(dataset)
}

fn open_archive(
    path: &Path,
    packing: Packing,
    target: &Target,
    mode: &CacheMode,
    progress: &dyn Progress,
) -> Result<Dataset> {
    let metadata = std::fs::metadata(path).map_err(Error::io(path, "read"))?;
    let mut stamp = Stamp::default();
    stamp.add(&metadata.len().to_le_bytes());
    stamp.add(&folder::modified_ns(&metadata).to_le_bytes());
    let entry = cache::Entry::new(mode, path, target, stamp.value());
    if let Some(dataset) = entry.as_ref().and_then(cache::Entry::load) {
        return Ok(dataset);
    }
    let contents =
        archive::read(path, packing, &|name: &str, bytes: &[u8]| picture::decode(name, bytes, target), progress)?;
    let (mut dataset, mut pixels) = (empty(target), Vec::new());
    dataset.skipped = contents.skipped;
    dataset.ignored = contents.ignored;
    contents.pictures.into_iter().try_for_each(|picture| push(&mut dataset, &mut pixels, picture, target, path))?;
    finish(&mut dataset, pixels, path, contents.example.as_deref())?;
    if let Some(entry) = entry {
        drop(entry.store(&dataset));
    }
    Ok(dataset)
}

fn open_picture(path: &Path, target: &Target) -> Result<Dataset> {
    let size = std::fs::metadata(path).map_err(Error::io(path, "read"))?.len();
    picture::check_size(size).map_err(|problem| Error::file(path, problem))?;
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let pixels = picture::decode(&name, &bytes, target).map_err(|reason| Error::file(path, reason))?;
    let (mut dataset, mut all) = (empty(target), Vec::new());
    push(&mut dataset, &mut all, Decoded { name, pixels: Ok(pixels) }, target, path)?;
    Ok(Dataset { values: Values::U8(all.into()), ..dataset })
}

pub(super) fn empty(target: &Target) -> Dataset {
    Dataset::new(target.shape(), Values::U8(Vec::new().into()), Vec::new())
}

pub(super) fn push(
    dataset: &mut Dataset,
    all: &mut Vec<u8>,
    picture: Decoded,
    target: &Target,
    source: &Path,
) -> Result<()> {
    match picture.pixels {
        Ok(pixels) => {
            if all.len() + pixels.len() > MAX_DATASET_BYTES {
                let problem =
                    format!("over {} GiB of pixels; take part of it, or smaller pictures", MAX_DATASET_BYTES >> 30);
                return Err(Error::file(source, problem));
            }
            let samples = pixels.len() / dataset.sample_len().max(1);
            all.extend(pixels);
            match target.patches {
                None => dataset.names.push(picture.name),
                Some(_) => {
                    let groups = dataset.groups.get_or_insert_default();
                    let group = groups.last().map_or(0, |last| last + 1);
                    groups.extend(std::iter::repeat_n(group, samples));
                    dataset.names.extend((0..samples).map(|patch| format!("{}@{patch}", picture.name)));
                }
            }
        }
        Err(reason) => dataset.skipped.push(Skipped { path: picture.name, reason }),
    }
    Ok(())
}

/// Pixels, labels from the folders, and an error if there is not one picture.
fn finish(dataset: &mut Dataset, pixels: Vec<u8>, path: &Path, example: Option<&str>) -> Result<()> {
    dataset.values = Values::U8(pixels.into());
    dataset.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    if dataset.is_empty() {
        let problem = match (dataset.skipped.first(), example) {
            (Some(Skipped { path, reason }), _) => {
                format!("none of its {} pictures can be used; the first, {path}: {reason}", dataset.skipped.len())
            }
            (None, Some(other)) => format!("holds no pictures, only {} other files such as {other}", dataset.ignored),
            (None, None) => "holds no files".to_string(),
        };
        return Err(Error::file(path, problem));
    }
    let parents: Option<Vec<&str>> = dataset.names.iter().map(|n| n.rsplit('/').nth(1)).collect();
    dataset.labels = parents.map(|p| Labels::from_names(&p)).filter(|labels| labels.names.len() > 1);
    Ok(())
}
