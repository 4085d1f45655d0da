//! What a suite found, as rows and failures, for people and for scripts.

use super::case::Direction;
use super::compare::Mismatch;
use super::suite::Modules;
use std::collections::BTreeSet;
use std::fmt;

/// All cases of one kernel in one direction.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Name of the op.
    pub op: String,
    /// Name of the kernel; on the CPU executor `cpu`, or `reference` where it runs the reference itself.
    pub variant: &'static str,
    /// Forward, or the whole gradient.
    pub direction: Direction,
    /// How the shader modules were made.
    pub modules: Modules,
    /// Cases run.
    pub cases: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Error of the element nearest to its bound, or furthest past it.
    pub worst: f64,
    /// That element's bound.
    pub tolerance: f64,
    /// `worst / tolerance`.
    pub ratio: f64,
}

/// A case that failed.
#[derive(Clone, PartialEq, Debug)]
pub struct CaseFailure {
    /// Name of the op in the suite.
    pub op: String,
    /// Name of the kernel that was asked for; none on the CPU executor.
    pub variant: Option<&'static str>,
    /// Forward or backward.
    pub direction: Direction,
    /// How the shader modules were made.
    pub modules: Modules,
    /// The case's label.
    pub case: String,
    /// The op whose step failed; in the backward direction it may be another than the suite's.
    pub step_op: String,
    /// One line: which tensor, which element, both values.
    pub what: String,
    /// The first wrong element, if it is an element that failed.
    pub mismatch: Option<Mismatch>,
    /// What was launched; empty on the CPU executor.
    pub launches: Vec<String>,
    /// Seeds of the case's inputs, in order.
    pub seeds: Vec<u64>,
}

impl fmt::Display for CaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, direction, modules, case, step_op, what, .. } = self;
        let variant = self.variant.unwrap_or("cpu");
        writeln!(f, "{op} [{variant}] {direction}, {modules}, case \"{case}\"")?;
        let of = if op == step_op { String::new() } else { format!("{step_op}, ") };
        write!(f, "    {of}{what}")?;
        for launch in &self.launches {
            write!(f, "\n    launch {launch}")?;
        }
        if !self.seeds.is_empty() {
            let seeds: Vec<String> = self.seeds.iter().map(|seed| format!("{seed:#x}")).collect();
            write!(f, "\n    seeds of the inputs {}", seeds.join(", "))?;
        }
        Ok(())
    }
}

/// What a suite found on one device.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// The device.
    pub device: String,
    /// One row for each op, kernel, direction and kind of modules.
    pub rows: Vec<Row>,
    /// The cases that failed, in the order of the suite.
    pub failures: Vec<CaseFailure>,
    /// Ops for which the device has no kernel, as its limits are too low: plans put others in their place.
    pub without_kernel: BTreeSet<String>,
}

impl Report {
    /// Number of checks: op, kernel, case, direction, and kind of modules.
    pub fn checked(&self) -> usize {
        self.rows.iter().map(|row| row.cases).sum()
    }

    /// Number of checks that failed.
    pub fn failed(&self) -> usize {
        self.rows.iter().map(|row| row.failed).sum()
    }

    /// Adds what another run on the same device found.
    pub fn extend(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.failures.extend(other.failures);
    }

    pub(super) fn count(&mut self, found: Row) {
        let same = |row: &&mut Row| {
            row.op == found.op
                && row.variant == found.variant
                && row.direction == found.direction
                && row.modules == found.modules
        };
        let Some(row) = self.rows.iter_mut().find(same) else {
            self.rows.push(found);
            return;
        };
        row.cases += found.cases;
        row.failed += found.failed;
        if found.ratio > row.ratio || (row.ratio == 0.0 && found.tolerance > row.tolerance) {
            (row.worst, row.tolerance, row.ratio) = (found.worst, found.tolerance, found.ratio);
        }
    }
}

impl fmt::Display for Report {
    /// A table of the rows, then the failures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.op.len()).max().unwrap_or(0).max(2);
        let head = ["variant", "direction", "modules", "cases", "failed", "worst", "tolerance"];
        let [variant, direction, modules, cases, failed, worst, tolerance] = head;
        writeln!(
            f,
            "{:width$}  {variant:9}  {direction:9}  {modules:8}  {cases:>5}  {failed:>6}  {worst:>9}  {tolerance:>9}",
            "op"
        )?;
        for row in &self.rows {
            let Row { op, variant, direction, modules, cases, failed, worst, tolerance, .. } = row;
            let (direction, modules) = (direction.name(), modules.name());
            writeln!(
                f,
                "{op:width$}  {variant:9}  {direction:9}  {modules:8}  {cases:5}  {failed:6}  {worst:9.2e}  {tolerance:9.2e}"
            )?;
        }
        for op in &self.without_kernel {
            writeln!(f, "{op:width$}  none: the limits of this device are too low, and plans do without it")?;
        }
        for failure in &self.failures {
            writeln!(f, "\nFAILED {failure}")?;
        }
        write!(f, "{} checked, {} failed on {}", self.checked(), self.failed(), self.device)
    }
}
