//! `degrain scale-model`: what it prints, and what it refuses.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use lab::{Lab, open_picture};
use serde_json::Value;

fn column(rows: &Value, key: &str) -> Vec<f64> {
    rows.as_array().unwrap().iter().map(|row| row[key].as_f64().unwrap()).collect()
}

#[test]
fn a_link_of_ones_own_is_what_the_formula_says() {
    let lab = Lab::empty();
    let words = [
        "scale-model",
        "lfw-conv",
        "--step-ms=21",
        "--update-ms=1",
        "--bandwidth-gbit=8",
        "--latency-us=10",
        "--copy-gbyte=0",
        "--bucket=1G",
        "--max-ranks=4",
    ];
    let report = lab.json(&words);
    let bytes = 4.0 * 843_171.0;
    assert_eq!((&report["gradient_bytes"], &report["batch"]), (&bytes.into(), &32.into()));
    assert_eq!((&report["device"], report["buckets"].as_array().unwrap().len()), (&Value::Null, 1));
    let cluster = &report["clusters"][0];
    assert_eq!((cluster["link"].as_str(), &cluster["half_at"]), (Some("own"), &Value::Null));
    let rows = &cluster["rows"];
    assert_eq!(column(rows, "ranks"), [1.0, 2.0, 4.0]);
    // 8 Gb/s are 10^9 bytes a second; sums are of 10^10.
    let wanted = |ranks: f64| match ranks {
        1.0 => 21.0,
        _ => 21.0 + 2.0 * (ranks - 1.0) * (0.010 + bytes / ranks / 1e6) + bytes / 1e7,
    };
    for (row, ranks) in rows.as_array().unwrap().iter().zip([1.0, 2.0, 4.0]) {
        for key in ["step_ms", "formula_ms"] {
            let found = row[key].as_f64().unwrap();
            assert!((found / wanted(ranks) - 1.0).abs() < 1e-9, "{key} of {ranks}: {found} for {}", wanted(ranks));
        }
        let speed = 32.0 * ranks / wanted(ranks) * 1e3;
        assert!((row["images_per_s"].as_f64().unwrap() / speed - 1.0).abs() < 1e-9);
        assert!((row["efficiency"].as_f64().unwrap() / (21.0 / wanted(ranks)) - 1.0).abs() < 1e-9);
    }
    let text = lab.run(&words).ok().stdout;
    assert!(
        text.contains("8 Gb/s, 10 us a message") && text.contains("more than half of the ideal up to 4 ranks"),
        "{text}"
    );
}

#[test]
fn links_are_compared_and_drawn() {
    let lab = Lab::empty();
    let words = ["scale-model", "--step-ms=5", "--update-ms=1", "--no-overlap", "--max-ranks=128", "-o", "scale.png"];
    let report = lab.json(&words);
    let clusters = report["clusters"].as_array().unwrap();
    assert_eq!(clusters.len(), 3);
    for cluster in clusters {
        let efficiency = column(&cluster["rows"], "efficiency");
        assert!(
            efficiency.len() == 8 && efficiency[0] == 1.0 && efficiency.is_sorted_by(|a, b| a > b),
            "{efficiency:?}"
        );
    }
    // The slower link loses the half earlier, or alone.
    assert!(clusters[0]["half_at"].as_u64().unwrap() < clusters[2]["half_at"].as_u64().unwrap_or(u64::MAX));
    assert!(clusters[0]["half_because"].is_string());
    assert!(open_picture(lab.path("scale.png")).width() > 1000);
    // What the backward pass hides is not waited for; eight ranks on one wire take longer than on eight.
    let last = |more: &[&str]| {
        let fixed = ["scale-model", "--step-ms=20", "--link=ethernet-10g", "--max-ranks=16", "--bucket=500K"];
        let report = lab.json(&[&fixed[..], more].concat());
        column(&report["clusters"][0]["rows"], "step_ms").last().copied().unwrap()
    };
    let plain = last(&[]);
    assert!(last(&["--no-overlap"]) > plain && last(&["--ranks-per-node=8"]) > plain && last(&["--noise=5"]) > plain);
}

#[test]
fn a_step_is_measured_where_none_is_given() {
    let lab = Lab::new();
    let report = lab.json(&["scale-model", "tiny.toml", "--budget=0.05", "--max-ranks=8", "--batch=4"]);
    assert!(report["device"].as_str().unwrap().contains("CPU"));
    assert_eq!((&report["overlap"], report["buckets"].as_array().unwrap().len()), (&false.into(), 1));
    let (step, update) = (report["step_ms"].as_f64().unwrap(), report["update_ms"].as_f64().unwrap());
    assert!(update > 0.0 && step > update, "{report}");
    assert_eq!(report["batch"], 4);
    // Ranks on GPUs would not wait for the backward pass to end.
    let words = ["scale-model", "lfw-conv", "--step-ms=20", "--max-ranks=1"];
    let report = lab.json(&words);
    let ready = column(&report["buckets"], "ready_ms");
    assert!(ready.len() > 1 && ready[0] < 20.0 && ready.last() == Some(&20.0), "{ready:?}");
    let report = lab.json(&[&words[..], &["--ranks-on=cpu"]].concat());
    assert_eq!(column(&report["buckets"], "ready_ms"), [20.0]);
}

#[test]
fn wrong_words_are_refused() {
    let lab = Lab::empty();
    for words in [
        &["--link=string"][..],
        &["--latency-us=3"],
        &["--bandwidth-gbit=3"],
        &["--step-ms=0"],
        &["--update-ms=1"],
        &["--step-ms=nan"],
        &["--max-ranks=0"],
        &["--max-ranks=1000000"],
        &["--noise=-1"],
        &["--bandwidth-gbit=1", "--latency-us=1", "--link=nvlink"],
    ] {
        let ended = lab.run(&[&["scale-model"], words].concat());
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{words:?}");
    }
    let error = |words: &[&str]| lab.error(&[&["scale-model"], words].concat());
    assert!(error(&["--step-ms=2", "--update-ms=2"]).contains("--update-ms: 2 must be less than the 2 of --step-ms"));
    assert!(error(&["--step-ms=2", "-o", "scale.jpg"]).contains("scale.jpg: plots are written as PNG"));
    assert!(error(&["no-such-preset", "--step-ms=2"]).contains("no-such-preset"));
}
