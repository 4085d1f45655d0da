//! Measurements that outlive the process: one JSON file for each kind and device, beside the decoded pictures.

use crate::atomic_file::write_bytes;
use crate::data::cache_folder;
use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Where measurements of one kind and device are kept: in `$DEGRAIN_CACHE`, else `$XDG_CACHE_HOME/degrain`, else
/// `~/.cache/degrain`.
pub(super) struct KeptFile {
    path: Option<PathBuf>,
}

impl KeptFile {
    /// The file of measurements called `kind` of what `key` names.
    pub(super) fn new(kind: &str, key: &str) -> Self {
        let name = format!("{kind}-{:016x}.json", crate::op::fnv1a(key));
        Self { path: cache_folder().map(|folder| folder.join(name)) }
    }

    /// What it holds; nothing where there is no such file or it is damaged, as it can be measured again.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&fs::read(self.path.as_ref()?).ok()?).ok()
    }

    /// Replaces what it holds, and says where it lies.
    ///
    /// # Errors
    /// If there is no cache folder, or it cannot be written.
    pub(super) fn write(&self, value: &impl Serialize) -> Result<PathBuf> {
        let path = self.path()?;
        let text = serde_json::to_vec_pretty(value)
            .map_err(|problem| Error::file(path, format!("cannot be written: {problem}")))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        }
        write_bytes(path, &text)?;
        Ok(path.clone())
    }

    /// Removes it; `false` if there was nothing.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub(super) fn remove(&self) -> Result<bool> {
        let path = self.path()?;
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io(path, "remove")(error)),
        }
    }

    fn path(&self) -> Result<&PathBuf> {
        let problem = "is not set, and neither is a home folder: name one to keep measurements in";
        self.path.as_ref().ok_or_else(|| Error::setting("DEGRAIN_CACHE", problem))
    }
}
