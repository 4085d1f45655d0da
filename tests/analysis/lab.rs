//! A folder of labelled pictures, and `degrain` run in it.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// 8x8 grey pictures, code 4: a step takes well under a millisecond.
const TINY: &str = r#"
name = "tiny"
description = "for tests"

[data]
height = 8
width = 8
channels = 1
offset = -0.5

[model]
code = 4
encoder = [
    { layer = "conv2d", channels = 4, kernel = 3, padding = "same", activation = "elu" },
    { layer = "max_pool2d", size = 2 },
    { layer = "flatten" },
    { layer = "dense", units = "code" },
]
decoder = [
    { layer = "dense", units = 64 },
    { layer = "reshape", shape = [4, 4, 4] },
    { layer = "conv_transpose2d", channels = 1, kernel = 3, stride = 2, padding = "same" },
]

[train]
loss = "mse"
optimizer = "adamax"
lr = 0.01
epochs = 3
batch = 5
val = 0.2
"#;
/// Sub-folders of `pictures`, each a label.
pub(crate) const LABELS: [&str; 3] = ["across", "down", "flat"];
/// Pictures of each label.
pub(crate) const EACH: usize = 20;

/// A folder with a preset, pictures and whatever a test makes there.
pub(crate) struct Lab(TempDir);

/// What a process left.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        fs::write(lab.path("tiny.toml"), TINY).unwrap();
        for label in LABELS {
            fs::create_dir_all(lab.path(&format!("pictures/{label}"))).unwrap();
            for i in 0..EACH {
                picture(label, i).save(lab.path(&format!("pictures/{label}/{i:02}.png"))).unwrap();
            }
        }
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_degrain"));
        command.args(words).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("DEGRAIN_CACHE", self.path("cache")).env("DEGRAIN_DEVICE", "cpu");
        command
    }

    /// Runs `degrain` with these words in the lab's folder.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        let output = self.command(words).output().unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Trains the tiny preset into `out`.
    pub(crate) fn train(&self, out: &str, more: &[&str]) -> Ended {
        let words = ["train", "tiny.toml", "--data", "pictures", "--out", out];
        self.run(&[&words[..], more].concat())
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Asserts a failure of one line on standard error that holds these texts, and nothing on standard output.
    #[track_caller]
    pub(crate) fn fails(self, texts: &[&str]) {
        assert_eq!(self.code, Some(1), "{}\n{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "");
        let errors: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && self.stderr.lines().last() == errors.last().copied(), "{}", self.stderr);
        for text in texts {
            assert!(errors[0].contains(text), "{text:?} is not in {:?}", errors[0]);
        }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// Grey stripes across or down, or one grey, a little different each.
fn picture(label: &str, seed: usize) -> image::GrayImage {
    image::GrayImage::from_fn(8, 8, |x, y| {
        let along = match label {
            "across" => y as usize * 30,
            "down" => x as usize * 30,
            _ => 100,
        };
        image::Luma([(along + seed * 7 % 40) as u8])
    })
}
