//! Which kernels were measured to be the fastest on one device: what a plan goes by where the cost model would guess.

use crate::graph::{Op, Signature};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Measured times of the kernels of some ops, on one device.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Tuning {
    /// By [`Tuning::key`].
    entries: BTreeMap<String, Vec<Timed>>,
}

/// One kernel's time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Timed {
    /// The variant's name.
    pub variant: String,
    /// Median time of one run of the op, in microseconds.
    pub us: f64,
}

impl Tuning {
    /// An op with its settings, and the types that it works on.
    pub fn key(op: &dyn Op, signature: &Signature<'_>) -> String {
        let list =
            |types: &[crate::tensor::TensorType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("{} {op:?}: {} -> {}", op.name(), list(signature.inputs), list(signature.outputs))
    }

    /// The measured kernels of an op, the fastest first; none if it was not measured.
    pub fn of(&self, op: &dyn Op, signature: &Signature<'_>) -> Option<&[Timed]> {
        self.entries.get(&Self::key(op, signature)).map(Vec::as_slice)
    }

    /// Keeps what was measured for an op.
    pub fn insert(&mut self, key: String, mut timed: Vec<Timed>) {
        timed.retain(|timed| timed.us.is_finite() && timed.us > 0.0);
        timed.sort_by(|a, b| a.us.total_cmp(&b.us));
        if !timed.is_empty() {
            self.entries.insert(key, timed);
        }
    }

    /// Takes over what another has; where both know an op, the other's.
    pub fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
    }

    /// How many ops were measured.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Why a kernel was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is no other.
    Only,
    /// The cost model expects it to be the fastest.
    Estimated,
    /// It was measured to be the fastest.
    Measured,
    /// It was asked for by name.
    Asked,
}

/// A kernel that was taken, and those that it was taken from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// Name of the variant.
    pub variant: String,
    /// Why.
    pub reason: Reason,
    /// All variants with their measured times, where there are such, else their estimated ones, in microseconds.
    pub among: Vec<Timed>,
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let us = |timed: &Timed| format!("{} {:.1} us", timed.variant, timed.us);
        let others =
            self.among.iter().filter(|timed| timed.variant != self.variant).map(us).collect::<Vec<_>>().join(", ");
        let own = self.among.iter().find(|timed| timed.variant == self.variant).map_or(self.variant.clone(), us);
        match self.reason {
            Reason::Only => write!(f, "{}, the only one", self.variant),
            Reason::Estimated => write!(f, "{own} by estimate; {others}"),
            Reason::Measured => write!(f, "{own} as measured; {others}"),
            Reason::Asked => write!(f, "{own}, asked for by name; {others}"),
        }
    }
}
