//! Event files for TensorBoard: what the library writes, and what `degrain train --tensorboard` logs. `check.py` asks
//! TensorBoard itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod events;

use degrain::data::npy;
use degrain::report::EventWriter;
use degrain::train::row_log::read_rows;
use degrain::train::{EpochRow, StepRow};
use events::{Event, Value, crc32c, files, read, scalars};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::SystemTime;
use tempfile::TempDir;

/// 12x12 grey pictures, with a penalty so that the loss has parts.
const TINY: &str = r#"
name = "tiny"
description = "for tests"
[data]
height = 12
width = 12
channels = 1
[model]
code = 4
encoder = [{ layer = "flatten" }, { layer = "dense", units = "code" }]
decoder = [{ layer = "dense", units = 144 }, { layer = "reshape", shape = [12, 12, 1] }]
[train]
loss = "mse"
optimizer = "adam"
lr = 0.01
schedule = "cosine"
l2 = 0.001
epochs = 2
batch = 5
val = 0.2
"#;

/// A value of a row of `metrics.csv`.
type Column = fn(&EpochRow) -> Option<f64>;

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn the_test_s_own_checksum_is_that_of_the_rfc() {
    // RFC 3720, B.4.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
}

#[test]
fn what_is_written_reads_back() {
    let begin = now();
    let mut writer = EventWriter::new(Vec::new()).unwrap();
    writer.begin_at(301).unwrap();
    writer.scalars(301, &[("loss/train", 0.1), ("zero", 0.0), ("bad", f64::NAN)]).unwrap();
    writer.image(1 << 40, "sheets/a", b"\x89PNG", [20, 300]).unwrap();
    writer.text(0, "config", "a = \"ä\"").unwrap();
    writer.flush().unwrap();
    let events = read(&writer.into_inner());
    let end = now();
    assert!(events.iter().all(|event| (begin..=end).contains(&event.wall_time)), "{events:?}");
    assert!(events.is_sorted_by_key(|event| event.wall_time));
    let [version, start, numbers, image, text] = &events[..] else { panic!("{events:?}") };
    assert_eq!((version.step, version.file_version.as_deref()), (0, Some("brain.Event:2")));
    assert_eq!((start.step, start.session_status), (301, Some(1)));
    let scalar = |i: usize| match &numbers.values[i] {
        (tag, Value::Scalar(value)) => (tag.as_str(), value.to_bits()),
        other => panic!("{other:?}"),
    };
    assert_eq!(numbers.step, 301);
    assert_eq!([scalar(0), scalar(1)], [("loss/train", 0.1f32.to_bits()), ("zero", 0)]);
    assert!(f32::from_bits(scalar(2).1).is_nan());
    assert_eq!((image.step, &image.values[0].1), (1 << 40, &Value::Image([20, 300, 3], b"\x89PNG".to_vec())));
    assert_eq!(text.values, [("config".to_owned(), Value::Text("a = \"ä\"".to_owned()))]);
}

/// A folder with a preset and 40 pictures: 32 train and 8 are held out, so that an epoch has 7 steps.
struct Lab(TempDir);

impl Lab {
    fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        fs::write(lab.path("tiny.toml"), TINY).unwrap();
        let values: Vec<f32> = (0..40 * 144).map(|i| ((i * 7 + i / 144 * 31) % 100) as f32 / 100.0).collect();
        npy::write(&lab.path("pictures.npy"), &[40, 12, 12, 1], &values).unwrap();
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, program: &str, words: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(words).current_dir(self.0.path()).env("DEGRAIN_CACHE", self.path("cache"));
        command.env("DEGRAIN_DEVICE", "cpu").output().unwrap()
    }

    #[track_caller]
    fn degrain(&self, words: &[&str]) -> String {
        let output = self.command(env!("CARGO_BIN_EXE_degrain"), words);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        stderr
    }

    #[track_caller]
    fn train(&self, more: &[&str]) -> String {
        let words = ["train", "tiny.toml", "--data", "pictures.npy", "--out", "run", "--no-pca"];
        self.degrain(&[&words[..], more].concat())
    }

    fn events(&self) -> Vec<Vec<Event>> {
        files(&self.path("run")).iter().map(|path| read(&fs::read(path).unwrap())).collect()
    }

    /// That the files show every row of the tables of a run of `last` steps once, and nothing else.
    #[track_caller]
    fn assert_events_are_the_tables_of(&self, last: usize) {
        let shown = scalars(&self.events());
        let run = self.path("run");
        let steps: Vec<StepRow> = read_rows(&run.join("steps.csv")).unwrap();
        assert_eq!(shown["loss/train_step"], steps.iter().map(|row| (row.step as i64, row.loss)).collect::<Vec<_>>());
        assert_eq!(steps.len(), last);
        let epochs: Vec<EpochRow> = read_rows(&run.join("metrics.csv")).unwrap();
        let columns: [(&str, Column); 9] = [
            ("epoch", |row| Some(row.epoch as f64)),
            ("loss/train", |row| Some(row.train_loss)),
            ("loss/validation", |row| row.val_loss),
            ("images_per_second", |row| Some(row.images_per_second)),
            ("reconstruction/train", |row| row.parts[0]),
            ("weight_penalty/train", |row| row.parts[2]),
            ("reconstruction/validation", |row| row.parts[3]),
            ("weight_penalty/validation", |row| row.parts[5]),
            ("code_penalty/train", |row| row.parts[1]),
        ];
        for (tag, value) in columns {
            let rows = epochs.iter().filter_map(|row| Some((7 * row.epoch as i64, value(row)? as f32)));
            assert_eq!(shown.get(tag).cloned().unwrap_or_default(), rows.collect::<Vec<_>>(), "{tag}");
        }
        let rates = &shown["learning_rate"];
        assert_eq!(rates.last().map(|point| point.0), Some(last as i64));
        assert!(rates.is_sorted_by(|a, b| a.0 < b.0), "{rates:?}");
    }
}

#[test]
fn a_run_logs_what_its_tables_and_its_summary_hold() {
    let lab = Lab::new();
    lab.train(&["--tensorboard"]);
    let events = lab.events();
    assert_eq!(events.len(), 1);
    lab.assert_events_are_the_tables_of(14);
    let shown = scalars(&events);
    assert_eq!(shown["loss/train_step"].len(), 14);
    assert!(!shown.contains_key("code_penalty/train"));
    let rate = |step: f64| 0.01 * 0.5 * (1.0 + (std::f64::consts::PI * step / 14.0).cos());
    for (step, logged) in &shown["learning_rate"] {
        // The first step is at the full rate.
        assert!((f64::from(*logged) - rate((step - 1) as f64)).abs() < 1e-9, "{logged} at step {step}");
    }
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(lab.path("run/summary.json")).unwrap()).unwrap();
    for key in ["mse", "psnr", "ssim"] {
        let wanted = summary["test"][key].as_f64().unwrap() as f32;
        assert_eq!(shown[&format!("test/{key}")], [(14, wanted)], "{key}");
    }
    let (mut images, mut texts) = (0, 0);
    for (tag, value) in events[0].iter().flat_map(|event| &event.values) {
        match value {
            Value::Image([height, width, 3], bytes) => {
                let name = tag.strip_prefix("sheets/").unwrap();
                assert_eq!(*bytes, fs::read(lab.path(&format!("run/{name}.png"))).unwrap());
                let decoded = image::load_from_memory(bytes).unwrap();
                assert_eq!((u64::from(decoded.height()), u64::from(decoded.width())), (*height, *width));
                images += 1;
            }
            Value::Text(text) => {
                let config = fs::read_to_string(lab.path("run/config.toml")).unwrap();
                assert_eq!(*text, format!("```\n{config}\n```"));
                texts += 1;
            }
            _ => {}
        }
    }
    assert_eq!((images, texts), (3, 1));
}

#[test]
fn without_the_flag_there_is_no_event_file() {
    let lab = Lab::new();
    lab.train(&["--epochs", "1"]);
    assert_eq!(files(&lab.path("run")), Vec::<PathBuf>::new());
    lab.degrain(&["train", "--resume", "run", "--epochs", "2", "--no-pca"]);
    assert_eq!(files(&lab.path("run")), Vec::<PathBuf>::new());
}

#[test]
fn a_resumed_run_begins_a_file_of_its_own_that_goes_on() {
    let lab = Lab::new();
    lab.train(&["--tensorboard", "--steps", "3"]);
    let early = fs::read(lab.path("run/state.safetensors")).unwrap();
    let resume = |steps: &str| lab.degrain(&["train", "--resume", "run", "--steps", steps, "--epochs=3", "--no-pca"]);
    resume("9");
    let starts = || {
        let start = |events: Vec<Event>| events.into_iter().find(|event| event.session_status.is_some()).unwrap().step;
        lab.events().into_iter().map(start).collect::<Vec<_>>()
    };
    assert_eq!(starts(), [1, 4]);
    lab.assert_events_are_the_tables_of(9);
    // As after a kill: the steps from 4 to 9 were logged, but the last checkpoint is that of step 3.
    fs::write(lab.path("run/state.safetensors"), early).unwrap();
    resume("20");
    assert_eq!(starts(), [1, 4, 4]);
    lab.assert_events_are_the_tables_of(20);
}

/// A limit on the size of files, for a disk that is full: the run ends well, and there is one warning.
#[cfg(target_os = "linux")]
#[test]
fn an_event_file_that_cannot_be_written_does_not_end_the_run() {
    let lab = Lab::new();
    let limited = "ulimit -f 1024; exec \"$0\" \"$@\"";
    let train = [
        "train",
        "tiny.toml",
        "--data=pictures.npy",
        "--out=run",
        "--no-pca",
        "--tensorboard",
        "--batch=1",
        "--epochs=400",
    ];
    let output = lab.command("sh", &[&["-c", limited, env!("CARGO_BIN_EXE_degrain")], &train[..]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let warnings: Vec<&str> = stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("run: cannot write an event file: File too large"), "{stderr}");
    assert_eq!(read_rows::<StepRow>(&lab.path("run/steps.csv")).unwrap().len(), 12_800);
    assert!(lab.path("run/summary.json").exists());
}
