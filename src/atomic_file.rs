//! Files that are complete or absent, whenever the process or the machine stops.

use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes the file at `path` by way of a temporary name in the same folder: what `write` puts out is flushed to the
/// disk and then takes the place of what was there, in one step. A link is followed; a pipe or device is written as
/// it is.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] naming `path`; what was there before is then untouched.
pub fn write_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    // Nothing to follow where there is no such file yet.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    match fs::metadata(&target) {
        Ok(metadata) if metadata.is_dir() => return Err(Error::file(path, "is a folder: name a file in it")),
        Ok(metadata) if !metadata.is_file() => write_in_place(&target, write),
        _ => replace(&target, write),
    }
    .map_err(Error::io(path, "write"))
}

/// [`write_file`] for a text that is at hand.
///
/// # Errors
/// As [`write_file`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_file(path, |file| file.write_all(bytes))
}

/// [`write_file`] for a cache, whose folder need not be there yet. Of two that write at once the last one wins.
///
/// # Errors
/// As [`write_file`].
pub(crate) fn write_cached(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io(folder, "make"))?;
    write_file(path, write)
}

/// Removes temporary files that a killed process left in `folder`. Call it only while no one else writes there.
///
/// # Errors
/// [`Error::Io`] naming the folder or file.
pub fn remove_leftovers(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let path = entry.map_err(Error::io(folder, "read"))?.path();
        if is_temporary(&path) {
            fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
        }
    }
    Ok(())
}

/// Whether `path` has a name that only [`write_file`] gives.
pub(crate) fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.starts_with('.') && name.ends_with(SUFFIX)
}

const SUFFIX: &str = ".degrain-tmp";

fn write_in_place(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::new(OpenOptions::new().write(true).open(path)?);
    write(&mut file)?;
    file.flush()
}

fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let (file, temporary) = create_beside(path)?;
    let mut file = BufWriter::with_capacity(1 << 16, file);
    write(&mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    temporary.rename(path)?;
    sync_parent(path);
    Ok(())
}

/// A new file in the folder of `path`, under a name of its own.
fn create_beside(path: &Path) -> io::Result<(File, Temporary)> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "is no file name"))?;
    let mut attempt = 0_u32;
    loop {
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}-{attempt}{SUFFIX}", std::process::id()));
        let temporary = Temporary { path: path.with_file_name(temporary), armed: true };
        match OpenOptions::new().write(true).create_new(true).open(&temporary.path) {
            Ok(file) => return Ok((file, temporary)),
            Err(error) => {
                // Someone else's file, or none: not ours to remove.
                temporary.disarm();
                if error.kind() != io::ErrorKind::AlreadyExists || attempt == u32::MAX {
                    return Err(error);
                }
                attempt += 1;
            }
        }
    }
}

/// The rename is what counts; without this it might still be undone by a power cut.
fn sync_parent(path: &Path) {
    #[cfg(unix)]
    {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Some network file systems refuse to sync a folder; the file is in place all the same.
        let _ = File::open(parent).and_then(|folder| folder.sync_all());
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Removes its file unless it was renamed.
struct Temporary {
    path: PathBuf,
    armed: bool,
}

impl Temporary {
    fn rename(self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.disarm();
        Ok(())
    }

    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.armed {
            // Already on the way out with an error; a leftover is removed when the run folder is next opened.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn replaces_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_bytes(&path, b"first, and longer").unwrap();
        write_bytes(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_bytes(&path, b"old").unwrap();
        let error = write_file(&path, |file| {
            file.write_all(b"half of the ")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        let message = error.unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: cannot write: ", path.display())), "{message}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_temporary_file_of_another_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let taken = folder.path().join(format!(".a.txt.{}-0{SUFFIX}", std::process::id()));
        fs::write(&taken, "theirs").unwrap();
        write_bytes(&path, b"ours").unwrap();
        assert_eq!(fs::read(&taken).unwrap(), b"theirs");
        fs::write(folder.path().join(".tmp"), "a user's own").unwrap();
        remove_leftovers(folder.path()).unwrap();
        let mut left = names(folder.path());
        left.sort();
        assert_eq!(left, [".tmp", "a.txt"]);
    }

    #[test]
    fn folders_and_missing_folders_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = write_bytes(folder.path(), b"x").unwrap_err().to_string();
        assert!(message.ends_with("is a folder: name a file in it"), "{message}");
        let path = folder.path().join("none/a.txt");
        let message = write_bytes(&path, b"x").unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: cannot write: ", path.display())), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a.txt"), folder.path().join("link"));
        write_bytes(&path, b"old").unwrap();
        std::os::unix::fs::symlink("a.txt", &link).unwrap();
        write_bytes(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_are_not_replaced_and_a_full_disk_is_an_error() {
        use std::os::unix::fs::FileTypeExt;
        write_bytes(Path::new("/dev/null"), b"x").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        match write_bytes(Path::new("/dev/full"), b"x").unwrap_err() {
            Error::Io { path, source, .. } => {
                assert_eq!((path.as_path(), source.kind()), (Path::new("/dev/full"), io::ErrorKind::StorageFull));
            }
            other => panic!("{other}"),
        }
    }
}
