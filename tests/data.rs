//! `degrain data`, and data of every kind on its way into training, as scripts see it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Grey pictures of 4x4, code 2.
const TINY: &str = r#"
name = "tiny"
description = "for tests"
[data]
height = 4
width = 4
channels = 1
obtain = "Draw some."
[model]
code = 2
encoder = [{ layer = "flatten" }, { layer = "dense", units = "code" }]
decoder = [{ layer = "dense", units = 16 }, { layer = "reshape", shape = [4, 4, 1] }]
[train]
loss = "mse"
optimizer = "adam"
lr = 0.01
epochs = 1
batch = 4
val = 0.25
"#;

struct Lab(TempDir);

impl Lab {
    fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        lab.write("tiny.toml", TINY);
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn png(&self, name: &str, width: u32, height: u32, colour: [u8; 3]) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        RgbImage::from_pixel(width, height, Rgb(colour)).save(self.path(name)).unwrap();
    }

    /// MNIST in small: eight 4x4 pictures of digits 0 to 3, two of each.
    fn mnist(&self) {
        let pixels: Vec<u8> = (0..128).collect();
        let images = [&[0, 0, 8, 3, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0, 4][..], &pixels].concat();
        let labels = [&[0, 0, 8, 1, 0, 0, 0, 8][..], &[0, 1, 2, 3, 0, 1, 2, 3]].concat();
        self.write("mnist/train-images-idx3-ubyte.gz", gzip(&images));
        self.write("mnist/train-labels-idx1-ubyte", labels);
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_degrain"));
        command.args(words).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("DEGRAIN_CACHE", self.path("cache")).env_remove("DEGRAIN_DEVICE").output().unwrap()
    }

    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        let output = self.run(&[words, &["--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[track_caller]
    fn text(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asserts exit code 1 and a last line of standard error that holds these texts.
    #[track_caller]
    fn fails(&self, words: &[&str], texts: &[&str]) {
        let output = self.run(words);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{stderr}");
        let error = stderr.lines().last().unwrap();
        assert!(error.starts_with("error: ") && texts.iter().all(|text| error.contains(text)), "{texts:?}: {error}");
    }

    /// Trains an epoch of the tiny preset on the CPU.
    #[track_caller]
    fn train(&self, more: &[&str]) -> Value {
        let run = self.0.path().join(format!("run-{}", fs::read_dir(self.0.path()).unwrap().count()));
        let out = run.to_str().unwrap().to_owned();
        self.json(&[&["train", "tiny.toml", "--device=cpu", "--no-pca", "--out", &out], more].concat())
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data].concat()
}

fn pictures(summary: &Value) -> (u64, u64) {
    let number = |key: &str| summary[key].as_u64().unwrap();
    (number("train_pictures"), number("train_pictures") + summary["test"]["count"].as_u64().unwrap_or(0))
}

#[test]
fn the_bundled_data_is_told_and_drawn() {
    let lab = Lab::new();
    let report = lab.json(&["data", "bundled:quickdraw", "-o", "sheet.png"]);
    let source = &report["sources"][0];
    assert_eq!((&source["path"], &source["kind"]), (&json!("bundled:quickdraw"), &json!("bundled")));
    assert_eq!(
        (&source["count"], &source["shape"], &report["count"]),
        (&json!(1000), &json!([28, 28, 1]), &json!(1000))
    );
    assert_eq!((&source["values"], &source["range"]), (&json!("u8"), &json!([0.0, 255.0])));
    assert_eq!(source["labels"][2], json!({ "name": "cat", "count": 100 }));
    assert_eq!(report["output"], json!("sheet.png"));
    let sheet = image::open(lab.path("sheet.png")).unwrap().into_rgb8();
    assert!(
        sheet.width() > 560 && sheet.height() > 560,
        "ten rows of ten cells of 56 pixels: {:?}",
        sheet.dimensions()
    );
    let black = sheet.pixels().filter(|pixel| pixel.0 == [0; 3]).count();
    assert!(black > 10 * 10 * 56 * 56 / 2, "most of the drawings is ground: {black}");
    let text = lab.text(&["data", "bundled:emoji", "bundled:quickdraw"]);
    assert!(text.contains("3786 pictures of 32x32x3, u8 from 0 to 255") && text.contains("apple (100), "), "{text}");
    assert!(text.contains("in all: 4786 pictures of different sizes"), "{text}");
    lab.fails(&["data", "bundled:cats"], &["bundled:cats", "bundled:emoji or bundled:quickdraw"]);
}

#[test]
fn arrays_are_told_as_they_are() {
    let lab = Lab::new();
    lab.mnist();
    let report = lab.json(&["data", "mnist", "--keep-labels", "0,3"]);
    assert_eq!((&report["sources"][0]["kind"], &report["sources"][0]["count"]), (&json!("folder"), &json!(8)));
    assert_eq!((&report["count"], &report["shape"]), (&json!(4), &json!([4, 4, 1])));
    assert_eq!(report["labels"], json!([{ "name": "0", "count": 2 }, { "name": "3", "count": 2 }]));
    let floats: Vec<u8> = [0.5f32, -2.0, 0.25, 7.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    lab.write("f.npy", npy("<f4", "(1, 4)", &floats));
    let source = &lab.json(&["data", "f.npy"])["sources"][0];
    assert_eq!((&source["shape"], &source["values"]), (&json!([2, 2, 1]), &json!("f32")));
    assert_eq!((&source["range"], &source["kind"]), (&json!([-2.0, 7.5]), &json!("npy")));
    assert!(source.get("labels").is_none(), "{source}");
    lab.write("cat.ndjson.gz", gzip(b"[0,0.5,1,0]\r\n[0,0,0,1]\r\n"));
    lab.write("dog.ndjson.gz", gzip(b"[1,0.5,1,0]\r\n"));
    let report = lab.json(&["data", "cat.ndjson.gz", "dog.ndjson.gz", "-o", "s.png", "--limit", "1"]);
    assert_eq!(report["labels"], json!([{ "name": "cat", "count": 1 }, { "name": "dog", "count": 1 }]));
    assert!(lab.path("s.png").is_file());
}

#[test]
fn folders_tell_sizes_labels_and_what_was_skipped() {
    let lab = Lab::new();
    for (name, size) in [("set/red/1.png", 8), ("set/red/2.png", 8), ("set/blue/1.png", 8), ("set/blue/2.png", 5)] {
        lab.png(name, size, size, [200, 0, 0]);
    }
    lab.write("set/blue/bad.png", "no picture");
    lab.write("set/notes.txt", "x");
    let source = &lab.json(&["data", "set"])["sources"][0];
    assert_eq!((&source["count"], &source["shape"], &source["ignored"]), (&json!(4), &json!([8, 8, 3]), &json!(1)));
    assert_eq!(source["sizes"], json!([{ "shape": [8, 8, 3], "count": 3 }, { "shape": [5, 5, 3], "count": 1 }]));
    assert_eq!(source["labels"], json!([{ "name": "blue", "count": 2 }, { "name": "red", "count": 2 }]));
    assert_eq!(source["skipped"][0]["path"], json!("blue/bad.png"));
    let text = lab.text(&["data", "set"]);
    assert!(text.contains("sizes    8x8x3 (3), 5x5x3 (1)"), "{text}");
    assert!(text.contains("skipped  blue/bad.png: not a picture"), "{text}");
    lab.write("l.csv", "path,label\nred/1.png,a\nred/2.png,b\nblue/1.png,b\nblue/2.png,b\n");
    let report = lab.json(&["data", "set", "--labels", "l.csv"]);
    assert_eq!(report["labels"], json!([{ "name": "a", "count": 1 }, { "name": "b", "count": 3 }]));
    lab.write("l.csv", "path,label\nred/1.png,a\n");
    lab.fails(&["data", "set", "--labels", "l.csv"], &["l.csv", "3 of the 4 pictures", "blue/1.png"]);
    lab.fails(&["data", "set", "bundled:emoji", "--labels", "l.csv"], &["different sizes"]);
}

#[test]
fn bad_data_is_told_in_a_line() {
    let lab = Lab::new();
    let lines: String = (0..999).map(|i| format!("{},{}\n", i * 7919, i * 104_729)).collect();
    let packed = gzip(lines.as_bytes());
    lab.write("cut.gz", &packed[..packed.len() - 9]);
    let pixels: Vec<u8> = (0..6400u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let images = gzip(&[&[0, 0, 8, 3, 0, 0, 1, 0x90, 0, 0, 0, 4, 0, 0, 0, 4][..], &pixels].concat());
    lab.write("images-idx3.gz", &images[..images.len() / 2]);
    lab.write("empty.npy", "");
    lab.write("ragged.txt", "1,2,3,4\n1,2,3\n");
    lab.write("short.npy", npy("|u1", "(3, 4)", &[0; 11]));
    fs::create_dir(lab.path("none")).unwrap();
    for (path, texts) in [
        ("cut.gz", &["cut.gz", "damaged or truncated"][..]),
        ("images-idx3.gz", &["images-idx3.gz", "truncated"]),
        ("empty.npy", &["empty.npy", "the file is empty"]),
        ("ragged.txt", &["ragged.txt", "line 2 has 3 numbers"]),
        ("short.npy", &["short.npy", "truncated"]),
        ("none", &["none", "holds no files"]),
        ("mnist/train-images-idx3-ubyte", &["no such file", "https://"]),
    ] {
        lab.fails(&["data", path], texts);
    }
    assert_eq!(lab.run(&["data"]).status.code(), Some(2));
    lab.fails(&["data", "ragged.txt", "--limit", "0"], &["--limit"]);
}

#[test]
fn training_takes_labels_and_their_choice() {
    let lab = Lab::new();
    lab.mnist();
    assert_eq!(pictures(&lab.train(&["--data", "mnist", "--keep-labels", "0,3"])), (3, 4));
    assert_eq!(pictures(&lab.train(&["--data", "mnist", "--set", "data.labels_kept=[0,1,3]", "--limit", "5"])), (3, 5));
    assert_eq!(pictures(&lab.train(&["--data", "mnist"])), (6, 8));
    lab.write("odd.txt", "odd\neven\nodd\neven\nodd\neven\nodd\neven\n");
    assert_eq!(pictures(&lab.train(&["--data", "mnist", "--labels", "odd.txt", "--keep-labels", "odd"])), (3, 4));
    // The choice belongs to the run's own pictures.
    let run = lab.path("chosen").to_str().unwrap().to_owned();
    lab.json(&[
        "train",
        "tiny.toml",
        "--device=cpu",
        "--no-pca",
        "--data=mnist",
        "--keep-labels=1",
        "--val=0",
        "--out",
        &run,
    ]);
    assert_eq!(lab.json(&["eval", &run, "--device=cpu"])["count"], json!(2));
    assert_eq!(lab.json(&["eval", &run, "--device=cpu", "--data=mnist"])["count"], json!(8));
    let train = ["train", "tiny.toml", "--device=cpu", "--out=none"];
    let fails = |more: &[&str], texts: &[&str]| lab.fails(&[&train, more].concat(), texts);
    fails(&[], &["--data", "tiny has no pictures of its own", "Draw some."]);
    fails(&["--data", "mnist", "--keep-labels", "7"], &["data.labels_kept", "no label \"7\"; there are 0, 1, 2, 3"]);
    fails(&["--data", "mnist", "--labels", "none.csv"], &["none.csv"]);
    fails(&["--data", "mnist", "--attribute", "Male"], &["--attribute", "needs a file of attributes"]);
    lab.write("few.txt", "1\n2\n");
    fails(&["--data", "mnist", "--labels", "few.txt"], &["few.txt", "2 labels for the 8 pictures"]);
    assert!(!lab.path("none").exists());
}

#[test]
fn faces_are_chosen_by_their_attributes() {
    let lab = Lab::new();
    for i in 1..=5 {
        lab.png(&format!("lfw/Ann_Lee/Ann_Lee_000{i}.jpg"), 6, 6, [40 * i; 3]);
    }
    let rows: String = (1..=4).map(|i| format!("Ann Lee\t{i}\t{}\t0.5\n", i as f32 - 2.5)).collect();
    lab.write("lfw_attributes.txt", format!("# attributes\n#\tperson\timagenum\tSmiling\tHat\n{rows}"));
    let report = lab.json(&["data", "lfw", "--labels", "lfw_attributes.txt", "--attribute", "smiling"]);
    assert_eq!(report["attributes"], json!(["Smiling", "Hat"]));
    assert_eq!(report["labels"], json!([{ "name": "not Smiling", "count": 2 }, { "name": "Smiling", "count": 2 }]));
    let summary = lab.train(&["--data", "lfw", "--labels", "lfw_attributes.txt"]);
    assert_eq!(pictures(&summary), (3, 4));
}

#[test]
fn each_channel_trains_as_a_picture_of_its_own() {
    let lab = Lab::new();
    for i in 1..=4 {
        lab.png(&format!("set/{i}.png"), 4, 4, [50 * i, 0, 255]);
    }
    let run = lab.path("channels").to_str().unwrap().to_owned();
    let words = ["train", "tiny.toml", "--device=cpu", "--no-pca", "--data", "set", "--set", "data.channel_rows=true"];
    let summary = lab.json(&[&words[..], &["--out", &run]].concat());
    assert_eq!(pictures(&summary), (9, 12), "the channels of a picture are held out together");
    lab.json(&["denoise", &run, "set/1.png", "-o", "out", "--device=cpu"]);
    let mut names: Vec<String> =
        fs::read_dir(lab.path("out")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["1.blue.png", "1.green.png", "1.red.png"]);
    let words = [&words[..], &["--set", "data.channels=3", "--out=none"]].concat();
    lab.fails(&words, &["data.channel_rows", "data.channels is 3"]);
}
