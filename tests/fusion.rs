//! Fusion: every rule finds its pattern in some preset, and a fused training step is the step of its ops one by one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::cpu::Oracle;
use degrain::kernel::{Target, TargetKind};
use degrain::model::{OptimizerKind, Preset};
use degrain::plan::{FUSIONS, Plan, PlanOptions};
use degrain::tensor::Class;
use degrain::train::{SyntheticStep, synthetic_step};
use degrain::validate::{Open, device_trials};
use libtest_mimic::{Arguments, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

/// A GPU whose kernels may bind as many buffers as any has.
const MANY_BUFFERS: Target = Target { max_storage_buffers: 32, ..Target::DEFAULT_LIMITS };

const TARGETS: [Option<&Target>; 4] =
    [None, Some(&Target::DEFAULT_LIMITS), Some(&Target::SOFTWARE_DRIVER), Some(&MANY_BUFFERS)];

fn main() -> ExitCode {
    let mut trials = vec![
        trial("rules_find_their_patterns_in_the_presets", rules_find_their_patterns_in_the_presets),
        trial("stacks_are_found_where_they_pay", stacks_are_found_where_they_pay),
        trial(
            "an_optimiser_takes_the_launches_that_bindings_allow",
            an_optimiser_takes_the_launches_that_bindings_allow,
        ),
        trial("in_f64_a_fused_step_is_the_step_of_its_ops", in_f64_a_fused_step_is_the_step_of_its_ops),
        trial("rules_have_names_of_their_own", rules_have_names_of_their_own),
    ];
    trials.extend(device_trials([
        ("fused_training_is_the_same_training", fused_training_is_the_same_training as fn(&Open)),
        ("what_gpus_fuse_is_the_same_training", what_gpus_fuse_is_the_same_training),
    ]));
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

/// The chains of dense layers in front of the loss, on GPUs that can bind their tensors; how many layers each has.
fn stacks_are_found_where_they_pay() {
    for (name, layers) in [("quickdraw-deep", 6usize), ("quickdraw-simple", 2), ("mnist-dae", 0), ("lfw-conv", 0)] {
        for target in TARGETS {
            let step = synthetic_step(&Preset::load(name).unwrap(), 5, target).unwrap();
            let (alone, fused) = (counts(&plan(&step, target, false)), counts(&plan(&step, target, true)));
            let of = |counts: &BTreeMap<&str, usize>, op: &str| counts.get(op).copied().unwrap_or(0);
            let found = target == Some(&MANY_BUFFERS) && layers > 0;
            let stacks = of(&fused, "dense_stack_bce") + of(&fused, "dense_stack_mse");
            assert_eq!(stacks, usize::from(found), "{name}: {fused:?}");
            if found {
                let products = ["matmul", "matmul_times_slope", "bce_logits_gradient"].map(|op| of(&fused, op));
                assert_eq!(products, [0; 3], "{name}: {fused:?}");
                assert_eq!(of(&fused, "dense_update"), 1, "{name}: {fused:?}");
                let updates = ["weight_bias_grad", "nadam_several"].map(|op| of(&fused, op));
                assert_eq!(updates, [0; 2], "{name}: {fused:?}");
                // Forward, the gradients of weights, and those of data but for the first layer's.
                assert_eq!(of(&alone, "matmul"), 3 * layers - 1, "{name}: {alone:?}");
            }
        }
    }
}

/// All parameters of a step are updated in one launch where a device binds enough buffers, by whichever op it is.
fn an_optimiser_takes_the_launches_that_bindings_allow() {
    for name in Preset::names() {
        let launches = |buffers: u32| -> usize {
            let target = Target { max_storage_buffers: buffers, ..Target::DEFAULT_LIMITS };
            let step = synthetic_step(&Preset::load(name).unwrap(), 3, Some(&target)).unwrap();
            let plan = plan(&step, Some(&target), true);
            let updates = |op: &str| op.ends_with("_several") || op == "dense_update";
            let steps = plan.steps().iter().filter(|step| updates(step.op.name()));
            steps.filter_map(|step| step.variant.as_ref()).map(|variant| variant.launches.len()).sum()
        };
        assert_eq!(launches(1000), 1, "{name}");
        let step = synthetic_step(&Preset::load(name).unwrap(), 3, None).unwrap();
        let parameters = step.graph.tensors().iter().filter(|info| info.class == Class::Parameter);
        let names: BTreeSet<&str> = parameters.map(|info| info.name.as_str()).collect();
        // With one moment two tensors and the rate take 7 of 8 buffers.
        let rmsprop = Preset::load(name).unwrap().train.optimizer == OptimizerKind::Rmsprop;
        let together = if rmsprop { 2 } else { 1 };
        assert_eq!(launches(8), names.len().div_ceil(together), "{name}: at WebGPU's default limits");
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

/// The parameters after some steps, by a plan for the device or for another.
fn trained(open: &Open, step: &SyntheticStep, options: PlanOptions<'_>, steps: usize) -> BTreeMap<String, Vec<f32>> {
    let mut session = open();
    let plan = Plan::new(&step.graph, options).unwrap();
    let program = session.record_plan(&plan).unwrap();
    session.write_used(&step.values).unwrap();
    session.run(program, steps).unwrap();
    let parameters = step.graph.tensors().iter().filter(|info| info.class == Class::Parameter);
    let names: BTreeSet<String> = parameters.map(|info| info.name.clone()).collect();
    names.into_iter().map(|name| (name.clone(), session.read(&name).unwrap())).collect()
}

/// Sums that are taken in another order differ by roundings, which each step's division by the gradients' size may make as
/// large as a part of one update.
fn assert_close(name: &str, wanted: &BTreeMap<String, Vec<f32>>, got: &BTreeMap<String, Vec<f32>>) {
    let mut moved = false;
    for (tensor, wanted) in wanted {
        let (norm, distance) = wanted.iter().zip(&got[tensor]).fold((0.0f64, 0.0f64), |(norm, distance), (a, b)| {
            (norm + f64::from(*a).powi(2), distance + f64::from(a - b).powi(2))
        });
        moved |= norm > 0.0;
        assert!(distance <= 1e-8 * norm + 1e-12, "{name}, {tensor}: {distance:e} of {norm:e}");
    }
    assert!(moved, "{name}");
}

fn fused_training_is_the_same_training(open: &Open) {
    for (name, batch, steps) in [("quickdraw-deep", 24, 12), ("lfw-conv", 3, 4), ("mnist-dae", 10, 6), ("vae", 8, 6)] {
        let preset = Preset::load(name).unwrap();
        let target = open().target().copied();
        let step = synthetic_step(&preset, batch, target.as_ref()).unwrap();
        let by = |fuse| trained(open, &step, PlanOptions { target: target.as_ref(), fuse, variant: None }, steps);
        assert_close(name, &by(false), &by(true));
    }
}

/// The plan of a GPU on any device: what only GPUs fuse is run on software drivers as well.
fn what_gpus_fuse_is_the_same_training(open: &Open) {
    let Some(target) = open().target().map(|target| Target { kind: TargetKind::Gpu, ..*target }) else { return };
    let cases = [("quickdraw-deep", "nadam", 23), ("quickdraw-simple", "adamax", 9)];
    for (name, optimizer, batch) in cases {
        let mut preset = Preset::load(name).unwrap();
        preset.set_all(&[format!("train.optimizer={optimizer}")]).unwrap();
        let step = synthetic_step(&preset, batch, Some(&target)).unwrap();
        let options = |fuse| PlanOptions { target: Some(&target), fuse, variant: None };
        let found = counts(&Plan::new(&step.graph, options(true)).unwrap());
        let buffers = target.max_storage_buffers >= 27;
        assert_eq!(found.contains_key("dense_stack_bce"), buffers, "{found:?}");
        assert_eq!(found.contains_key("dense_update"), buffers, "{found:?}");
        let again = trained(open, &step, options(true), 12);
        assert_close(name, &trained(open, &step, options(false), 12), &again);
        assert_eq!(again, trained(open, &step, options(true), 12), "{name}: not the same bits");
    }
}
