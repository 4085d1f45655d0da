//! A small run on a session, for tests that train without the command line.

#![allow(dead_code, reason = "each test file uses a part of it")]

use degrain::data::{Dataset, Split, Values};
use degrain::gpu::{Adapter, adapters};
use degrain::model::Preset;
use degrain::session::Session;
use degrain::train::{Event, Observer, Outcome, RunDir, TrainOptions, Trainer};
use degrain::validate::missing_adapter;
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) const PRESET: &str = r#"
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
pub(crate) const RESULTS: [&str; 4] = ["steps.csv", "last.safetensors", "best.safetensors", "state.safetensors"];

pub(crate) fn pictures() -> Dataset {
    let values = (0..40 * 192_usize).map(|i| (i * i % 251) as u8).collect();
    Dataset::new([8, 8, 3], Values::U8(values), (0..40).map(|i| format!("#{i}")).collect())
}

/// Soft blobs whose place and colour follow from the row.
pub(crate) fn blobs(n: usize) -> Dataset {
    let pixel = |i: usize, p: usize, c: usize| {
        let (y, x) = ((p / 8) as f64, (p % 8) as f64);
        let (cy, cx) = ((i * 5 % 8) as f64, (i * 3 % 8) as f64);
        let near = (-((y - cy).powi(2) + (x - cx).powi(2)) / 8.0).exp();
        (40.0 + 200.0 * near * (0.4 + 0.3 * ((i + c) % 3) as f64)) as u8
    };
    let values = (0..n).flat_map(|i| (0..64).flat_map(move |p| (0..3).map(move |c| pixel(i, p, c)))).collect();
    Dataset {
        origin: "generated".to_owned(),
        ..Dataset::new([8, 8, 3], Values::U8(values), (0..n).map(|i| format!("#{i}")).collect())
    }
}

pub(crate) fn split() -> Split {
    Split { train: (0..32).collect(), held_out: (32..40).collect() }
}

pub(crate) struct Quiet;

impl Observer for Quiet {
    fn event(&mut self, _: &Event<'_>) {}
}

/// Asks to stop once this many steps are done.
pub(crate) struct StopAt(pub(crate) u64, pub(crate) u64);

impl Observer for StopAt {
    fn event(&mut self, event: &Event<'_>) {
        if let Event::Progress { step, .. } = event {
            self.1 = *step;
        }
    }

    fn stop_requested(&self) -> bool {
        self.1 >= self.0
    }
}

pub(crate) fn preset(changes: &[&str]) -> Preset {
    let mut preset = Preset::from_toml(PRESET, Path::new("small.toml")).unwrap();
    preset.set_all(changes).unwrap();
    preset
}

/// The losses of a run, step by step.
pub(crate) fn losses(folder: &Path) -> Vec<f32> {
    let text = std::fs::read_to_string(folder.join("steps.csv")).unwrap();
    text.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse().unwrap()).collect()
}

pub(crate) fn train(session: Session, run: &Path, observer: &mut dyn Observer) -> degrain::Result<Outcome> {
    let run = RunDir::create(run)?;
    Trainer::start(&preset(&[]), &pictures(), &split(), session, run, &TrainOptions::default())?.run(observer)
}

pub(crate) fn assert_same(one: &Path, other: &Path) {
    for file in RESULTS {
        assert!(std::fs::read(one.join(file)).unwrap() == std::fs::read(other.join(file)).unwrap(), "{file} differs");
    }
}

/// A trial of each test on every adapter; without one, what stands for a trial that needs one.
pub(crate) fn adapter_trials(tests: impl IntoIterator<Item = (&'static str, fn(&Adapter))>) -> Vec<Trial> {
    trials_on(|_| true, tests)
}

/// As [`adapter_trials`]; those on adapters that `takes` does not want are reported as ignored.
pub(crate) fn trials_on(
    takes: fn(&Adapter) -> bool,
    tests: impl IntoIterator<Item = (&'static str, fn(&Adapter))>,
) -> Vec<Trial> {
    let found = adapters();
    let mut trials = Vec::new();
    for (name, test) in tests {
        if found.is_empty() {
            trials.push(missing_adapter(format!("gpu::{name}")));
        }
        for (i, adapter) in found.iter().cloned().enumerate() {
            let taken = takes(&adapter);
            let run = move || {
                test(&adapter);
                Ok(())
            };
            trials.push(Trial::test(format!("gpu::{i}::{name}"), run).with_ignored_flag(!taken));
        }
    }
    trials
}

/// The names and the bytes of all files of a run.
pub(crate) fn files(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}
