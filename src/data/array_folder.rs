//! Folders of arrays: QuickDraw's one file per category, MNIST's four files.

use crate::data::folder::Listing;
use crate::data::kind::Kind;
use crate::data::source::{Progress, open_array};
use crate::data::{Dataset, Skipped, Target};
use crate::error::{Error, Result};
use std::path::Path;

/// Name, path and kind of the arrays of a folder, in order of their paths, and how many other files there are; files of
/// labels are neither.
pub(super) fn arrays(listing: &Listing) -> (Vec<(&str, &Path, Kind)>, usize) {
    let (mut arrays, mut ignored) = (Vec::new(), 0);
    for (name, path) in &listing.others {
        match Kind::of(path) {
            Ok(Kind::IdxLabels) => {}
            Ok(kind) if kind.is_array() => arrays.push((name.as_str(), path.as_path(), kind)),
            _ => ignored += 1,
        }
    }
    (arrays, ignored)
}

/// The samples of all arrays of a folder that holds no pictures, in order of their paths, up to `limit`; `None` if there
/// are no arrays either. A file that tells no labels gets its name as the label of all its samples; files of labels are
/// read with the pictures that they belong to.
///
/// # Errors
/// Not one array that can be used, or bytes beside reals.
pub(super) fn read(
    root: &Path,
    listing: &Listing,
    target: &Target,
    limit: usize,
    progress: &dyn Progress,
) -> Result<Option<Dataset>> {
    let (arrays, ignored) = arrays(listing);
    let (mut parts, mut skipped, mut count) = (Vec::new(), listing.skipped.clone(), 0);
    for (name, path, kind) in arrays {
        if count >= limit {
            break;
        }
        match open_array(path, kind, target, 0..limit - count, progress) {
            Ok(mut part) => {
                part.names.iter_mut().for_each(|row| row.insert_str(0, name));
                part.origin = path.display().to_string();
                count += part.len();
                parts.push(part);
            }
            Err(Error::File { problem, .. }) => skipped.push(Skipped { path: name.to_owned(), reason: problem }),
            Err(other) => return Err(other),
        }
    }
    if parts.is_empty() {
        return match skipped.first() {
            None => Ok(None),
            Some(Skipped { path, reason }) => {
                let problem = format!("none of its {} arrays can be used; the first, {path}: {reason}", skipped.len());
                Err(Error::file(root, problem))
            }
        };
    }
    let mut whole = Dataset::concat(parts)?;
    whole.skipped = skipped;
    whole.ignored = ignored;
    Ok(Some(whole))
}

/// The category in the name of a file: `cat` in `cat.npy`, `full_numpy_bitmap_cat.npy` (Google's name for QuickDraw's)
/// and `cat.ndjson.gz`.
pub(super) fn category(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let mut stem = name.as_str();
    while let Some((rest, extension)) = stem.rsplit_once('.') {
        let known = ["gz", "npy", "ndjson", "json", "jsonl", "txt", "csv", "tsv"];
        if rest.is_empty() || !known.iter().any(|e| extension.eq_ignore_ascii_case(e)) {
            break;
        }
        stem = rest;
    }
    for prefix in ["full_numpy_bitmap_", "full%2Fnumpy_bitmap%2F", "full-numpy_bitmap-"] {
        stem = stem.strip_prefix(prefix).unwrap_or(stem);
    }
    Some(stem.to_string()).filter(|stem| !stem.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_read_from_names() {
        let of = |name: &str| category(Path::new(name));
        for name in ["cat.npy", "/a.b/full_numpy_bitmap_cat.npy", "full%2Fnumpy_bitmap%2Fcat.npy", "cat.ndjson.gz"] {
            assert_eq!(of(name).as_deref(), Some("cat"), "{name}");
        }
        assert_eq!(of("string bean.ndjson.gz").as_deref(), Some("string bean"));
        assert_eq!(of("v1.2.npy").as_deref(), Some("v1.2"));
        assert_eq!(of(".npy").as_deref(), Some(".npy"));
    }
}
