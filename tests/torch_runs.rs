//! Whole runs that PyTorch repeated from the same weights and data: 50 steps of every optimiser in every convention, and
//! a step of a variational autoencoder with the same noise. `torch_runs/make.py` makes the figures. On the CPU executor
//! and on every adapter.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::data::{Dataset, Split, Values};
use degrain::graph::Graph;
use degrain::model::Preset;
use degrain::op::{Reparameterise, Tick};
use degrain::session::Session;
use degrain::tensor::{Class, TensorType};
use degrain::train::run_dir::{LAST, METRICS, STEPS};
use degrain::train::{Array, Data, Event, Observer, RunDir, TrainOptions, Trainer, Weights, read_rows};
use degrain::train::{EpochRow, StepRow};
use degrain::validate::{Open, device_trials};
use libtest_mimic::Arguments;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Relative, and absolute below one.
const TOLERANCE: f64 = 1e-5;

const PLAIN: &str = r#"
name = "plain"
description = "4-3-4"
[data]
height = 2
width = 2
channels = 1
[model]
code = 3
encoder = [{ layer = "flatten" }, { layer = "dense", units = "code", activation = "tanh" }]
decoder = [{ layer = "dense", units = 4 }, { layer = "reshape", shape = [2, 2, 1] }]
[train]
loss = "mse"
optimizer = "sgd"
lr = 0.1
epochs = 50
batch = 12
val = 0.0
shuffle = false
"#;

const VARIATIONAL: &str = r#"
name = "variational"
description = "4-5-3-5-4"
[data]
height = 2
width = 2
channels = 1
[model]
code = 3
encoder = [{ layer = "flatten" }, { layer = "dense", units = 5, activation = "relu" }, { layer = "gaussian_code" }]
decoder = [
  { layer = "dense", units = 5, activation = "relu" },
  { layer = "dense", units = 4 },
  { layer = "reshape", shape = [2, 2, 1] },
]
[train]
loss = "bce"
optimizer = "sgd"
lr = 0.1
epochs = 1
batch = 12
val = 0.0
shuffle = false
seed = 1
"#;

type Tensors = BTreeMap<String, Vec<f64>>;

/// What `make.py` writes.
#[derive(Deserialize)]
struct Made {
    rows: usize,
    data: Vec<f64>,
    start: Tensors,
    runs: Vec<Run>,
    vae: Variational,
}

#[derive(Deserialize)]
struct Run {
    settings: Vec<String>,
    weights: Tensors,
    losses: Vec<f64>,
}

#[derive(Deserialize)]
struct Variational {
    start: Tensors,
    noise: Vec<f64>,
    reconstruction: f64,
    code_penalty: f64,
    after: Tensors,
}

struct Quiet;

impl Observer for Quiet {
    fn event(&mut self, _: &Event<'_>) {}
}

/// A name and what is checked on a device.
type Test = (&'static str, fn(&Open));

fn made() -> Made {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torch_runs/runs.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

fn assert_near(what: &str, got: &[f32], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (i, (&got, &wanted)) in got.iter().zip(wanted).enumerate() {
        let error = (f64::from(got) - wanted).abs();
        assert!(error <= TOLERANCE * wanted.abs().max(1.0), "{what} {i}: {got}, wanted {wanted}");
    }
}

/// Trains from `start` on all rows; the folder then holds the run.
fn train(session: Session, preset: &Preset, made: &Made, start: &Tensors, folder: &Path) {
    let data = Dataset::new(
        [2, 2, 1],
        Values::F32(single(&made.data).into()),
        (0..made.rows).map(|row| format!("#{row}")).collect(),
    );
    let mut weights = Weights::default();
    for p in preset.architecture().unwrap().saved() {
        weights.tensors.insert(p.name.clone(), Array::f32(p.shape.clone(), single(&start[&p.name])));
    }
    let split = Split { train: (0..made.rows as u32).collect(), held_out: Vec::new() };
    let run = RunDir::create(&folder.join("run")).unwrap();
    let options = TrainOptions { init: Some(weights), ..TrainOptions::default() };
    Trainer::start(preset, &data, &split, session, run, &options).unwrap().run(&mut Quiet).unwrap();
}

fn assert_weights(what: &str, folder: &Path, wanted: &Tensors) {
    let weights = Weights::read(&folder.join("run").join(LAST)).unwrap();
    for (name, wanted) in wanted {
        let Data::F32(got) = &weights.tensors[name].data else { panic!("{name} holds counters") };
        assert_near(&format!("{what}, {name}"), got, wanted);
    }
}

fn fifty_steps_of_every_optimizer(open: &Open) {
    let made = made();
    for run in &made.runs {
        let what = run.settings.join(" ");
        let mut preset = Preset::from_toml(PLAIN, Path::new("plain.toml")).unwrap();
        preset.set_all(&run.settings).unwrap();
        let folder = tempfile::tempdir().unwrap();
        train(open(), &preset, &made, &made.start, folder.path());
        let rows: Vec<StepRow> = read_rows(&folder.path().join("run").join(STEPS)).unwrap();
        let losses: Vec<f32> = rows.iter().map(|row| row.loss).collect();
        assert_near(&format!("{what}, loss"), &losses, &run.losses);
        assert_weights(&what, folder.path(), &run.weights);
    }
}

/// The noise of the first step: a sample around zero with variance one.
fn noise(mut session: Session, rows: usize) -> Vec<f32> {
    let mut graph = Graph::new();
    let zeros = graph.persistent(Class::Input, "zeros", TensorType::f32([rows, 3])).unwrap();
    let numbers = graph.persistent(Class::Input, "rows", TensorType::u32([rows])).unwrap();
    let clock = graph.persistent(Class::State, "clock", Tick::clock()).unwrap();
    // Seed 1, and the stream of training's third layer.
    let op = Reparameterise { seed: 1, stream: 1 + 256 * 3 };
    let sample = graph.apply_one(op, &[zeros, zeros, numbers, clock]).unwrap();
    graph.keep(sample, "sample").unwrap();
    let program = session.record(&graph).unwrap();
    session.write_words("rows", &(0..rows as u32).collect::<Vec<u32>>()).unwrap();
    session.run(program, 1).unwrap();
    session.read("sample").unwrap()
}

fn a_variational_step(open: &Open) {
    let made = made();
    let vae = &made.vae;
    let drawn = noise(open(), made.rows);
    // So that make.py can be given them.
    if std::env::var_os("DEGRAIN_PRINT_NOISE").is_some() {
        eprintln!("{drawn:?}");
    }
    assert_near("noise", &drawn, &vae.noise);
    let preset = Preset::from_toml(VARIATIONAL, Path::new("variational.toml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    train(open(), &preset, &made, &vae.start, folder.path());
    let rows: Vec<EpochRow> = read_rows(&folder.path().join("run").join(METRICS)).unwrap();
    let [reconstruction, divergence, ..] = rows[0].parts;
    let parts = [reconstruction.unwrap() as f32, divergence.unwrap() as f32];
    assert_near("reconstruction and divergence", &parts, &[vae.reconstruction, vae.code_penalty]);
    assert_near("loss", &[rows[0].train_loss as f32], &[vae.reconstruction + vae.code_penalty]);
    assert_weights("a step", folder.path(), &vae.after);
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let tests: [Test; 2] = [
        ("fifty_steps_of_every_optimizer", fifty_steps_of_every_optimizer),
        ("a_variational_step", a_variational_step),
    ];
    libtest_mimic::run(&arguments, device_trials(tests)).exit_code()
}
