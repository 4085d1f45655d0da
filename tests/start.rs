//! What is kept between runs so that the next one starts sooner: never wrong, never in the way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::gpu::adapters;
use degrain::validate::missing_adapter;
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A test of the adapter of this index.
type Test = fn(usize);

/// Runs one step or more of a workload with this cache folder; returns what it printed.
fn bench(device: usize, cache: &Path) -> Value {
    let device = device.to_string();
    let words = ["bench", "quickdraw-simple", "--budget", "0.01", "--json", "--device", &device];
    let output = Command::new(env!("CARGO_BIN_EXE_degrain")).args(words).env("DEGRAIN_CACHE", cache).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("panicked"), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The file of kept pipelines; there is one at most.
fn kept(cache: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(cache).ok()?.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.collect();
    assert!(files.len() <= 1, "a temporary file is left: {files:?}");
    files.pop()
}

fn pipelines_are_kept_and_damage_is_survived(device: usize) {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("not/there/yet");
    assert!(bench(device, &cache)["seconds_to_first_step"].as_f64().unwrap() > 0.0);
    // Vulkan alone hands out pipelines.
    let Some(file) = kept(&cache) else { return assert_ne!(adapters()[device].backend(), "Vulkan") };
    let whole = fs::read(&file).unwrap();
    let foreign = [&whole[..8], &[0; 64]].concat();
    for damaged in [&whole[..whole.len() / 2], b"no cache at all", b"", &foreign] {
        fs::write(&file, damaged).unwrap();
        bench(device, &cache);
        let again = fs::read(kept(&cache).unwrap()).unwrap();
        assert!(again.starts_with(&whole[..8]) && again.len() > damaged.len(), "it was not written anew");
    }
}

fn a_cache_that_cannot_be_written_is_no_error(device: usize) {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("file");
    fs::write(&cache, "in the way").unwrap();
    bench(device, &cache);
    assert_eq!(fs::read(&cache).unwrap(), b"in the way");
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let tests: [(&str, Test); 2] = [
        ("pipelines_are_kept_and_damage_is_survived", pipelines_are_kept_and_damage_is_survived),
        ("a_cache_that_cannot_be_written_is_no_error", a_cache_that_cannot_be_written_is_no_error),
    ];
    let found = adapters().len();
    let mut trials = Vec::new();
    for (name, test) in tests {
        if found == 0 {
            trials.push(missing_adapter(format!("gpu::{name}")));
        }
        trials.extend((0..found).map(|device| {
            Trial::test(format!("gpu::{device}::{name}"), move || {
                test(device);
                Ok(())
            })
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
