//! `degrain validate` as scripts see it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs `degrain validate` on the CPU executor.
fn validate(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_degrain");
    Command::new(program).args(["validate", "--device", "cpu"]).args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// The one line that a failed command prints.
fn error_line(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn the_object_has_what_scripts_rely_on() {
    let output = validate(&["--op", "matmul", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let object = json(&output);
    assert_eq!(object["device"], "CPU executor");
    assert_eq!(object["failed"], 0);
    let ops = object["ops"].as_array().unwrap();
    let counted: u64 = ops.iter().map(|row| row["cases"].as_u64().unwrap()).sum();
    assert_eq!(object["checked"].as_u64(), Some(counted));
    assert!(counted > 100);
    assert_eq!(ops.iter().map(|row| row["direction"].as_str().unwrap()).collect::<Vec<_>>(), ["forward", "backward"]);
    for row in ops {
        assert_eq!((row["op"].as_str(), row["variant"].as_str()), (Some("matmul"), Some("cpu")));
        assert!(row["worst"].as_f64().unwrap() <= row["tolerance"].as_f64().unwrap());
        assert!(row["worst"].as_f64().unwrap() > 0.0, "f32 sums are never all exact");
    }
}

#[test]
fn one_case_and_random_cases_can_be_asked_for() {
    let checked = |arguments: &[&str]| json(&validate(arguments))["checked"].as_u64();
    assert_eq!(checked(&["--json", "--op", "matmul", "--case", "7x9x8 NN", "--direction", "forward"]), Some(1));
    assert_eq!(checked(&["--json", "--op", "fill", "--case", "random", "--random", "5", "--seed", "11"]), Some(5));
    assert_eq!(checked(&["--json", "--op", "fill", "--case", "random 13:", "--random", "5", "--seed", "11"]), Some(1));
}

#[test]
fn wrong_names_are_told_in_one_line() {
    assert!(error_line(&validate(&["--op", "conv3d"]), 1).contains("--op: there is no op conv3d; there are activate,"));
    assert!(error_line(&validate(&["--case", "no such case"]), 1).contains("--case: no case has \"no such case\""));
    assert!(error_line(&validate(&["--variant", "tiled"]), 1).contains("--variant: no case has a kernel tiled"));
    assert!(error_line(&validate(&["--vectors", "no/such/folder"]), 1).contains("no/such/folder"));
    assert!(error_line(&validate(&["--bisect", "no-such-preset"]), 1).contains("no-such-preset"));
    for usage in [&["--direction", "up"][..], &["--bisect", "lfw-conv", "--op", "add"], &["--batch", "2"]] {
        assert_eq!(validate(usage).status.code(), Some(2), "{usage:?}");
    }
}

#[test]
fn a_step_is_bisected() {
    let output = validate(&["--bisect", "lfw-linear", "--batch", "3", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let object = json(&output);
    assert_eq!(
        (object["failed"].as_u64(), &object["first"], &object["unstable"]),
        (Some(0), &Value::Null, &Value::Null)
    );
    let steps = object["steps"].as_array().unwrap();
    assert_eq!(object["checked"].as_u64(), Some(steps.len() as u64));
    assert!(steps.iter().any(|step| step["op"] == "adamax_several" && step["label"] == "optimizer"));
    let text = String::from_utf8(validate(&["--bisect", "lfw-linear"]).stdout).unwrap();
    assert!(text.contains("steps agree with the reference on CPU executor"), "{text}");
}

/// A version-1 `.npy` file of little-endian reals.
fn write_npy(path: &Path, values: &[f32]) {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", values.len());
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

fn write_case(folder: &Path, name: &str, op: &str, y: &[f32]) {
    let case = folder.join(name);
    fs::create_dir(&case).unwrap();
    write_npy(&case.join("x.npy"), &[-1.0, 0.5, 2.0]);
    write_npy(&case.join("y.npy"), y);
    let text =
        format!(r#"{{"op": "{op}", "attributes": {{}}, "inputs": {{"x": "x.npy"}}, "outputs": {{"y": "y.npy"}}}}"#);
    fs::write(case.join("case.json"), text).unwrap();
}

#[test]
fn vectors_pass_fail_and_are_told_when_unsupported() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    write_case(folder.path(), "right", "relu", &[0.0, 0.5, 2.0]);
    let right = validate(&["--vectors", dir, "--json"]);
    assert_eq!(right.status.code(), Some(0), "{right:?}");
    assert_eq!((json(&right)["checked"].as_u64(), json(&right)["failed"].as_u64()), (Some(1), Some(0)));

    write_case(folder.path(), "unknown", "gelu", &[0.0, 0.5, 2.0]);
    let unknown = validate(&["--vectors", dir, "--json"]);
    assert!(error_line(&unknown, 1).contains("1 of "));
    assert_eq!((json(&unknown)["failed"].as_u64(), json(&unknown)["unsupported"].as_u64()), (Some(1), Some(1)));
    assert!(unknown.stdout.windows(4).any(|w| w == b"gelu"));
    assert_eq!(validate(&["--vectors", dir, "--allow-unsupported"]).status.code(), Some(0));

    write_case(folder.path(), "wrong", "relu", &[0.0, 0.5, 2.5]);
    let wrong = validate(&["--vectors", dir, "--allow-unsupported"]);
    assert!(error_line(&wrong, 1).contains("checks failed"));
    let text = String::from_utf8(wrong.stdout).unwrap();
    assert!(text.contains("wrong") && text.contains("y.npy: element [2]: wanted 2.5"), "{text}");
}
