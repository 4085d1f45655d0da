//! A folder with a tiny preset and pictures, in which tests run `degrain` as a process.

#![allow(dead_code, reason = "each test file uses a part of it")]

use image::codecs::png::PngEncoder;
use image::{DynamicImage, ImageEncoder};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// 8x8 grey pictures, code 4: a step takes well under a millisecond.
pub(crate) const TINY: &str = r#"
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
noise = "gaussian:0.1"
optimizer = "adamax"
lr = 0.01
epochs = 3
batch = 5
val = 0.2
"#;
/// Pictures in a lab: 32 train and 8 are held out, so that an epoch has 7 steps, the last of 2 pictures.
pub(crate) const PICTURES: usize = 40;

/// A folder with a preset, pictures and whatever a test makes there.
pub(crate) struct Lab(TempDir);

/// What a process left.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None where a signal ended the process.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    /// With nothing in it.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With the tiny preset and pictures.
    pub(crate) fn new() -> Self {
        let lab = Self::empty();
        fs::write(lab.path("tiny.toml"), TINY).unwrap();
        fs::create_dir(lab.path("pictures")).unwrap();
        for i in 0..PICTURES {
            save_png(gradient(8, 8, i), lab.path(&format!("pictures/{i:02}.png")));
        }
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Runs `degrain` with these words in the lab's folder.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        self.command(words).output().unwrap().into()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_degrain"));
        command.args(words).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("DEGRAIN_CACHE", self.path("cache")).env("DEGRAIN_DEVICE", "cpu");
        #[cfg(unix)]
        reset_signals(&mut command);
        command
    }

    /// The object that a command prints with `--json`; it must succeed.
    #[track_caller]
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        self.run(&[words, &["--json"]].concat()).ok().json()
    }

    /// The one line of a command that must fail.
    #[track_caller]
    pub(crate) fn error(&self, words: &[&str]) -> String {
        let ended = self.run(words);
        let line = ended.stderr.lines().last().unwrap_or_default().to_owned();
        ended.fails(&[]);
        line
    }

    /// Trains the tiny preset on the CPU into `out`.
    pub(crate) fn train(&self, out: &str, more: &[&str]) -> Ended {
        let words = ["train", "tiny.toml", "--data", "pictures", "--device", "cpu", "--out", out];
        self.run(&[&words[..], more].concat())
    }

    pub(crate) fn steps(&self, run: &str) -> usize {
        String::from_utf8(self.read(&format!("{run}/steps.csv"))).unwrap().lines().count() - 1
    }

    /// As [`Lab::steps`], 0 where nothing was logged.
    pub(crate) fn steps_if_any(&self, run: &str) -> usize {
        if self.path(&format!("{run}/steps.csv")).exists() { self.steps(run) } else { 0 }
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn assert_same_run(&self, one: &str, other: &str) {
        for name in ["steps.csv", "last.safetensors", "state.safetensors"] {
            assert!(self.read(&format!("{one}/{name}")) == self.read(&format!("{other}/{name}")), "{name} differs");
        }
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
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
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// Signals as a terminal has them: what started the tests in the background may have told them to ignore Ctrl-C.
#[cfg(unix)]
fn reset_signals(command: &mut Command) {
    use nix::sys::signal::{SigHandler, Signal, signal};
    use std::os::unix::process::CommandExt;

    let reset = || {
        for which in [Signal::SIGINT, Signal::SIGHUP] {
            // SAFETY: the default action is no handler.
            unsafe { signal(which, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec it does nothing but set these actions, which is allowed there.
    unsafe { command.pre_exec(reset) };
}

/// A picture file. `image::open` would compile the decoders of all kinds for each test file that calls it.
pub(crate) fn open_picture(path: impl AsRef<Path>) -> DynamicImage {
    image::load_from_memory(&fs::read(path).unwrap()).unwrap()
}

/// Writes a PNG file; `save` would compile all encoders.
pub(crate) fn save_png(picture: impl Into<DynamicImage>, path: impl AsRef<Path>) {
    let picture = picture.into();
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(picture.as_bytes(), picture.width(), picture.height(), picture.color().into())
        .unwrap();
    fs::write(path, bytes).unwrap();
}

/// A picture that no other seed gives.
pub(crate) fn gradient(width: u32, height: u32, seed: usize) -> image::GrayImage {
    image::GrayImage::from_fn(width, height, |x, y| {
        let (x, y, seed) = (x as usize, y as usize, seed);
        image::Luma([((x * (seed % 7 + 5) + y * (seed % 5 + 3) + seed * 31) * 4 % 256) as u8])
    })
}
