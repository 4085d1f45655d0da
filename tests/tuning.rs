//! The tuner: what it measures, what it refuses, and what a plan makes of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::Result;
use degrain::graph::{Graph, Op, Signature};
use degrain::kernel::{Target, Variant};
use degrain::op::{Add, Matmul};
use degrain::plan::{Plan, PlanOptions, Reason, Timed, Tuning};
use degrain::profile::tune;
use degrain::tensor::{Array, Class, TensorType};
use degrain::validate::{Open, device_trials};
use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let trial = |name: &'static str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let mut trials = vec![
        trial("a_plan_takes_what_was_measured_to_be_fastest", a_plan_takes_what_was_measured_to_be_fastest),
        trial("kernels_that_are_gone_do_not_count", kernels_that_are_gone_do_not_count),
        trial("measurements_survive_their_file", measurements_survive_their_file),
    ];
    trials.extend(device_trials([
        ("every_kernel_is_timed", every_kernel_is_timed as fn(&Open)),
        ("a_wrong_kernel_is_refused", a_wrong_kernel_is_refused),
    ]));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

const SIZES: [[usize; 2]; 2] = [[64, 300], [300, 32]];

/// `sum = a b`.
fn graph(op: impl Op + 'static) -> Graph {
    let mut graph = Graph::new();
    let a = graph.persistent(Class::Input, "a", TensorType::f32(SIZES[0])).unwrap();
    let b = graph.persistent(Class::Input, "b", TensorType::f32(SIZES[1])).unwrap();
    let y = graph.apply_one(op, &[a, b]).unwrap();
    graph.keep(y, "y").unwrap();
    graph
}

fn plan() -> Plan {
    Plan::new(
        &graph(Matmul::default()),
        PlanOptions { target: Some(&Target::DEFAULT_LIMITS), fuse: true, variant: None },
    )
    .unwrap()
}

/// Measurements of the product in which `first` is the fastest.
fn tuning(first: &str) -> Tuning {
    let (inputs, outputs) = (SIZES.map(TensorType::f32), [TensorType::f32([64, 32])]);
    let key = Tuning::key(&Matmul::default(), &Signature { inputs: &inputs, outputs: &outputs });
    let mut tuning = Tuning::default();
    let timed = |variant: &str, us| Timed { variant: variant.to_owned(), us };
    tuning.insert(key, vec![timed("tiled", 20.0), timed("direct", 30.0), timed(first, 5.0)]);
    tuning
}

fn a_plan_takes_what_was_measured_to_be_fastest() {
    let guessed = plan();
    let chosen = |plan: &Plan| plan.steps()[0].choice.clone().unwrap();
    assert_eq!((chosen(&guessed).variant.as_str(), chosen(&guessed).reason), ("tiled", Reason::Estimated));
    let tuned = guessed.tuned(&Target::DEFAULT_LIMITS, &tuning("direct"));
    assert_eq!((chosen(&tuned).variant.as_str(), chosen(&tuned).reason), ("direct", Reason::Measured));
    assert_eq!(tuned.steps()[0].variant.as_ref().unwrap().name, "direct");
    let text = chosen(&tuned).to_string();
    assert!(text.contains("direct 5.0 us as measured") && text.contains("tiled 20.0 us"), "{text}");
}

fn kernels_that_are_gone_do_not_count() {
    let tuned = plan().tuned(&Target::DEFAULT_LIMITS, &tuning("one that was removed"));
    assert_eq!(tuned.steps()[0].variant.as_ref().unwrap().name, "tiled", "the fastest of those that there are");
}

fn measurements_survive_their_file() {
    let text = serde_json::to_string(&tuning("direct")).unwrap();
    assert_eq!(serde_json::from_str::<Tuning>(&text).unwrap(), tuning("direct"));
}

fn every_kernel_is_timed(open: &Open) {
    let mut session = open();
    let op = Matmul::default();
    let mut graph = graph(op);
    let c = graph.persistent(Class::Input, "c", TensorType::f32([64, 32])).unwrap();
    let sum = graph.apply_one(Add, &[c, c]).unwrap();
    graph.keep(sum, "twice").unwrap();
    let tuned = tune(&mut session, &graph, Duration::from_secs(20)).unwrap();
    let Some(target) = session.target().copied() else {
        assert_eq!((tuned.ops, tuned.tuning.len()), (0, 0), "the CPU executor has nothing to choose from");
        return;
    };
    assert!(tuned.refused.is_empty(), "{:?}", tuned.refused);
    assert_eq!((tuned.measured, tuned.tuning.len()), (tuned.ops, tuned.ops));
    session.set_tuning(tuned.tuning.clone());
    let plan = session.plan(&graph).unwrap();
    for step in plan.steps() {
        let (inputs, outputs) = plan.types(step);
        let choice = step.choice.as_ref().unwrap();
        match tuned.tuning.of(step.op.as_ref(), &Signature { inputs: &inputs, outputs: &outputs }) {
            Some(timed) => {
                assert_eq!((choice.reason, &choice.variant), (Reason::Measured, &timed[0].variant), "{choice}");
                assert!(timed.len() > 1 && timed.iter().all(|other| other.us >= timed[0].us && timed[0].us > 0.0));
            }
            // There is no other kernel, or none that could be as fast.
            None => {
                let best = choice.among.iter().map(|timed| timed.us).fold(f64::INFINITY, f64::min);
                let rivals = choice.among.iter().filter(|timed| timed.us <= 8.0 * best).count();
                assert_eq!(rivals, 1, "{choice}");
                assert_ne!(choice.reason, Reason::Measured, "{choice}");
            }
        }
    }
    assert!(target.is_software() || tuned.ops > 0, "a GPU has several kernels for a product");
}

/// A product with a second kernel that is far cheaper and computes something else.
#[derive(Debug)]
struct Tempting;

impl Op for Tempting {
    fn name(&self) -> &'static str {
        "tempting"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Matmul::default().infer(inputs)
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let product = Matmul::default().variants(signature, target);
        let right = product.into_iter().find(|variant| variant.name == "direct").unwrap();
        let mut wrong = Variant { name: "wrong", estimate_us: right.estimate_us / 2.0, ..right.clone() };
        // As if there were one column less to sum.
        for (name, word) in &mut wrong.launches[0].parameters {
            if *name == "inner" {
                *word = 1u32.into();
            }
        }
        vec![right, wrong]
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        Matmul::default().reference(signature, inputs, outputs);
    }
}

fn a_wrong_kernel_is_refused(open: &Open) {
    let mut session = open();
    let tuned = tune(&mut session, &graph(Tempting), Duration::from_secs(20)).unwrap();
    if session.target().is_none() {
        assert!(tuned.refused.is_empty());
        return;
    }
    assert_eq!(tuned.refused, ["tempting wrong"]);
    session.set_tuning(tuned.tuning);
    let plan = session.plan(&graph(Tempting)).unwrap();
    assert_eq!(plan.steps()[0].variant.as_ref().unwrap().name, "direct");
}
