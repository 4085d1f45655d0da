//! Devices that fail or offer little: lost in mid-run, short of memory, at WebGPU's default limits, used by several threads.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small;

use degrain::gpu::{Adapter, DeviceKind, DeviceLoss};
use degrain::graph::{Graph, Op, Signature};
use degrain::kernel::{Binding, Launch, Shader, Target, Variant};
use degrain::model::Preset;
use degrain::session::Session;
use degrain::tensor::{Array, Class, TensorType};
use degrain::train::{Event, Observer, RunDir, TrainOptions, Trainer, synthetic_step};
use degrain::validate::{Open, device_trials};
use libtest_mimic::Arguments;
use small::{Quiet, adapter_trials, assert_same, pictures, preset, split, train};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let mut trials = device_trials([
        ("too_large_a_batch_is_told_before_it_is_tried", too_large_a_batch_is_told_before_it_is_tried as fn(&Open)),
        ("several_threads_train_at_once", several_threads_train_at_once),
        ("every_preset_gives_the_same_bits_twice", every_preset_gives_the_same_bits_twice),
    ]);
    trials.extend(adapter_trials([
        ("submits_hold_no_more_than_they_may", submits_hold_no_more_than_they_may as fn(&Adapter)),
        ("a_device_lost_in_mid_run_leaves_the_checkpoint", a_device_lost_in_mid_run_leaves_the_checkpoint),
        ("memory_that_runs_out_says_what_would_fit", memory_that_runs_out_says_what_would_fit),
        ("what_a_driver_refuses_is_told_in_one_line", what_a_driver_refuses_is_told_in_one_line),
        ("default_limits_are_enough", default_limits_are_enough),
    ]));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Takes the device away once this many steps are done.
struct Strike(u64, DeviceLoss);

impl Observer for Strike {
    fn event(&mut self, event: &Event<'_>) {
        if matches!(event, Event::Progress { step, .. } if *step >= self.0) {
            self.1.strike();
        }
    }
}

fn a_device_lost_in_mid_run_leaves_the_checkpoint(adapter: &Adapter) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, lost) = (folder.path().join("whole"), folder.path().join("lost"));
    train(Session::gpu(adapter.open(true).unwrap()), &whole, &mut Quiet).unwrap();
    let gpu = adapter.open(true).unwrap();
    let loss = gpu.loss();
    // Steps 1 to 4 are the first epoch; the second is under way.
    let error = train(Session::gpu(gpu), &lost, &mut Strike(6, loss)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("device {}: ", adapter.name())) && error.contains("lost"), "{error}");
    assert!(!error.contains('\n'), "{error}");
    let run = RunDir::open(&lost).unwrap();
    let again = Session::gpu(adapter.open(true).unwrap());
    let options = TrainOptions::default();
    let mut trainer = Trainer::resume(&preset(&[]), &pictures(), &split(), again, run, &options).unwrap();
    trainer.run(&mut Quiet).unwrap();
    assert_same(&whole, &lost);
}

/// The submits of `times` steps of the preset once their time is known, the launches of one, and the weights after them.
fn submits(adapter: &Adapter, limit: Option<Duration>, times: u64) -> (u64, u64, Vec<u32>) {
    let mut gpu = adapter.open(true).unwrap();
    limit.into_iter().for_each(|most| gpu.limit_submits(most));
    let mut session = Session::gpu(gpu);
    let step = synthetic_step(&preset(&[]), 8, session.target()).unwrap();
    let plan = session.plan(&step.graph).unwrap();
    let variants = plan.steps().iter().filter_map(|step| step.variant.as_ref());
    let launches = variants.map(|variant| variant.launches.len() as u64).sum();
    let program = session.record_plan(&plan).unwrap();
    session.write_used(&step.values).unwrap();
    session.run(program, 3).unwrap();
    let before = session.submits();
    session.run(program, times as usize).unwrap();
    let submits = session.submits() - before;
    (submits, launches, session.read_words(&preset(&[]).architecture().unwrap().saved().next().unwrap().name).unwrap())
}

/// What a submit may hold stands in for the length of its launches, which no test can choose.
fn submits_hold_no_more_than_they_may(adapter: &Adapter) {
    const TIMES: u64 = 300;
    let (split, launches, after_split) = submits(adapter, Some(Duration::from_nanos(1)), TIMES);
    assert!(launches > 8, "{launches}");
    assert_eq!(split, TIMES * launches, "each launch is too long to share a submit");
    let (shared, _, after_shared) = submits(adapter, Some(Duration::from_secs(3600)), TIMES);
    assert!(shared <= 3, "{shared} submits: two of up to 256 replays, and one where the time was taken once more");
    let (exempt, _, after_exempt) = submits(adapter, None, TIMES);
    if adapter.kind() == DeviceKind::Software {
        assert!(exempt <= TIMES, "{exempt} submits: no replay is split");
    }
    assert!(
        after_split == after_shared && after_split == after_exempt,
        "how steps are submitted changes their results"
    );
}

fn default_limits_are_enough(adapter: &Adapter) {
    let folder = tempfile::tempdir().unwrap();
    let losses = |gpu, name: &str| {
        let run = folder.path().join(name);
        let outcome = train(Session::gpu(gpu), &run, &mut Quiet).unwrap();
        (outcome.train_loss.unwrap(), outcome.val_loss.unwrap())
    };
    let (all, default) = (adapter.open(true).unwrap(), adapter.open_with_default_limits(true).unwrap());
    assert!(!default.target().int64 && default.target().subgroup_size == 0 && !default.target().f16, "no features");
    assert_eq!(default.target().workgroup_memory_bytes, 16384);
    let (all, default) = (losses(all, "all"), losses(default, "default"));
    for (a, b) in [(all.0, default.0), (all.1, default.1)] {
        assert!((a - b).abs() <= 1e-4 * a.abs(), "{a} with all that the device has, {b} without");
    }
}

/// Copies its input by a kernel of its own.
#[derive(Clone, Debug)]
struct Copy {
    shader: Shader,
    bindings: [Binding; 2],
}

impl Op for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn infer(&self, inputs: &[TensorType]) -> degrain::Result<Vec<TensorType>> {
        Ok(inputs.to_vec())
    }

    fn variants(&self, _: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let (shader, bindings) = (self.shader, self.bindings.to_vec());
        let launch = Launch { shader, constants: Vec::new(), parameters: Vec::new(), bindings, workgroups: [1, 1, 1] };
        vec![Variant::single("plain", 1.0, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        outputs[0] = inputs[0].clone();
    }
}

const COPY: Shader = Shader {
    name: "copy",
    files: &["@group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn main(@builtin(workgroup_id) group: vec3<u32>) { y[group.x] = x[group.x]; }"],
};

/// As [`COPY`], with a feature that no device is opened with at default limits.
const COPY_F16: Shader = Shader {
    name: "copy_f16",
    files: &["enable f16;
        @group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn main(@builtin(workgroup_id) group: vec3<u32>) {
            y[group.x] = f32(f16(x[group.x]));
        }"],
};

/// Runs a [`Copy`] of 3.
fn copy(adapter: &Adapter, shader: Shader, bindings: [Binding; 2]) -> degrain::Result<Vec<f32>> {
    let mut session = Session::gpu(adapter.open_with_default_limits(true)?);
    let mut graph = Graph::new();
    let x = graph.persistent(Class::Input, "x", TensorType::f32([1]))?;
    let y = graph.apply_one(Copy { shader, bindings }, &[x])?;
    graph.keep(y, "y")?;
    let program = session.record(&graph)?;
    session.write("x", &[3.0])?;
    session.run(program, 1)?;
    session.read("y")
}

fn what_a_driver_refuses_is_told_in_one_line(adapter: &Adapter) {
    let whole = [Binding::Input(0), Binding::Output(0)];
    assert_eq!(copy(adapter, COPY, whole).unwrap(), [3.0]);
    // When its pipeline is made, and not before its commands are: a buffer that one launch reads and writes.
    for (shader, bindings, wanted) in [
        (COPY_F16, whole, ["copy_f16", "f16"]),
        (COPY, [Binding::Output(0); 2], ["Validation Error", "conflicting usages"]),
    ] {
        let error = copy(adapter, shader, bindings).unwrap_err().to_string();
        assert!(error.starts_with(&format!("device {}: ", adapter.name())), "{error}");
        assert!(!error.contains('\n') && !error.contains("  ") && error.len() < 600, "{error}");
        assert!(wanted.iter().all(|text| error.contains(text)), "{error}");
    }
}

fn memory_that_runs_out_says_what_would_fit(adapter: &Adapter) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    train(Session::gpu(adapter.open(true).unwrap()), &path, &mut Quiet).unwrap();
    let before = small::files(&path);
    let resume = |batch: usize, most: u64| {
        let mut gpu = adapter.open(true).unwrap();
        gpu.fail_allocations_past(most);
        let preset = preset(&["train.epochs=4", &format!("train.batch={batch}")]);
        let run = RunDir::open(&path).unwrap();
        let trainer =
            Trainer::resume(&preset, &pictures(), &split(), Session::gpu(gpu), run, &TrainOptions::default())?;
        Ok::<u64, degrain::Error>(trainer.into_parts().0.allocated_bytes() as u64)
    };
    let needed = resume(32, u64::MAX).unwrap();
    for most in [needed - 1, needed * 3 / 4, needed / 2] {
        let error = resume(32, most).unwrap_err().to_string();
        assert!(error.starts_with("--batch: a batch of 32 needs ") && !error.contains('\n'), "{error}");
        assert!(small::files(&path) == before, "something of the run changed");
        let largest: usize = error.rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{error}"));
        resume(largest, most).unwrap();
    }
}

fn too_large_a_batch_is_told_before_it_is_tried(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let begin = |bytes: u64, batch: usize| {
        let mut session = open();
        session.limit_memory(bytes);
        let run = folder.path().join(format!("{bytes} {batch}"));
        let preset = preset(&[&format!("train.batch={batch}")]);
        let run = RunDir::create(&run).unwrap();
        Trainer::start(&preset, &pictures(), &split(), session, run, &TrainOptions::default()).map(drop)
    };
    const BYTES: u64 = 200_000;
    let error = begin(BYTES, 32).unwrap_err().to_string();
    assert!(error.starts_with("--batch: a batch of 32 needs ") && error.contains("which has 195.3 KiB"), "{error}");
    let largest: usize = error.rsplit(' ').next().unwrap().parse().unwrap();
    begin(BYTES, largest).unwrap();
    begin(BYTES, largest + 1).unwrap_err();
    let error = begin(1000, 32).unwrap_err().to_string();
    assert!(error.ends_with("not even a batch of 1 fits"), "{error}");
}

fn several_threads_train_at_once(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<_> = (0..3).map(|i| folder.path().join(format!("run {i}"))).collect();
    let sessions: Vec<Session> = runs.iter().map(|_| open()).collect();
    std::thread::scope(|scope| {
        for (run, session) in runs.iter().zip(sessions) {
            scope.spawn(move || train(session, run, &mut Quiet).unwrap());
        }
    });
    assert_same(&runs[0], &runs[1]);
    assert_same(&runs[0], &runs[2]);
}

/// Everything that is in the store after two steps of a preset, as words.
fn after_two_steps(preset: &Preset, session: &mut Session) -> Vec<(String, Vec<u32>)> {
    session.clear().unwrap();
    let step = synthetic_step(preset, 2, session.target()).unwrap();
    let program = session.record(&step.graph).unwrap();
    session.write_used(&step.values).unwrap();
    session.run(program, 2).unwrap();
    let stored = step.graph.tensors().iter().filter(|info| info.class.is_persistent()).map(|info| info.name.clone());
    let names: std::collections::BTreeSet<String> = stored.filter(|name| session.contains(name)).collect();
    names.into_iter().map(|name| (name.clone(), session.read_words(&name).unwrap())).collect()
}

fn every_preset_gives_the_same_bits_twice(open: &Open) {
    let (mut one, mut other) = (open(), open());
    for name in Preset::names() {
        let preset = Preset::load(name).unwrap();
        let (a, b) = (after_two_steps(&preset, &mut one), after_two_steps(&preset, &mut other));
        assert!(a.len() > 3 && a.iter().any(|(_, words)| words.iter().any(|&word| word != 0)), "{name}");
        for ((tensor, a), (_, b)) in a.iter().zip(&b) {
            assert!(a == b, "{name}: {tensor} differs");
        }
    }
}
