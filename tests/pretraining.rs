//! Layer-wise pre-training: where it puts a run, that stopping it leaves no trace, and which networks it takes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::data::{Dataset, Split, Values, bundled_quickdraw};
use degrain::model::Preset;
use degrain::session::Session;
use degrain::train::pretraining::stage_folder;
use degrain::train::run_dir::{LAST, STATE, STEPS};
use degrain::train::{Ending, Event, Inference, Observer, Outcome, RunDir, TrainOptions, Trainer, Weights, pretrain};
use degrain::validate::{Open, device_trials};
use libtest_mimic::Arguments;
use std::fs;
use std::path::Path;

/// Three layers with everything that may stand between them.
const DENSE: &str = r#"
name = "deep"
description = "three dense layers"
[data]
height = 28
width = 28
channels = 1
[model]
code = 8
encoder = [
  { layer = "flatten" },
  { layer = "dense", units = 48, activation = "sigmoid" },
  { layer = "batch_norm" },
  { layer = "dense", units = 24, activation = "sigmoid" },
  { layer = "dropout", rate = 0.1 },
  { layer = "dense", units = "code", activation = "sigmoid" },
]
decoder = [
  { layer = "dense", units = 24, activation = "sigmoid" },
  { layer = "dense", units = 48, activation = "sigmoid" },
  { layer = "batch_norm" },
  { layer = "dropout", rate = 0.1 },
  { layer = "dense", units = 784 },
  { layer = "reshape", shape = [28, 28, 1] },
]
[train]
loss = "bce"
noise = "mask:0.1"
optimizer = "adam"
lr = 0.005
pretrain_epochs = 16
epochs = 2
batch = 16
"#;

/// Convolutions, a code from a dense layer, and its mirror.
const CONVOLUTIONAL: &str = r#"
name = "convolutional"
description = "two convolutions and a dense layer"
[data]
height = 28
width = 28
channels = 1
[model]
code = 10
encoder = [
  { layer = "conv2d", channels = 4, kernel = 3, activation = "relu" },
  { layer = "max_pool2d", size = 2 },
  { layer = "conv2d", channels = 6, kernel = 3, stride = 2, activation = "relu" },
  { layer = "flatten" },
  { layer = "dense", units = "code" },
]
decoder = [
  { layer = "dense", units = 294, activation = "relu" },
  { layer = "reshape", shape = [7, 7, 6] },
  { layer = "upsample2d", factor = 2 },
  { layer = "conv2d", channels = 4, kernel = 3, activation = "relu" },
  { layer = "conv_transpose2d", channels = 1, kernel = 3, stride = 2 },
]
[train]
loss = "mse"
noise = "rect:6"
optimizer = "adam"
lr = 0.005
pretrain_epochs = 2
epochs = 1
batch = 16
"#;

/// Asks to stop once a stage has done so many steps; never in stage 0.
struct StopIn {
    stage: usize,
    at: u64,
    now: usize,
    done: u64,
}

impl StopIn {
    fn new(stage: usize, at: u64) -> Self {
        Self { stage, at, now: 0, done: 0 }
    }
}

impl Observer for StopIn {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Stage { number, .. } => (self.now, self.done) = (*number, 0),
            Event::Progress { step, .. } => self.done = *step,
            _ => {}
        }
    }

    fn stop_requested(&self) -> bool {
        self.stage > 0 && self.now == self.stage && self.done >= self.at
    }
}

fn preset(text: &str, changes: &[&str]) -> Preset {
    let mut preset = Preset::from_toml(text, Path::new("deep.toml")).unwrap();
    preset.set_all(changes).unwrap();
    preset
}

fn split() -> Split {
    Split { train: (0..160).collect(), held_out: (160..200).collect() }
}

fn options() -> TrainOptions {
    TrainOptions { log_every: 4, ..TrainOptions::default() }
}

/// Pre-trains in `folder`, from wherever it stands; none where it was stopped.
fn pretrained(
    preset: &Preset,
    split: &Split,
    session: Session,
    run: &RunDir,
    stop: StopIn,
) -> Option<(Session, Weights)> {
    let mut stop = stop;
    let drawings = bundled_quickdraw().unwrap();
    let done = pretrain(preset, &drawings, split, session, run, &options(), &mut stop).unwrap();
    Some((done.session, done.weights?))
}

fn start(preset: &Preset, split: &Split, session: Session, run: RunDir, init: Option<Weights>) -> Trainer {
    let options = TrainOptions { init, ..options() };
    Trainer::start(preset, &bundled_quickdraw().unwrap(), split, session, run, &options).unwrap()
}

/// Pre-trains and trains.
fn train(preset: &Preset, split: &Split, session: Session, folder: &Path) -> Outcome {
    let run = RunDir::create(folder).unwrap();
    let (session, weights) = pretrained(preset, split, session, &run, StopIn::new(0, 0)).unwrap();
    start(preset, split, session, run, Some(weights)).run(&mut StopIn::new(0, 0)).unwrap()
}

fn first_loss(folder: &Path) -> f64 {
    let text = fs::read_to_string(folder.join(STEPS)).unwrap();
    text.lines().nth(1).unwrap().split(',').nth(1).unwrap().parse().unwrap()
}

/// A name and what is checked on a device.
type Test = (&'static str, fn(&Open));

/// Against the same seed without, tied or not.
fn lowers_the_loss_that_fine_tuning_starts_from(open: &Open) {
    for tie in ["model.tie=false", "model.tie=true"] {
        let folder = tempfile::tempdir().unwrap();
        let (with, without) = (folder.path().join("with"), folder.path().join("without"));
        let pretrained = train(&preset(DENSE, &[tie]), &split(), open(), &with);
        let plain = preset(DENSE, &[tie, "train.pretrain_epochs=0"]);
        let run = RunDir::create(&without).unwrap();
        let drawn = start(&plain, &split(), open(), run, None).run(&mut StopIn::new(0, 0)).unwrap();
        let (first, first_drawn) = (first_loss(&with), first_loss(&without));
        assert!(first < 0.75 * first_drawn, "{tie}: from {first} pre-trained, from {first_drawn} drawn");
        let (last, last_drawn) = (pretrained.val_loss.unwrap(), drawn.val_loss.unwrap());
        assert!(last < 0.95 * last_drawn, "{tie}: to {last} pre-trained, to {last_drawn} drawn");
    }
}

/// What the stages end with is what the run begins with, bit for bit, and none of it is as it was drawn.
fn stages_are_the_first_weights(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, changes) in [
        ("dense", DENSE, &["train.pretrain_epochs=1"][..]),
        ("tied", DENSE, &["train.pretrain_epochs=1", "model.tie=true", "model.batch_norm=tensor"]),
        ("convolutional", CONVOLUTIONAL, &[]),
    ] {
        let preset = preset(text, changes);
        let path = folder.path().join(name);
        let run = RunDir::create(&path).unwrap();
        let (session, weights) = pretrained(&preset, &split(), open(), &run, StopIn::new(0, 0)).unwrap();
        drop(start(&preset, &split(), session, run, Some(weights)));
        let first = Weights::read(&path.join(LAST)).unwrap().tensors;
        let stages = preset.stages().unwrap();
        assert_eq!(stages.len(), 3);
        let mut found = 0;
        for (index, stage) in stages.iter().enumerate() {
            let trained = Weights::read(&stage_folder(&path, index + 1).join(LAST)).unwrap().tensors;
            assert_eq!(trained.len(), stage.tensors.len());
            for (of_stage, parameter) in &stage.tensors {
                assert_eq!(first[&parameter.name], trained[of_stage], "{name}: {}", parameter.name);
                let drawn = preset.model.init.draw(preset.train.seed, parameter);
                let drawn = degrain::train::Array::f32(parameter.shape.clone(), drawn);
                assert_ne!(trained[of_stage], drawn, "{name}: {} was trained", parameter.name);
                found += 1;
            }
        }
        assert_eq!(found, first.len(), "{name}: each tensor belongs to one stage");
    }
}

/// Each stage's data are the codes, without noise, of the part of the network that is trained.
fn codes_are_those_of_the_layers_before(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let preset = preset(DENSE, &["train.pretrain_epochs=1"]);
    let run = RunDir::create(&folder.path().join("run")).unwrap();
    let (session, weights) = pretrained(&preset, &split(), open(), &run, StopIn::new(0, 0)).unwrap();
    drop(session);
    let drawings = bundled_quickdraw().unwrap();
    let mut x = vec![0.0; 4 * 784];
    for (row, x) in x.chunks_exact_mut(784).enumerate() {
        assert!(drawings.sample_f32(row, 0.0, x));
    }
    let whole = Inference::new(open(), &preset, weights, 4).unwrap().encode(&x).unwrap();
    for (index, stage) in preset.stages().unwrap().iter().enumerate() {
        let weights = Weights::read(&stage_folder(run.path(), index + 1).join(LAST)).unwrap();
        x = Inference::new(open(), &stage.preset, weights, 4).unwrap().encode(&x).unwrap();
    }
    assert_eq!(whole.len(), 4 * 8);
    for (got, wanted) in x.iter().zip(&whole) {
        assert!((got - wanted).abs() <= 1e-6, "{got} stage by stage, {wanted} as one network");
    }
}

/// Stopped in the middle of an epoch of stage 2, at its end, and once more in stage 3.
fn resumes_as_if_never_stopped(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let preset = preset(DENSE, &["train.pretrain_epochs=2", "train.steps=6"]);
    assert_eq!(train(&preset, &split(), open(), &whole).steps, 6);
    RunDir::create(&parts).unwrap();
    let mut stops = [(2, 7), (2, 10), (3, 15)].into_iter();
    let (session, weights) = loop {
        // As a new process would: by the folder alone.
        let begun = parts.join("config.toml").is_file();
        let run = if begun { RunDir::open(&parts).unwrap() } else { RunDir::create(&parts).unwrap() };
        let stop = stops.next().map_or(StopIn::new(0, 0), |(stage, at)| StopIn::new(stage, at));
        if let Some(done) = pretrained(&preset, &split(), open(), &run, stop) {
            break done;
        }
        assert!(!parts.join(STATE).exists(), "the run proper has not begun");
    };
    assert_eq!(stops.next(), None);
    let run = RunDir::open(&parts).unwrap();
    start(&preset, &split(), session, run, Some(weights)).run(&mut StopIn::new(0, 0)).unwrap();
    for stage in ["", "pretrain-1", "pretrain-2", "pretrain-3"] {
        for file in ["config.toml", "steps.csv", "last.safetensors", "state.safetensors"] {
            let read = |run: &Path| fs::read(run.join(stage).join(file)).unwrap();
            assert!(read(&whole) == read(&parts), "{stage}/{file} differs");
        }
    }
    assert_eq!(train(&preset, &split(), open(), &folder.path().join("again")).steps, 6);
    assert!(fs::read(whole.join(STATE)).unwrap() == fs::read(folder.path().join("again").join(STATE)).unwrap());
}

/// `train.steps` ends the run proper alone, and nothing need be held out.
fn steps_and_an_empty_held_out_part_are_the_runs_own(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let split = Split { train: (0..40).collect(), held_out: Vec::new() };
    let preset = preset(DENSE, &["train.pretrain_epochs=1", "train.steps=2", "train.val=0", "train.patience=1"]);
    let outcome = train(&preset, &split, open(), &folder.path().join("run"));
    assert_eq!((outcome.ending, outcome.steps, outcome.val_loss), (Ending::Finished, 2, None));
    let lines = |number: usize| {
        let steps = stage_folder(&folder.path().join("run"), number).join(STEPS);
        fs::read_to_string(steps).unwrap().lines().count() - 1
    };
    assert_eq!([1, 2, 3].map(lines), [3; 3], "an epoch of 40 drawings, 16 at a time");
}

fn given_weights_and_other_pictures_are_refused(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let preset = preset(DENSE, &[]);
    let fails = |name: &str, data: &Dataset, init: Option<Weights>| {
        let run = RunDir::create(&folder.path().join(name)).unwrap();
        let options = TrainOptions { init, ..options() };
        pretrain(&preset, data, &split(), open(), &run, &options, &mut StopIn::new(0, 0)).err().unwrap().to_string()
    };
    let drawings = bundled_quickdraw().unwrap();
    let message = fails("given", &drawings, Some(Weights::default()));
    assert!(message.starts_with("train.pretrain_epochs: ") && message.contains("either given"), "{message}");
    let small = Dataset::new([2, 2, 1], Values::U8(vec![0; 800].into()), vec![String::new(); 200]);
    let message = fails("small", &small, None);
    assert!(message.contains("[28, 28, 1]") && message.contains("[2, 2, 1]"), "{message}");
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let tests: [Test; 6] = [
        ("lowers_the_loss_that_fine_tuning_starts_from", lowers_the_loss_that_fine_tuning_starts_from),
        ("stages_are_the_first_weights", stages_are_the_first_weights),
        ("codes_are_those_of_the_layers_before", codes_are_those_of_the_layers_before),
        ("resumes_as_if_never_stopped", resumes_as_if_never_stopped),
        ("steps_and_an_empty_held_out_part_are_the_runs_own", steps_and_an_empty_held_out_part_are_the_runs_own),
        ("given_weights_and_other_pictures_are_refused", given_weights_and_other_pictures_are_refused),
    ];
    libtest_mimic::run(&arguments, device_trials(tests)).exit_code()
}
