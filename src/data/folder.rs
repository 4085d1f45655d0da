//! Folders of pictures.

use crate::data::cache::Stamp;
use crate::data::picture;
use crate::data::source::{Decoded, Progress};
use crate::data::{Skipped, Target};
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

/// Files decoded between two looks at the limit.
const CHUNK: usize = 1024;

/// The pictures of a folder and its sub-folders, in order of their paths.
pub(super) struct Listing {
    files: Vec<PictureFile>,
    pub(super) skipped: Vec<Skipped>,
    /// Names and paths of the files whose names are not those of pictures, in order.
    pub(super) others: Vec<(String, PathBuf)>,
}

struct PictureFile {
    /// Path inside the folder, with `/`.
    name: String,
    path: PathBuf,
    size_bytes: u64,
    modified_ns: u128,
}

/// When a file was last changed, in nanoseconds since 1970; 0 where the system does not tell.
pub(super) fn modified_ns(metadata: &Metadata) -> u128 {
    let time = metadata.modified().ok();
    time.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos())
}

/// Walks the folder. Hidden files and folders are passed over; links are followed, but each folder is entered once, so a
/// loop of links ends.
pub(super) fn list(root: &Path) -> Result<Listing> {
    let mut listing = Listing { files: Vec::new(), skipped: Vec::new(), others: Vec::new() };
    let mut entered: HashSet<PathBuf> = HashSet::new();
    let mut folders = vec![(root.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let real = fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
        if !entered.insert(real) {
            continue;
        }
        let mut entries: Vec<_> = match fs::read_dir(&folder).and_then(Iterator::collect::<std::io::Result<_>>) {
            Ok(entries) => entries,
            Err(e) if prefix.is_empty() => return Err(Error::io(root, "read")(e)),
            Err(e) => {
                listing.skip(prefix, format!("the folder cannot be read: {e}"));
                continue;
            }
        };
        // Popped from the end: with the names falling, a folder that two links lead to is always entered by the same one.
        entries.sort_by_key(|e| std::cmp::Reverse(e.file_name()));
        for entry in entries {
            let file = picture::printable(&entry.file_name().to_string_lossy());
            if picture::is_hidden(&file) {
                continue;
            }
            let name = if prefix.is_empty() { file } else { format!("{prefix}/{file}") };
            match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_dir() => folders.push((entry.path(), name)),
                Ok(metadata) => listing.add(name, entry.path(), &metadata),
                Err(e) if picture::has_picture_name(&name) => listing.skip(name, e.to_string()),
                Err(_) => listing.others.push((name, entry.path())),
            }
        }
    }
    listing.files.sort_by(|a, b| a.name.cmp(&b.name));
    listing.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    listing.others.sort();
    Ok(listing)
}

impl Listing {
    fn add(&mut self, name: String, path: PathBuf, metadata: &Metadata) {
        if !picture::has_picture_name(&name) || !metadata.is_file() {
            self.others.push((name, path));
        } else if let Err(reason) = picture::check_size(metadata.len()) {
            self.skip(name, reason);
        } else {
            let (size_bytes, modified_ns) = (metadata.len(), modified_ns(metadata));
            self.files.push(PictureFile { name, path, size_bytes, modified_ns });
        }
    }

    fn skip(&mut self, path: String, reason: String) {
        self.skipped.push(Skipped { path, reason });
    }

    /// How many files have the name of a picture and can be looked at.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The names of these files, in order.
    pub(super) fn names(&self, files: Range<usize>) -> impl Iterator<Item = &str> {
        self.files[files].iter().map(|file| file.name.as_str())
    }

    /// Names and paths of the pictures, in order.
    pub(super) fn pictures(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.files.iter().map(|f| (f.name.as_str(), f.path.as_path()))
    }

    /// Whether no file has the name of a picture.
    pub(super) fn is_without_pictures(&self) -> bool {
        self.files.is_empty() && self.skipped.is_empty()
    }

    /// One of the other files, for the message about a folder without pictures.
    pub(super) fn example(&self) -> Option<&str> {
        self.others.first().map(|(name, _)| name.as_str())
    }

    /// Changes when a picture is added, removed or changed.
    pub(super) fn stamp(&self) -> u64 {
        let mut stamp = Stamp::default();
        for f in &self.files {
            stamp.add(f.name.as_bytes());
            stamp.add(&f.size_bytes.to_le_bytes());
            stamp.add(&f.modified_ns.to_le_bytes());
        }
        for s in &self.skipped {
            stamp.add(s.path.as_bytes());
        }
        stamp.add(&self.others.len().to_le_bytes());
        stamp.value()
    }

    /// The sizes of the pictures whose headers can be read, in order of their paths.
    pub(super) fn sizes(&self) -> Vec<[usize; 3]> {
        let size = |f: &PictureFile| picture::size(&f.name, &fs::read(&f.path).ok()?).ok();
        self.files.par_iter().filter_map(size).collect()
    }

    /// Decodes these files in order on all cores, until `limit` good pictures are there. Returns whether all of them were
    /// read: a limit was not reached, and the system refused none.
    pub(super) fn decode(
        &self,
        files: Range<usize>,
        target: &Target,
        limit: usize,
        progress: &dyn Progress,
        mut sink: impl FnMut(Decoded) -> Result<()>,
    ) -> Result<bool> {
        let files = &self.files[files];
        progress.total(files.iter().map(|f| f.size_bytes).sum());
        let (mut at, mut good) = (0, 0);
        let refused = AtomicBool::new(false);
        while at < files.len() && good < limit {
            let end = files.len().min(at + CHUNK.min(limit - good));
            let chunk: Vec<Decoded> = files[at..end]
                .par_iter()
                .map(|f| {
                    let read = fs::read(&f.path).map_err(|e| e.to_string());
                    refused.fetch_or(read.is_err(), Ordering::Relaxed);
                    let pixels = read.and_then(|bytes| picture::decode(&f.name, &bytes, target));
                    progress.advance(f.size_bytes);
                    Decoded { name: f.name.clone(), pixels }
                })
                .collect();
            good += chunk.iter().filter(|d| d.pixels.is_ok()).count();
            chunk.into_iter().try_for_each(&mut sink)?;
            at = end;
        }
        Ok(at == files.len() && !refused.into_inner())
    }
}
