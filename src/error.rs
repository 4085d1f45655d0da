//! The one error type: every variant names the thing that failed (a file, a setting, an op, a device),
//! what was wanted and what was got, in one line that a person can act on.

use std::path::{Path, PathBuf};

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to read or write a file or folder.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: "read", "write", "create the folder", …
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file was read but what it holds cannot be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// A command-line flag or a key of a preset file has a value that cannot work.
    #[error("{name}: {problem}")]
    Setting {
        /// The flag (`--batch`), key (`train.batch`) or layer (`encoder.conv2d_1`).
        name: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// An op was given tensors that it cannot take.
    #[error("{op}: wanted {wanted}, got {got}")]
    Shape {
        /// Name of the op.
        op: String,
        /// What the op takes.
        wanted: String,
        /// What it was given.
        got: String,
    },
    /// The gradient of this op is not known; an approximation is never returned in its place.
    #[error("{op} has no gradient")]
    NotDifferentiable {
        /// Name of the op.
        op: String,
    },
    /// A shader does not compile, or does not fit the way in which it is launched.
    #[error("shader {name}: {problem}")]
    Shader {
        /// Name of the shader.
        name: String,
        /// The compiler's or the check's message.
        problem: String,
    },
    /// A WGSL file that is not valid. Where the place is not known, `line` and `column` are 0.
    #[error("{name}{}: {problem}", place(*line, *column))]
    Wgsl {
        /// The file, or what the text is called.
        name: String,
        /// Line, from 1.
        line: u32,
        /// Column in bytes, from 1.
        column: u32,
        /// The compiler's message in one line.
        problem: String,
        /// The compiler's whole message in several lines, with the lines of the file that it is about.
        rendered: String,
    },
    /// A run of a kernel did not end in time. The device is given up as it is: closing it would wait for the kernel, and a
    /// software driver goes on computing until the process ends.
    #[error("{name}: a run did not end within {seconds} s: an endless loop, or set a longer --time-limit")]
    Endless {
        /// The kernel's file or name.
        name: String,
        /// How long it was waited for.
        seconds: f64,
    },
    /// A device cannot be found, opened or used.
    #[error("device {name}: {problem}")]
    Device {
        /// The device as the user named it, or as the driver calls it.
        name: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A device has no kernel for an op on these shapes: its limits are too low.
    #[error("{op}: no kernel of this device takes {inputs}")]
    NoKernel {
        /// Name of the op.
        op: String,
        /// Types of its inputs.
        inputs: String,
    },
    /// A device has no room for a buffer.
    #[error("device {name}: out of memory: use a smaller --batch or --limit")]
    OutOfMemory {
        /// The device.
        name: String,
    },
    /// Another process of a job failed, or is gone.
    #[error("rank {rank} of {ranks}: {problem}")]
    Rank {
        /// Its number, from 0.
        rank: usize,
        /// How many there are.
        ranks: usize,
        /// What it says, or what is known of it.
        problem: String,
    },
    /// Validation ran to its end and found something wrong.
    #[error("validation on {device}: {failed} of {checked} checks failed")]
    Validation {
        /// The device.
        device: String,
        /// Checks that failed.
        failed: usize,
        /// Checks that ran.
        checked: usize,
    },
    /// Training cannot go on.
    #[error("training stopped at step {step}: {problem}")]
    Training {
        /// The step at which it stopped.
        step: u64,
        /// Why.
        problem: String,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// `:3:14`, or nothing where the place is not known.
fn place(line: u32, column: u32) -> String {
    if line == 0 { String::new() } else { format!(":{line}:{column}") }
}

impl Error {
    /// For `map_err`: the system refused to `action` (“read”, “write”) the file at `path`.
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.as_ref().to_path_buf(), action, source }
    }

    /// The file at `path` cannot be used because of `problem`.
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }

    /// The flag, key or layer `name` cannot work because of `problem`.
    pub fn setting(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { name: name.into(), problem: problem.into() }
    }

    /// `op` wanted one thing and got another.
    pub fn shape(op: impl Into<String>, wanted: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Shape { op: op.into(), wanted: wanted.into(), got: got.into() }
    }
}
