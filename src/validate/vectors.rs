//! Cases from elsewhere: arrays that another framework computed, held against the reference and against a device.
//!
//! A case is a folder with a `case.json` and the `.npy` files that it names; `docs/vectors.md` has the format and the
//! list of ops. Each case runs forward, and backward where it has gradients, on the `f64` reference and on a session.
//! A folder that cannot be understood is a failed case of its own: the others run all the same.

mod attributes;
mod case_file;
mod check;
mod folder;
mod layout;
mod optimizers;
mod ports;
mod table;
mod tape;
mod windows;

pub use super::case::Direction;
use crate::error::{Error, Result};
use crate::session::Session;
use std::path::Path;

/// What came of one comparison.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// Every element is as close as the case wants it.
    Passed {
        /// Largest error relative to what is allowed; at most one.
        worst: f64,
    },
    /// An element is too far off, or the case cannot be run.
    Failed {
        /// Largest error relative to what is allowed; none where nothing could be compared.
        worst: Option<f64>,
        /// One line: the array or file, and what is wrong with it.
        problem: String,
    },
    /// The op, one of its attributes, the attribute's value or the gradient is not supported.
    Unsupported {
        /// Which one, by name.
        what: String,
    },
}

/// One row of the result: a case in one direction on one backend.
#[derive(Clone, PartialEq, Debug)]
pub struct VectorResult {
    /// The case's folder, relative to the folder of all cases, with `/` between names.
    pub case: String,
    /// The op as the case names it; empty where `case.json` cannot be read.
    pub op: String,
    /// Which pass; none where nothing ran.
    pub direction: Option<Direction>,
    /// [`REFERENCE`] or the session's device; none where nothing ran.
    pub backend: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
}

impl VectorResult {
    /// Whether an element was wrong or the case cannot be run.
    pub fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { .. })
    }

    /// Whether the case asks for something that is not there.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.outcome, Outcome::Unsupported { .. })
    }
}

/// What [`VectorResult::backend`] calls the `f64` reference.
pub const REFERENCE: &str = "reference";

/// Runs every case in `dir`, nested ones too, in the order of their names.
///
/// Tensors of equal name and type share a buffer of the session from case to case, so that its memory does not grow
/// with the number of cases.
///
/// # Errors
/// If `dir` cannot be read or has no case. What is wrong with a case is in its [`Outcome`].
pub fn run(dir: &Path, session: &mut Session) -> Result<Vec<VectorResult>> {
    let folders = folder::cases(dir)?;
    if folders.is_empty() {
        return Err(Error::file(dir, "has no cases: wanted folders with a case.json"));
    }
    Ok(folders.iter().flat_map(|(name, folder)| check::run_case(name, folder, session)).collect())
}

/// Names of the ops that cases may have, in alphabetical order.
pub fn op_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = table::OPS.iter().map(|op| op.name).collect();
    names.sort_unstable();
    names
}

/// Why a case is not compared.
#[derive(Clone, PartialEq, Debug)]
enum Problem {
    /// What is not supported, by name.
    Unsupported(String),
    /// What is wrong with the case.
    Wrong(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotDifferentiable { .. } => Self::Unsupported(error.to_string()),
            _ => Self::Wrong(error.to_string()),
        }
    }
}

impl From<Problem> for Outcome {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Unsupported(what) => Self::Unsupported { what },
            Problem::Wrong(problem) => Self::Failed { worst: None, problem },
        }
    }
}
