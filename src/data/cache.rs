//! Decoded folders and archives, kept between runs.
//!
//! There is one file per source and target, replaced when the source changes:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `DGRNDATA` |
//! | 4 | format version, little-endian like all numbers |
//! | 4 | CRC-32 of everything after it |
//! | 8 | length of the header |
//! | … | header: JSON ([`Header`]) |
//! | … | pixels, u8, to the end of the file |
//!
//! A file that is damaged, of another version or of an older state of the source counts as absent. Pixels are mapped, not
//! read: memory holds what is in use.

use crate::atomic_file::write_cached;
use crate::data::{Dataset, Labels, Numbers, Skipped, Target, Values};
use crate::error::Result;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"DGRNDATA";
const VERSION: u32 = 1;
const PREFIX_BYTES: usize = 24;

/// Where decoded pictures are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// In `$DEGRAIN_CACHE`, else `$XDG_CACHE_HOME/degrain`, else `~/.cache/degrain`; nowhere if none of them is set.
    #[default]
    Standard,
    /// In this folder.
    Folder(PathBuf),
    /// Nowhere.
    Off,
}

impl CacheMode {
    fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Off => None,
            Self::Folder(folder) => Some(folder.clone()),
            Self::Standard => standard_folder(|name| std::env::var_os(name).map(PathBuf::from), std::env::home_dir()),
        }
    }
}

/// The folder in which decoded pictures and measurements are kept: `$DEGRAIN_CACHE`, else `$XDG_CACHE_HOME/degrain`, else
/// `~/.cache/degrain`; none if none of them is set.
pub fn cache_folder() -> Option<PathBuf> {
    CacheMode::Standard.folder()
}

/// The standard place, given the environment; an empty setting counts as none.
fn standard_folder(variable: impl Fn(&str) -> Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let given = |path: Option<PathBuf>| path.filter(|p| !p.as_os_str().is_empty());
    given(variable("DEGRAIN_CACHE"))
        .or_else(|| Some(given(variable("XDG_CACHE_HOME"))?.join("degrain")))
        .or_else(|| Some(given(home)?.join(".cache/degrain")))
}

/// FNV-1a, 64 bits: tells one state of a source from another, no protection against forgery.
#[derive(Clone, Copy)]
pub(super) struct Stamp(u64);

impl Default for Stamp {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Stamp {
    /// Takes in one field; its length goes in too, so that fields cannot run into each other.
    pub(super) fn add(&mut self, field: &[u8]) {
        for &byte in (field.len() as u64).to_le_bytes().iter().chain(field) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Header {
    source: String,
    target: Target,
    stamp: u64,
    names: Vec<String>,
    labels: Option<Labels>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<u32>>,
    skipped: Vec<Skipped>,
    ignored: usize,
}

/// The place of one source and target in the cache.
pub(super) struct Entry {
    path: PathBuf,
    source: String,
    target: Target,
    stamp: u64,
}

impl Entry {
    /// `stamp` tells the state of the source. `None` where nothing is to be kept.
    pub(super) fn new(mode: &CacheMode, source: &Path, target: &Target, stamp: u64) -> Option<Self> {
        let folder = mode.folder()?;
        let source = fs::canonicalize(source).ok()?.to_string_lossy().into_owned();
        let mut key = Stamp::default();
        key.add(source.as_bytes());
        for number in [target.height, target.width, target.channels, target.crop as usize] {
            key.add(&(number as u64).to_le_bytes());
        }
        if let Some(patches) = target.patches {
            key.add(&(patches.count as u64).to_le_bytes());
            key.add(&patches.seed.to_le_bytes());
        }
        let path = folder.join(format!("{:016x}.data", key.value()));
        Some(Self { path, source, target: target.clone(), stamp })
    }

    /// The data set as it was stored, if it is there, whole, and of this state of the source.
    pub(super) fn load(&self) -> Option<Dataset> {
        let mut file = File::open(&self.path).ok()?;
        let size = file.metadata().ok()?.len();
        let mut prefix = [0; PREFIX_BYTES];
        file.read_exact(&mut prefix).ok()?;
        let (magic, rest) = prefix.split_first_chunk::<8>()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (crc, header_len) = rest.split_first_chunk()?;
        let header_len = u64::from_le_bytes(*header_len.first_chunk()?);
        let values_len = size.checked_sub(PREFIX_BYTES as u64)?.checked_sub(header_len)?;
        if magic != MAGIC || u32::from_le_bytes(*version) != VERSION {
            return None;
        }
        let mut header = vec![0; usize::try_from(header_len).ok()?];
        file.read_exact(&mut header).ok()?;
        let mut values = Numbers::map(&file, PREFIX_BYTES + header.len()).ok()?;
        values.truncate(usize::try_from(values_len).ok()?);
        if checksum(&header, &values) != u32::from_le_bytes(*crc) {
            return None;
        }
        self.dataset(serde_json::from_slice(&header).ok()?, values)
    }

    fn dataset(&self, header: Header, values: Numbers<u8>) -> Option<Dataset> {
        let Header { source, target, stamp, names, labels, groups, skipped, ignored } = header;
        let fits = source == self.source && target == self.target && stamp == self.stamp;
        let whole = values.len() == names.len().checked_mul(target.sample_len())?;
        let labelled = labels.as_ref().is_none_or(|l| l.ids.len() == names.len());
        let grouped = groups.as_ref().is_none_or(|groups| groups.len() == names.len());
        (fits && whole && labelled && grouped && !names.is_empty()).then(|| Dataset {
            labels,
            groups,
            skipped,
            ignored,
            from_cache: true,
            ..Dataset::new(target.shape(), Values::U8(values), names)
        })
    }

    /// Keeps the pictures of `dataset`.
    pub(super) fn store(&self, dataset: &Dataset) -> Result<()> {
        let Values::U8(values) = &dataset.values else { return Ok(()) };
        let header = Header {
            source: self.source.clone(),
            target: self.target.clone(),
            stamp: self.stamp,
            names: dataset.names.clone(),
            labels: dataset.labels.clone(),
            groups: dataset.groups.clone(),
            skipped: dataset.skipped.clone(),
            ignored: dataset.ignored,
        };
        write_cached(&self.path, |file| {
            let header = serde_json::to_vec(&header)?;
            file.write_all(MAGIC)?;
            file.write_all(&VERSION.to_le_bytes())?;
            file.write_all(&checksum(&header, values).to_le_bytes())?;
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            file.write_all(values)
        })
    }
}

fn checksum(header: &[u8], values: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(&(header.len() as u64).to_le_bytes());
    crc.update(header);
    crc.update(values);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_place_follows_the_environment() {
        let place = |cache: &str, xdg: &str, home: &str| {
            let variable = |name: &str| Some(PathBuf::from(if name == "DEGRAIN_CACHE" { cache } else { xdg }));
            standard_folder(variable, Some(home.into())).map(|p| p.to_string_lossy().into_owned())
        };
        assert_eq!(place("/c", "/x", "/h").as_deref(), Some("/c"));
        assert_eq!(place("", "/x", "/h").as_deref(), Some("/x/degrain"));
        assert_eq!(place("", "", "/h").as_deref(), Some("/h/.cache/degrain"));
        assert_eq!(place("", "", ""), None);
        assert_eq!(standard_folder(|_| None, None), None);
    }
}
