//! Fusion: every rule finds its pattern in some preset, and a fused training step is the step of its ops one by one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::cpu::Oracle;
use degrain::kernel::Target;
use degrain::model::Preset;
use degrain::plan::{FUSIONS, Plan, PlanOptions};
use degrain::tensor::Class;
use degrain::train::{SyntheticStep, synthetic_step};
use degrain::validate::{Open, device_trials};
use libtest_mimic::{Arguments, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

const TARGETS: [Option<&Target>; 3] = [None, Some(&Target::DEFAULT_LIMITS), Some(&Target::SOFTWARE_DRIVER)];

fn main() -> ExitCode {
    let mut trials = vec![
        trial("rules_find_their_patterns_in_the_presets", rules_find_their_patterns_in_the_presets),
        trial("in_f64_a_fused_step_is_the_step_of_its_ops", in_f64_a_fused_step_is_the_step_of_its_ops),
        trial("rules_have_names_of_their_own", rules_have_names_of_their_own),
    ];
    trials.extend(device_trials([(
        "fused_training_is_the_same_training",
        fused_training_is_the_same_training as fn(&Open),
    )]));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &'static str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn plan(step: &SyntheticStep, target: Option<&Target>, fuse: bool) -> Plan {
    Plan::new(&step.graph, PlanOptions { target, fuse, variant: None }).unwrap()
}

/// How often each op is there.
fn counts(plan: &Plan) -> BTreeMap<&'static str, usize> {
    plan.steps().iter().fold(BTreeMap::new(), |mut counts, step| {
        *counts.entry(step.op.name()).or_default() += 1;
        counts
    })
}

fn rules_find_their_patterns_in_the_presets() {
    let preset = Preset::load("lfw-conv").unwrap();
    for target in TARGETS {
        let step = synthetic_step(&preset, 4, target).unwrap();
        let (alone, fused) = (counts(&plan(&step, target, false)), counts(&plan(&step, target, true)));
        // Four convolutions, each with its activation and pooling; the bias gradients of four of them and of both dense
        // layers. GPUs read the pooled gradients where they are.
        let gpu = target.is_some_and(|target| !target.is_software());
        let unpooled: usize = if gpu { 4 } else { 0 };
        for (op, wanted) in [
            ("conv2d_max_pool2d", 4),
            ("mse_gradient", 1),
            ("weight_bias_grad", 6 - unpooled),
            ("unpooled_weight_grad", unpooled),
            ("unpooled_input_grad", unpooled.saturating_sub(1)),
            ("max_pool2d_backward", 4 - unpooled),
            ("conv_transpose2d_times_slope", 3 - unpooled.saturating_sub(1)),
            ("conv2d_times_slope", 3),
            ("activate", 0),
            ("activate_backward", 0),
            ("max_pool2d", 0),
            ("mse", 0),
            ("mse_backward", 0),
            ("fill", 0),
        ] {
            assert_eq!(fused.get(op).copied().unwrap_or(0), wanted, "{op}: {fused:?}");
        }
        let (before, after) = (alone.values().sum::<usize>(), fused.values().sum::<usize>());
        assert!(after * 3 <= before * 2, "{before} ops became {after}");
        assert!(!alone.keys().any(|op| op.contains("_times_slope") || *op == "weight_bias_grad"), "{alone:?}");
    }
    let mut found = BTreeSet::new();
    for name in Preset::names() {
        let step = synthetic_step(&Preset::load(name).unwrap(), 4, None).unwrap();
        found.extend(counts(&plan(&step, None, true)).into_keys());
    }
    for op in ["gather_noise", "matmul_times_slope", "bce_logits_gradient"] {
        assert!(found.contains(op), "{op} is in none: {found:?}");
    }
}

fn rules_have_names_of_their_own() {
    let names: BTreeSet<&str> = FUSIONS.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), FUSIONS.len());
    assert!(FUSIONS.iter().all(|rule| rule.what.len() > 20));
}

/// What the step leaves behind in the oracle, where nothing is rounded: by name.
fn in_f64(step: &SyntheticStep, plan: &Plan) -> BTreeMap<String, Vec<f64>> {
    let mut oracle = Oracle::new();
    for (name, array) in &step.values {
        oracle.write(name, array.clone());
    }
    oracle.run(plan).unwrap();
    let kept = plan.persistent().into_iter().filter(|info| matches!(info.class, Class::Parameter | Class::State));
    kept.map(|info| (info.name.clone(), oracle.read(&info.name).unwrap().f64().to_vec())).collect()
}

fn in_f64_a_fused_step_is_the_step_of_its_ops() {
    for name in Preset::names() {
        // The convolutions of the oracle are plain loops: two pictures are enough to mix them up.
        let preset = Preset::load(name).unwrap();
        for target in TARGETS {
            let step = synthetic_step(&preset, 2, target).unwrap();
            let (alone, fused) = (plan(&step, target, false), plan(&step, target, true));
            if target.is_some() && counts(&fused) == counts(&plan(&step, None, true)) {
                continue;
            }
            let (wanted, got) = (in_f64(&step, &alone), in_f64(&step, &fused));
            assert_eq!(wanted.len(), got.len(), "{name}");
            for (tensor, wanted) in wanted {
                let largest = wanted.iter().fold(1e-12, |most: f64, x| most.max(x.abs()));
                for (i, (wanted, got)) in wanted.iter().zip(&got[&tensor]).enumerate() {
                    assert!((wanted - got).abs() <= 1e-9 * largest, "{name}, {tensor}[{i}]: {wanted} became {got}");
                }
            }
        }
    }
}

fn fused_training_is_the_same_training(open: &Open) {
    for (name, batch, steps) in [("quickdraw-deep", 24, 12), ("lfw-conv", 3, 4), ("mnist-dae", 10, 6), ("vae", 8, 6)] {
        let preset = Preset::load(name).unwrap();
        let parameters = |fuse: bool| {
            let mut session = open();
            session.set_fuse(fuse);
            let step = synthetic_step(&preset, batch, session.target()).unwrap();
            let program = session.record(&step.graph).unwrap();
            session.write_used(&step.values).unwrap();
            session.run(program, steps).unwrap();
            let tensors = step.graph.tensors().iter().filter(|info| info.class == Class::Parameter);
            let names: BTreeSet<String> = tensors.map(|info| info.name.clone()).collect();
            names.into_iter().map(|name| (session.read(&name).unwrap(), name)).collect::<Vec<_>>()
        };
        let mut moved = false;
        for ((wanted, tensor), (got, _)) in parameters(false).into_iter().zip(parameters(true)) {
            // Sums that are taken in another order differ by roundings, which each step's division by the gradients'
            // size may make as large as a part of one update.
            let (norm, distance) = wanted.iter().zip(&got).fold((0.0, 0.0), |(norm, distance), (a, b)| {
                (norm + f64::from(*a).powi(2), distance + f64::from(a - b).powi(2))
            });
            moved |= norm > 0.0;
            assert!(distance <= 1e-8 * norm + 1e-12, "{name}, {tensor}: {distance:e} of {norm:e}");
        }
        assert!(moved, "{name}");
    }
}
