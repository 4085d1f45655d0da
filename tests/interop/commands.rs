//! `degrain export` and `degrain import` as scripts see them.

use super::onnx::Model;
use super::weights;
use degrain::data::npy;
use degrain::model::Preset;
use degrain::train::Weights;
use prost::Message as _;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A folder with a file of weights of `quickdraw-simple`, as degrain has them.
struct Lab(TempDir);

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Lab {
    fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        weights(&Preset::load("quickdraw-simple").unwrap()).write(&lab.path("w.safetensors")).unwrap();
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, words: &str) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_degrain"));
        command.args(words.split(' ')).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("DEGRAIN_CACHE", self.path("cache")).env("DEGRAIN_DEVICE", "cpu");
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    fn ok(&self, words: &str) -> String {
        let ended = self.run(words);
        assert_eq!(ended.code, Some(0), "{words}: {}", ended.stderr);
        ended.stdout
    }

    /// Asserts one line on standard error with this text, and this exit code.
    #[track_caller]
    fn fails(&self, words: &str, code: i32, text: &str) {
        let ended = self.run(words);
        assert_eq!(ended.code, Some(code), "{words}: {}", ended.stderr);
        assert!(ended.stderr.contains(text), "{words}: {}", ended.stderr);
        assert!(code == 2 || ended.stderr.lines().count() == 1, "{words}: {}", ended.stderr);
        assert!(ended.stdout.is_empty());
    }
}

#[test]
fn an_imported_run_is_a_run() {
    let lab = Lab::new();
    let out = lab.ok("import quickdraw-simple w.safetensors -o run --json");
    let object: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(object["from"], "degrain");
    assert_eq!(object["tensors"].as_array().unwrap().len(), 4);
    assert_eq!(object["tensors"][0]["name"], "encoder.dense_1.weight");
    lab.ok("encode run --data bundled:quickdraw --limit 3 -o codes.npy");
    let decoded = lab.ok("decode run codes.npy -o pictures.npy --json");
    assert_eq!(serde_json::from_str::<Value>(&decoded).unwrap()["count"], 3);
    assert_eq!(npy::read(&lab.path("pictures.npy")).unwrap().0, [3, 28, 28, 1]);
    lab.ok("summary run");
    lab.ok("eval run --data bundled:quickdraw --limit 3");
    assert!(lab.ok("train --resume run").contains("finished after 0 steps"));
    let weights = fs::read(lab.path("run/last.safetensors")).unwrap();
    lab.fails("train --resume run --steps 3", 1, "--init");
    assert_eq!(fs::read(lab.path("run/last.safetensors")).unwrap(), weights);
    lab.fails("import quickdraw-simple w.safetensors -o run", 1, "run: is not empty");
}

#[test]
fn exported_files_are_complete_models() {
    let lab = Lab::new();
    lab.ok("import quickdraw-simple w.safetensors -o run");
    let out = lab.ok("export run --format onnx -o whole.onnx --json");
    let object: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&object["output"], &object["opset"]), (&Value::from("whole.onnx"), &Value::from(13)));
    for (part, names) in
        [("whole", "input code reconstruction"), ("encoder", "input code"), ("decoder", "code reconstruction")]
    {
        lab.ok(&format!("export run --format onnx --part {part} -o {part}.onnx"));
        let model = Model::decode(fs::read(lab.path(&format!("{part}.onnx"))).unwrap().as_slice()).unwrap();
        let values = model.graph.inputs.iter().chain(&model.graph.outputs);
        assert_eq!(values.map(|value| value.name.as_str()).collect::<Vec<_>>().join(" "), names);
    }
    lab.ok("export run --format safetensors -o out.safetensors");
    let (written, ours) =
        (Weights::read(&lab.path("out.safetensors")).unwrap(), Weights::read(&lab.path("w.safetensors")).unwrap());
    assert_eq!(written.tensors, ours.tensors);
    // What was written is read again, as a run and as the beginning of a training.
    let object: Value =
        serde_json::from_str(&lab.ok("import quickdraw-simple out.safetensors -o again --json")).unwrap();
    assert_eq!(object["from"], "degrain");
    lab.ok("train quickdraw-simple --init out.safetensors --data bundled:quickdraw --limit 40 --batch 4 --steps 1 --no-pca --out trained");
}

#[test]
fn what_cannot_work_is_one_line() {
    let lab = Lab::new();
    lab.ok("import quickdraw-simple w.safetensors -o run");
    lab.fails("export run --format onnx -o missing/x.onnx", 1, "missing/x.onnx: cannot write");
    lab.fails("export run --format onnx -o run", 1, "run: is a folder");
    lab.fails("export nowhere --format onnx -o x.onnx", 1, "nowhere: is no run folder");
    lab.fails("export run --format onnx --weights best -o x.onnx", 1, "has no best weights");
    lab.fails("export run --format onnx -o x.safetensors", 1, "x.safetensors: is no name for this format");
    lab.fails("export run --format caffe -o x", 2, "caffe");
    lab.fails("export run --format onnx --part half -o x", 2, "half");
    lab.fails("export run -o x.onnx", 2, "--format");
    lab.fails("import quickdraw-deep w.safetensors -o x", 1, "w.safetensors: ");
    lab.fails("import no-such w.safetensors -o x", 1, "no such preset");
    lab.fails("import quickdraw-simple w.safetensors -o x --map a", 2, "OURS=THEIRS");
    lab.fails("import quickdraw-simple w.safetensors -o x --from jax", 2, "jax");
    lab.fails("import quickdraw-simple w.safetensors -o x --epsilon 0", 1, "--epsilon");
    lab.fails("import quickdraw-simple w.safetensors -o x --set model.code=7", 1, "w.safetensors: ");
    assert!(!lab.path("x").exists(), "nothing is made of weights that do not fit");
}
