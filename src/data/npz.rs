//! NumPy's `.npz` format, a zip file of `.npy` arrays: all arrays of a file.

use super::archive::zip_problem;
use super::npy::{self, Numbers};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

/// The arrays of numbers in an `.npz` file with their names, in the order in which they were saved.
///
/// # Errors
/// A file that is no zip file of arrays, or one with an array that [`npy::read_numbers`] would not read.
pub fn read(path: &Path) -> Result<Vec<(String, Numbers)>> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let read = || {
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(zip_problem)?;
        let mut arrays = Vec::new();
        for index in 0..archive.len() {
            let entry = archive.by_index(index).map_err(zip_problem)?;
            let name = entry.name().map_err(zip_problem)?.into_owned();
            let Some(name) = name.strip_suffix(".npy") else { continue };
            let mut entry = BufReader::new(entry);
            let numbers = npy::numbers(&mut entry).map_err(|problem| format!("{name}.npy: {problem}"))?;
            // To its end, where the archive's checksum is held against what was read.
            entry.read_to_end(&mut Vec::new()).map_err(|error| format!("{name}.npy: {error}"))?;
            arrays.push((name.to_owned(), numbers));
        }
        Ok(arrays)
    };
    read().map_err(|problem: String| Error::file(path, problem))
}
