//! `degrain profile KERNEL.wgsl` as scripts see it, and its library, on every adapter.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "profile_kernel/by_hand.rs"]
mod by_hand;

use by_hand::ByHand;
use degrain::data::npy;
use degrain::gpu::adapters;
use degrain::profile::{Budget, KernelBench, LoneKernel, Options, Statistics, TimedBy};
use degrain::validate::missing_adapter;
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
use std::fs;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const MATMUL: &str = include_str!("profile_kernel/matmul.wgsl");
const SCAN: &str = include_str!("profile_kernel/scan.wgsl");
const CHAIN: &str = include_str!("profile_kernel/chain.wgsl");
const COPY: &str = include_str!("profile_kernel/copy.wgsl");

/// A folder with kernels, and a device.
struct Lab {
    folder: TempDir,
    device: String,
}

impl Lab {
    fn new(device: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("matmul", MATMUL), ("scan", SCAN), ("chain", CHAIN), ("copy", COPY)] {
            fs::write(folder.path().join(format!("{name}.wgsl")), text).unwrap();
        }
        Self { folder, device }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn write_npy(&self, name: &str, values: &[f32]) {
        npy::write(&self.folder.path().join(name), &[values.len()], values).unwrap();
    }

    /// Exit code, standard output and standard error; the words are split at spaces.
    fn command(&self, words: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_degrain"));
        command.arg("profile").args(words.split(' ')).args(["--device", &self.device]).stdin(Stdio::null());
        let output = command.current_dir(self.folder.path()).env_remove("DEGRAIN_DEVICE").output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn text(&self, words: &str) -> String {
        let (code, stdout, stderr) = self.command(words);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words}: {stdout}");
        stdout
    }

    #[track_caller]
    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.text(&format!("{words} --json"))).unwrap()
    }

    /// The last line of a command that must fail, and the lines before it.
    #[track_caller]
    fn error(&self, words: &str) -> (String, String) {
        let (code, stdout, stderr) = self.command(words);
        assert_eq!(code, Some(1), "{words}: {stdout}{stderr}");
        let (before, last) = stderr.trim_end().rsplit_once('\n').unwrap_or(("", stderr.trim_end()));
        (last.to_owned(), before.to_owned())
    }
}

/// Short measurements: most tests are about anything but the figures.
const QUICK: &str = "--budget 0.05 --no-effects";
const MATMUL_BUFFERS: &str =
    "--bind 0:0=u32[]:5,9,7 --bind 0:1=f32[45]:iota --bind 0:2=f32[63]:ones --bind 0:3=f32[35]:zeros";

fn the_object_has_what_scripts_rely_on(device: String) {
    let lab = Lab::new(device);
    let profile = lab.json(&format!("matmul.wgsl --workgroups 1,1 {MATMUL_BUFFERS} --flops 630 --budget 0.1"));
    let us = &profile["us"];
    let [min, median, p95, mad] = ["min", "median", "p95", "mad"].map(|key| us[key].as_f64().unwrap());
    assert!(0.0 < min && min <= median && median <= p95 && mad >= 0.0, "{us}");
    assert!((profile["gflops"].as_f64().unwrap() - 630.0 / median / 1e3).abs() < 1e-9 * median);
    // The block, a and b are read, c is written.
    let bytes = 4.0 * (3.0 + 45.0 + 63.0 + 35.0);
    assert_eq!((profile["bytes"].as_f64(), profile["bytes_given"].as_bool()), (Some(bytes), Some(false)));
    assert!((profile["gbps"].as_f64().unwrap() - bytes / median / 1e3).abs() < 1e-6);
    assert_eq!((profile["invocations"].as_u64(), profile["entry"].as_str()), (Some(64), Some("main")));
    assert!(us["samples"].as_u64().unwrap() >= 5 && profile["runs_per_sample"].as_u64().unwrap() >= 1);
    assert!(profile["warm_up_runs"].as_u64().unwrap() >= 2, "{profile}");
    for check in ["bounds_checks", "loop_bounding"] {
        let ratio = profile["runtime_checks"][check]["median"].as_f64().unwrap();
        assert!(ratio > 0.2 && ratio < 20.0, "{ratio}");
    }
    let text = lab.text(&format!("matmul.wgsl --workgroups 1,1 {MATMUL_BUFFERS} {QUICK} --bytes 1e6"));
    assert!(
        text.lines().all(|line| line.chars().count() <= 80) && text.contains("MB") == text.contains("MiB"),
        "{text}"
    );
    assert!(text.contains("976.56 KiB: as given"), "{text}");
}

fn results_are_checked(device: String) {
    let lab = Lab::new(device);
    let row_sum = |row: usize| (0..9).map(|k| (row * 9 + k) as f32).sum::<f32>();
    let mut product: Vec<f32> = (0..35).map(|at| row_sum(at / 7)).collect();
    lab.write_npy("c.npy", &product);
    product[23] += 1.0;
    lab.write_npy("wrong.npy", &product);
    let words = format!("matmul.wgsl --workgroups 1,1 {MATMUL_BUFFERS} {QUICK}");
    for check in ["c.npy", "3=c.npy", "0:3=c.npy"] {
        let profile = lab.json(&format!("{words} --check {check}"));
        assert_eq!(profile["checks"][0][0]["failure"], Value::Null);
        assert_eq!(profile["checks"][0][0]["elements"], 35);
    }
    let (line, _) = lab.error(&format!("{words} --check wrong.npy"));
    assert!(
        line.starts_with("error: matmul.wgsl: 0:3 is not as in wrong.npy: element 23: expected 2.8e2, got"),
        "{line}"
    );
    lab.text(&format!("{words} --check wrong.npy --atol 1.5"));
    let (line, _) = lab.error(&format!("{words} --check 1=c.npy"));
    assert!(line.contains("--check: matmul.wgsl: does not write 0:1; it writes 0:3"), "{line}");
    let (line, _) = lab.error(&format!("{words} --check absent.npy"));
    assert!(line.contains("absent.npy: cannot read"), "{line}");
}

fn overrides_groups_and_entries_are_set(device: String) {
    let lab = Lab::new(device);
    let sums = |workgroup: usize| -> Vec<f32> { (0..256).map(|at| (at % workgroup + 1) as f32).collect() };
    let buffers = "--bind 0:0=u32[256]:ones --bind 1:0=u32[256]:rand";
    for workgroup in [32, 128] {
        lab.write_npy("sums.npy", &sums(workgroup));
        let count = 256 / workgroup;
        let words = format!(
            "scan.wgsl --entry scan --const WORKGROUP={workgroup} --workgroups {count} {buffers} --check 1:0=sums.npy \
             --rtol 0 --atol 0 {QUICK}"
        );
        let profile = lab.json(&words);
        assert_eq!(profile["workgroup_size"], serde_json::json!([workgroup, 1, 1]));
        assert_eq!(profile["workgroup_memory_bytes"], 8 * workgroup);
    }
    lab.write_npy("zeros.npy", &[0.0; 256]);
    let clear = format!("scan.wgsl --entry clear --bind 1:0=u32[256]:rand --check zeros.npy {QUICK}");
    assert_eq!(lab.json(&format!("{clear} --workgroups 4"))["invocations"], 64);
    assert_eq!(lab.json(&format!("{clear} --workgroups 2 --workgroup-size 128"))["invocations"], 128);
    let other =
        lab.json(&format!("scan.wgsl --entry scan --vs scan.wgsl --vs-entry clear --workgroups 2 {buffers} {QUICK}"));
    assert_eq!((other["entry"].as_str(), other["vs"]["entry"].as_str()), (Some("scan"), Some("clear")));
    let (line, _) = lab.error(&format!("scan.wgsl --workgroups 1 {buffers}"));
    assert!(line.contains("several entry points, scan, clear: pick one with --entry"), "{line}");
}

fn a_sweep_is_a_table(device: String) {
    let lab = Lab::new(device);
    let buffers = "--bind 0:0=u32[512]:ones --bind 1:0=u32[512]:zeros";
    let words =
        format!("scan.wgsl --entry scan --sweep WORKGROUP=32,64,128 --workgroups 16;8;4 {buffers} --budget 0.1");
    let swept = lab.json(&words);
    let rows = swept["rows"].as_array().unwrap();
    let seen: Vec<_> =
        rows.iter().map(|row| (row["constants"]["WORKGROUP"].as_str(), row["workgroups"][0].as_u64())).collect();
    assert_eq!(seen, [(Some("32"), Some(16)), (Some("64"), Some(8)), (Some("128"), Some(4))]);
    let text = lab.text(&words);
    let hint = "llvmpipe ends all loops of an invocation after 65,535 turns together";
    assert_eq!(text.contains(hint), text.contains("llvmpipe"), "{text}");
    assert!(text.lines().nth(2).unwrap().starts_with("WORKGROUP") && text.contains("fastest: WORKGROUP="), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let (line, _) = lab.error(&words.replace("16;8;4", "16;8"));
    assert!(line.contains("--sweep: 3 values and 2 triples of --workgroups"), "{line}");
}

const CHAIN_BUFFERS: &str = "--bind 0:0=f32[16384]:rand --bind 0:1=f32[16384]:zeros";

fn a_kernel_is_as_fast_as_itself(device: String) {
    let lab = Lab::new(device);
    lab.write("same.wgsl", CHAIN);
    let words = format!("chain.wgsl --vs same.wgsl --workgroups 256 {CHAIN_BUFFERS} --budget 0.5");
    // The interval is one of 99 %, and the machine may be busy: one of three.
    let found: Vec<Value> = (0..3).map(|_| lab.json(&words)).collect();
    let holds = |found: &&Value| {
        let [low, high] = ["low", "high"].map(|key| found["ratio"][key].as_f64().unwrap());
        assert_eq!(
            (found["clear"].as_bool(), found["vs"]["kernel"].as_str()),
            (Some(low > 1.0 || high < 1.0), Some("same.wgsl"))
        );
        low <= 1.0 && 1.0 <= high
    };
    assert!(found.iter().any(|found| holds(&found)), "{:?}", found.iter().map(|f| &f["ratio"]).collect::<Vec<_>>());
}

fn twice_the_work_takes_about_twice_the_time(device: String) {
    let lab = Lab::new(device);
    lab.write("twice.wgsl", &CHAIN.replace("STEPS = 512u", "STEPS = 1024u"));
    let words = format!("chain.wgsl --vs twice.wgsl --workgroups 256 {CHAIN_BUFFERS} --budget 0.5");
    for flag in ["", " --no-timestamps"] {
        // A launch costs the same for both, and other tests run at the same time: one contest of three finds it.
        let contest = || {
            let found = lab.json(&format!("{words}{flag}"));
            let [low, high] = ["low", "high"].map(|key| found["ratio"][key].as_f64().unwrap());
            (low <= 2.1 && high >= 1.6 && found["clear"] == true, found["ratio"].to_string())
        };
        let found: Vec<(bool, String)> = (0..3).map(|_| contest()).collect();
        assert!(found.iter().any(|(holds, _)| *holds), "{flag}: {found:?}");
    }
}

fn without_timestamps_submits_are_timed_and_that_is_said(device: String) {
    let lab = Lab::new(device);
    let words = format!("copy.wgsl --workgroups 16 --bind 0:0=f32[4096]:rand --bind 0:1=f32[4096]:zeros {QUICK}");
    let profile = lab.json(&format!("{words} --no-timestamps"));
    assert_eq!(profile["timed_by"], "submits");
    assert!(profile["empty_submit_us"].as_f64().unwrap() > 0.0);
    assert!(lab.text(&format!("{words} --no-timestamps")).contains("whole submits less an empty one's"));
}

fn cold_buffers_take_turns(device: String) {
    let lab = Lab::new(device);
    let words = format!("copy.wgsl --workgroups 16 --bind 0:0=f32[4096]:rand --bind 0:1=f32[4096]:zeros {QUICK}");
    assert_eq!(lab.json(&words)["cold_copies"], Value::Null);
    // 32 KiB fit 8,192 times into 256 MiB, and no more than 64 copies are made.
    assert_eq!(lab.json(&format!("{words} --cold"))["cold_copies"], 64);
    assert!(lab.text(&format!("{words} --cold")).contains("64 copies of the buffers take turns"));
}

fn mistakes_are_told(device: String) {
    let lab = Lab::new(device);
    lab.write("syntax.wgsl", "@compute @workgroup_size(1)\nfn main() {\n    let x = ;\n}\n");
    let (line, before) = lab.error("syntax.wgsl --workgroups 1");
    assert!(line.starts_with("error: syntax.wgsl:3:13: "), "{line}");
    assert!(before.contains("let x = ;") && before.contains("syntax.wgsl:3:13"), "{before}");

    let only = "matmul.wgsl --workgroups 1 --bind 0:0=u32[]:8,8,8 --bind 0:1=f32[64]:rand --bind 0:2=f32[64]:rand";
    let told = |words: &str| lab.error(words).0;
    assert_eq!(told(only), "error: matmul.wgsl: storage buffer 0:3 (c) is not bound: add --bind 0:3=f32[N]:zeros");
    let whole = format!("matmul.wgsl --workgroups 1 {MATMUL_BUFFERS}");
    assert!(
        told(&format!("{whole} --bind 2:0=f32[4]:ones")).contains("has no binding 2:0; main has 0:0, 0:1, 0:2, 0:3")
    );
    assert!(
        told(&whole.replace("u32[]:5,9,7", "u32[]:5,9")).contains("0:0 (dims) needs at least 12 bytes and is given 8")
    );
    assert!(
        told(&format!("{whole} --workgroup-size 4096,4096")).contains("16777216 invocations, more than the device's")
    );
    assert!(
        told(&whole.replace("--workgroups 1", "--workgroups 1,9999999"))
            .contains("--workgroups: 9999999 along one axis")
    );
    assert!(told(&whole.replace("f32[45]:iota", "f32[99999999999]:iota")).contains("--bind 0:1: 399999999996 bytes"));
    assert!(told(&format!("{whole} --const TILE=3")).contains("has no const or override TILE"));
    assert!(told("matmul.wgsl").contains("--workgroups: is needed"));
    assert!(told("absent.wgsl --workgroups 1").contains("absent.wgsl: cannot read"));
    assert!(told(&whole.replace("f32[63]:ones", "f32[63]:sevens")).contains("\"sevens\" is no fill"));

    lab.write("picture.wgsl", "@group(0) @binding(0) var t: texture_2d<f32>;\n@compute @workgroup_size(1) fn main() { _ = textureDimensions(t); }");
    assert!(
        told("picture.wgsl --workgroups 1").contains("binding 0:0 (t) is a texture; only uniform and storage buffers")
    );
}

fn an_endless_run_is_ended(device: String) {
    let lab = Lab::new(device);
    lab.write("endless.wgsl", "@group(0) @binding(0) var<storage, read_write> x: array<u32>;\n@compute @workgroup_size(1)\nfn main() {\n    while (true) { x[0] += 1u; }\n}");
    let (line, before) = lab.error("endless.wgsl --workgroups 1 --bind 0:0=u32[2]:zeros");
    assert!(line.starts_with("error: endless.wgsl:4:5: this loop never ends"), "{line}");
    assert!(before.contains("while (true)"), "{before}");

    // llvmpipe ends a loop after 65,535 turns, so there must be many.
    let long = "@group(0) @binding(0) var<storage, read_write> x: array<u32>;\n@compute @workgroup_size(64)\n\
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {\n\
          while (x[1] == 0u) { x[0] = x[0] * 3u + id.x; }\n}";
    lab.write("long.wgsl", long);
    let started = Instant::now();
    let (line, _) = lab.error("long.wgsl --workgroups 65535,64 --bind 0:0=u32[2]:zeros --time-limit 0.3");
    assert_eq!(line, "error: long.wgsl: a run did not end within 0.3 s: an endless loop, or set a longer --time-limit");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// What a user's own bench does.
fn the_library_measures_too(device: String) {
    let adapters = adapters();
    let adapter = adapters.get(device.parse::<usize>().unwrap()).unwrap();
    let budget = Budget { seconds: 0.1, ..Budget::default() };
    let options = Options { budget, ..Options::default() };
    let mut bench = KernelBench::new(adapter.open_for_any_kernel().unwrap(), options);
    let mut kernel = LoneKernel::new("copy", COPY);
    kernel.workgroups = [4, 1, 1];
    kernel.bindings = vec!["0:0=f32[1024]:iota".parse().unwrap(), "0:1=f32[1024]:zeros".parse().unwrap()];
    let outputs = bench.run(&kernel).unwrap();
    assert_eq!((outputs.len(), outputs[0].at, outputs[0].values[1023]), (1, [0, 1], 1023.0));
    let profile = bench.profile(&kernel).unwrap();
    assert!(profile.us.median > 0.0 && profile.runtime_checks.is_none());
    assert_eq!(profile.bytes, Some(8192.0));
    let timed_by = if adapter.features().contains(&"timestamps") { TimedBy::Timestamps } else { TimedBy::Submits };
    assert_eq!(profile.timed_by, timed_by);
    let contest = bench.compare(&[kernel.clone(), kernel]).unwrap();
    assert_eq!(contest.profiles.len(), 2);
    assert!(contest.ratios[1].is_some_and(|ratio| ratio.median > 0.5 && ratio.median < 2.0));
    // What was read back stands for itself: the object of a script.
    let text = serde_json::to_string(&profile).unwrap();
    assert_eq!(serde_json::from_str::<degrain::profile::KernelProfile>(&text).unwrap().us.samples, profile.us.samples);
}

/// The profiler and a timing by hand, in turn: within 5 % of each other on a machine that does nothing else, which is why
/// this runs only when asked for (`cargo test --release --test profile_kernel -- --ignored --nocapture`).
fn the_profiler_agrees_with_a_timing_by_hand(device: String) {
    const FLOATS: usize = 1 << 20;
    let index = device.parse::<usize>().unwrap();
    let found = adapters();
    for (name, text, workgroups) in [("copy", COPY, FLOATS / 4 / 64), ("chain", CHAIN, FLOATS / 64)] {
        let hand = ByHand::new(index, text, FLOATS, workgroups as u32);
        let budget = Budget { seconds: 0.2, ..Budget::default() };
        let gpu = found.get(index).unwrap().open_for_any_kernel().unwrap();
        let mut bench = KernelBench::new(gpu, Options { budget, ..Options::default() });
        let mut kernel = LoneKernel::new(name, text);
        kernel.workgroups = [workgroups as u32, 1, 1];
        let buffer = |i: usize| format!("0:{i}=f32[{FLOATS}]:rand").parse().unwrap();
        kernel.bindings = vec![buffer(0), buffer(1)];
        hand.time_us(1);
        let runs = bench.profile(&kernel).unwrap().runs_per_sample;
        let mut pairs = Vec::new();
        for _ in 0..15 {
            let by_hand: Vec<f64> = (0..9).map(|_| hand.time_us(runs)).collect();
            let profiled = bench.profile(&kernel).unwrap().us.median;
            pairs.push((Statistics::of(&by_hand).unwrap().median, profiled));
        }
        let of = |pick: fn(&(f64, f64)) -> f64| Statistics::of(&pairs.iter().map(pick).collect::<Vec<_>>()).unwrap();
        let (by_hand, profiled, ratio) = (of(|p| p.0), of(|p| p.1), of(|p| p.1 / p.0));
        eprintln!(
            "{name}: by hand {:.1} us, profiled {:.1} us, ratio {:.3} (MAD {:.3}), {runs} runs a sample",
            by_hand.median, profiled.median, ratio.median, ratio.mad
        );
        assert!((ratio.median - 1.0).abs() <= 0.05, "{name}: {pairs:?}");
    }
}

fn no_kernel_runs_on_the_executor() {
    let lab = Lab::new("cpu".to_owned());
    let (line, before) = lab.error("copy.wgsl --workgroups 1 --bind 0:0=f32[4]:ones --bind 0:1=f32[4]:ones");
    assert!(
        line.starts_with("error: device cpu: the CPU executor runs no WGSL") && before.is_empty(),
        "{before}{line}"
    );
}

/// A name, and what is run on an adapter.
type Test = (&'static str, fn(String));

fn main() -> std::process::ExitCode {
    let mut arguments = Arguments::from_args();
    // Measurements at the same time would disturb each other.
    arguments.test_threads = Some(1);
    let tests: [Test; 11] = [
        ("the_object_has_what_scripts_rely_on", the_object_has_what_scripts_rely_on),
        ("results_are_checked", results_are_checked),
        ("overrides_groups_and_entries_are_set", overrides_groups_and_entries_are_set),
        ("a_sweep_is_a_table", a_sweep_is_a_table),
        ("a_kernel_is_as_fast_as_itself", a_kernel_is_as_fast_as_itself),
        ("twice_the_work_takes_about_twice_the_time", twice_the_work_takes_about_twice_the_time),
        ("without_timestamps_submits_are_timed", without_timestamps_submits_are_timed_and_that_is_said),
        ("cold_buffers_take_turns", cold_buffers_take_turns),
        ("mistakes_are_told", mistakes_are_told),
        ("an_endless_run_is_ended", an_endless_run_is_ended),
        ("the_library_measures_too", the_library_measures_too),
    ];
    let found = adapters().len();
    let mut trials = vec![Trial::test("cpu::no_kernel_runs_on_the_executor", || {
        no_kernel_runs_on_the_executor();
        Ok(())
    })];
    for (name, test) in tests {
        if found == 0 {
            trials.push(missing_adapter(format!("gpu::{name}")));
        }
        for i in 0..found {
            let run = move || {
                test(i.to_string());
                Ok(())
            };
            trials.push(Trial::test(format!("gpu::{i}::{name}"), run));
        }
    }
    for i in 0..found {
        let run = move || {
            the_profiler_agrees_with_a_timing_by_hand(i.to_string());
            Ok(())
        };
        trials.push(Trial::test(format!("gpu::{i}::by_hand"), run).with_ignored_flag(true));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
