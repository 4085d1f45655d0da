//! The folder of a run: made new or opened again, and held by one process at a time.

use super::checkpoint::Weights;
use crate::atomic_file::{is_temporary, remove_leftovers, write_bytes};
use crate::error::{Error, Result};
use serde::Serialize;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Every setting of the run, defaults included, as a preset file.
pub const CONFIG: &str = "config.toml";
/// One row per epoch.
pub const METRICS: &str = "metrics.csv";
/// One row per step.
pub const STEPS: &str = "steps.csv";
/// Parameters at the last checkpoint.
pub const LAST: &str = "last.safetensors";
/// Parameters at the smallest validation loss.
pub const BEST: &str = "best.safetensors";
/// Parameters, optimiser state, counters and generator: the commit point of a checkpoint.
pub const STATE: &str = "state.safetensors";
/// The checkpoint before [`STATE`], which takes its place where that one is damaged.
pub const STATE_BEFORE: &str = "state-before.safetensors";
/// What `train --json` prints.
pub const SUMMARY: &str = "summary.json";
/// The report, one self-contained page.
pub const REPORT: &str = "report.html";

/// Held by the process that trains here; empty.
const LOCK: &str = ".lock";
/// Most runs of one preset in one folder.
const MAX_RUNS: u32 = 100_000;

/// A run folder that this process may write. The operating system releases the lock when the value is dropped or the
/// process ends, however it ends.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: File,
    refused: Option<Error>,
}

impl RunDir {
    /// Makes `ROOT/PRESET-N` with the first free N from 1; two processes never get the same. `ROOT` is `runs` where
    /// the user names no folder.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder that cannot be made.
    pub fn create_numbered(root: &Path, preset: &str) -> Result<Self> {
        create_folder(root)?;
        for number in 1..=MAX_RUNS {
            let path = root.join(format!("{preset}-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Self::lock(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(&path, "create the folder")(error)),
            }
        }
        Err(Error::file(root, format!("has {MAX_RUNS} runs of {preset} already: name another folder with --out")))
    }

    /// Makes the folder that the user named; it may exist if it is empty.
    ///
    /// # Errors
    /// [`Error::File`] if it is a file, holds anything or is in use, [`Error::Io`] if it cannot be made or written.
    pub fn create(path: &Path) -> Result<Self> {
        create_folder(path)?;
        check_empty(path)?;
        let run = Self::lock(path.to_path_buf())?;
        // Once more: another process may have trained here between the look and the lock.
        check_empty(path)?;
        remove_leftovers(path)?;
        Ok(run)
    }

    /// Opens the folder of an earlier run to go on with it, and removes what a killed process left half written. A damaged
    /// checkpoint is replaced by the one before it, of which [`RunDir::refused`] tells.
    ///
    /// # Errors
    /// [`Error::File`] if it is no run folder or in use, or both of its checkpoints are damaged, [`Error::Io`] if it cannot be
    /// written.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Err(Error::file(path, "is no run folder: name one that degrain train made"));
        }
        if !path.join(CONFIG).is_file() {
            return Err(Error::file(path, format!("is no run folder: it has no {CONFIG}")));
        }
        let mut run = Self::lock(path.to_path_buf())?;
        remove_leftovers(path)?;
        run.refused = recover(path)?;
        Ok(run)
    }

    /// What was wrong with the last checkpoint, where [`RunDir::open`] put the one before it in its place.
    pub fn refused(&self) -> Option<&Error> {
        self.refused.as_ref()
    }

    /// Makes room for a new checkpoint: the one that there is becomes the one before it. Killed here, a run goes on from
    /// that one.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn put_state_aside(&self) -> Result<()> {
        let (state, before) = (self.file(STATE), self.file(STATE_BEFORE));
        match fs::rename(&state, &before) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(&state, "rename")(error)),
            _ => Ok(()),
        }
    }

    fn lock(path: PathBuf) -> Result<Self> {
        let name = path.join(LOCK);
        // Left in place afterwards: removing it would let two processes lock two files of the same name.
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).open(&name).map_err(Error::io(&name, "create"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock, refused: None }),
            Err(TryLockError::WouldBlock) => {
                let problem =
                    "another degrain process is writing to this run: wait for it, or choose another folder with --out";
                Err(Error::file(&path, problem))
            }
            // Better to train without a lock than not at all.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(Self { path, _lock: lock, refused: None })
            }
            Err(TryLockError::Error(error)) => Err(Error::io(&name, "lock")(error)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the file `name` in the folder, such as [`STATE`].
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a text file that is complete or absent.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn write_text(&self, name: &str, text: &str) -> Result<()> {
        write_bytes(&self.file(name), text.as_bytes())
    }

    /// Writes a JSON file that is complete or absent, indented for readers.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file; [`Error::File`] for a value that JSON cannot hold.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.file(name);
        let text = serde_json::to_string_pretty(value).map_err(|error| Error::file(&path, error.to_string()))?;
        self.write_text(name, &(text + "\n"))
    }
}

/// Sees to it that the state of a run is whole, if it has one; returns what was wrong with the last one where the one before
/// it is now in its place.
fn recover(path: &Path) -> Result<Option<Error>> {
    let (state, before) = (path.join(STATE), path.join(STATE_BEFORE));
    let refused = match Weights::read(&state) {
        Ok(_) => return Ok(None),
        Err(refused @ Error::File { .. }) => Some(refused),
        // Killed between the two.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(other) => return Err(other),
    };
    if !before.is_file() {
        return refused.map_or(Ok(None), Err);
    }
    match (Weights::read(&before), refused) {
        (Err(_), Some(refused)) | (Err(refused), None) => Err(refused),
        (Ok(_), refused) => {
            fs::rename(&before, &state).map_err(Error::io(&before, "rename"))?;
            Ok(refused)
        }
    }
}

fn create_folder(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Err(Error::setting("--out", "names no folder"));
    }
    if path.exists() && !path.is_dir() {
        return Err(Error::file(path, "is a file: wanted a folder for runs"));
    }
    fs::create_dir_all(path).map_err(Error::io(path, "create the folder"))
}

fn check_empty(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).map_err(Error::io(path, "read"))? {
        let entry = entry.map_err(Error::io(path, "read"))?;
        if entry.file_name() != LOCK && !is_temporary(&entry.path()) {
            let problem = "is not empty: choose another folder with --out, or go on with the run in it with --resume";
            return Err(Error::file(path, problem));
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        let message = result.unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn numbers_count_up_and_fill_gaps() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("deep/runs");
        let name = |run: &RunDir| run.path().file_name().unwrap().to_str().unwrap().to_owned();
        let first = RunDir::create_numbered(&root, "lfw-conv").unwrap();
        let second = RunDir::create_numbered(&root, "lfw-conv").unwrap();
        let other = RunDir::create_numbered(&root, "lfw-linear").unwrap();
        assert_eq!([name(&first), name(&second), name(&other)], ["lfw-conv-1", "lfw-conv-2", "lfw-linear-1"]);
        fs::remove_dir_all(first.path()).unwrap();
        assert_eq!(name(&RunDir::create_numbered(&root, "lfw-conv").unwrap()), "lfw-conv-1");
    }

    #[test]
    fn runs_that_start_together_get_folders_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let (root, barrier) = (folder.path().join("runs"), std::sync::Barrier::new(8));
        let paths: BTreeSet<PathBuf> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                RunDir::create_numbered(&root, "p").unwrap().path().to_path_buf()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(paths.len(), 8);
    }

    #[test]
    fn a_named_folder_must_be_empty_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        drop(RunDir::create(&path).unwrap());
        // Killed before it wrote anything: may be used again.
        fs::write(path.join(".state.safetensors.1-0.degrain-tmp"), "half").unwrap();
        let run = RunDir::create(&path).unwrap();
        assert!(!path.join(".state.safetensors.1-0.degrain-tmp").exists());
        run.write_text("notes", "x").unwrap();
        drop(run);
        assert!(
            message(RunDir::create(&path))
                .ends_with("is not empty: choose another folder with --out, or go on with the run in it with --resume")
        );
        let foreign = folder.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("thesis.tex"), "x").unwrap();
        message(RunDir::create(&foreign));
        assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1, "nothing may be left in a folder that is refused");
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        for result in [RunDir::create(&file), RunDir::create_numbered(&file, "p")] {
            assert_eq!(message(result), format!("{}: is a file: wanted a folder for runs", file.display()));
        }
        let below = file.join("below");
        assert!(message(RunDir::create(&below)).starts_with(&format!("{}: cannot create the folder", below.display())));
        assert!(message(RunDir::create(Path::new(""))).starts_with("--out"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let path = Path::new("/proc/degrain");
        assert!(message(RunDir::create(path)).starts_with("/proc/degrain: cannot create the folder"));
        assert!(message(RunDir::create_numbered(path, "p")).starts_with("/proc/degrain: cannot create the folder"));
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path()).unwrap();
        run.write_text(CONFIG, "").unwrap();
        assert!(message(RunDir::open(folder.path())).contains("another degrain process is writing to this run"));
        drop(run);
        RunDir::open(folder.path()).unwrap();
    }

    #[test]
    fn only_run_folders_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        assert!(message(RunDir::open(folder.path())).ends_with("is no run folder: it has no config.toml"));
        assert!(message(RunDir::open(&folder.path().join("none"))).contains("is no run folder"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn opening_removes_what_was_half_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG), "").unwrap();
        fs::write(folder.path().join(".best.safetensors.77-0.degrain-tmp"), "half").unwrap();
        let run = RunDir::open(folder.path()).unwrap();
        let names: BTreeSet<_> = fs::read_dir(run.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, BTreeSet::from([CONFIG.into(), LOCK.into()]));
    }

    #[test]
    fn json_is_one_object_and_a_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path()).unwrap();
        run.write_json(SUMMARY, &serde_json::json!({ "epochs": 3, "val_loss": null })).unwrap();
        assert_eq!(fs::read_to_string(run.file(SUMMARY)).unwrap(), "{\n  \"epochs\": 3,\n  \"val_loss\": null\n}\n");
    }

    /// Not a test of its own: holds the lock in a process that [`a_killed_process_does_not_block`] kills.
    #[test]
    #[ignore = "runs as the child of another test"]
    fn hold_the_lock_until_killed() {
        let Some(path) = std::env::var_os("DEGRAIN_TEST_LOCK") else { return };
        let run = RunDir::create(Path::new(&path)).unwrap();
        run.write_text(CONFIG, "").unwrap();
        std::thread::sleep(std::time::Duration::from_secs(60));
        drop(run);
    }

    #[test]
    fn a_killed_process_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "train::run_dir::tests::hold_the_lock_until_killed"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.env("DEGRAIN_TEST_LOCK", &path).spawn().unwrap();
        let started = std::time::Instant::now();
        while !path.join(CONFIG).exists() && started.elapsed().as_secs() < 30 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let while_it_lives = RunDir::open(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(message(while_it_lives).contains("another degrain process"));
        RunDir::open(&path).unwrap();
    }
}
