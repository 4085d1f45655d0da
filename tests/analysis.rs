//! `probe`, `anomaly` and `sweep` as scripts see them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;
#[path = "analysis/labelled.rs"]
mod labelled;

use lab::{Lab, open_picture};
use labelled::{EACH, LABELS, labelled};
use serde_json::Value;
use std::fs;

fn share(value: &Value) -> f64 {
    let share = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!((0.0..=1.0).contains(&share), "{share}");
    share
}

#[test]
fn a_probe_tells_labels_from_codes_and_pixels() {
    let lab = labelled();
    lab.train("run", &["--epochs", "20"]).ok();
    let words = ["probe", "run", "--data", "pictures", "--json"];
    let ended = lab.run(&words).ok();
    let found = ended.json();
    assert!(share(&found["accuracy"]) >= 0.9 && share(&found["pixel_accuracy"]) >= 0.9, "{found}");
    assert!((share(&found["majority_accuracy"]) - 1.0 / 3.0).abs() < 1e-9);
    // A fifth of each label.
    assert_eq!((&found["train_pictures"], &found["held_out_pictures"]), (&Value::from(48), &Value::from(12)));
    assert_eq!((&found["code"], &found["pixels"]), (&Value::from(4), &Value::from(64)));
    let classes = found["classes"].as_array().unwrap();
    assert_eq!(classes.iter().map(|class| class["label"].as_str().unwrap()).collect::<Vec<_>>(), LABELS);
    assert!(classes.iter().all(|class| class["count"] == 4 && share(&class["recall"]) >= 0.5));
    assert_eq!(lab.run(&words).ok().stdout, ended.stdout, "the same seed splits and fits alike");

    let text = lab.run(&["probe", "run", "--no-pixels", "--l2", "1"]).ok().stdout;
    assert!(text.contains("on codes") && text.contains("majority") && !text.contains("on pixels"), "{text}");
    for label in LABELS {
        assert!(text.lines().any(|line| line.starts_with(label)), "{text}");
    }
    let found = lab.run(&["probe", "run", "--no-pixels", "--seed", "2", "--json"]).ok().json();
    assert!(found["pixel_accuracy"].is_null() && found["pixel_l2"].is_null());
}

#[test]
fn a_probe_says_what_it_lacks() {
    let lab = labelled();
    lab.train("run", &["--epochs", "1", "--no-pca"]).ok();
    let probe = |more: &[&str]| lab.run(&[&["probe", "run"], more].concat());
    probe(&["--data", "pictures/flat"]).fails(&["--labels", "the pictures have none"]);
    probe(&["--val", "0"]).fails(&["--val", "above 0"]);
    probe(&["--l2", "-1"]).fails(&["--l2", "at least 0"]);
    probe(&["--min-count", "21"]).fails(&["--labels", "0 labels of 3", "at least 21", "--min-count"]);
    lab.run(&["probe", "none"]).fails(&["none", "is no run folder"]);
    // Labels that few pictures have are left out, and that is told.
    fs::remove_dir_all(lab.path("pictures/flat")).unwrap();
    fs::create_dir(lab.path("pictures/flat")).unwrap();
    fs::copy(lab.path("pictures/down/00.png"), lab.path("pictures/flat/00.png")).unwrap();
    let ended = probe(&["--data", "pictures", "--json"]).ok();
    assert!(ended.stderr.contains("left out 1 label with fewer than 5 pictures: 1 picture"), "{}", ended.stderr);
    assert_eq!(ended.json()["classes"].as_array().unwrap().len(), 2);
}

#[test]
fn anomalies_are_ranked_and_the_area_counts_pairs() {
    let lab = labelled();
    lab.train("run", &["--keep-labels", "across", "--epochs", "30"]).ok();
    let found = lab.run(&["anomaly", "run", "--data", "pictures", "-n", "3", "-o", "out", "--json"]).ok().json();
    let table = lab.text("out/anomaly.csv");
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 3 * EACH);
    let errors: Vec<f64> = rows.iter().map(|row| row[3].parse().unwrap()).collect();
    assert!(errors.is_sorted_by(|a, b| a >= b));
    let of =
        |mark: &str| rows.iter().zip(&errors).filter(|(row, _)| row[5] == mark).map(|(_, &e)| e).collect::<Vec<_>>();
    let (normal, anomalous) = (of("0"), of("1"));
    assert_eq!((normal.len(), anomalous.len()), (EACH, 2 * EACH), "what the run trained on is normal");
    let pairs = anomalous
        .iter()
        .flat_map(|a| normal.iter().map(move |n| f64::from(u8::from(a > n)) + 0.5 * f64::from(u8::from(a == n))));
    let area = pairs.sum::<f64>() / (normal.len() * anomalous.len()) as f64;
    assert!((share(&found["auroc"]) - area).abs() < 1e-12 && area > 0.9, "{area}");
    assert_eq!(found["worst"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&found["worst"][0]["name"], &found["best"][0]["name"]),
        (&Value::from(rows[0][2]), &Value::from(rows[59][2]))
    );
    assert_eq!(found["mse"].as_f64().unwrap(), {
        let by_index = |row: &Vec<&str>| row[1].parse::<usize>().unwrap();
        let mut indexed: Vec<(usize, f64)> = rows.iter().map(by_index).zip(errors.iter().copied()).collect();
        indexed.sort_by_key(|&(index, _)| index);
        indexed.iter().map(|(_, error)| error).sum::<f64>() / errors.len() as f64
    });
    let sheet = open_picture(lab.path("out/anomaly.png"));
    assert!(sheet.width() > 3 * 96 && sheet.height() > 4 * 96, "{}x{}", sheet.width(), sheet.height());

    // Other labels as normal turn it round; files go to the run by default.
    let turned = lab.run(&["anomaly", "run", "--data", "pictures", "--normal", "down,flat", "--json"]).ok().json();
    assert!((share(&turned["auroc"]) - (1.0 - area)).abs() < 1e-12);
    assert!(lab.path("run/anomaly.png").is_file() && lab.path("run/anomaly.csv").is_file());
    // A folder without labels has errors and no area.
    let ended = lab.run(&["anomaly", "run", "--data", "pictures/flat"]).ok();
    assert!(!ended.stdout.contains("AUROC") && ended.stdout.contains("MSE"), "{}", ended.stdout);
}

#[test]
fn labels_that_are_not_there_are_named() {
    let lab = labelled();
    lab.train("run", &["--epochs", "1", "--no-pca"]).ok();
    let anomaly = |more: &[&str]| lab.run(&[&["anomaly", "run", "-o", "out"], more].concat());
    anomaly(&["--normal", "up"]).fails(&["--normal", "\"up\"", "across, down, flat"]);
    anomaly(&["--data", "pictures/flat", "--normal", "flat"]).fails(&["--normal", "have no labels", "--labels"]);
    assert_eq!(anomaly(&["-n", "0"]).code, Some(2));
    assert!(!lab.path("out").exists(), "nothing is written before the words make sense");
    let text = anomaly(&[]).ok().stdout;
    assert!(text.contains("name the normal labels with --normal"), "{text}");
}

const SWEEP: [&str; 7] = ["sweep", "tiny.toml", "--data", "pictures", "--steps", "40", "--json"];

fn sweep(lab: &Lab, out: &str, more: &[&str]) -> lab::Ended {
    lab.run(&[&SWEEP[..], &["-o", out], more].concat())
}

#[test]
fn a_sweep_sets_errors_beside_those_of_pca_and_repeats_nothing() {
    let lab = labelled();
    let found = sweep(&lab, "s", &["--codes", "4,1,4"]).ok().json();
    let codes = |found: &Value| -> Vec<u64> {
        found["points"].as_array().unwrap().iter().map(|point| point["code"].as_u64().unwrap()).collect()
    };
    assert_eq!(codes(&found), [1, 4]);
    let pca: Vec<f64> = (0..2).map(|i| found["points"][i]["pca_mse"].as_f64().unwrap()).collect();
    assert!(pca[0] > pca[1] && found["interrupted"] == false, "{found}");
    // A size is what train makes of it.
    let alone = lab.train("alone", &["--code", "4", "--steps", "40", "--json"]).ok().json();
    assert!(lab.read("alone/last.safetensors") == lab.read("s/code-4/last.safetensors"));
    assert_eq!(alone["test"]["mse"], found["points"][1]["mse"]);
    assert!((alone["pca_mse"].as_f64().unwrap() - pca[1]).abs() < 1e-6 * pca[1]);
    let command = lab.run(&["report", "s/code-4"]).ok();
    assert_eq!(command.stdout.trim(), "1 run -> s/code-4/report.html");
    assert!(lab.text("s/code-4/summary.json").contains("degrain train s/code-4/config.toml --device cpu"));

    let before = lab.read("s/code-4/state.safetensors");
    let written = fs::metadata(lab.path("s/code-4/state.safetensors")).unwrap().modified().unwrap();
    let more = sweep(&lab, "s", &["--codes", "1,2,4"]).ok();
    assert_eq!(codes(&more.json()), [1, 2, 4]);
    assert!(more.stderr.contains("code of 4: done before") && more.stderr.contains("training in s/code-2"));
    assert_eq!(fs::metadata(lab.path("s/code-4/state.safetensors")).unwrap().modified().unwrap(), written);
    assert!(before == lab.read("s/code-4/state.safetensors"));
    let csv = lab.text("s/sweep.csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines.len() == 4 && lines[0] == "code,mse,pca_mse" && lines[2].starts_with("2,0."), "{csv}");
    assert!(open_picture(lab.path("s/sweep.png")).width() > 900);
}

#[test]
fn a_sweep_refuses_before_it_trains() {
    let lab = labelled();
    sweep(&lab, "s", &["--codes", "2"]).ok();
    sweep(&lab, "s", &["--codes", "1,2", "--seed", "9"]).fails(&["code-2", "other settings", "-o"]);
    assert!(!lab.path("s/code-1").exists());
    sweep(&lab, "t", &["--codes", "0,2"]).fails(&["--codes"]);
    sweep(&lab, "t", &["--codes", "2", "--val", "0"]).fails(&["--val", "held-out"]);
    sweep(&lab, "t", &["--codes", "2", "--lr", "-1"]).fails(&["--lr"]);
    lab.run(&["sweep", "quickdraw-conv", "--data", "bundled:quickdraw", "--codes", "7", "-o", "t"]).fails(&["7"]);
    assert!(!lab.path("t").exists());
    assert_eq!(lab.run(&["sweep", "tiny.toml"]).code, Some(2), "a folder must be named");
}

#[cfg(unix)]
#[test]
fn a_sweep_that_is_stopped_goes_on_where_it_was() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let lab = labelled();
    let words = ["sweep", "tiny.toml", "--data", "pictures", "--codes", "2,4", "--epochs", "400"];
    let mut child = lab
        .command(&[&words[..], &["-o", "s"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let has_epochs = || fs::read_to_string(lab.path("s/code-2/metrics.csv")).is_ok_and(|text| text.lines().count() > 3);
    while !has_epochs() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.try_wait().unwrap().is_none(), "it ended before it could be stopped");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("2 sizes left: go on with the same command"), "{told}");
    let csv = lab.text("s/sweep.csv");
    assert!(csv.lines().nth(1).is_some_and(|line| line.starts_with("2,,0.")), "{csv}");
    lab.run(&[&words[..], &["-o", "s"]].concat()).ok();
    lab.run(&[&words[..], &["-o", "whole"]].concat()).ok();
    for name in ["sweep.csv", "code-2/steps.csv", "code-2/last.safetensors", "code-4/last.safetensors"] {
        assert!(lab.read(&format!("s/{name}")) == lab.read(&format!("whole/{name}")), "{name}");
    }
}
