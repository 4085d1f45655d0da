//! Vectors from elsewhere, `tests/vectors/*.tgz`: what ONNX and PyTorch computed, forward and backward, against the
//! reference, the CPU executor and each adapter. Where there is no adapter the GPU tests are reported as ignored,
//! unless DEGRAIN_REQUIRE_GPU=1. The rest breaks cases on purpose: each fault must be reported, and by name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::gpu::{Adapter, adapters};
use degrain::session::Session;
use degrain::validate::missing_adapter;
use degrain::validate::vectors::{self, Direction, Outcome, REFERENCE, VectorResult};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeSet;
use std::path::Path;

#[path = "vectors/faults.rs"]
mod faults;

/// A packed folder of cases, and what it is known to hold.
#[derive(Clone, Copy)]
struct Fixture {
    name: &'static str,
    packed: &'static [u8],
    /// Cases that the script that made it counted.
    cases: usize,
    /// Of those, the ones that have gradients.
    backward: usize,
    /// Everything that is reported as not supported.
    unsupported: &'static [&'static str],
}

const FIXTURES: [Fixture; 2] = [
    Fixture { name: "torch", packed: include_bytes!("vectors/torch.tgz"), cases: 303, backward: 259, unsupported: &[] },
    Fixture { name: "onnx", packed: include_bytes!("vectors/onnx.tgz"), cases: 100, backward: 0, unsupported: &[] },
];

type Outcomes = Result<(), Failed>;

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let found = adapters();
    for fixture in FIXTURES {
        let name = fixture.name;
        trials.push(Trial::test(format!("cpu::{name}"), move || all_pass(&fixture, Session::cpu())));
        trials.push(Trial::test(format!("faults::every_array_of_{name}_is_compared"), move || {
            every_array_is_compared(&fixture)
        }));
        if found.is_empty() {
            trials.push(missing_adapter(format!("gpu::{name}")));
        }
        for (i, adapter) in found.iter().enumerate() {
            for checked in [true, false] {
                let kind = if checked { "checked" } else { "trusted" };
                let adapter: Adapter = adapter.clone();
                let run = move || all_pass(&fixture, Session::gpu(adapter.open(checked)?));
                trials.push(Trial::test(format!("gpu::{i}::{kind}::{name}"), run));
            }
        }
    }
    for (name, test) in faults::FAULTS {
        trials.push(Trial::test(format!("faults::{name}"), move || {
            test();
            Ok(())
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Every case of the fixture passes on the reference and on the session, but for those that are known not to be
/// supported.
fn all_pass(fixture: &Fixture, mut session: Session) -> Outcomes {
    let folder = tempfile::tempdir()?;
    tar::Archive::new(flate2::read::GzDecoder::new(fixture.packed)).unpack(folder.path())?;
    let results = vectors::run(folder.path(), &mut session)?;
    let mut problems: Vec<String> = results.iter().filter(|result| result.is_failure()).map(describe).collect();
    let unsupported: BTreeSet<&str> = results
        .iter()
        .filter_map(|result| match &result.outcome {
            Outcome::Unsupported { what } => Some(what.as_str()),
            _ => None,
        })
        .collect();
    let expected: BTreeSet<&str> = fixture.unsupported.iter().copied().collect();
    if unsupported != expected {
        problems.push(format!("not supported: {unsupported:?}, expected {expected:?}"));
    }
    let cases: BTreeSet<&str> = results.iter().map(|result| result.case.as_str()).collect();
    if cases.len() != fixture.cases {
        problems.push(format!("{} cases, expected {}", cases.len(), fixture.cases));
    }
    // Each case and direction has one row for the reference and one for the session.
    let passed = |direction, on_reference| {
        let here = |r: &&VectorResult| {
            r.direction == Some(direction)
                && (r.backend.as_deref() == Some(REFERENCE)) == on_reference
                && matches!(r.outcome, Outcome::Passed { .. })
        };
        results.iter().filter(here).count()
    };
    for on_reference in [true, false] {
        let backward = passed(Direction::Backward, on_reference);
        if backward < fixture.backward {
            problems.push(format!("only {backward} backward passes were compared, expected {}", fixture.backward));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failed::from(problems.join("\n"))) }
}

/// Breaks the last element of one array at a time of each case and direction: every comparison must fail, on both
/// sides, and name the file.
fn every_array_is_compared(fixture: &Fixture) -> Outcomes {
    let mut broken_arrays = 0;
    for nth in 0..5 {
        let folder = tempfile::tempdir()?;
        tar::Archive::new(flate2::read::GzDecoder::new(fixture.packed)).unpack(folder.path())?;
        let mut broken = Vec::new();
        for entry in std::fs::read_dir(folder.path())? {
            let case = entry?.path();
            let name = case.file_name().unwrap().to_string_lossy().into_owned();
            let json: serde_json::Value = serde_json::from_slice(&std::fs::read(case.join("case.json"))?)?;
            for (arrays, direction) in [("outputs", Direction::Forward), ("gradients", Direction::Backward)] {
                let files = json.get(arrays).and_then(|arrays| arrays.as_object());
                let Some(file) = files.and_then(|files| files.values().nth(nth)?.as_str()) else { continue };
                break_the_last(&case.join(file))?;
                broken.push((name.clone(), direction, file.to_owned()));
            }
        }
        let results = vectors::run(folder.path(), &mut Session::cpu())?;
        for (case, direction, file) in &broken {
            let mut rows = results.iter().filter(|r| r.case == *case && r.direction == Some(*direction));
            let named =
                |r: &VectorResult| faults::failure(r).is_some_and(|problem| problem.starts_with(&format!("{file}: ")));
            if !(rows.clone().count() == 2 && rows.all(named)) {
                return Err(Failed::from(format!("{case} {direction}: a wrong {file} was not found")));
            }
        }
        broken_arrays += broken.len();
    }
    let wanted = fixture.cases + fixture.backward;
    if broken_arrays >= wanted { Ok(()) } else { Err(Failed::from(format!("only {broken_arrays} arrays of {wanted}"))) }
}

/// Flips a bit of an array's last byte: of the exponent of a float, or of the highest byte of an integer.
fn break_the_last(path: &Path) -> Outcomes {
    let mut bytes = std::fs::read(path)?;
    *bytes.last_mut().unwrap() ^= 0x40;
    Ok(std::fs::write(path, bytes)?)
}

fn describe(result: &VectorResult) -> String {
    let direction = result.direction.map_or_else(String::new, |direction| format!(" {direction}"));
    let backend = result.backend.as_deref().unwrap_or("not run");
    format!("{}{direction} on {backend}: {:?}", result.case, result.outcome)
}
