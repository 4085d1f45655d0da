//! `degrain profile PRESET` and the library behind it: what it reports must add up, on the CPU executor and on each GPU.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::gpu::{Adapter, adapters};
use degrain::model::Preset;
use degrain::op::OPS;
use degrain::profile::{Bound, Ceilings, Change, StepOptions, StepProfile, profile_case, profile_graph};
use degrain::report::roofline;
use degrain::session::{Clock, Session};
use degrain::train::{synthetic_encode, synthetic_step};
use degrain::validate::missing_adapter;
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const QUICK: StepOptions =
    StepOptions { budget: Duration::from_millis(200), min_replays: 3, max_replays: 20, timestamps: true };

fn profile(session: &mut Session, options: &StepOptions) -> StepProfile {
    let ceilings = Ceilings::measure(session).unwrap();
    let preset = Preset::load("quickdraw-simple").unwrap();
    let step = synthetic_step(&preset, 16, session.target()).unwrap();
    profile_graph(session, &step.graph, &step.values, &ceilings, options).unwrap()
}

fn what_it_reports_adds_up(mut session: Session) {
    let gpu = session.target().is_some();
    let profile = profile(&mut session, &QUICK);
    assert_eq!(profile.clock.contains("timestamps"), gpu && session.has_clock(Clock::Device), "{}", profile.clock);
    assert_eq!(profile.encode.is_some(), gpu && session.has_clock(Clock::Device));
    let calls: usize = profile.launches.iter().map(|launch| launch.calls).sum();
    assert_eq!(calls, profile.places.len());
    assert_eq!(profile.timeline.launches.len(), profile.places.len());
    assert_eq!(profile.discarded_timestamps, 0);
    let shares: f64 = profile.launches.iter().map(|launch| launch.share).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    assert!(profile.launches.is_sorted_by(|a, b| a.us >= b.us));
    let mut names: Vec<&str> = profile.launches.iter().map(|launch| launch.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), profile.launches.len(), "names are unique");
    // Launches and gaps are the whole step, which is about as long as one that nobody measures.
    let typical = profile.launches_us + profile.gaps_us;
    assert!((typical - profile.profiled.median).abs() <= profile.profiled.p95 - profile.profiled.min, "{profile:?}");
    assert!((0.2..5.0).contains(&profile.overhead), "{}", profile.overhead);
    for launch in &profile.launches {
        assert!(launch.us > 0.0 && launch.p95_us >= launch.us && launch.mad_us >= 0.0, "{launch:?}");
        assert!(launch.gbps > 0.0 && launch.gflops >= 0.0 && launch.bytes > 0.0, "{launch:?}");
        let peaks = &profile.peaks;
        let ideal = (launch.flops / peaks.gflops / 1e3).max(launch.bytes / peaks.gbps / 1e3);
        assert!((launch.fraction_of_peak - ideal / launch.us).abs() < 1e-9, "{launch:?}");
        assert_eq!(launch.bound == Bound::Launch, ideal < launch.calls as f64 * peaks.launch_us, "{launch:?}");
    }
    // Two products forward, three backward: the data's gradient of the first layer is not wanted. Slopes and sums for the
    // biases come with them, one operation per element.
    let is_product = |op: &str| matches!(op, "matmul" | "matmul_times_slope" | "weight_bias_grad");
    let products: f64 =
        profile.launches.iter().filter(|launch| is_product(&launch.op)).map(|launch| launch.flops).sum();
    let flops = 5.0 * 2.0 * 16.0 * 784.0 * 32.0;
    let besides = 16.0 * (784.0 + 32.0 + 32.0);
    assert!((flops..=flops + besides + 1.0).contains(&products), "{products} and not {flops}");
    let weight = profile.memory.iter().find(|row| row.name == "encoder.dense_1.weight").unwrap();
    assert_eq!((weight.bytes, weight.place.as_str()), (4 * 784 * 32, "parameter"));
    assert!(profile.memory.is_sorted_by(|a, b| a.bytes >= b.bytes));
    assert!(
        profile.memory_bytes
            >= profile.memory.iter().filter(|row| !row.place.starts_with("shared")).map(|row| row.bytes).sum()
    );
}

fn the_trace_has_a_slice_for_each_launch(mut session: Session) {
    let profile = profile(&mut session, &QUICK);
    let trace = profile.trace();
    let events = trace["traceEvents"].as_array().unwrap();
    let slices: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X" && event["cat"].is_string()).collect();
    assert_eq!(slices.len(), profile.places.len());
    let mut end = 0.0;
    let mut covered = 0.0;
    for (slice, place) in slices.iter().zip(&profile.places) {
        assert_eq!((slice["name"].as_str(), slice["cat"].as_str()), (Some(place.name().as_str()), Some(place.op)));
        let (begin, length) = (slice["ts"].as_f64().unwrap(), slice["dur"].as_f64().unwrap());
        assert!(begin >= 0.0 && length >= 0.0 && begin + length > 0.0, "{slice}");
        assert!(slice["tid"] != 2 || begin >= end, "{slice} begins before {end}, on the same track");
        if slice["tid"] == 2 {
            end = begin + length;
        }
        covered += length;
    }
    assert!(
        (covered - profile.launches_us).abs() < 1e-3 * covered + 2e-3 * slices.len() as f64,
        "{covered} and {}",
        profile.launches_us
    );
    let named = |name: &str| events.iter().any(|event| event["ph"] == "M" && event["args"]["name"] == name);
    assert!(named("device"));
    assert_eq!(named("host"), profile.encode.is_some());
    for image in [roofline::roofline(&profile).unwrap(), roofline::step_bar(&profile).unwrap()] {
        let coloured = image.pixels().filter(|pixel| pixel.0.iter().any(|&c| c.abs_diff(pixel.0[0]) > 60)).count();
        assert!(coloured > 1000, "{coloured} coloured pixels");
    }
}

fn without_timestamps_submits_are_measured(mut session: Session) {
    let options = StepOptions { timestamps: false, ..QUICK };
    let profile = profile(&mut session, &options);
    assert!(profile.clock.starts_with("clock of the host"), "{}", profile.clock);
    assert_eq!(profile.clock.contains("latency included"), session.target().is_some());
    assert_eq!(profile.timeline.launches.len(), profile.places.len());
    assert_eq!((profile.encode, profile.submit), (None, None));
}

fn an_encoder_and_a_lone_op_are_measured_too(mut session: Session) {
    let ceilings = Ceilings::measure(&mut session).unwrap();
    let preset = Preset::load("quickdraw-simple").unwrap();
    let step = synthetic_encode(&preset, 16).unwrap();
    let profile = profile_graph(&mut session, &step.graph, &step.values, &ceilings, &QUICK).unwrap();
    assert_eq!(profile.launches[0].op, "matmul");
    assert!(profile.memory.iter().all(|row| !row.name.starts_with("decoder")), "{:?}", profile.memory);
    for name in ["matmul", "adam", "gather", "max_pool2d"] {
        session.clear().unwrap();
        let op = OPS.iter().find(|op| op.name == name).unwrap();
        let case = (op.cases)().swap_remove(0);
        let profile = profile_case(&mut session, &case, &ceilings, &QUICK).unwrap();
        assert!(profile.launches.iter().all(|launch| launch.op == name && launch.us > 0.0), "{:?}", profile.launches);
        assert!(!profile.launches.is_empty(), "{name}");
    }
}

fn a_profile_is_compared_with_an_older_one(mut session: Session) {
    let new = profile(&mut session, &QUICK);
    let same = new.compared_with(&new);
    assert!(same.iter().all(|row| row.change == Change::Same && row.ratio() == Some(1.0)), "{same:?}");
    assert_eq!(same.len(), new.launches.len() + 1);
    let mut old = new.clone();
    old.launches[0].us *= 3.0;
    old.launches[0].mad_us = 0.0;
    old.launches[1].name = "another".to_owned();
    let mut steady = new.clone();
    steady.launches[0].mad_us = 0.0;
    let rows = steady.compared_with(&old);
    let change = |name: &str| rows.iter().find(|row| row.name == name).unwrap().change;
    assert_eq!(rows[0].name, "step");
    assert_eq!(change(&new.launches[0].name), Change::Faster);
    assert_eq!((change(&new.launches[1].name), change("another")), (Change::New, Change::Gone));
}

/// The command in a folder of its own: exit code, standard output and standard error.
fn degrain(folder: &TempDir, device: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_degrain"));
    command.arg("profile").args(words).args(["--device", device]).current_dir(folder.path());
    let output = command.env("DEGRAIN_CACHE", folder.path().join("cache")).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn the_command_keeps_its_contract(device: &str) {
    let folder = TempDir::new().unwrap();
    let run = |words: &[&str]| degrain(&folder, device, words);
    let step = ["quickdraw-simple", "--batch", "16", "--budget", "0.2"];
    let (code, stdout, stderr) = run(&[&step[..], &["--json"]].concat());
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let json: Value = serde_json::from_str(&stdout).unwrap();
    assert!(json["device"].is_string() && json["step_us"].as_f64().unwrap() > 0.0);
    let speed = json["images_per_second"].as_f64().unwrap() * json["step_us"].as_f64().unwrap() / 16e6;
    assert!((speed - 1.0).abs() < 1e-9, "{speed}");
    assert!(json["peaks"]["gflops"].as_f64().unwrap() > 0.0 && json["peaks"]["gbps"].as_f64().unwrap() > 0.0);
    // Launches that take less than launching does are in none of their own times.
    let at_peaks = |launch: &Value| launch["us"].as_f64().unwrap() * launch["fraction_of_peak"].as_f64().unwrap();
    let bound = |launch: &&Value| launch["bound"] != "launch";
    let wanted: f64 = json["launches"].as_array().unwrap().iter().filter(bound).map(at_peaks).sum();
    let got = json["floor"]["compute_us"].as_f64().unwrap() + json["floor"]["memory_us"].as_f64().unwrap();
    assert!(
        (got - wanted).abs() <= 1e-6 * wanted && json["floor"]["launch_us"].as_f64().unwrap() >= 0.0,
        "{got} {wanted}"
    );
    for launch in json["launches"].as_array().unwrap() {
        for key in ["calls", "us", "gflops", "gbps", "fraction_of_peak"] {
            assert!(launch[key].is_number(), "{key}: {launch}");
        }
        assert!(
            launch["name"].is_string() && ["compute", "memory", "launch"].contains(&launch["bound"].as_str().unwrap())
        );
    }
    fs::write(folder.path().join("old.json"), &stdout).unwrap();
    let files =
        ["--trace", "t.json", "--roofline", "r.png", "--report", "p.html", "--compare", "old.json", "--top", "3"];
    let (code, stdout, stderr) = run(&[&step[..], &files].concat());
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    for part in ["Launches (3 of ", "Memory (3 of ", "Since then", "images/s", "peaks"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert!(serde_json::from_slice::<Value>(&read("t.json")).unwrap()["traceEvents"].is_array());
    assert!(image::load_from_memory(&read("r.png")).unwrap().width() > 1000);
    assert!(String::from_utf8(read("p.html")).unwrap().contains("</html>"));
    // Measured once, then known; what a processor does is measured again, and the better figure stays.
    let kept = fs::read_dir(folder.path().join("cache")).unwrap().map(|entry| entry.unwrap().path());
    let is_peaks = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("peaks-");
    let peaks: Vec<PathBuf> = kept.filter(is_peaks).collect();
    assert_eq!(peaks.len(), 1);
    let kept: Value = serde_json::from_slice(&fs::read(&peaks[0]).unwrap()).unwrap();
    assert_eq!(kept["launch_us"], json["peaks"]["launch_us"]);
    let mut slow = kept.clone();
    for key in ["gflops", "gbps"] {
        assert!(kept[key].as_f64().unwrap() >= json["peaks"][key].as_f64().unwrap(), "{key}");
        slow[key] = 1e-3.into();
    }
    fs::write(&peaks[0], slow.to_string()).unwrap();
    let (_, stdout, _) = run(&[&step[..], &["--json"]].concat());
    let again: Value = serde_json::from_str(&stdout).unwrap();
    for key in ["gflops", "gbps"] {
        assert_eq!(again["peaks"][key].as_f64().unwrap() > 1e-3, device == "cpu", "{key}: {stdout}");
    }
}

fn wrong_input_gets_one_line(device: &str) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("no.json"), "{}").unwrap();
    let wrong: [(&[&str], &str); 7] = [
        (&["nonsense"], "nonsense"),
        (&["quickdraw-simple", "--compare", "missing.json"], "missing.json: cannot read"),
        (&["quickdraw-simple", "--compare", "no.json"], "no.json: is not what `degrain profile PRESET --json` prints"),
        (&["quickdraw-simple", "--bind", "0:0=f32[4]:zeros"], "--bind: is for a KERNEL.wgsl"),
        (&["some.wgsl", "--batch=3"], "--batch: is for a step of a preset"),
        (&["quickdraw-simple", "--set", "train.nonsense=1"], "nonsense"),
        (&["quickdraw-simple", "--budget=0.1", "--trace", "missing/t.json"], "missing"),
    ];
    for (words, part) in wrong {
        let (code, stdout, stderr) = degrain(&folder, device, words);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{words:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1 && stderr.contains(part), "{stderr}");
    }
}

type SessionTest = fn(Session);
type CommandTest = fn(&str);

fn main() -> std::process::ExitCode {
    let mut arguments = Arguments::from_args();
    // Measurements at the same time would disturb each other.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    let session_tests: [(&str, SessionTest); 5] = [
        ("what_it_reports_adds_up", what_it_reports_adds_up),
        ("the_trace_has_a_slice_for_each_launch", the_trace_has_a_slice_for_each_launch),
        ("without_timestamps_submits_are_measured", without_timestamps_submits_are_measured),
        ("an_encoder_and_a_lone_op_are_measured_too", an_encoder_and_a_lone_op_are_measured_too),
        ("a_profile_is_compared_with_an_older_one", a_profile_is_compared_with_an_older_one),
    ];
    let command_tests: [(&str, CommandTest); 2] = [
        ("the_command_keeps_its_contract", the_command_keeps_its_contract),
        ("wrong_input_gets_one_line", wrong_input_gets_one_line),
    ];
    for (name, test) in session_tests {
        trials.push(Trial::test(format!("cpu::{name}"), move || {
            test(Session::cpu());
            Ok(())
        }));
    }
    for (name, test) in command_tests {
        trials.push(Trial::test(format!("cpu::{name}"), move || {
            test("cpu");
            Ok(())
        }));
    }
    let adapters = adapters();
    for (number, adapter) in adapters.iter().enumerate() {
        let open = |adapter: &Adapter| Session::gpu(adapter.open(false).unwrap());
        for (name, test) in session_tests {
            let adapter = adapter.clone();
            trials.push(Trial::test(format!("gpu::{number}::{name}"), move || {
                test(open(&adapter));
                Ok(())
            }));
        }
        let (name, test) = command_tests[0];
        trials.push(Trial::test(format!("gpu::{number}::{name}"), move || {
            test(&number.to_string());
            Ok(())
        }));
    }
    if adapters.is_empty() {
        trials.push(missing_adapter("gpu"));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
