//! All commands on every preset, as scripts see them: on the CPU executor, and on each GPU for those that cost little.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::gpu::adapters;
use degrain::model::Preset;
use degrain::report::write_png;
use degrain::validate::missing_adapter;
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Pictures of the data sets made here; with a tenth held out three steps of 12 make an epoch.
const PICTURES: usize = 40;
/// Presets whose steps are quick on a software driver too.
const CHEAP: [&str; 6] = ["quickdraw-simple", "quickdraw-conv", "stacked", "vae", "sparse", "contractive"];

/// A folder with what a preset is trained on, and a device.
struct Lab {
    folder: TempDir,
    device: String,
}

impl Lab {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_degrain"));
        command.args(words).args(["--device", &self.device, "--json"]).current_dir(self.folder.path());
        command.stdin(Stdio::null()).env("DEGRAIN_CACHE", self.path("cache")).env_remove("DEGRAIN_DEVICE");
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// The object that a command prints, which must succeed.
    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        let (code, stdout, stderr) = self.command(words);
        assert_eq!(code, Some(0), "{words:?}\n{stdout}\n{stderr}");
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {stdout}"))
    }

    /// The one line of a command that must fail.
    #[track_caller]
    fn error(&self, words: &[&str]) -> String {
        let (code, stdout, stderr) = self.command(words);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{words:?}\n{stderr}");
        let last = stderr.lines().last().unwrap().to_owned();
        assert!(last.starts_with("error: "), "{stderr}");
        last
    }
}

/// Soft waves whose direction and colour follow from the seed.
fn picture(width: u32, height: u32, seed: usize) -> image::RgbImage {
    image::RgbImage::from_fn(width, height, |x, y| {
        let wave = |c: usize| {
            let (a, b) = ((seed % 7) as f32 + 1.0, ((seed + c) % 5) as f32 - 2.0);
            127.0 + 120.0 * ((x as f32 * a + y as f32 * b) / width as f32 * 6.0).sin()
        };
        image::Rgb([0, 1, 2].map(|c| wave(c) as u8))
    })
}

fn write_pictures(folder: &Path, count: usize, side: u32) {
    fs::create_dir(folder).unwrap();
    for i in 0..count {
        write_png(&picture(side, side, i), folder.join(format!("{i:02}.png"))).unwrap();
    }
}

/// MNIST's files: 28x28 digits, of which every fifth is a 0 and every fifth a 5, so that `PICTURES` of them are.
fn write_mnist(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let count = PICTURES * 5 / 2;
    let mut pictures = vec![0, 0, 8, 3];
    [count as u32, 28, 28].iter().for_each(|size| pictures.extend(size.to_be_bytes()));
    (0..count).for_each(|i| pictures.extend(image::DynamicImage::from(picture(28, 28, i)).into_luma8().into_raw()));
    let mut labels = vec![0, 0, 8, 1];
    labels.extend((count as u32).to_be_bytes());
    labels.extend((0..count).map(|i| [0, 5, 3, 7, 1][i % 5]));
    fs::write(folder.join("train-images-idx3-ubyte"), pictures).unwrap();
    fs::write(folder.join("train-labels-idx1-ubyte"), labels).unwrap();
}

#[track_caller]
fn has_numbers(object: &Value, keys: &[&str]) {
    for key in keys {
        assert!(object[key].as_f64().is_some_and(f64::is_finite), "{key} in {object}");
    }
}

/// What a preset is trained on here: the flag of its data, and pictures of its size for the other commands.
fn data(lab: &Lab, preset: &Value) -> Option<&'static str> {
    let side = preset["input"][0].as_u64().unwrap() as u32;
    write_pictures(&lab.path("pictures"), PICTURES, side);
    match preset["name"].as_str().unwrap() {
        "mnist-dae" => {
            write_mnist(&lab.path("mnist"));
            Some("--data=mnist")
        }
        name if name.starts_with("quickdraw") => Some("--data=bundled:quickdraw"),
        _ if preset["source"].as_array().unwrap().is_empty() => Some("--data=pictures"),
        _ => None,
    }
}

fn every_command_works(preset: &Value, device: &str) {
    let lab = Lab { folder: tempfile::tempdir().unwrap(), device: device.to_owned() };
    let name = preset["name"].as_str().unwrap();
    let data = data(&lab, preset);
    if preset["source"].as_array().unwrap().is_empty() {
        let error = lab.error(&["train", name]);
        let obtain = Preset::load(name).unwrap().data.obtain.unwrap();
        assert!(error.contains(&format!("--data: {name} has no pictures of its own")), "{error}");
        assert!(error.ends_with(&obtain), "{error}");
    }
    let limit = format!("--limit={PICTURES}");
    let flags = ["--out=run", &limit, "--val=0.1", "--batch=12", "--epochs=1", "--set=train.min_delta=0"];
    let mut words: Vec<&str> = [&["train", name][..], &flags, data.as_slice()].concat();
    match name {
        "stacked" => words.push("--set=train.pretrain_epochs=1"),
        // One of each picture, so that there are as many.
        "denoise-patch" => words.push("--set=data.patches=1"),
        _ => {}
    }
    let trained = lab.json(&words);
    check_training(&lab, preset, &trained);
    check_measures(&lab, &trained);
    check_pictures(&lab, preset);
    let summary = lab.json(&["summary", "run"]);
    let of_preset = lab.json(&["summary", name]);
    for key in ["encoder_params", "decoder_params", "total_params", "layers"] {
        assert_eq!(summary[key], of_preset[key], "{key}");
    }
    assert_eq!(summary["total_params"], preset["total_params"]);
    check_resuming(&lab, &trained);
}

fn check_training(lab: &Lab, preset: &Value, trained: &Value) {
    has_numbers(trained, &["epochs", "steps", "train_loss", "val_loss", "images_per_second"]);
    // A code of as many values as the picture has is nothing to compare with a PCA.
    let values: u64 = preset["input"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).product();
    assert_eq!(trained["pca_mse"].is_f64(), preset["code"].as_u64().unwrap() < values);
    has_numbers(trained, &["seconds_to_first_step", "peak_device_bytes"]);
    has_numbers(&trained["test"], &["mse", "psnr", "ssim"]);
    let is_noisy = trained["noise"] != "none";
    assert_eq!(trained["test"]["noisy_mse"].is_f64(), is_noisy, "{trained}");
    assert_eq!(
        (&trained["preset"], &trained["epochs"], &trained["ending"]),
        (&preset["name"], &1.into(), &"finished".into())
    );
    // The channels of a picture are three.
    let of_picture = if preset["name"] == "pokemon-mlp" { 3 } else { 1 };
    let pictures = trained["train_pictures"].as_u64().unwrap() + trained["held_out_pictures"].as_u64().unwrap();
    assert_eq!(pictures as usize, of_picture * PICTURES);
    let files = [
        "config.toml",
        "metrics.csv",
        "steps.csv",
        "last.safetensors",
        "best.safetensors",
        "state.safetensors",
        "summary.json",
        "report.html",
        "denoised.png",
        "codes.png",
        "loss.png",
    ];
    for file in files {
        assert!(lab.path("run").join(file).metadata().is_ok_and(|file| file.len() > 0), "{file}");
    }
    let steps = fs::read_to_string(lab.path("run/steps.csv")).unwrap().lines().count() as u64 - 1;
    assert_eq!(trained["steps"].as_u64(), Some(steps));
    assert!(steps >= 3, "{steps}");
    let stages = trained["pretraining"]["stages"].as_array().map_or(0, Vec::len);
    assert_eq!(stages, if preset["name"] == "stacked" { 3 } else { 0 });
    if stages > 0 {
        has_numbers(&trained["pretraining"], &["epochs", "first_loss"]);
        has_numbers(&trained["pretraining"]["stages"][2], &["train_loss", "val_loss"]);
    }
}

/// The saved run has the same metrics as the one that was trained, and other pictures have some.
fn check_measures(lab: &Lab, trained: &Value) {
    let evaluated = lab.json(&["eval", "run"]);
    for key in ["count", "mse", "psnr", "ssim", "noisy_mse"] {
        assert_eq!(evaluated[key], trained["test"][key], "{key}");
    }
    let others = lab.json(&["eval", "run", "--data", "pictures"]);
    has_numbers(&others, &["mse", "psnr", "ssim"]);
    assert_eq!((&others["part"], others["count"].as_u64().unwrap() as usize % PICTURES), (&"all".into(), 0));
}

fn check_pictures(lab: &Lab, preset: &Value) {
    let (name, input) = (preset["name"].as_str().unwrap(), &preset["input"]);
    let of_picture = if name == "pokemon-mlp" { 3 } else { 1 };
    let denoised = lab.json(&["denoise", "run", "pictures", "-o", "restored", "--noise=gaussian:0.1"]);
    let outputs = denoised["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), of_picture * PICTURES);
    has_numbers(&denoised, &["mse", "psnr", "noisy_mse"]);
    let side = (input[1].as_u64().unwrap() as u32, input[0].as_u64().unwrap() as u32);
    for output in outputs {
        let picture = image::load_from_memory(&fs::read(lab.path(output.as_str().unwrap())).unwrap()).unwrap();
        assert_eq!((picture.width(), picture.height()), side, "{output}");
    }
    let again = lab.json(&["reconstruct", "run", "pictures/00.png", "pictures/01.png", "-o", "restored.npy"]);
    assert_eq!(again["count"].as_u64().unwrap() as usize, 2 * of_picture);
    let (shape, values) = degrain::data::npy::read(&lab.path("restored.npy")).unwrap();
    let wanted: Vec<usize> = input.as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect();
    assert_eq!(shape, [&[2 * of_picture][..], &wanted].concat());
    assert!(values.iter().all(|value| value.is_finite()));
    // Pictures that know nothing of the run's labels.
    let drawings = lab.json(&["reconstruct", "run", "bundled:quickdraw", "-o", "drawings.npy"]);
    assert_eq!(drawings["count"].as_u64().unwrap() as usize, of_picture * 1000);
}

fn check_resuming(lab: &Lab, trained: &Value) {
    let resumed = lab.json(&["train", "--resume", "run", "--epochs", "2"]);
    assert_eq!(resumed["epochs"], 2);
    assert_eq!(resumed["steps"].as_u64(), trained["steps"].as_u64().map(|steps| 2 * steps));
    let summary = fs::read(lab.path("run/summary.json")).unwrap();
    let finished = lab.json(&["train", "--resume", "run"]);
    assert_eq!(finished, serde_json::from_slice::<Value>(&summary).unwrap());
    assert_eq!(fs::read(lab.path("run/summary.json")).unwrap(), summary, "a finished run is left as it is");
}

fn presets() -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_degrain")).args(["presets", "--json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    json["presets"].as_array().unwrap().clone()
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let found = adapters().len();
    let mut trials = Vec::new();
    for preset in presets() {
        let name = preset["name"].as_str().unwrap().to_owned();
        let on = |device: String| {
            let preset = preset.clone();
            move || {
                every_command_works(&preset, &device);
                Ok(())
            }
        };
        trials.push(Trial::test(format!("cpu::{name}"), on("cpu".to_owned())));
        if CHEAP.contains(&name.as_str()) {
            if found == 0 {
                trials.push(missing_adapter(format!("gpu::{name}")));
            }
            trials.extend((0..found).map(|i| Trial::test(format!("gpu::{i}::{name}"), on(i.to_string()))));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
