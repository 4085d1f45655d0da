//! What a planted fault is, and where the tables of them are.

use super::{codes, convolutions, elementwise, noise, pooling, precision, reductions, search};

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Another element, lane or buffer.
    Index,
    /// One too many or too few at an edge, a guard or a tail.
    Boundary,
    /// A sign, an operator or a constant.
    Arithmetic,
    /// A barrier is missing.
    Barrier,
}

/// A text that stands once in a file, and what is put in its place.
pub(crate) struct Fault {
    /// What is wrong.
    pub(crate) kind: Kind,
    /// The text.
    pub(crate) find: &'static str,
    /// Its replacement.
    pub(crate) replace: &'static str,
    /// Part of the name of the one device that shows it, where the others do the right thing all the same.
    pub(crate) device: Option<&'static str>,
}

impl Fault {
    /// For a fault that only devices of this name show.
    pub(crate) const fn on(mut self, device: &'static str) -> Self {
        self.device = Some(device);
        self
    }
}

/// The faults of one shader file.
pub(crate) struct FileFaults {
    /// Its name without `.wgsl`.
    pub(crate) file: &'static str,
    /// What is planted, each alone.
    pub(crate) faults: &'static [Fault],
    /// Kinds that there is no place for, and why.
    pub(crate) without: &'static [(Kind, &'static str)],
}

/// Another element, lane or buffer.
pub(crate) const fn index(find: &'static str, replace: &'static str) -> Fault {
    Fault { kind: Kind::Index, find, replace, device: None }
}

/// One too many or too few.
pub(crate) const fn boundary(find: &'static str, replace: &'static str) -> Fault {
    Fault { kind: Kind::Boundary, find, replace, device: None }
}

/// A wrong sign, operator or constant.
pub(crate) const fn arithmetic(find: &'static str, replace: &'static str) -> Fault {
    Fault { kind: Kind::Arithmetic, find, replace, device: None }
}

/// The barrier before `after` is missing; `find` is the barrier and what follows it.
pub(crate) const fn barrier(find: &'static str, after: &'static str) -> Fault {
    Fault { kind: Kind::Barrier, find, replace: after, device: None }
}

/// The faults of one file, which has a place for every kind.
pub(crate) const fn of(file: &'static str, faults: &'static [Fault]) -> FileFaults {
    FileFaults { file, faults, without: &[] }
}

/// As [`of`], for a file that has no place for some kinds.
pub(crate) const fn of_without(
    file: &'static str,
    without: &'static [(Kind, &'static str)],
    faults: &'static [Fault],
) -> FileFaults {
    FileFaults { file, faults, without }
}

/// Every file with its faults.
pub(crate) fn all() -> impl Iterator<Item = &'static FileFaults> {
    [
        elementwise::FAULTS,
        noise::FAULTS,
        codes::FAULTS,
        reductions::FAULTS,
        pooling::FAULTS,
        convolutions::FAULTS,
        precision::FAULTS,
        search::FAULTS,
    ]
    .into_iter()
    .flatten()
}

/// Changes that alter nothing: a name, a comment, the order of a sum of two.
pub(crate) static HARMLESS: FileFaults = of(
    "add",
    &[
        arithmetic("// y = a + b", "// y is a + b"),
        arithmetic("y[i] = a[i] + b[i]", "y[i] = b[i] + a[i]"),
        arithmetic("{ y[i] = a[i] + b[i]; }", "{ let sum = a[i] + b[i]; y[i] = sum; }"),
    ],
);

/// Changes that no compiler takes, one that does not apply and one that applies twice.
pub(crate) static INVALID: FileFaults = of(
    "add",
    &[
        arithmetic("a[i] + b[i]", "a[i] + c[i]"),
        arithmetic("a[i] + b[i]", "a[i] + 1u"),
        arithmetic("a[i] * b[i]", "a[i]"),
        arithmetic("array<f32>;", "array<i32>;"),
    ],
);
