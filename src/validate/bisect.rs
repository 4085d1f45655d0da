//! The first launch of a graph that goes wrong on a device.

use super::walk::{Bounds, GUARD_WORDS, Options, Outcome, References, walk_with};
use crate::cpu::Oracle;
use crate::error::Result;
use crate::graph::Graph;
use crate::session::Session;
use crate::tensor::{Array, TensorType};

/// One step of the graph on both sides.
#[derive(Clone, PartialEq, Debug)]
pub struct BisectedStep {
    /// Layer or phase.
    pub label: String,
    /// The step on the device, held against its reference on the device's own inputs.
    pub outcome: Outcome,
    /// How far the device has drifted from the reference since the start of the graph: the largest distance of an
    /// output's element, relative to the largest element. Rounding adds up, so this is for people to look at.
    pub drift: f64,
}

/// Result of [`bisect`].
#[derive(Clone, PartialEq, Debug)]
pub struct Bisection {
    /// All steps, in order.
    pub steps: Vec<BisectedStep>,
    /// Position in `steps` of the first that is wrong.
    pub first: Option<usize>,
    /// The first tensor that is another after an ordinary run of the whole graph than after one step at a time.
    pub unstable: Option<String>,
}

impl Bisection {
    /// Whether every step was right, and the whole graph did what its steps do.
    pub fn passed(&self) -> bool {
        self.first.is_none() && self.unstable.is_none()
    }
}

/// Runs a graph on a session and through the references, one step at a time, then on the session as a whole. `values`
/// are the tensors of the store by name; the others start as zeros. Absolute tolerances are narrowed to the size of
/// each tensor's largest element. The session loses what it held.
///
/// # Errors
/// If the graph does not fit the device, or the device is lost.
pub fn bisect(session: &mut Session, graph: &Graph, values: &[(String, Array)]) -> Result<Bisection> {
    session.clear()?;
    session.set_guard_words(GUARD_WORDS);
    let plan = session.plan(graph)?;
    let mut drifts = Vec::new();
    let program = session.record_plan(&plan)?;
    session.write_used(values)?;
    let options = Options { bounds: Bounds::OfTheValues, again: program };
    let walked = walk_with(session, &plan, program, options, &mut References::default(), |_| true)?;
    let mut oracle = Oracle::new();
    for (name, array) in values {
        oracle.write(name, array.clone());
    }
    oracle.run_with(&plan, |number, outputs| {
        let step = &plan.steps()[number];
        let pairs = step.outputs.iter().zip(outputs).filter_map(|(id, expected)| {
            let words = walked.values[id.index()].as_ref()?;
            Some(drift(expected, words, &plan.tensors()[id.index()].ty))
        });
        drifts.push(pairs.fold(0.0, f64::max));
    })?;
    let names: Vec<String> = plan.persistent().iter().map(|info| info.name.clone()).collect();
    let alone: Vec<Vec<u32>> = names.iter().map(|name| session.read_words(name)).collect::<Result<_>>()?;
    session.clear()?;
    session.set_guard_words(0);
    let program = session.record_plan(&plan)?;
    session.write_used(values)?;
    session.run(program, 1)?;
    let mut unstable = None;
    for (name, alone) in names.into_iter().zip(alone) {
        if session.read_words(&name)? != alone {
            unstable.get_or_insert(name);
        }
    }
    let first = walked.outcomes.iter().position(|outcome| outcome.failure.is_some());
    let steps = walked.outcomes.into_iter().map(|outcome| BisectedStep {
        label: plan.steps()[outcome.step].label.clone(),
        drift: drifts.get(outcome.step).copied().unwrap_or(f64::NAN),
        outcome,
    });
    Ok(Bisection { steps: steps.collect(), first, unstable })
}

fn drift(expected: &Array, words: &[u32], ty: &TensorType) -> f64 {
    let got = Array::from_words(words, ty);
    let (expected, got) = (expected.f64(), got.f64());
    let largest = expected.iter().fold(0.0f64, |m, e| m.max(e.abs()));
    let distance = expected.iter().zip(got).map(|(e, g)| (e - g).abs());
    // A NaN is as far as can be; f64::max would pass it over.
    let furthest = distance.fold(0.0f64, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) });
    if furthest == 0.0 { 0.0 } else { furthest / largest }
}
