//! Training end to end on small generated pictures: the same losses on every device, the same bits twice, resuming
//! as if nothing had happened, how runs end, and the commit of checkpoints.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::data::Split;
use degrain::model::Preset;
use degrain::session::Session;
use degrain::train::{Ending, Outcome, RunDir, TrainOptions, Trainer};
use degrain::validate::{Open, device_trials};
use libtest_mimic::Arguments;
use small::{StopAt, blobs as pictures, losses};
use std::path::Path;

#[path = "training/endings.rs"]
mod endings;
#[path = "training/precision.rs"]
mod precision;
mod small;

const PRESET: &str = r#"
name = "small"
description = "every kind of layer on 8x8 pictures"
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
  { layer = "conv2d", channels = 12, kernel = 3, activation = "relu" },
  { layer = "max_pool2d", size = 2 },
  { layer = "flatten" },
  { layer = "dense", units = "code", activation = "tanh" },
]
decoder = [
  { layer = "dense", units = 48 },
  { layer = "reshape", shape = [2, 2, 12] },
  { layer = "conv_transpose2d", channels = 8, kernel = 3, stride = 2, activation = "elu" },
  { layer = "conv_transpose2d", channels = 3, kernel = 3, stride = 2 },
]
[train]
loss = "mse"
noise = "gaussian:0.1"
optimizer = "adamax"
lr = 0.01
epochs = 4
batch = 8
seed = 3
"#;

/// 53 pictures to train on (six whole batches and one of five), 11 held out.
fn split() -> Split {
    Split { train: (0..64).filter(|i| i % 6 != 0).collect(), held_out: (0..64).filter(|i| i % 6 == 0).collect() }
}

fn preset(changes: &[&str]) -> Preset {
    let mut preset = Preset::from_toml(PRESET, Path::new("small.toml")).unwrap();
    preset.set_all(changes).unwrap();
    preset
}

fn options() -> TrainOptions {
    TrainOptions { log_every: 3, ..TrainOptions::default() }
}

fn train(session: Session, changes: &[&str], folder: &Path) -> Outcome {
    let run = RunDir::create(folder).unwrap();
    let mut trainer = Trainer::start(&preset(changes), &pictures(64), &split(), session, run, &options()).unwrap();
    trainer.run(&mut StopAt(u64::MAX, 0)).unwrap()
}

/// A name and what is checked on a device.
type Test = (&'static str, fn(&Open));

fn learns(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let outcome = train(open(), &["train.epochs=30", "train.noise=none"], &folder.path().join("run"));
    assert_eq!((outcome.ending, outcome.epochs, outcome.steps), (Ending::Finished, 30, 210));
    let losses = losses(&folder.path().join("run"));
    assert_eq!(losses.len(), 210);
    let (first, last) = (losses[0], outcome.train_loss.unwrap());
    assert!(last < 0.15 * f64::from(first), "from {first} to {last}");
    assert!(outcome.val_loss.unwrap() < 0.4 * f64::from(first), "validation at {:?}", outcome.val_loss);
}

fn repeats_itself(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    train(open(), &[], &a);
    train(open(), &[], &b);
    for file in ["steps.csv", "last.safetensors", "best.safetensors", "state.safetensors"] {
        assert!(std::fs::read(a.join(file)).unwrap() == std::fs::read(b.join(file)).unwrap(), "{file} differs");
    }
    let other = folder.path().join("c");
    train(open(), &["train.seed=4"], &other);
    assert_ne!(losses(&a), losses(&other), "another seed gives another run");
}

fn resumes_as_if_never_stopped(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    train(open(), &[], &whole);
    // Stopped in the middle of an epoch, then at the end of one.
    let mut run = RunDir::create(&parts).unwrap();
    for stop in [2, 7, 17, 10_000] {
        let begin = if stop == 2 { Trainer::start } else { Trainer::resume };
        let mut trainer = begin(&preset(&[]), &pictures(64), &split(), open(), run, &options()).unwrap();
        let outcome = trainer.run(&mut StopAt(stop, 0)).unwrap();
        let wanted = if stop > 28 { Ending::Finished } else { Ending::Interrupted };
        assert_eq!(outcome.ending, wanted, "stopped at {stop}");
        run = trainer.into_parts().1;
    }
    for file in ["steps.csv", "last.safetensors", "best.safetensors", "state.safetensors"] {
        assert!(std::fs::read(whole.join(file)).unwrap() == std::fs::read(parts.join(file)).unwrap(), "{file} differs");
    }
    let trainer = Trainer::resume(&preset(&[]), &pictures(64), &split(), open(), run, &options()).unwrap();
    assert!(trainer.is_finished());
}

/// Every optimiser, in each convention that it has, makes the loss small.
fn every_optimizer_learns(open: &Open) {
    let settings: [&[&str]; 10] = [
        &["train.optimizer=adam"],
        &["train.optimizer=adam", "train.convention=torch"],
        &["train.optimizer=adamax", "train.convention=torch"],
        &["train.optimizer=nadam"],
        &["train.optimizer=nadam", "train.psi=1"],
        &["train.optimizer=rmsprop", "train.lr=0.003"],
        &["train.optimizer=rmsprop", "train.lr=0.003", "train.convention=torch", "train.rho=0.99"],
        &["train.optimizer=rmsprop", "train.lr=0.02", "train.convention=tf1", "train.eps=1e-10"],
        &["train.optimizer=sgd", "train.lr=1"],
        &["train.optimizer=sgd", "train.lr=0.3", "train.momentum=0.9", "train.nesterov=true"],
    ];
    for changes in settings {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let all: Vec<&str> = changes.iter().copied().chain(["train.epochs=8", "train.noise=none"]).collect();
        train(open(), &all, &run);
        let losses = losses(&run);
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!(last < 0.6 * first, "{changes:?}: from {first} to {last}");
    }
}

/// What an optimiser carries survives a stop: one moment, one that begins at one, and a schedule.
fn every_optimizer_resumes(open: &Open) {
    let settings: [&[&str]; 3] = [
        &["train.optimizer=sgd", "train.momentum=0.9"],
        &["train.optimizer=rmsprop", "train.convention=tf1"],
        &["train.optimizer=nadam"],
    ];
    for changes in settings {
        let folder = tempfile::tempdir().unwrap();
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        let preset = preset(&[changes, &["train.epochs=2"]].concat());
        let run = RunDir::create(&whole).unwrap();
        let mut trainer = Trainer::start(&preset, &pictures(64), &split(), open(), run, &options()).unwrap();
        trainer.run(&mut StopAt(u64::MAX, 0)).unwrap();
        let run = RunDir::create(&parts).unwrap();
        let mut trainer = Trainer::start(&preset, &pictures(64), &split(), open(), run, &options()).unwrap();
        assert_eq!(trainer.run(&mut StopAt(6, 0)).unwrap().ending, Ending::Interrupted);
        let run = trainer.into_parts().1;
        let mut trainer = Trainer::resume(&preset, &pictures(64), &split(), open(), run, &options()).unwrap();
        trainer.run(&mut StopAt(u64::MAX, 0)).unwrap();
        let state = |run: &Path| std::fs::read(run.join("state.safetensors")).unwrap();
        assert!(state(&whole) == state(&parts), "{changes:?}: resumed otherwise");
    }
}

fn agrees_with_the_cpu(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let (cpu, gpu) = (folder.path().join("cpu"), folder.path().join("gpu"));
    train(Session::cpu(), &["train.steps=20", "train.shuffle=false"], &cpu);
    train(open(), &["train.steps=20", "train.shuffle=false"], &gpu);
    let (cpu, gpu) = (losses(&cpu), losses(&gpu));
    assert_eq!((cpu.len(), gpu.len()), (20, 20));
    for (step, (c, g)) in cpu.iter().zip(&gpu).enumerate() {
        assert!((c - g).abs() <= 1e-4 * c.abs(), "step {}: {c} on the CPU, {g} on the GPU", step + 1);
    }
}

fn fusion_changes_nothing(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let (fused, plain) = (folder.path().join("fused"), folder.path().join("plain"));
    train(open(), &["train.steps=10"], &fused);
    let mut session = open();
    session.set_fuse(false);
    train(session, &["train.steps=10"], &plain);
    for (a, b) in losses(&fused).iter().zip(losses(&plain)) {
        assert!((a - b).abs() <= 1e-5 * a.abs(), "{a} fused, {b} not");
    }
}

/// Pictures that stream through a ring give the bits of those that lie on the device, also after a stop within an epoch,
/// and the limit is kept.
fn streams_what_does_not_fit(open: &Open) {
    let data = pictures(640);
    let (held_out, rows): (Vec<u32>, Vec<u32>) = (0..640).partition(|i| i % 9 == 4);
    let split = Split { train: rows, held_out };
    let preset = preset(&["train.epochs=2"]);
    let folder = tempfile::tempdir().unwrap();
    let begin = |name: &str, device_memory: Option<u64>| {
        let run = RunDir::create(&folder.path().join(name)).unwrap();
        Trainer::start(&preset, &data, &split, open(), run, &TrainOptions { device_memory, ..options() })
    };
    let resident = begin("resident", None).unwrap().run(&mut StopAt(u64::MAX, 0)).unwrap();
    assert!(!resident.streamed);
    let limit = resident.peak_device_bytes - 60_000;

    let streamed = begin("streamed", Some(limit)).unwrap().run(&mut StopAt(u64::MAX, 0)).unwrap();
    assert!(streamed.streamed && streamed.peak_device_bytes <= limit, "{streamed:?}, not within {limit} bytes");
    let state = |name: &str| std::fs::read(folder.path().join(name).join("state.safetensors")).unwrap();
    let losses = |name: &str| losses(&folder.path().join(name));
    assert_eq!(losses("resident").len(), 144);
    assert_eq!(losses("streamed"), losses("resident"));
    assert_eq!(streamed.val_loss, resident.val_loss);
    assert!(state("streamed") == state("resident"), "the states differ");

    let mut trainer = begin("stopped", Some(limit)).unwrap();
    assert_eq!(trainer.run(&mut StopAt(40, 0)).unwrap().ending, Ending::Interrupted);
    drop(trainer);
    let run = RunDir::open(&folder.path().join("stopped")).unwrap();
    let again = TrainOptions { device_memory: Some(limit), ..options() };
    Trainer::resume(&preset, &data, &split, open(), run, &again).unwrap().run(&mut StopAt(u64::MAX, 0)).unwrap();
    assert_eq!(losses("stopped"), losses("resident"));

    let problem = begin("small", Some(1000)).err().unwrap().to_string();
    assert!(problem.starts_with("--device-memory: a step takes") && problem.contains("or more"), "{problem}");
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let tests: [Test; 8] = [
        ("learns", learns),
        ("repeats_itself", repeats_itself),
        ("resumes_as_if_never_stopped", resumes_as_if_never_stopped),
        ("every_optimizer_learns", every_optimizer_learns),
        ("every_optimizer_resumes", every_optimizer_resumes),
        ("agrees_with_the_cpu", agrees_with_the_cpu),
        ("fusion_changes_nothing", fusion_changes_nothing),
        ("streams_what_does_not_fit", streams_what_does_not_fit),
    ];
    libtest_mimic::run(&arguments, device_trials(tests.into_iter().chain(endings::TESTS).chain(precision::TESTS)))
        .exit_code()
}
