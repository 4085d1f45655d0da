//! Where the cases are.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The file that makes a folder a case.
pub(super) const CASE_FILE: &str = "case.json";
/// Folders within folders that are looked into; symbolic links may go round in circles.
const MAX_DEPTH: usize = 8;

/// Names and paths of all cases in `dir`, sorted by name. A folder without a `case.json` in it or below it counts as
/// a case, so that a missing file is seen; hidden folders do not.
///
/// # Errors
/// If a folder cannot be read.
pub(super) fn cases(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    if dir.join(CASE_FILE).exists() {
        let name = dir.file_name().map_or_else(|| ".".to_owned(), |name| name.to_string_lossy().into_owned());
        found.push((name, dir.to_path_buf()));
    }
    for (name, folder) in subfolders(dir)? {
        collect(&name, &folder, 1, &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(name: &str, folder: &Path, depth: usize, found: &mut Vec<(String, PathBuf)>) -> Result<()> {
    let is_case = folder.join(CASE_FILE).exists();
    let before = found.len();
    if depth < MAX_DEPTH {
        for (inner, path) in subfolders(folder)? {
            // The arrays of a case may lie in folders of their own, which are no cases.
            if !is_case || path.join(CASE_FILE).exists() {
                collect(&format!("{name}/{inner}"), &path, depth + 1, found)?;
            }
        }
    }
    if is_case || found.len() == before {
        found.push((name.to_owned(), folder.to_path_buf()));
    }
    Ok(())
}

/// Folders in `dir`, links to folders too, without hidden ones.
fn subfolders(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io(dir, "read"))? {
        let entry = entry.map_err(Error::io(dir, "read"))?;
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if path.is_dir() && !name.starts_with('.') {
            folders.push((name, path));
        }
    }
    Ok(folders)
}
