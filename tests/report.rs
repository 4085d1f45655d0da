//! `report` as scripts and browsers see it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;
#[path = "analysis/labelled.rs"]
mod labelled;

use labelled::labelled;
use std::fs;

/// Every address that the page refers to.
fn references(html: &str) -> Vec<&str> {
    let of = |name: &'static str| {
        let attribute = format!("{name}=\"");
        html.match_indices(&attribute)
            .map(|(at, found)| html[at + found.len()..].split('"').next().unwrap())
            .collect::<Vec<_>>()
    };
    ["src", "href", "srcset", "action", "data", "poster"].into_iter().flat_map(of).collect()
}

#[track_caller]
fn assert_self_contained(html: &str) {
    let references = references(html);
    assert!(!references.is_empty());
    for reference in references {
        let start: String = reference.chars().take(60).collect();
        assert!(reference.starts_with("data:image/png;base64,") || reference.starts_with('#'), "{start}");
        assert!(reference.len() > 200, "an empty picture: {start}");
    }
    for outside in ["http://", "https://", "url(", "@import", "<script", "<link", "<iframe"] {
        assert!(!html.contains(outside), "{outside}");
    }
    // What a browser needs for a phone.
    assert!(html.contains("name=\"viewport\"") && html.contains("max-width: 40rem"));
}

#[test]
fn a_page_is_drawn_anew_from_its_folder() {
    let lab = labelled();
    let out = "a run's #1";
    lab.train(out, &["--noise", "gaussian:0.1", "--set", "description=two words"]).ok();
    let page = lab.text(&format!("{out}/report.html"));
    assert_self_contained(&page);
    for text in [
        "<dt>device</dt>",
        "<dt>device memory</dt>",
        "<dt>speed</dt>",
        "<dt>first step</dt>",
        "encoder.conv2d_1",
        "Epochs",
        "noise (gaussian:0.1)",
    ] {
        assert!(page.contains(text), "{text}");
    }
    // A shell takes the words apart as they were given.
    let summary: serde_json::Value = serde_json::from_str(&lab.text(&format!("{out}/summary.json"))).unwrap();
    let command = summary["command"].as_str().unwrap();
    assert!(
        command.ends_with(r"--out 'a run'\''s #1' --noise gaussian:0.1 --set 'description=two words'"),
        "{command}"
    );
    // Curve for a desk and for a phone, three sheets and the codes.
    assert_eq!((page.matches("<img ").count(), page.matches("<source ").count()), (5, 1));
    fs::remove_file(lab.path(&format!("{out}/report.html"))).unwrap();
    let found = lab.run(&["report", out, "--json"]).ok().json();
    assert_eq!(found["output"].as_str(), Some(&*format!("{out}/report.html")));
    assert!(lab.text(&format!("{out}/report.html")) == page, "the same folder gives the same page");

    // Pictures that other commands left there are shown too; what is none is told.
    lab.run(&["anomaly", out]).ok();
    fs::write(lab.path(&format!("{out}/broken.png")), "no picture").unwrap();
    fs::copy(lab.path("pictures/flat/00.png"), lab.path(&format!("{out}/my_picture.png"))).unwrap();
    let ended = lab.run(&["report", out, "-o", "elsewhere.html"]).ok();
    assert!(ended.stderr.contains("broken.png: it is no PNG"), "{}", ended.stderr);
    let more = lab.text("elsewhere.html");
    assert!(more.contains("restored worst and best") && more.contains("my picture"));
    assert_eq!(more.matches("<img ").count(), 7);
    assert!(lab.text(&format!("{out}/report.html")) == page);
}

#[test]
fn a_run_that_has_not_ended_has_a_page() {
    let lab = labelled();
    lab.train("run", &["--no-pca"]).ok();
    for gone in ["summary.json", "report.html", "denoised.png", "codes.png"] {
        fs::remove_file(lab.path(&format!("run/{gone}"))).unwrap();
    }
    lab.run(&["report", "run"]).ok();
    let page = lab.text("run/report.html");
    assert_self_contained(&page);
    assert!(page.contains("under way or stopped, 3 of 3 epochs"), "{page}");
    // Resumed, it names a command that repeats it, which --resume would not.
    fs::write(lab.path("run/summary.json"), "{").unwrap();
    lab.run(&["report", "run"]).fails(&["summary.json", "is damaged"]);
    fs::remove_file(lab.path("run/summary.json")).unwrap();
    lab.run(&["train", "--resume", "run"]).ok();
    assert!(lab.text("run/summary.json").contains("\"degrain train run/config.toml --device cpu\""));
    lab.run(&["train", "run/config.toml", "--device", "cpu", "--out", "again"]).ok();
    assert!(lab.read("run/last.safetensors") == lab.read("again/last.safetensors"));
}

#[test]
fn runs_stand_side_by_side() {
    let lab = labelled();
    lab.train("a", &["--no-pca"]).ok();
    lab.train("b", &["--no-pca", "--code", "2", "--lr", "0.02"]).ok();
    lab.train("sub/a", &["--no-pca", "--val", "0"]).ok();
    let ended = lab.run(&["report", "a", "b", "sub/a"]).ok();
    assert_eq!(ended.stdout.trim(), "3 runs -> compare.html");
    let page = lab.text("compare.html");
    assert_self_contained(&page);
    let row = |cells: [&str; 4]| {
        let class = |cell: &str| if cell.parse::<f64>().is_ok() { " class=\"number\"" } else { "" };
        format!("<tr>{}</tr>", cells.map(|cell| format!("<td{}>{cell}</td>", class(cell))).concat())
    };
    for cells in
        [["model.code", "4", "2", "4"], ["train.lr", "0.01", "0.02", "0.01"], ["train.val", "0.2", "0.2", "0.0"]]
    {
        assert!(page.contains(&row(cells)), "{cells:?}");
    }
    assert!(!page.contains("train.batch") && page.contains("<dt>") == page.contains("all the same"));
    assert!(page.contains("test MSE") && page.contains("<h2>denoised</h2>") && page.contains("<h2>codes</h2>"));
    // Two sheets and the codes of each run, and one curve.
    assert_eq!((page.matches("<img ").count(), page.matches("<figcaption>b: ").count()), (10, 3));

    lab.run(&["report", "a", "none"]).fails(&["none", "is no run folder"]);
    lab.run(&["report", "a", "b", "-o", "b"]).fails(&["b: is no name of a page", "compare.html"]);
    assert_eq!(lab.run(&["report"]).code, Some(2));
}
