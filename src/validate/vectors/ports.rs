//! The named arrays of an op: read from a case's files, brought into this crate's layout, and back.

use super::Problem;
use super::case_file::Layout;
use super::layout::{Role, inverse, permuted, permuted_shape};
use crate::data::npy::{NumberKind, read_numbers};
use crate::tensor::Shape;
use std::path::Path;

/// An array that an op reads or writes, by the name that cases give it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    pub(super) name: &'static str,
    pub(super) role: Role,
    /// Whether a case must have it; outputs are compared where they are there.
    pub(super) required: bool,
}

/// An input that every case must have, or an output.
pub(super) const fn port(name: &'static str, role: Role) -> Port {
    Port { name, role, required: true }
}

/// An input that may be left out.
pub(super) const fn optional(name: &'static str, role: Role) -> Port {
    Port { name, role, required: false }
}

/// An array as its file has it, in the file's order of axes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileArray {
    /// The file as the case names it.
    pub(super) file: String,
    /// Extents; a scalar of shape () has become (1,).
    pub(super) shape: Shape,
    pub(super) values: Vec<f64>,
}

impl FileArray {
    /// Reads the array of this role. The problem names the file.
    pub(super) fn read(folder: &Path, file: &Path, role: Role) -> Result<Self, Problem> {
        let numbers = read_numbers(&folder.join(file)).map_err(|error| Problem::Wrong(one_line(&error.to_string())))?;
        let wrong = |problem: String| Problem::Wrong(format!("{}: {problem}", file.display()));
        let kind_fits = match numbers.kind {
            NumberKind::Float => true,
            NumberKind::Integer => role == Role::Indices,
            NumberKind::Bool => false,
        };
        if !kind_fits {
            return Err(wrong(format!("wanted floats, got {:?} numbers", numbers.kind).to_lowercase()));
        }
        let shape = if numbers.shape.is_empty() { Shape::from([1]) } else { numbers.shape.into() };
        if shape.is_empty() {
            return Err(wrong(format!("has no elements (shape {shape})")));
        }
        if !role.wants_rank(shape.rank()) {
            return Err(wrong(format!("wanted {}, got the shape {shape}", role.wanted())));
        }
        Ok(Self { file: file.display().to_string(), shape, values: numbers.values })
    }

    /// Extents and elements in this crate's order of axes.
    pub(super) fn ours(&self, role: Role, layout: Layout) -> (Shape, Vec<f64>) {
        let axes = role.axes(layout, self.shape.rank());
        (permuted_shape(&self.shape, &axes), permuted(&self.values, &self.shape, &axes))
    }

    /// Brings elements of ours, of the extents `ours`, into the order of the file.
    ///
    /// # Errors
    /// If the file has other extents.
    pub(super) fn theirs(&self, values: &[f64], ours: &Shape, role: Role, layout: Layout) -> Result<Vec<f64>, Problem> {
        self.expect_shape(ours, role, layout)?;
        Ok(permuted(values, ours, &inverse(&role.axes(layout, ours.rank()))))
    }

    /// That the file has the extents of a tensor of ours.
    pub(super) fn expect_shape(&self, ours: &Shape, role: Role, layout: Layout) -> Result<(), Problem> {
        let scalar = Shape::from([1]);
        let wanted = permuted_shape(ours, &inverse(&role.axes(layout, ours.rank())));
        let wanted = if wanted.rank() == 0 { scalar } else { wanted };
        if wanted == self.shape {
            return Ok(());
        }
        Err(Problem::Wrong(format!("{}: the op gives the shape {wanted}, the file has {}", self.file, self.shape)))
    }
}

/// A message of some other part as one line.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<&str>>().join(" ")
}
