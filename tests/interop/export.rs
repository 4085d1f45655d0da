//! What is written against the network on the CPU executor.

use super::onnx::{Model, Tensor};
use super::{Numbers, preset, weights};
use degrain::interop::{Part, onnx, portable_weights};
use degrain::model::Preset;
use degrain::session::Session;
use degrain::train::{Inference, Weights};
use prost::Message as _;
use std::path::Path;

/// How far results may differ, of values about 1.
const TOLERANCE: f64 = 1e-5;

/// A preset of this folder, which `onnx_check.py` takes too.
fn kinds(name: &str) -> Preset {
    Preset::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)).unwrap()
}

fn read(preset: &Preset, part: Part) -> Model {
    let bytes = onnx::model(preset, weights(preset), part).unwrap();
    assert_eq!(bytes, onnx::model(preset, weights(preset), part).unwrap(), "the same network, the same bytes");
    Model::decode(bytes.as_slice()).unwrap()
}

fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor { shape: shape.to_vec(), values: values.iter().map(|&v| f64::from(v)).collect() }
}

#[track_caller]
fn assert_close(what: &str, got: &Tensor, shape: &[usize], wanted: &[f32]) {
    assert_eq!(got.shape, shape, "{what}");
    assert_eq!(got.values.len(), wanted.len(), "{what}");
    for (i, (got, wanted)) in got.values.iter().zip(wanted).enumerate() {
        let error = (got - f64::from(*wanted)).abs();
        assert!(error <= TOLERANCE * f64::from(wanted.abs().max(1.0)), "{what}[{i}]: {got} is not {wanted}");
    }
}

/// Runs the three models of a preset at batch sizes 1 and 5.
fn check(preset: &Preset) {
    let architecture = preset.architecture().unwrap();
    let (input, code) = (architecture.input, architecture.code);
    let mut network = Inference::new(Session::cpu(), preset, weights(preset), 4).unwrap();
    let [whole, encoder, decoder] = Part::ALL.map(|part| read(preset, part));
    let name = &preset.name;
    for batch in [1, 5] {
        let picture = [&[batch][..], &input].concat();
        let x: Vec<f32> = Numbers(7).take(picture.iter().product()).iter().map(|v| v * 0.5).collect();
        let (codes, pictures) = (network.encode(&x).unwrap(), network.reconstruct(&x).unwrap());
        let outputs = whole.run("input", tensor(&picture, &x));
        assert_eq!(outputs.len(), 2);
        assert_close(&format!("{name}: code"), &outputs["code"], &[batch, code], &codes);
        assert_close(&format!("{name}: reconstruction"), &outputs["reconstruction"], &picture, &pictures);
        let outputs = encoder.run("input", tensor(&picture, &x));
        assert_eq!(outputs.len(), 1);
        assert_close(&format!("{name}: encoder"), &outputs["code"], &[batch, code], &codes);
        let outputs = decoder.run("code", tensor(&[batch, code], &codes));
        assert_eq!(outputs.len(), 1);
        assert_close(&format!("{name}: decoder"), &outputs["reconstruction"], &picture, &pictures);
    }
}

#[test]
fn every_preset_gives_the_same_codes_and_pictures() {
    assert_eq!(Preset::names().count(), 15);
    for name in Preset::names() {
        check(&Preset::load(name).unwrap());
    }
}

#[test]
fn every_kind_of_layer_and_activation() {
    check(&kinds("kinds.toml"));
}

#[test]
fn picture_shaped_codes_and_ends_without_layers_of_their_own() {
    let data = "height = 6\nwidth = 4\nchannels = 2";
    // The code goes out as a row and on to the decoder as a picture; the decoder begins with a flatten.
    let flattened = r#"
code = 12
encoder = [{ layer = "conv2d", channels = 2, kernel = 2, stride = 2 }]
decoder = [{ layer = "flatten" }, { layer = "dense", units = 48 }, { layer = "reshape", shape = [6, 4, 2] }]"#;
    check(&preset(data, flattened, "bce"));
    let resized = r#"
code = 12
encoder = [{ layer = "avg_pool2d", size = 2 }, { layer = "dropout", rate = 0.1 }]
decoder = [{ layer = "upsample2d", factor = 2 }]"#;
    check(&preset(data, resized, "mse"));
    // No layer changes a value: outputs are the input by other names and in other shapes.
    let nothing = r#"
code = 48
encoder = [{ layer = "dropout", rate = 0.1 }]
decoder = [{ layer = "dropout", rate = 0.1 }]"#;
    let rows = r#"
code = 48
encoder = [{ layer = "flatten" }]
decoder = [{ layer = "reshape", shape = [4, 6, 2] }, { layer = "reshape", shape = [6, 4, 2] }]"#;
    for model in [nothing, rows] {
        let x = tensor(&[2, 6, 4, 2], &Numbers(5).take(96));
        let outputs = read(&preset(data, model, "mse"), Part::Whole).run("input", x.clone());
        assert_eq!(outputs["reconstruction"], x);
        assert_eq!(outputs["code"], Tensor { shape: vec![2, 48], values: x.values });
    }
}

#[test]
fn one_mean_for_a_whole_layer_tied_kernels_and_variational_codes() {
    let tied = kinds("tied.toml");
    check(&tied);
    let whole = read(&tied, Part::Whole);
    let kernels = whole.graph.tensors.iter().filter(|tensor| tensor.name.ends_with("dense_1.weight"));
    assert_eq!(kernels.count(), 1, "a tied kernel is stored once");
    let gaussian = r#"
code = 3
encoder = [{ layer = "flatten" }, { layer = "gaussian_code" }]
decoder = [{ layer = "dense", units = 16 }, { layer = "reshape", shape = [4, 4, 1] }]"#;
    check(&preset("height = 4\nwidth = 4\nchannels = 1", gaussian, "bce"));
}

#[test]
fn a_model_says_what_it_is() {
    let preset = Preset::load("lfw-conv").unwrap();
    let model = read(&preset, Part::Whole);
    assert_eq!((model.ir_version, onnx::IR_VERSION), (7, 7));
    assert_eq!(model.opsets.len(), 1);
    assert_eq!((model.opsets[0].domain.as_str(), model.opsets[0].version), ("", onnx::OPSET));
    assert_eq!(model.producer, "degrain");
    assert!(model.doc.contains("(N, height, width, channels)") && model.doc.contains("x / 255 - 0.5"), "{}", model.doc);
    let metadata: Vec<(&str, &str)> = model.metadata.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
    let wanted =
        [("preset", "lfw-conv"), ("part", "whole"), ("layout", "NHWC"), ("scale", "1/255"), ("offset", "-0.5")];
    assert_eq!(metadata, wanted);
    let shapes = |infos: &[super::onnx::Info]| -> Vec<(String, String)> {
        infos.iter().map(|info| (info.name.clone(), info.shape())).collect()
    };
    let named = |name: &str, shape: &str| (name.to_owned(), shape.to_owned());
    assert_eq!(shapes(&model.graph.inputs), [named("input", "N,32,32,3")]);
    assert_eq!(shapes(&model.graph.outputs), [named("code", "N,32"), named("reconstruction", "N,32,32,3")]);
    // In, before the flatten, after the reshape, out; none between convolutions.
    assert_eq!(model.count("Transpose"), 4);
    assert_eq!(read(&Preset::load("quickdraw-deep").unwrap(), Part::Whole).count("Transpose"), 0);
    assert_eq!(read(&Preset::load("pokemon-conv").unwrap(), Part::Whole).count("Transpose"), 3, "in, code, out");
}

#[test]
fn weights_of_another_network_are_refused() {
    let preset = Preset::load("quickdraw-simple").unwrap();
    let other = weights(&Preset::load("quickdraw-deep").unwrap());
    let problem = onnx::model(&preset, other.clone(), Part::Whole).unwrap_err().to_string();
    assert!(problem.contains("encoder.dense_1.weight"), "{problem}");
    assert!(portable_weights(&preset, other, Part::Whole).is_err());
    assert!(portable_weights(&preset, Weights::default(), Part::Encoder).is_err());
}

#[test]
fn portable_weights_are_those_of_the_part() {
    let preset = Preset::load("mnist-dae").unwrap();
    let all = weights(&preset);
    let portable = |part| portable_weights(&preset, all.clone(), part).unwrap();
    assert_eq!(portable(Part::Whole).tensors, all.tensors);
    let encoder = portable(Part::Encoder);
    assert!(encoder.tensors.keys().all(|name| name.starts_with("encoder.")));
    assert!(encoder.tensors.contains_key("encoder.batch_norm_3.running_var"));
    // Its kernels are the encoder's.
    let decoder = portable(Part::Decoder);
    let of_encoder: Vec<&str> =
        decoder.tensors.keys().map(String::as_str).filter(|name| name.starts_with("encoder.")).collect();
    assert_eq!(of_encoder, ["encoder.dense_1.weight", "encoder.dense_2.weight", "encoder.dense_3.weight"]);
    assert_eq!(decoder.metadata["part"], "decoder");
    assert_eq!(decoder.metadata["format"], "degrain");
}
