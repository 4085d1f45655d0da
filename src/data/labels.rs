//! Classes of samples.

use crate::data::{Split, idx, npy};
use crate::error::{Error, Result};
use std::collections::{BTreeSet, HashMap};
use std::io::{Cursor, Read};
use std::path::Path;

/// Largest file of labels that is read, in bytes.
const MAX_LABEL_BYTES: u64 = 1 << 30;

/// The class of every sample.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Labels {
    /// Name of each class: sorted as numbers where all are numbers, else as text.
    pub names: Vec<String>,
    /// For every sample, the index of its class in `names`.
    pub ids: Vec<u32>,
}

impl Labels {
    /// From the name of the class of every sample.
    pub fn from_names<S: AsRef<str>>(samples: &[S]) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut seen: HashMap<&str, u32> = HashMap::new();
        for s in samples {
            seen.entry(s.as_ref()).or_insert_with(|| {
                names.push(s.as_ref().to_string());
                0
            });
        }
        sort_names(&mut names);
        for (i, name) in names.iter().enumerate() {
            if let Some(id) = seen.get_mut(name.as_str()) {
                *id = i as u32;
            }
        }
        let ids = samples.iter().map(|s| seen.get(s.as_ref()).copied().unwrap_or_default()).collect();
        Self { names, ids }
    }

    /// The name of the class of sample `i`.
    pub fn name(&self, i: usize) -> Option<&str> {
        self.names.get(*self.ids.get(i)? as usize).map(String::as_str)
    }

    /// Whether the samples stand class by class: a split that takes the last ones then holds out classes that were never
    /// trained on.
    pub fn are_sorted(&self) -> bool {
        let runs = 1 + self.ids.windows(2).filter(|w| w[0] != w[1]).count();
        let mut classes = self.ids.clone();
        classes.sort_unstable();
        classes.dedup();
        classes.len() > 1 && runs == classes.len() && runs < self.ids.len()
    }

    /// Names of the classes that a split holds out whole, so that they are never trained on. Classes of one sample do
    /// not count: each of them is on one side or the other.
    pub fn held_out_whole(&self, split: &Split) -> Vec<&str> {
        let of = |rows: &[u32]| rows.iter().filter_map(|&row| self.ids.get(row as usize)).copied().collect();
        let (trained, held_out): (BTreeSet<u32>, BTreeSet<u32>) = (of(&split.train), of(&split.held_out));
        let counts = self.counts();
        let whole = held_out.difference(&trained).map(|&id| id as usize).filter(|&id| counts.get(id) > Some(&1));
        whole.filter_map(|id| self.names.get(id).map(String::as_str)).collect()
    }

    /// Without the classes that no sample has.
    pub(super) fn without_unused(self) -> Self {
        let names: Vec<&str> = (0..self.ids.len()).filter_map(|i| self.name(i)).collect();
        Self::from_names(&names)
    }

    /// How many samples each class has, in the order of `names`.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.names.len()];
        for &id in &self.ids {
            if let Some(count) = counts.get_mut(id as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// These labels, then `more`; classes of the same name are one.
    pub(super) fn join(mut self, more: Self) -> Self {
        let mut names = self.names.clone();
        names.extend(more.names.iter().filter(|name| !self.names.contains(name)).cloned());
        sort_names(&mut names);
        let place = |old: &[String]| -> Vec<u32> {
            old.iter().map(|name| names.iter().position(|n| n == name).unwrap_or_default() as u32).collect()
        };
        let (ours, theirs) = (place(&self.names), place(&more.names));
        let renumber = |ids: &[u32], new: &[u32]| {
            ids.iter().map(|&id| new.get(id as usize).copied().unwrap_or(id)).collect::<Vec<_>>()
        };
        self.ids = renumber(&self.ids, &ours);
        self.ids.extend(renumber(&more.ids, &theirs));
        self.names = names;
        self
    }
}

/// As numbers where all are numbers, else as text.
fn sort_names(names: &mut [String]) {
    if names.iter().all(|n| n.parse::<i64>().is_ok()) {
        names.sort_by_key(|n| n.parse::<i64>().unwrap_or_default());
    } else {
        names.sort();
    }
}

/// Labels from a file of their own: `.npy` (N,) of integers or text, IDX (gzipped or not), or text with one label a line.
///
/// # Errors
/// A file that cannot be read, holds no labels, or is over 1 GiB.
pub fn read_labels(path: &Path) -> Result<Labels> {
    let bytes = bytes(path)?;
    let problem = |problem: String| Error::file(path, problem);
    let names = if bytes.starts_with(npy::MAGIC) {
        npy::read_labels(&mut Cursor::new(&bytes)).map_err(problem)?
    } else if is_idx(&bytes) {
        return idx::read_labels(path);
    } else {
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| problem("wanted .npy, IDX, or text with one label a line".into()))?;
        text.lines().map(|line| line.trim().to_string()).collect()
    };
    if names.is_empty() {
        return Err(problem("holds no labels".into()));
    }
    Ok(Labels::from_names(&names))
}

/// The text of a file of labels; `None` where it is an array.
pub(super) fn text(path: &Path) -> Result<Option<String>> {
    let bytes = bytes(path)?;
    if bytes.starts_with(npy::MAGIC) || is_idx(&bytes) {
        return Ok(None);
    }
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|_| Error::file(path, "wanted .npy, IDX, or text with one label or path,label a line"))
}

/// Names of classes for a message, not more than fit a line.
pub(super) fn listed(names: &[String]) -> String {
    const MOST: usize = 20;
    let more = if names.len() > MOST { format!(", … ({} in all)", names.len()) } else { String::new() };
    format!("{}{more}", names.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", "))
}

fn is_idx(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0, 0])
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).map_err(Error::io(path, "read"))?;
    let mut bytes = Vec::new();
    file.take(MAX_LABEL_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
    if bytes.len() as u64 > MAX_LABEL_BYTES {
        return Err(Error::file(path, "too large for a file of labels"));
    }
    Ok(bytes)
}
