//! `bisect` names the launch that goes wrong, and only that one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::graph::{CpuCall, Graph, Op, Signature};
use degrain::kernel::{Target, Tolerance, Variant};
use degrain::model::Preset;
use degrain::op::{Activate, Activation, Add, Matmul, SumRows};
use degrain::session::Session;
use degrain::tensor::{Array, Class, TensorType};
use degrain::train::synthetic_step;
use degrain::validate::{Bisection, bisect};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `y = 2 x`, but for what is wrong with it.
#[derive(Debug)]
struct Double {
    /// This element comes out one too large.
    wrong: Option<usize>,
    /// After so many runs every element does.
    runs_well: usize,
    runs: Arc<AtomicUsize>,
}

impl Double {
    fn new(wrong: Option<usize>, runs_well: usize) -> Self {
        Self { wrong, runs_well, runs: Arc::default() }
    }
}

impl Op for Double {
    fn name(&self) -> &'static str {
        "double"
    }

    fn infer(&self, inputs: &[TensorType]) -> degrain::Result<Vec<TensorType>> {
        Ok(inputs.to_vec())
    }

    fn variants(&self, _: &Signature<'_>, _: &Target) -> Vec<Variant> {
        Vec::new()
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        for (y, x) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()) {
            *y = 2.0 * x;
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let x = call.input(0);
        let late = self.runs.fetch_add(1, Ordering::Relaxed) >= self.runs_well;
        for (i, (y, x)) in call.output(0).iter_mut().zip(x).enumerate() {
            *y = 2.0 * x + f32::from(u8::from(self.wrong == Some(i) || late));
        }
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::Exact]
    }
}

/// x -> tanh -> double -> matmul -> sum, and an input that two ops read.
fn bisect_with(double: Double) -> Bisection {
    let mut graph = Graph::new();
    let x = graph.persistent(Class::Input, "x", TensorType::f32([4, 4])).unwrap();
    graph.set_label("first");
    let t = graph.apply_one(Activate { kind: Activation::Tanh }, &[x]).unwrap();
    graph.set_label("second");
    let d = graph.apply_one(double, &[t]).unwrap();
    graph.set_label("third");
    let m = graph.apply_one(Matmul::default(), &[d, t]).unwrap();
    let s = graph.apply_one(Add, &[m, t]).unwrap();
    let y = graph.apply_one(SumRows, &[s]).unwrap();
    graph.keep(y, "y").unwrap();
    let values = [("x".to_owned(), Array::F64((0..16).map(|i| 0.125 * f64::from(i) - 1.0).collect()))];
    bisect(&mut Session::cpu(), &graph, &values).unwrap()
}

#[test]
fn a_right_graph_passes() {
    let found = bisect_with(Double::new(None, usize::MAX));
    assert!(found.passed(), "{found:?}");
    assert_eq!(
        found.steps.iter().map(|s| s.outcome.op).collect::<Vec<_>>(),
        ["activate", "double", "matmul", "add", "sum_rows"]
    );
    assert!(found.steps.iter().all(|step| step.drift < 1e-5));
}

#[test]
fn the_first_wrong_step_is_named_and_those_after_it_are_not_blamed() {
    let found = bisect_with(Double::new(Some(6), usize::MAX));
    assert_eq!(found.first, Some(1));
    let step = &found.steps[1];
    assert_eq!((step.label.as_str(), step.outcome.op), ("second", "double"));
    let failure = step.outcome.failure.as_ref().unwrap();
    assert!(failure.what.starts_with("output 0 at [1, 2], element 6: expected "), "{}", failure.what);
    assert_eq!(failure.mismatch.as_ref().map(|m| m.index), Some(6));
    assert!(found.steps.iter().enumerate().all(|(i, s)| i == 1 || s.outcome.failure.is_none()));
    assert!(found.steps[0].drift < 1e-6 && found.steps[4].drift > 1e-2, "the error goes on to the end");
}

#[test]
fn a_graph_that_differs_from_its_steps_is_told() {
    // Two runs of its step and one look at whether there is a kernel; then the whole graph.
    let found = bisect_with(Double::new(None, 3));
    assert_eq!((found.first, found.unstable.as_deref()), (None, Some("y")));
    assert!(!found.passed());
}

#[test]
fn a_training_step_of_every_preset_agrees_on_the_cpu_executor() {
    for name in Preset::names() {
        let step = synthetic_step(&Preset::load(name).unwrap(), 2, None).unwrap();
        let found = bisect(&mut Session::cpu(), &step.graph, &step.values).unwrap();
        assert!(found.passed() && found.steps.len() > 6, "{name}: {:?} {:?}", found.first, found.unstable);
    }
}
