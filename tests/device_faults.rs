//! Devices that fail or offer little: lost in mid-run, short of memory, at WebGPU's default limits, used by several threads.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::data::{Dataset, Split, Values};
use degrain::gpu::{Adapter, DeviceKind, DeviceLoss, adapters};
use degrain::model::Preset;
use degrain::session::Session;
use degrain::train::{Event, Observer, Outcome, RunDir, TrainOptions, Trainer, synthetic_step};
use degrain::validate::{Open, device_trials, missing_adapter};
use libtest_mimic::{Arguments, Trial};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const PRESET: &str = r#"
name = "small"
description = "a convolution, a pool, a dense code, and back"
[data]
height = 8
width = 8
channels = 3
offset = -0.5
[model]
code = 6
encoder = [
  { layer = "conv2d", channels = 8, kernel = 3, activation = "elu" },
  { layer = "max_pool2d", size = 2 },
  { layer = "flatten" },
  { layer = "dense", units = "code" },
]
decoder = [
  { layer = "dense", units = 64 },
  { layer = "reshape", shape = [4, 4, 4] },
  { layer = "conv_transpose2d", channels = 3, kernel = 3, stride = 2 },
]
[train]
loss = "mse"
noise = "gaussian:0.1"
optimizer = "adamax"
lr = 0.01
epochs = 3
batch = 8
seed = 3
"#;

/// Files of a run that must not differ by a bit.
const RESULTS: [&str; 4] = ["steps.csv", "last.safetensors", "best.safetensors", "state.safetensors"];

/// A test on an adapter, with its name.
type Named = (&'static str, fn(&Adapter));

fn main() -> ExitCode {
    let mut trials = device_trials([
        ("too_large_a_batch_is_told_before_it_is_tried", too_large_a_batch_is_told_before_it_is_tried as fn(&Open)),
        ("several_threads_train_at_once", several_threads_train_at_once),
        ("every_preset_gives_the_same_bits_twice", every_preset_gives_the_same_bits_twice),
    ]);
    let of_gpus: [Named; 3] = [
        ("submits_hold_no_more_than_they_may", submits_hold_no_more_than_they_may),
        ("a_device_lost_in_mid_run_leaves_the_checkpoint", a_device_lost_in_mid_run_leaves_the_checkpoint),
        ("default_limits_are_enough", default_limits_are_enough),
    ];
    let found = adapters();
    for (name, test) in of_gpus {
        if found.is_empty() {
            trials.push(missing_adapter(format!("gpu::{name}")));
        }
        for (i, adapter) in found.iter().cloned().enumerate() {
            trials.push(Trial::test(format!("gpu::{i}::{name}"), move || {
                test(&adapter);
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn pictures() -> Dataset {
    let values = (0..40 * 192_usize).map(|i| (i * i % 251) as u8).collect();
    Dataset::new([8, 8, 3], Values::U8(values), (0..40).map(|i| format!("#{i}")).collect())
}

fn split() -> Split {
    Split { train: (0..32).collect(), held_out: (32..40).collect() }
}

struct Quiet;

impl Observer for Quiet {
    fn event(&mut self, _: &Event<'_>) {}
}

fn preset(changes: &[&str]) -> Preset {
    let mut preset = Preset::from_toml(PRESET, Path::new("small.toml")).unwrap();
    preset.set_all(changes).unwrap();
    preset
}

fn train(session: Session, run: &Path, observer: &mut dyn Observer) -> degrain::Result<Outcome> {
    let run = RunDir::create(run)?;
    Trainer::start(&preset(&[]), &pictures(), &split(), session, run, &TrainOptions::default())?.run(observer)
}

fn assert_same(one: &Path, other: &Path) {
    for file in RESULTS {
        assert!(std::fs::read(one.join(file)).unwrap() == std::fs::read(other.join(file)).unwrap(), "{file} differs");
    }
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
    assert!(after_split == after_shared && after_split == after_exempt, "how steps are submitted changes their results");
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
