//! One shard of the sources, without decoding the others where that can be had.

use crate::data::cache::{self, CacheMode};
use crate::data::folder::{self, Listing};
use crate::data::kind::Kind;
use crate::data::source::{Progress, empty, one_line, open_array, open_one, push};
use crate::data::{Dataset, Shard, Skipped, Target, Values, array_folder, arrays, idx, lines};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What may be read of a source, and how many things it is dealt by.
enum Source {
    /// Picture files, by file.
    Pictures { path: PathBuf, listing: Listing },
    /// Samples of an array, whose names begin with `prefix`.
    Array { path: PathBuf, kind: Kind, prefix: String, count: usize },
    /// What can only be read as a whole, by sample.
    Whole(Box<Dataset>),
}

/// The samples of one shard of the sources: [`Shard::range`] of all their picture files and of the samples of their
/// arrays, one source after the other. The shards together hold what [`super::open`] gives, in the same order, without
/// labels. Files that should be pictures and are not are dealt like the others, so that a shard may hold fewer samples than
/// its range, and none if the range is empty.
///
/// Of folders only the shard's files are decoded, unless the cache has all of them; of arrays only its samples are kept.
/// Archives are read as a whole.
///
/// # Errors
/// As [`super::open`], but for pictures of other shards.
pub fn open_shard(
    sources: &[PathBuf],
    target: &Target,
    shard: Shard,
    cache: &CacheMode,
    progress: &dyn Progress,
) -> Result<Dataset> {
    target.check()?;
    let mut all = Vec::new();
    for path in sources {
        all.extend(Source::of(path, target, cache, progress).map_err(one_line)?);
    }
    let count: usize = all.iter().map(Source::len).sum();
    let names: Vec<String> = sources.iter().map(|path| path.display().to_string()).collect();
    let origin = names.join(" + ");
    if count == 0 {
        return Err(Error::setting("--data", format!("{origin} holds no pictures")));
    }
    let wanted = shard.range(count);
    let (mut parts, mut first) = (Vec::new(), 0);
    for source in all {
        let end = first + source.len();
        let (from, to) = (wanted.start.max(first), wanted.end.min(end));
        if from < to {
            let origin = source.origin();
            let mut part = source.read(from - first..to - first, target, cache, progress).map_err(one_line)?;
            part.labels = None;
            part.category = None;
            part.origin = origin;
            parts.push(part);
        }
        first = end;
    }
    if parts.is_empty() {
        return Ok(Dataset { origin, ..empty(target) });
    }
    // A part without one good picture has bytes, whatever the others have.
    if parts.iter().any(|part| !part.is_empty()) {
        let skipped: Vec<Skipped> = parts
            .iter_mut()
            .filter(|part| part.is_empty())
            .flat_map(|part| std::mem::take(&mut part.skipped))
            .collect();
        parts.retain(|part| !part.is_empty());
        let mut whole = Dataset::concat(parts)?;
        whole.skipped.extend(skipped);
        return Ok(whole);
    }
    Dataset::concat(parts)
}

impl Source {
    /// What `path` is made of.
    fn of(path: &Path, target: &Target, cache: &CacheMode, progress: &dyn Progress) -> Result<Vec<Self>> {
        let array = |path: &Path, kind: Kind, prefix: &str| -> Result<Self> {
            let count = match kind {
                Kind::Npy => arrays::npy_shape(path)?.1,
                Kind::Npz => arrays::npz_shape(path)?.1,
                Kind::Idx => idx::shape(path)?.1,
                _ => lines::count(path)? as u64,
            };
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            Ok(Self::Array { path: path.to_owned(), kind, prefix: prefix.to_owned(), count })
        };
        let kind = Kind::of(path)?;
        if kind.is_array() {
            return Ok(vec![array(path, kind, "")?]);
        }
        if kind == Kind::Folder {
            let listing = folder::list(path)?;
            if listing.len() > 0 {
                return Ok(vec![Self::Pictures { path: path.to_owned(), listing }]);
            }
            if listing.is_without_pictures() {
                let (found, _) = array_folder::arrays(&listing);
                let arrays: Result<Vec<Self>> =
                    found.into_iter().map(|(name, path, kind)| array(path, kind, name)).collect();
                // One that cannot be read is passed over where all are read, as is right.
                if let Ok(arrays) = arrays
                    && !arrays.is_empty()
                {
                    return Ok(arrays);
                }
            }
        }
        let mut whole = open_one(path, target, usize::MAX, cache, progress)?;
        whole.origin = path.display().to_string();
        Ok(vec![Self::Whole(Box::new(whole))])
    }

    fn len(&self) -> usize {
        match self {
            Self::Pictures { listing, .. } => listing.len(),
            Self::Array { count, .. } => *count,
            Self::Whole(data) => data.len(),
        }
    }

    fn origin(&self) -> String {
        match self {
            Self::Pictures { path, .. } | Self::Array { path, .. } => path.display().to_string(),
            Self::Whole(data) => data.origin.clone(),
        }
    }

    /// Those of its files or samples.
    fn read(self, part: Range<usize>, target: &Target, mode: &CacheMode, progress: &dyn Progress) -> Result<Dataset> {
        match self {
            Self::Pictures { path, listing } => pictures(&path, &listing, part, target, mode, progress),
            Self::Array { path, kind, prefix, .. } => {
                let mut data = open_array(&path, kind, target, part, progress)?;
                data.names.iter_mut().for_each(|row| row.insert_str(0, &prefix));
                Ok(data)
            }
            Self::Whole(data) => {
                let rows: Vec<u32> = part.clone().map(|row| row as u32).collect();
                let mut some = data.select(&rows);
                if part.start > 0 {
                    // The shard with the first sample has told of them.
                    some.skipped.clear();
                }
                Ok(some)
            }
        }
    }
}

/// These files of a folder, from the cache if all of it is there.
fn pictures(
    path: &Path,
    listing: &Listing,
    files: Range<usize>,
    target: &Target,
    mode: &CacheMode,
    progress: &dyn Progress,
) -> Result<Dataset> {
    let mut data = empty(target);
    if files.start == 0 {
        data.skipped.clone_from(&listing.skipped);
        data.ignored = listing.others.len();
    }
    let entry = cache::Entry::new(mode, path, target, listing.stamp());
    if let Some(cached) = entry.and_then(|entry| entry.load()) {
        let names: HashSet<&str> = listing.names(files).collect();
        // A patch is named after its picture: `a.png@3`.
        let of = |name: &str| match target.patches {
            Some(_) => names.contains(name.rsplit_once('@').map_or(name, |(picture, _)| picture)),
            None => names.contains(name),
        };
        let rows = (0_u32..).zip(&cached.names).filter(|(_, name)| of(name)).map(|(row, _)| row);
        let mut some = cached.select(&rows.collect::<Vec<_>>());
        some.skipped.retain(|skipped| names.contains(skipped.path.as_str()));
        some.skipped.splice(0..0, data.skipped);
        some.ignored = data.ignored;
        return Ok(some);
    }
    let mut pixels = Vec::new();
    listing
        .decode(files, target, usize::MAX, progress, |picture| push(&mut data, &mut pixels, picture, target, path))?;
    data.values = Values::U8(pixels.into());
    data.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(data)
}
