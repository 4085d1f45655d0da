//! The command line as scripts see it: exit codes, what is printed where, and the files of a run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use lab::{Ended, Lab, PICTURES, TINY, gradient, open_picture, save_png};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn size_of(path: &Path) -> (u32, u32) {
    open_picture(path).into_luma8().dimensions()
}

#[test]
fn presets_are_listed_with_the_default_first() {
    let lab = Lab::new();
    let text = lab.run(&["presets"]).ok().stdout;
    assert!(text.starts_with("emoji-denoise "), "{text}");
    let json = lab.run(&["--json", "presets"]).ok().json();
    let presets = json["presets"].as_array().unwrap();
    assert_eq!(presets.len(), text.lines().count());
    for name in ["emoji-denoise", "lfw-linear", "lfw-conv", "lfw-denoise"] {
        assert!(presets.iter().any(|preset| preset["name"] == name), "{name}");
    }
}

#[test]
fn summaries_have_the_published_parameter_counts() {
    let lab = Lab::new();
    for (preset, more, encoder, decoder) in [
        ("lfw-linear", None, 98_336, 101_376),
        ("lfw-conv", None, 421_216, 421_955),
        ("lfw-denoise", None, 913_216, 913_475),
        ("lfw-conv", Some("--code=512"), 913_216, 913_475),
        ("lfw-linear", Some("--set=model.code=1"), 3_073, 6_144),
    ] {
        let words: Vec<&str> = ["summary", preset, "--json"].into_iter().chain(more).collect();
        let json = lab.run(&words).ok().json();
        assert_eq!((&json["encoder_params"], &json["decoder_params"]), (&encoder.into(), &decoder.into()), "{preset}");
        assert_eq!(json["total_params"], encoder + decoder);
    }
    let bytes = |batch: &str| {
        lab.run(&["summary", "lfw-conv", "--batch", batch, "--json"]).ok().json()["step_bytes"].as_u64().unwrap()
    };
    // Parameters and two moments alone are 10 MB; activations grow with the batch.
    assert!(bytes("32") > 3 * 4 * 843_171 && bytes("64") > bytes("32"));
    let text = lab.run(&["summary", "tiny.toml"]).ok().stdout;
    assert!(text.contains("conv2d_transpose_1") && text.contains("with batch 5"), "{text}");
}

#[test]
fn a_bench_has_the_keys_of_its_contract() {
    let lab = Lab::new();
    let bench = |words: &[&str]| lab.run(&[&["bench", "--budget", "0.1", "--json"], words].concat()).ok().json();
    let found = bench(&["quickdraw-simple", "--batch", "8"]);
    assert_eq!((found["workload"].as_str(), found["batch"].as_u64()), (Some("quickdraw-simple"), Some(8)));
    let number = |key: &str| found[key].as_f64().unwrap();
    assert!((number("images_per_s") / number("steps_per_s") - 8.0).abs() < 1e-9);
    assert!(number("steps_per_s") > 0.0 && number("windows") >= 5.0);
    assert!((0.0..60.0).contains(&number("seconds_to_first_step")));
    // More than the parameters and less than this machine has.
    assert!(cfg!(not(unix)) || (1e6..1e11).contains(&number("peak_rss_bytes")));
    lab.run(&["bench", "nonsense"]).fails(&["nonsense: is no workload", "lfw-conv, mnist-dae"]);
}

#[test]
fn devices_name_the_one_that_auto_takes() {
    let lab = Lab::new();
    let json = lab.run(&["devices", "--json"]).ok().json();
    let devices = json["devices"].as_array().unwrap();
    for (index, device) in devices.iter().enumerate() {
        assert_eq!(device["index"], index);
        assert!(["name", "backend", "kind", "driver"].iter().all(|key| device[key].is_string()), "{device}");
        let units = &device["matrix_units"];
        assert!(units.is_null() || [8, 16].contains(&units["size"].as_u64().unwrap()), "{device}");
    }
    let taken: Vec<&Value> = devices.iter().filter(|device| device["auto"] == true).collect();
    assert!(taken.len() == 1 && taken[0]["kind"] != "software", "{json}");
    assert!(json["auto"]["why"].is_string());
    let text = lab.run(&["devices"]).ok().stdout;
    assert!(text.contains("auto (*) takes"), "{text}");
}

#[test]
fn a_run_folder_is_complete_and_the_json_has_its_keys() {
    let lab = Lab::new();
    let ended = lab.train("run", &["--json"]).ok();
    let json = ended.json();
    for key in ["run", "device", "epochs", "steps", "train_loss", "val_loss", "test", "pca_mse"] {
        assert!(!json[key].is_null(), "{key}: {json}");
    }
    for key in ["images_per_second", "seconds_to_first_step", "peak_device_bytes"] {
        assert!(json[key].as_f64().unwrap() > 0.0, "{key}: {json}");
    }
    assert_eq!((&json["run"], &json["epochs"], &json["steps"]), (&"run".into(), &3.into(), &21.into()));
    for key in ["mse", "psnr", "noisy_mse"] {
        assert!(json["test"][key].as_f64().unwrap() > 0.0, "{key}: {json}");
    }
    let noisy = json["test"]["noisy_mse"].as_f64().unwrap();
    assert!((noisy / 0.01 - 1.0).abs() < 0.25, "512 deviates of sigma 0.1: {noisy}");
    let tables = ["config.toml", "metrics.csv", "steps.csv", "summary.json", "report.html"];
    let weights = ["last.safetensors", "best.safetensors", "state.safetensors"];
    let sheets = ["denoised.png", "codes.png", "noise_levels.png", "loss.png"];
    for name in tables.iter().chain(&weights).chain(&sheets) {
        assert!(!lab.read(&format!("run/{name}")).is_empty(), "{name}");
    }
    assert_eq!(serde_json::from_slice::<Value>(&lab.read("run/summary.json")).unwrap(), json);
    for name in sheets {
        assert!(size_of(&lab.path(&format!("run/{name}"))).0 > 100, "{name}");
    }
    assert!(String::from_utf8(lab.read("run/steps.csv")).unwrap().starts_with("step,loss\n1,"));
    assert_eq!(lab.steps("run"), 21);
    let epochs: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("epoch ")).collect();
    assert_eq!(epochs.len(), 3, "one line per epoch without a terminal: {}", ended.stderr);

    let eval = lab.run(&["eval", "run", "--json", "--device", "cpu"]).ok().json();
    for key in ["mse", "noisy_mse"] {
        assert_eq!(eval[key], json["test"][key], "eval must give what training gave");
    }
    assert!(eval["val_loss"].is_f64(), "{eval}");
    let others = lab.run(&["eval", "run", "--data", "pictures", "--noise", "none", "--device", "cpu", "--json"]).ok();
    assert_eq!((&others.json()["count"], &others.json()["noisy_mse"]), (&PICTURES.into(), &Value::Null));
    let summary = lab.run(&["summary", "run", "--json"]).ok().json();
    assert_eq!(summary["preset"], "tiny");
    let resumed = lab.run(&["train", "--resume", "run", "--device", "cpu"]).ok();
    assert!(resumed.stdout.contains("finished"), "{}", resumed.stdout);
}

#[test]
fn half_precision_is_told_from_what_it_became() {
    let lab = Lab::new();
    let single = lab.train("single", &["--json"]).ok();
    assert_eq!((&single.json()["precision"], &single.json()["products"]), (&"f32".into(), &"f32".into()));
    let ended = lab.train("half", &["--precision", "f16", "--json"]).ok();
    assert_eq!((&ended.json()["precision"], &ended.json()["products"]), (&"f16".into(), &"f32".into()));
    let told: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("f16")).collect();
    assert_eq!(told, ["warning: the CPU executor computes in f32, which --precision f16 would not make faster"]);
    let config = |run: &str| String::from_utf8(lab.read(&format!("{run}/config.toml"))).unwrap();
    assert!(config("single").contains("precision = \"f32\"\n") && config("half").contains("precision = \"f16\"\n"));
    assert!(!config("half").contains("loss_scale"), "it is found anew from the batch");
    // The loss scale is all that differs where products are in f32, and it is undone to the bit.
    assert!(lab.read("single/last.safetensors") == lab.read("half/last.safetensors"));
    lab.run(&["train", "--resume", "half", "--precision", "f32"])
        .fails(&["--resume: --precision would make it another"]);
    let eval = |more: &[&str]| lab.run(&[&["eval", "half", "--json", "--device", "cpu"], more].concat()).ok();
    assert!(
        eval(&[]).stderr.contains("warning: the CPU executor") && !eval(&["--precision=f32"]).stderr.contains("f16")
    );
    lab.train("wrong", &["--set", "train.loss_scale=3"]).fails(&["train.loss_scale: must be a power of two from 1 to"]);
    assert_eq!(lab.run(&["bench", "--precision", "f8"]).code, Some(2));
}

#[test]
fn the_test_is_what_validation_saw() {
    let lab = Lab::new();
    let linear = r#"
    encoder = [{ layer = "flatten" }, { layer = "dense", units = "code" }]
    decoder = [{ layer = "dense", units = 64 }, { layer = "reshape", shape = [8, 8, 1] }]
    "#;
    let (head, rest) = TINY.split_once("encoder").unwrap();
    let train = rest.split_once("[train]").unwrap().1;
    fs::write(lab.path("linear.toml"), format!("{head}{linear}\n[train]{train}")).unwrap();
    for (preset, noise) in [("tiny.toml", "gaussian:0.1"), ("linear.toml", "gaussian:0.1"), ("linear.toml", "none")] {
        let run = format!("{preset}-{noise}");
        let words =
            ["train", preset, "--data=pictures", "--device=cpu", "--noise", noise, "--json", "--no-pca", "--out"];
        let json = lab.run(&[&words[..], &[run.as_str()]].concat()).ok().json();
        let best = json["best_epoch"].as_u64().unwrap() as usize;
        let metrics = String::from_utf8(lab.read(&format!("{run}/metrics.csv"))).unwrap();
        let seen: f64 = metrics.lines().nth(best).unwrap().split(',').nth(2).unwrap().parse().unwrap();
        let test = json["test"]["mse"].as_f64().unwrap();
        assert!((test / seen - 1.0).abs() < 1e-5, "{preset} with {noise}: {test}, and in training {seen}");
    }
}

#[test]
fn eval_has_the_validation_loss_that_training_logged() {
    let lab = Lab::new();
    let words = ["--set=train.l2=0.01", "--set=train.noise_validation=mask:0.5", "--no-pca", "--epochs=4", "--lr=0.2"];
    lab.train("run", &words).ok();
    let rows: Vec<degrain::train::EpochRow> = degrain::train::read_rows(&lab.path("run/metrics.csv")).unwrap();
    let logged: Vec<f64> = rows.iter().map(|row| row.val_loss.unwrap()).collect();
    // The digits themselves: the reader of JSON may round to a neighbour.
    let eval = |more: &[&str]| {
        let text = lab.run(&[&["eval", "run", "--device=cpu", "--json"], more].concat()).ok().stdout;
        let value = text.lines().find_map(|line| line.trim().strip_prefix("\"val_loss\": ")).unwrap();
        value.trim_end_matches(',').to_owned()
    };
    let best = logged.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(eval(&[]), best.to_string(), "best of {logged:?}");
    assert_eq!(eval(&["--weights=last"]), logged[3].to_string());
    let clean: f64 = eval(&["--noise", "none"]).parse().unwrap();
    assert!(clean.is_finite() && clean != best, "{clean} without noise, {best} with");
    assert_eq!(eval(&["--data", "pictures"]), "null");
    let text = lab.run(&["eval", "run", "--device=cpu"]).ok().stdout;
    assert!(text.contains(&format!("val loss    {best:.6}")), "{text}");
}

#[test]
fn nothing_held_out_gives_null_and_people_get_text() {
    let lab = Lab::new();
    let json = lab.train("run", &["--val", "0", "--json", "--epochs", "1"]).ok().json();
    assert!(json["val_loss"].is_null() && json["test"].is_null() && json["pca_mse"].is_null(), "{json}");
    assert_eq!(json["steps"], PICTURES / 5);
    let ended = lab.train("other", &["--quiet", "--no-pca", "--epochs", "1"]).ok();
    assert_eq!(ended.stderr, "");
    for text in ["test MSE", "noisy MSE", "PSNR", "other"] {
        assert!(ended.stdout.contains(text), "{}", ended.stdout);
    }
    assert!(!ended.stdout.contains("PCA"));
}

#[test]
fn runs_without_out_are_numbered() {
    let lab = Lab::new();
    for number in 1..=2 {
        let words = ["train", "tiny.toml", "--data", "pictures", "--device=cpu", "--steps=1", "--json", "--no-pca"];
        let json = lab.run(&words).ok().json();
        assert_eq!(json["run"], format!("runs/tiny-{number}"));
    }
    lab.train("runs/tiny-1", &[]).fails(&["runs/tiny-1", "not empty", "--resume"]);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let lab = Lab::new();
    lab.train("a", &["--steps", "9", "--no-pca"]).ok();
    lab.train("b", &["--steps", "9", "--no-pca", "--log-every", "1"]).ok();
    lab.assert_same_run("a", "b");
    assert_eq!(lab.read("a/denoised.png"), lab.read("b/denoised.png"));
    lab.train("c", &["--steps", "9", "--no-pca", "--seed", "2"]).ok();
    assert_ne!(lab.read("a/steps.csv"), lab.read("c/steps.csv"));
}

#[test]
fn pictures_stream_within_the_memory_that_is_given() {
    let lab = Lab::new();
    let train = |out: &str, more: &[&str]| {
        let words = ["train", "quickdraw-simple", "--data", "bundled:quickdraw", "--device", "cpu", "--epochs", "2"];
        lab.run(&[&words[..], &["--json", "--no-pca", "--out", out], more].concat())
    };
    let summary = |ended: &Ended| serde_json::from_str::<Value>(&ended.stdout).unwrap();
    assert_eq!(summary(&train("resident", &[]))["streamed"], false);
    let streamed = train("streamed", &["--device-memory", "1500K"]);
    assert!(streamed.stderr.contains("they stream to it"), "{}", streamed.stderr);
    let summary = summary(&streamed);
    assert_eq!(summary["streamed"], true);
    assert!(summary["peak_device_bytes"].as_u64().unwrap() <= 1500 << 10, "{summary}");
    lab.assert_same_run("streamed", "resident");

    let small = train("small", &["--device-memory", "100K"]);
    assert_eq!(small.code, Some(1));
    assert!(small.stderr.contains("error: --device-memory: a step takes"), "{}", small.stderr);
    assert_eq!(train("odd", &["--device-memory", "7X"]).code, Some(2));
}

#[test]
fn a_run_whose_end_is_moved_is_the_longer_run() {
    let lab = Lab::new();
    lab.train("whole", &["--steps", "17", "--no-pca"]).ok();
    // Within the first epoch, at its end, and one step more.
    lab.train("part", &["--steps", "3", "--no-pca"]).ok();
    for steps in ["7", "8", "17"] {
        let resumed = lab.run(&["train", "--resume", "part", "--steps", steps, "--device=cpu", "--no-pca", "--json"]);
        assert_eq!(resumed.ok().json()["steps"].to_string(), steps);
        assert_eq!(lab.steps("part").to_string(), steps);
    }
    lab.assert_same_run("whole", "part");
    let config = lab.read("part/config.toml");
    let past = lab.run(&["train", "--resume", "part", "--steps", "5", "--device=cpu", "--json"]).ok();
    assert_eq!(past.json()["steps"], 17, "an end that is past is no end");
    assert!(config == lab.read("part/config.toml"));
    lab.assert_same_run("whole", "part");
    let metrics = |run: &str| {
        let text = String::from_utf8(lab.read(&format!("{run}/metrics.csv"))).unwrap();
        text.lines().map(|line| line.split(',').take(3).map(str::to_owned).collect()).collect::<Vec<Vec<String>>>()
    };
    assert_eq!(metrics("whole"), metrics("part"));
}

#[test]
fn weights_given_to_init_are_where_a_run_begins() {
    let lab = Lab::new();
    lab.train("first", &["--no-pca"]).ok();
    let again = ["--init", "first/last.safetensors", "--no-shuffle", "--noise", "none", "--steps", "4", "--no-pca"];
    lab.train("a", &[&again[..], &["--seed", "1", "--split", "last"]].concat()).ok();
    lab.train("b", &[&again[..], &["--seed", "2", "--split", "last"]].concat()).ok();
    assert_eq!(lab.read("a/steps.csv"), lab.read("b/steps.csv"), "nothing is left that the seed decides");
    assert_eq!(lab.read("a/last.safetensors"), lab.read("b/last.safetensors"));
    lab.train("c", &["--no-shuffle", "--noise=none", "--steps=4", "--no-pca", "--split=last"]).ok();
    assert_ne!(lab.read("a/steps.csv"), lab.read("c/steps.csv"));
    lab.train("d", &["--init", "first/steps.csv"]).fails(&["first/steps.csv"]);
    lab.train("e", &["--init", "first/last.safetensors", "--code", "5"]).fails(&["encoder.dense_1"]);
}

/// Starts a run that would take hours, and stops it by `signal` once it has saved.
#[cfg(unix)]
fn stop_training(lab: &Lab, run: &str, signal: &str) -> Ended {
    stop_once_saved(lab, run, "state.safetensors", &["--epochs=9999999"], signal)
}

/// Starts a run with these flags, and stops it by `signal` once its folder has this file.
#[cfg(unix)]
fn stop_once_saved(lab: &Lab, run: &str, file: &str, flags: &[&str], signal: &str) -> Ended {
    let words = ["train", "tiny.toml", "--data", "pictures", "--device=cpu", "--no-pca", "--json", "--out", run];
    let mut command = lab.command(&[&words[..], flags].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (begin, state) = (Instant::now(), lab.path(run).join(file));
    while !state.exists() && begin.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap().into()
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_the_run_goes_on_where_it_was() {
    let lab = Lab::new();
    let stopped = stop_training(&lab, "run", "-INT");
    assert_eq!(stopped.code, Some(130), "{}\n{}", stopped.stdout, stopped.stderr);
    let json = stopped.json();
    assert_eq!(json["ending"], "interrupted");
    assert_eq!(json["steps"], lab.steps("run"), "every step is on the disk");
    assert!(!lab.path("run/summary.json").exists());
    assert!(stopped.stderr.contains("Ctrl-C again"), "{}", stopped.stderr);

    let steps = (lab.steps("run") + 10).to_string();
    lab.run(&["train", "--resume", "run", "--steps", &steps, "--device=cpu", "--no-pca"]).ok();
    lab.train("whole", &["--epochs", "9999999", "--steps", &steps, "--no-pca"]).ok();
    lab.assert_same_run("whole", "run");
}

#[cfg(unix)]
#[test]
fn a_run_that_is_stopped_in_its_pre_training_goes_on_there() {
    let lab = Lab::new();
    let flags = ["--set=train.pretrain_epochs=300", "--epochs=1"];
    let file = "pretrain-2/state.safetensors";
    let stopped = stop_once_saved(&lab, "stopped", file, &flags, "-INT");
    assert_eq!(stopped.code, Some(130), "{}\n{}", stopped.stdout, stopped.stderr);
    let json = stopped.json();
    assert_eq!((&json["ending"], &json["steps"]), (&"interrupted".into(), &0.into()));
    assert_eq!(json["pretraining"]["stages"][0]["encoder"], "encoder.conv2d_1");
    assert!(!lab.path("stopped/state.safetensors").exists());
    assert!(lab.steps("stopped/pretrain-2") < lab.steps("stopped/pretrain-1"));
    assert_eq!(stop_once_saved(&lab, "killed", file, &flags, "-KILL").code, None);

    lab.train("whole", &[&flags[..], &["--no-pca"]].concat()).ok();
    for run in ["stopped", "killed"] {
        let resumed = lab.run(&["train", "--resume", run, "--device=cpu", "--no-pca", "--json"]).ok().json();
        assert_eq!(resumed["pretraining"]["stages"].as_array().unwrap().len(), 2);
        assert_eq!(lab.steps(&format!("{run}/pretrain-2")), 2100);
        lab.assert_same_run("whole", run);
        lab.assert_same_run("whole/pretrain-2", &format!("{run}/pretrain-2"));
    }
    lab.train("x", &[&flags[..], &["--init", "whole/last.safetensors"]].concat()).fails(&["--init", "pre-trained"]);
}

#[cfg(unix)]
#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let lab = Lab::new();
    assert_eq!(stop_training(&lab, "run", "-KILL").code, None);
    let steps = (lab.steps("run") + 10).to_string();
    lab.run(&["train", "--resume", "run", "--steps", &steps, "--device=cpu", "--no-pca"]).ok();
    lab.train("whole", &["--epochs", "9999999", "--steps", &steps, "--no-pca"]).ok();
    lab.assert_same_run("whole", "run");
}

#[test]
fn a_resumed_run_refuses_to_become_another() {
    let lab = Lab::new();
    lab.train("run", &["--steps", "2", "--no-pca"]).ok();
    let resume = |more: &str| lab.run(&["train", "--resume", "run", "--device=cpu", more]);
    for flag in ["--batch=3", "--lr=1", "--seed=2", "--noise=none", "--set=train.lr=1", "--no-shuffle", "--out=x"] {
        resume(flag).fails(&["--resume", flag.split('=').next().unwrap(), "another run"]);
    }
    lab.run(&["train", "tiny.toml", "--resume", "run"]).fails(&["a preset"]);
    lab.run(&["train", "--resume", "none"]).fails(&["none", "no run folder"]);
    lab.run(&["train", "--resume", "pictures"]).fails(&["pictures", "no config.toml"]);
    fs::remove_file(lab.path("pictures/03.png")).unwrap();
    let moved = lab.run(&["train", "--resume", "run", "--steps", "5", "--device=cpu"]);
    moved.fails(&["state.safetensors", "pictures"]);
}

#[test]
fn pictures_go_in_and_come_out() {
    let lab = Lab::new();
    lab.train("run", &["--steps", "3", "--no-pca"]).ok();
    let denoise = |more: &[&str]| lab.run(&[&["denoise", "run", "--device=cpu", "--json"], more].concat());

    let json = denoise(&["pictures", "-o", "out"]).ok().json();
    assert_eq!(json["outputs"].as_array().unwrap().len(), PICTURES);
    assert!(json["mse"].is_null(), "no clean picture is known: {json}");
    assert_eq!(size_of(&lab.path("out/07.png")), (8, 8));

    gradient(20, 9, 1).save(lab.path("large.bmp")).unwrap();
    let ended = denoise(&["large.bmp", "-o", "deep/small.png", "--noise", "gaussian:0.2"]).ok();
    assert!(ended.stderr.contains("resized 1 picture to 8x8"), "{}", ended.stderr);
    assert_eq!(ended.json()["outputs"], serde_json::json!(["deep/small.png"]));
    assert!(ended.json()["mse"].as_f64().unwrap() > 0.0 && ended.json()["psnr"].is_f64());
    assert_eq!(size_of(&lab.path("deep/small.png")), (8, 8));

    denoise(&["pictures", "large.bmp", "-o", "all.npy"]).ok();
    let (shape, values) = degrain::data::npy::read(&lab.path("all.npy")).unwrap();
    assert_eq!(shape, [PICTURES + 1, 8, 8, 1]);
    let byte = ((f64::from(values[0]) + 0.5) * 255.0).round().clamp(0.0, 255.0);
    assert_eq!(f64::from(open_picture(lab.path("out/00.png")).into_luma8().get_pixel(0, 0).0[0]), byte);
    let from_array = lab.run(&["reconstruct", "run", "all.npy", "--output", "rows", "--device=cpu", "--json"]).ok();
    assert_eq!(from_array.json()["outputs"][2], "rows/row-2.png");

    denoise(&["pictures", "-o", "one.png"]).fails(&["one.png", "40 pictures"]);
    denoise(&["pictures", "-o", "pictures"]).fails(&["pictures/00.png", "one of the inputs"]);
    denoise(&["large.bmp", "-o", "large.bmp"]).fails(&["large.bmp", "one of the inputs"]);
    denoise(&["large.bmp", "-o", "tiny.toml"]).fails(&["tiny.toml", "is a file"]);
    denoise(&["none.png", "-o", "out"]).fails(&["none.png", "no such file"]);
    denoise(&["large.bmp", "-o", "masked", "--noise", "mask:0.5"]).ok();
    denoise(&["large.bmp", "-o", "tiny.toml/out"]).fails(&["tiny.toml/out", "cannot create the folder"]);
    lab.run(&["denoise", "pictures", "large.bmp", "-o", "out"]).fails(&["pictures", "no run folder"]);
}

#[test]
fn outputs_replace_no_input_and_no_file_of_a_run() {
    let lab = Lab::new();
    lab.train("run", &["--epochs", "1", "--no-pca"]).ok();
    fs::copy(lab.path("pictures/00.png"), lab.path("own.png")).unwrap();
    let kept = ["tiny.toml", "own.png", "run/config.toml", "run/best.safetensors", "run/metrics.csv"];
    let before = kept.map(|name| lab.read(name));
    let input = "is one of the inputs: choose another place with";
    let of_run = "belongs to the run in that folder: choose another place with";
    let profile = ["profile", "tiny.toml", "--budget=0.1"];
    let refused = |words: &[&str], name: &str, problem: &str| lab.run(words).fails(&[name, problem]);
    refused(&[&profile[..], &["--trace", "tiny.toml"]].concat(), "tiny.toml", &format!("{input} --trace"));
    refused(
        &[&profile[..], &["--report", "run/metrics.csv"]].concat(),
        "run/metrics.csv",
        &format!("{of_run} --report"),
    );
    refused(
        &[&profile[..], &["--trace=a.html", "--report=./a.html"]].concat(),
        "a.html",
        "writes: choose another place",
    );
    refused(&["morph", "run", "own.png", "#1", "-o", "./own.png"], "own.png", &format!("{input} -o"));
    refused(&["encode", "run", "--data", "own.png", "-o", "own.png"], "own.png", &format!("{input} -o"));
    refused(&["search", "run", "--query=own.png", "--sheet=own.png"], "own.png", &format!("{input} --sheet"));
    refused(&["data", "own.png", "-o", "pictures/../own.png"], "own.png", &format!("{input} -o"));
    refused(&["data", "own.png", "-o", "run/config.toml"], "run/config.toml", &format!("{of_run} -o"));
    refused(&["export", "run", "--format=safetensors", "-o", "run/best.safetensors"], "run/best.safetensors", of_run);
    assert!(kept.map(|name| lab.read(name)) == before && !lab.path("a.html").exists());
    // Other files of a run's folder may be written, and files that are there already, called as they like.
    for _ in 0..2 {
        lab.run(&["data", "own.png", "-o", "run/sheet.png"]).ok();
        lab.run(&["data", "own.png", "-o", "output"]).ok();
        lab.run(&["export", "run", "--format", "onnx", "-o", "onnx"]).ok();
    }
}

#[cfg(unix)]
#[test]
fn devices_are_no_files_to_read() {
    let lab = Lab::new();
    for words in [&["summary", "/dev/zero"][..], &["train", "tiny.toml", "--data=pictures", "--init=/dev/zero"]] {
        lab.run(words).fails(&["/dev/zero", "is a device: name a file"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let lab = Lab::new();
    lab.train("run", &["--steps", "1", "--no-pca"]).ok();
    std::os::unix::fs::symlink("/dev/full", lab.path("full.png")).unwrap();
    let words = ["denoise", "run", "pictures/00.png", "--device=cpu", "-o"];
    lab.run(&[&words[..], &["full.png"]].concat()).fails(&["full.png", "No space left"]);
    lab.run(&[&words[..], &["/dev/full"]].concat()).fails(&["/dev/full", "is a file"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = lab.command(&["presets"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("standard output: cannot write: No space left"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_error() {
    let lab = Lab::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = lab.command(&["summary", "lfw-conv"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn bad_pictures_are_named() {
    let lab = Lab::new();
    let train = |data: &str| {
        lab.run(&["train", "tiny.toml", "--device=cpu", "--steps=1", "--no-pca", "--out=run", "--json", "--data", data])
    };
    train("none").fails(&["none", "no such file or folder"]);
    fs::create_dir(lab.path("empty")).unwrap();
    train("empty").fails(&["empty", "no files"]);
    fs::create_dir(lab.path("text")).unwrap();
    fs::write(lab.path("text/letter.jpg"), "Dear sir or madam").unwrap();
    train("text").fails(&["text", "letter.jpg", "not a picture"]);
    fs::write(lab.path("notes.txt"), "x").unwrap();
    train("notes.txt").fails(&["notes.txt", "wanted a folder"]);
    lab.run(&["train", "lfw-conv", "--device=cpu"]).fails(&["--data", "lfw-conv has no pictures of its own"]);
    train("bundled:cats").fails(&["bundled:cats", "bundled:emoji"]);
    assert!(!lab.path("run").exists(), "nothing is left of a run that did not begin");

    // Among good ones of any size they are skipped, named and counted.
    let mut jpeg = std::io::Cursor::new(Vec::new());
    gradient(64, 64, 3).write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let bytes = jpeg.into_inner();
    fs::write(lab.path("pictures/cut.jpg"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(lab.path("pictures/whole.jpg"), &bytes).unwrap();
    save_png(gradient(33, 7, 2), lab.path("pictures/wide.png"));
    let ended = train("pictures").ok();
    assert!(ended.stderr.contains("skipped cut.jpg: truncated"), "{}", ended.stderr);
    assert!(ended.stderr.contains("skipped 1 of 43 pictures"), "{}", ended.stderr);
    assert_eq!(ended.json()["skipped_pictures"], 1);
    assert_eq!(ended.json()["train_pictures"], 33);
}

#[test]
fn the_last_pictures_are_told_from_the_others_by_their_labels() {
    let lab = Lab::new();
    let labels = |name: &str, label: &dyn Fn(usize) -> usize| {
        let lines: String = (0..PICTURES).map(|i| format!("{i:02}.png,class-{}\n", label(i))).collect();
        fs::write(lab.path(name), lines).unwrap();
    };
    labels("mixed.csv", &|i| i % 4);
    // Of 40 pictures the last 8 are held out.
    labels("sorted.csv", &|i| i / 4);
    labels("long.csv", &|i| i / 20);
    let warnings = |labels: &str, more: &[&str]| {
        let words = ["train", "tiny.toml", "--data=pictures", "--device=cpu", "--steps=1", "--no-pca", "--labels"];
        let ended = lab.run(&[&words[..], &[labels], more].concat()).ok();
        ended.stderr.lines().filter_map(|line| line.strip_prefix("warning: ").map(str::to_owned)).collect::<Vec<_>>()
    };
    let whole = "--split last holds out every picture of labels that are then never trained on: class-8, class-9";
    assert_eq!(warnings("sorted.csv", &["--split", "last"]), [whole]);
    let one = "--split last holds out pictures of the last label alone, as they stand label by label";
    assert_eq!(warnings("long.csv", &["--split", "last"]), [one]);
    for (labels, more) in [
        ("mixed.csv", &["--split", "last"][..]),
        ("sorted.csv", &["--split", "last", "--val", "0"]),
        ("sorted.csv", &["--split", "seeded"]),
        ("sorted.csv", &[]),
    ] {
        assert_eq!(warnings(labels, more), [""; 0], "{labels} {more:?}");
    }
}

#[test]
fn bad_presets_are_named() {
    let lab = Lab::new();
    let summary = |change: fn(&str) -> String| {
        fs::write(lab.path("bad.toml"), change(TINY)).unwrap();
        lab.run(&["summary", "bad.toml"])
    };
    summary(|text| text.replace("batch = 5", "batches = 5")).fails(&["bad.toml", "line", "batches"]);
    summary(|text| text.replace("[4, 4, 4]", "[4, 4, 5]")).fails(&["bad.toml", "decoder.reshape_1"]);
    summary(|text| text.replace("size = 2", "size = 9")).fails(&["bad.toml", "encoder.max_pool2d_1"]);
    summary(|text| text.replace("= [", "= {")).fails(&["bad.toml", "line"]);
    lab.run(&["summary", "lfw-conf"]).fails(&["lfw-conf", "did you mean lfw-conv"]);
    lab.run(&["summary", "none.toml"]).fails(&["none.toml", "cannot read"]);
    lab.run(&["summary", "pictures"]).fails(&["pictures", "no run folder"]);
    lab.run(&["summary", "lfw-conv", "--set", "train.batsh=3"]).fails(&["train.batsh"]);
}

#[test]
fn bad_flags_are_named() {
    let lab = Lab::new();
    lab.train("run", &["--batch", "0"]).fails(&["--batch: must be 1 to 65536, not 0"]);
    lab.train("run", &["--lr", "-1"]).fails(&["--lr: must be a finite number above 0"]);
    lab.train("run", &["--val", "1"]).fails(&["--val"]);
    lab.train("run", &["--val", "0.001", "--limit", "1"]).fails(&["--val", "nothing to train on"]);
    lab.train("squares", &["--noise", "rect:3", "--steps", "2"]).ok();
    lab.train("run", &["--labels", "x"]).fails(&["x", "cannot read"]);
    for words in [&["train", "--optimizer", "lion"][..], &["train", "--noise", "gaussian:x"], &["trane"], &[]] {
        assert_eq!(lab.run(words).code, Some(2), "{words:?}");
    }
    assert_eq!(lab.run(&["--help"]).code, Some(0));
    lab.train("tiny.toml", &[]).fails(&["tiny.toml", "is a file"]);
    lab.train("tiny.toml/run", &[]).fails(&["tiny.toml/run", "cannot create the folder"]);
    #[cfg(target_os = "linux")]
    lab.train("/proc/degrain", &[]).fails(&["/proc/degrain", "cannot create the folder"]);
}

#[test]
fn devices_are_told_where_there_is_no_such() {
    let lab = Lab::new();
    let steps = ["train", "tiny.toml", "--data", "pictures", "--steps=1", "--no-pca", "--json", "-q"];
    lab.run(&[&steps[..], &["--device", "9"]].concat()).fails(&["device 9", "there are", "cpu"]);
    lab.run(&[&["--device", "voodoo"], &steps[..]].concat()).fails(&["device voodoo", "no such device"]);

    // Before or after the subcommand, in any case, and from the environment, which a flag overrules.
    for words in [[&["--device", "CPU"], &steps[..]].concat(), [&steps[..], &["--device", "cpu exec"]].concat()] {
        assert_eq!(lab.run(&words).ok().json()["device"], "CPU executor");
    }
    let with = |device: &str, words: &[&str]| lab.command(words).env("DEGRAIN_DEVICE", device).output().unwrap();
    let device = |output: &[u8]| serde_json::from_slice::<Value>(output).unwrap()["device"].clone();
    assert_eq!(device(&with("cpu", &steps).stdout), "CPU executor");
    assert_eq!(with("9", &steps).status.code(), Some(1));
    for words in [[&["--device", "cpu"], &steps[..]].concat(), [&steps[..], &["--device", "cpu"]].concat()] {
        assert_eq!(device(&with("9", &words).stdout), "CPU executor");
    }
}

#[test]
fn pca_is_exact_where_it_has_all_components() {
    let lab = Lab::new();
    let pca = |components: &str| {
        let words = ["pca", "tiny.toml", "--data", "pictures", "--components", components, "--json"];
        lab.run(&words)
    };
    let (few, all) = (pca("2").ok().json(), pca("31").ok().json());
    assert_eq!(few["components"], 2);
    let mse = |json: &Value, key: &str| json[key].as_f64().unwrap();
    assert!(mse(&few, "train_mse") > 1e-4 && mse(&all, "train_mse") < 1e-9, "{few} {all}");
    assert!(mse(&few, "test_mse") > mse(&all, "test_mse"));
    assert!(mse(&few, "explained") < mse(&all, "explained") && mse(&all, "explained") < 1.0 + 1e-9);
    pca("33").fails(&["--components", "33"]);
}
