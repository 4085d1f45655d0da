//! Cases broken on purpose: each fault must be reported, by name, beside a sound case that passes.

use degrain::data::npy;
use degrain::session::Session;
use degrain::validate::vectors::{self, Direction, Outcome, REFERENCE, VectorResult};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Faults that must be found, each in a folder with a case that is right.
pub(crate) const FAULTS: [(&str, fn()); 14] = [
    ("a_sound_case_passes", a_sound_case_passes),
    ("a_wrong_value_is_placed", a_wrong_value_is_placed),
    ("a_wrong_gradient_is_found", a_wrong_gradient_is_found),
    ("a_transposed_array_is_found", a_transposed_array_is_found),
    ("the_wrong_layout_is_found", the_wrong_layout_is_found),
    ("a_wrong_shape_is_found", a_wrong_shape_is_found),
    ("nan_agrees_with_nan_alone", nan_agrees_with_nan_alone),
    ("infinity_agrees_with_itself_alone", infinity_agrees_with_itself_alone),
    ("broken_files_are_named", broken_files_are_named),
    ("what_is_unknown_is_unsupported_by_name", what_is_unknown_is_unsupported_by_name),
    ("what_is_malformed_is_told", what_is_malformed_is_told),
    ("an_argmax_is_exact", an_argmax_is_exact),
    ("folders_are_walked", folders_are_walked),
    ("huge_attributes_do_no_harm", huge_attributes_do_no_harm),
];

/// A folder of cases: `sound`, a convolution that passes, and `broken`, the same until it is changed.
struct Cases {
    root: TempDir,
}

const X: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

impl Cases {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for name in ["broken", "sound"] {
            let folder = root.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            // (1, 2, 3, 1) and a kernel (1, 2, 1, 1): y = 10 x[w] + x[w + 1].
            npy::write(&folder.join("x.npy"), &[1, 2, 3, 1], &X).unwrap();
            npy::write(&folder.join("w.npy"), &[1, 2, 1, 1], &[10.0, 1.0]).unwrap();
            npy::write(&folder.join("y.npy"), &[1, 2, 2, 1], &[12.0, 23.0, 45.0, 56.0]).unwrap();
            npy::write(&folder.join("dy.npy"), &[1, 2, 2, 1], &[1.0, 2.0, 3.0, 4.0]).unwrap();
            npy::write(&folder.join("dx.npy"), &[1, 2, 3, 1], &[10.0, 21.0, 2.0, 30.0, 43.0, 4.0]).unwrap();
            npy::write(&folder.join("dw.npy"), &[1, 2, 1, 1], &[37.0, 47.0]).unwrap();
        }
        let cases = Self { root };
        for name in ["broken", "sound"] {
            cases.describe(name, &cases.json());
        }
        cases
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "op": "conv2d", "attributes": {"stride": 1, "padding": "valid"}, "layout": "nhwc",
            "inputs": {"x": "x.npy", "weight": "w.npy"}, "outputs": {"y": "y.npy"},
            "gradients": {"x": "dx.npy", "weight": "dw.npy"}, "upstream": "dy.npy",
        })
    }

    fn describe(&self, name: &str, json: &serde_json::Value) {
        std::fs::write(self.root.path().join(name).join("case.json"), json.to_string()).unwrap();
    }

    fn with(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let mut json = self.json();
        change(&mut json);
        self.describe("broken", &json);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("broken").join(name)
    }

    fn write(&self, name: &str, shape: &[usize], values: &[f32]) {
        npy::write(&self.file(name), shape, values).unwrap();
    }

    fn run(&self) -> Vec<VectorResult> {
        vectors::run(self.root.path(), &mut Session::cpu()).unwrap()
    }

    /// The rows of `broken`; `sound` must pass beside it in both directions on both sides.
    fn broken(&self) -> Vec<VectorResult> {
        let (broken, sound): (Vec<_>, Vec<_>) = self.run().into_iter().partition(|result| result.case == "broken");
        assert_eq!(sound.len(), 4, "{sound:?}");
        assert!(sound.iter().all(|r| r.case == "sound" && matches!(r.outcome, Outcome::Passed { .. })), "{sound:?}");
        broken
    }

    /// The one line of a case that cannot be run or compared.
    fn problem(&self) -> String {
        let broken = self.broken();
        let problems: BTreeSet<String> = broken.iter().filter_map(failure).collect();
        assert_eq!(problems.len(), 1, "{broken:?}");
        let problem = problems.into_iter().next().unwrap();
        assert!(!problem.contains('\n'), "{problem}");
        problem
    }
}

/// What went wrong in a row, if something did.
pub(crate) fn failure(result: &VectorResult) -> Option<String> {
    match &result.outcome {
        Outcome::Failed { problem, .. } => Some(problem.clone()),
        _ => None,
    }
}

fn a_sound_case_passes() {
    let results = Cases::new().run();
    assert_eq!(results.len(), 8);
    for result in &results {
        assert!(matches!(result.outcome, Outcome::Passed { worst } if worst <= 1.0), "{result:?}");
    }
    let directions: Vec<_> = results[..4].iter().map(|r| (r.direction.unwrap(), r.backend.clone().unwrap())).collect();
    let device = Session::cpu().device().to_owned();
    for (i, direction) in [Direction::Forward, Direction::Backward].into_iter().enumerate() {
        assert_eq!(directions[2 * i], (direction, REFERENCE.to_owned()));
        assert_eq!(directions[2 * i + 1], (direction, device.clone()));
    }
}

fn a_wrong_value_is_placed() {
    let cases = Cases::new();
    // 45 is at (0, 1, 0, 0); what is allowed there is 1e-5 + 1e-4 * 45.
    cases.write("y.npy", &[1, 2, 2, 1], &[12.0, 23.0, 45.01, 56.0]);
    let broken = cases.broken();
    assert_eq!(broken.iter().filter(|r| r.is_failure()).count(), 2, "forward, on both sides: {broken:?}");
    for result in broken.iter().filter(|r| r.is_failure()) {
        assert_eq!(result.direction, Some(Direction::Forward));
        let Outcome::Failed { worst: Some(worst), problem } = &result.outcome else { panic!("{result:?}") };
        assert!((2.0..2.5).contains(worst), "{worst}");
        assert!(problem.starts_with("y.npy: element [0, 1, 0, 0]: wanted 4.50099"), "{problem}");
    }
    cases.write("y.npy", &[1, 2, 2, 1], &[12.0, 23.0, 45.004, 56.0]);
    assert!(cases.broken().iter().all(|r| !r.is_failure()), "within the tolerance");
    cases.with(|json| json["rtol"] = 1e-6.into());
    assert!(cases.problem().contains("y.npy"));
}

fn a_wrong_gradient_is_found() {
    let cases = Cases::new();
    cases.write("dw.npy", &[1, 2, 1, 1], &[37.0, 47.5]);
    let broken = cases.broken();
    let failed: Vec<_> = broken.iter().filter(|r| r.is_failure()).collect();
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|r| r.direction == Some(Direction::Backward)), "{failed:?}");
    assert!(failure(failed[0]).unwrap().starts_with("dw.npy: element [0, 1, 0, 0]"));
}

fn a_transposed_array_is_found() {
    let cases = Cases::new();
    cases.write("y.npy", &[1, 2, 2, 1], &[12.0, 45.0, 23.0, 56.0]);
    assert!(cases.problem().starts_with("y.npy: element [0, 0, 1, 0]"));
    cases.write("y.npy", &[2, 2, 1, 1], &[12.0, 23.0, 45.0, 56.0]);
    let problem = cases.problem();
    assert_eq!(problem, "y.npy: the op gives the shape 1x2x2x1, the file has 2x2x1x1");
}

fn the_wrong_layout_is_found() {
    let cases = Cases::new();
    cases.with(|json| json["layout"] = "nchw".into());
    let broken = cases.broken();
    assert!(broken.iter().all(|r| failure(r).unwrap().contains("y.npy: the op gives the shape 1x1x3x1")), "{broken:?}");
    // The same numbers as (N, C, H, W) and (out, in, kh, kw) pass.
    cases.write("x.npy", &[1, 1, 2, 3], &X);
    cases.write("w.npy", &[1, 1, 1, 2], &[10.0, 1.0]);
    for (name, values) in [("y.npy", [12.0, 23.0, 45.0, 56.0]), ("dy.npy", [1.0, 2.0, 3.0, 4.0])] {
        cases.write(name, &[1, 1, 2, 2], &values);
    }
    cases.write("dx.npy", &[1, 1, 2, 3], &[10.0, 21.0, 2.0, 30.0, 43.0, 4.0]);
    cases.write("dw.npy", &[1, 1, 1, 2], &[37.0, 47.0]);
    assert!(cases.broken().iter().all(|r| matches!(r.outcome, Outcome::Passed { .. })));
}

fn a_wrong_shape_is_found() {
    let cases = Cases::new();
    cases.write("dy.npy", &[1, 2, 3, 1], &X);
    assert_eq!(cases.problem(), "dy.npy: the op gives the shape 1x2x2x1, the file has 1x2x3x1");
    let cases = Cases::new();
    cases.write("x.npy", &[2, 3], &X);
    assert_eq!(cases.problem(), "x.npy: wanted four axes, got the shape 2x3");
    cases.write("x.npy", &[1, 0, 3, 1], &[]);
    assert_eq!(cases.problem(), "x.npy: has no elements (shape 1x0x3x1)");
    let cases = Cases::new();
    cases.write("w.npy", &[1, 2, 3, 1], &X);
    assert!(cases.problem().starts_with("conv2d: wanted a 1x2 kernel for 1 channels"));
    cases.write("w.npy", &[1, 4, 1, 1], &X[..4]);
    assert!(cases.problem().contains("4"), "no window fits");
}

fn nan_agrees_with_nan_alone() {
    let cases = Cases::new();
    cases.write("y.npy", &[1, 2, 2, 1], &[12.0, f32::NAN, 45.0, 56.0]);
    assert!(cases.problem().starts_with("y.npy: element [0, 0, 1, 0]: wanted NaN, got 2.3e1"));
    let cases = Cases::new();
    let mut x = X;
    x[5] = f32::NAN;
    cases.write("x.npy", &[1, 2, 3, 1], &x);
    let broken = cases.broken();
    let forward: Vec<_> = broken.iter().filter(|r| r.direction == Some(Direction::Forward)).collect();
    assert!(forward.iter().all(|r| failure(r).unwrap().contains("wanted 5.6e1, got NaN")), "{broken:?}");
    assert!(forward.iter().all(|r| matches!(r.outcome, Outcome::Failed { worst: Some(w), .. } if w == f64::INFINITY)));
    cases.write("y.npy", &[1, 2, 2, 1], &[12.0, 23.0, 45.0, f32::NAN]);
    cases.with(|json| json["gradients"] = serde_json::Value::Null);
    let broken = cases.broken();
    assert!(broken.iter().all(|r| matches!(r.outcome, Outcome::Passed { .. })), "{broken:?}");
}

fn infinity_agrees_with_itself_alone() {
    let cases = Cases::new();
    for wanted in [f32::INFINITY, f32::NEG_INFINITY] {
        cases.write("y.npy", &[1, 2, 2, 1], &[12.0, 23.0, 45.0, wanted]);
        let problem = cases.problem();
        assert!(
            problem.starts_with("y.npy: element [0, 1, 1, 0]: wanted") && problem.contains("got 5.6e1"),
            "{problem}"
        );
    }
    let mut x = X;
    x[5] = f32::INFINITY;
    cases.write("x.npy", &[1, 2, 3, 1], &x);
    cases.with(|json| json["gradients"] = serde_json::Value::Null);
    assert!(cases.problem().contains("wanted -inf, got inf"));
    cases.write("y.npy", &[1, 2, 2, 1], &[12.0, 23.0, 45.0, f32::INFINITY]);
    assert!(cases.broken().iter().all(|r| matches!(r.outcome, Outcome::Passed { .. })));
}

fn broken_files_are_named() {
    let cases = Cases::new();
    let whole = std::fs::read(cases.file("x.npy")).unwrap();
    std::fs::write(cases.file("x.npy"), &whole[..whole.len() - 3]).unwrap();
    assert!(cases.problem().contains("x.npy: the array is truncated"));
    std::fs::write(cases.file("x.npy"), &whole[..20]).unwrap();
    assert!(cases.problem().contains("x.npy: the .npy header is truncated"));
    std::fs::write(cases.file("x.npy"), b"1 2 3").unwrap();
    assert!(cases.problem().contains("x.npy: "));
    std::fs::remove_file(cases.file("x.npy")).unwrap();
    assert!(cases.problem().contains("x.npy: cannot read"));
    let at = whole.windows(3).position(|bytes| bytes == b"<f4").unwrap();
    let of_type = |descr: &[u8]| [&whole[..at], descr, &whole[at + 3..]].concat();
    std::fs::write(cases.file("x.npy"), of_type(b"<c8")).unwrap();
    assert!(cases.problem().contains("<c8"));
    std::fs::write(cases.file("x.npy"), of_type(b"<i4")).unwrap();
    assert_eq!(cases.problem(), "x.npy: wanted floats, got integer numbers");
    let cases = Cases::new();
    std::fs::write(cases.file("case.json"), "{\"op\": \"conv2d\",").unwrap();
    assert!(cases.problem().starts_with("case.json: "));
    std::fs::write(cases.file("case.json"), [0xff, 0xfe, 0]).unwrap();
    assert!(cases.problem().starts_with("case.json: "));
    std::fs::remove_file(cases.file("case.json")).unwrap();
    assert!(cases.problem().starts_with("case.json: cannot be read"));
}

fn what_is_unknown_is_unsupported_by_name() {
    let cases = Cases::new();
    let unsupported = || {
        let broken = cases.broken();
        assert_eq!(broken.len(), 1, "{broken:?}");
        match &broken[0].outcome {
            Outcome::Unsupported { what } => what.clone(),
            other => panic!("{other:?}"),
        }
    };
    cases.with(|json| json["op"] = "softmax".into());
    assert_eq!(unsupported(), "op `softmax`");
    cases.with(|json| json["attributes"]["groups"] = 2.into());
    assert_eq!(unsupported(), "conv2d with attribute `groups`");
    let values = |padding: serde_json::Value| {
        cases.with(|json| json["attributes"]["padding"] = padding);
        let broken = cases.broken();
        let what =
            |r: &VectorResult| if let Outcome::Unsupported { what } = &r.outcome { Some(what.clone()) } else { None };
        let found: BTreeSet<Option<String>> = broken.iter().map(what).collect();
        assert_eq!(found.len(), 1, "{broken:?}");
        found.into_iter().next().unwrap().unwrap()
    };
    assert_eq!(values("reflect".into()), "conv2d with padding = \"reflect\"");
    assert_eq!(values(serde_json::json!([0, 0, -1, 0])), "conv2d with padding = [0,0,-1,0]");
    // An optimiser has no gradient.
    cases.with(|json| {
        *json = serde_json::json!({
            "op": "adam", "attributes": {"lr": 0.1, "eps": 1e-8},
            "inputs": {"param": "x.npy", "grad": "x.npy", "m": "x.npy", "v": "x.npy"},
            "gradients": {"param": "x.npy"}, "upstream": "x.npy",
        });
    });
    assert_eq!(unsupported(), "adam has no gradient");
}

fn what_is_malformed_is_told() {
    let cases = Cases::new();
    let problem = |change: &dyn Fn(&mut serde_json::Value)| {
        cases.with(change);
        cases.problem()
    };
    assert_eq!(problem(&|j| j["inputs"] = serde_json::json!({"x": "x.npy"})), "conv2d needs an input `weight`");
    assert_eq!(problem(&|j| j["inputs"]["z"] = "x.npy".into()), "conv2d has no input `z`, only x, weight, bias");
    assert_eq!(problem(&|j| j["outputs"]["z"] = "y.npy".into()), "conv2d has no output `z`, only y");
    assert_eq!(problem(&|j| j["upstream"] = serde_json::Value::Null), "`gradients` needs an `upstream` gradient");
    assert_eq!(problem(&|j| j["gradients"]["bias"] = "x.npy".into()), "input `bias` is missing");
    assert!(problem(&|j| j["gradient"] = "x.npy".into()).contains("`gradient` is not known"));
    assert!(problem(&|j| j["attributes"]["stride"] = "two".into()).contains("stride must be a whole number"));
    assert!(problem(&|j| j["attributes"] = 3.into()).starts_with("case.json: "));
    assert!(problem(&|j| j["layout"] = "nwhc".into()).starts_with("case.json: "));
    assert!(problem(&|j| j["rtol"] = (-1).into()).contains("rtol"));
}

fn an_argmax_is_exact() {
    let cases = Cases::new();
    let pool = |argmax: &[f32]| {
        cases.write("argmax.npy", &[1, 1, 2, 1], argmax);
        cases.write("y.npy", &[1, 1, 2, 1], &[5.0, 6.0]);
        cases.with(|json| {
            *json = serde_json::json!({
                "op": "max_pool2d", "attributes": {"size": 2, "stride": 1}, "inputs": {"x": "x.npy"},
                "outputs": {"y": "y.npy", "argmax": "argmax.npy"}, "rtol": 1.0, "atol": 1.0,
            });
        });
        cases.broken()
    };
    assert!(pool(&[4.0, 5.0]).iter().all(|r| matches!(r.outcome, Outcome::Passed { .. })));
    for wrong in [[4.0, 4.0], [4.0, 5.25]] {
        let broken = pool(&wrong);
        assert_eq!(broken.len(), 2);
        assert!(
            broken.iter().all(|r| failure(r).unwrap().starts_with("argmax.npy: element [0, 0, 1, 0]")),
            "{broken:?}"
        );
    }
}

fn folders_are_walked() {
    let cases = Cases::new();
    let nested = cases.root.path().join("deep/deeper");
    std::fs::create_dir_all(&nested).unwrap();
    std::fs::rename(cases.root.path().join("sound"), nested.join("sound")).unwrap();
    std::fs::create_dir(cases.root.path().join("empty")).unwrap();
    std::fs::create_dir(cases.root.path().join(".hidden")).unwrap();
    let results = cases.run();
    let names: BTreeSet<&str> = results.iter().map(|r| r.case.as_str()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["broken", "deep/deeper/sound", "empty"]);
    let failed: Vec<_> = results.iter().filter(|r| r.is_failure()).collect();
    assert!(failed.len() == 1 && failed[0].case == "empty", "{failed:?}");
    // One case by its own folder.
    let alone = vectors::run(&nested.join("sound"), &mut Session::cpu()).unwrap();
    assert!(alone.len() == 4 && alone.iter().all(|r| r.case == "sound" && !r.is_failure()));
    let empty = tempfile::tempdir().unwrap();
    let message = |dir: &Path| vectors::run(dir, &mut Session::cpu()).unwrap_err().to_string();
    assert!(message(empty.path()).contains("has no cases"));
    assert!(message(&empty.path().join("missing")).contains("missing: cannot read"));
    assert!(message(&nested.join("sound/x.npy")).contains("x.npy"));
}

fn huge_attributes_do_no_harm() {
    let cases = Cases::new();
    let big = u64::MAX;
    for attributes in [
        serde_json::json!({"stride": big}),
        serde_json::json!({"stride": 4096, "padding": [4096, 4096, 4096, 4096], "dilation": 4096}),
        serde_json::json!({"padding": [big, 0, 0, 0]}),
        serde_json::json!({"dilation": 1e300}),
        serde_json::json!({"dilation": 4096}),
        serde_json::json!({"padding": [0, 4096, 0, 4096]}),
    ] {
        cases.with(|json| json["attributes"] = attributes.clone());
        let broken = cases.broken();
        assert!(!broken.is_empty() && broken.iter().all(|r| r.is_failure() || r.is_unsupported()), "{broken:?}");
    }
    for attributes in [
        serde_json::json!({"output_size": [4096, 4096]}),
        serde_json::json!({"output_size": big}),
        serde_json::json!({"padding": [4096, 0, 0, 0]}),
    ] {
        cases.with(|json| {
            json["op"] = "conv_transpose2d".into();
            json["attributes"] = attributes.clone();
        });
        let broken = cases.broken();
        assert!(!broken.is_empty() && broken.iter().all(|r| r.is_failure() || r.is_unsupported()), "{broken:?}");
    }
}
