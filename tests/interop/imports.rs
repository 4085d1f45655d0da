//! Weights in the layouts of PyTorch and Keras, back in ours.

use super::{Numbers, preset, weights};
use degrain::data::npy;
use degrain::interop::{ChannelOrder, Framework, ImportOptions, Imported, import, write_run};
use degrain::model::{Layer, Preset};
use degrain::session::Session;
use degrain::train::{Array, Data, Inference, Weights};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder with files of weights.
struct Lab(TempDir);

impl Lab {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn safetensors(&self, tensors: Vec<(String, Array)>) -> PathBuf {
        let path = self.path("weights.safetensors");
        Weights { tensors: tensors.into_iter().collect(), ..Weights::default() }.write(&path).unwrap();
        path
    }

    /// As `numpy.savez` writes it.
    fn npz(&self, arrays: &[(String, Array)]) -> PathBuf {
        let path = self.path("weights.npz");
        let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, array) in arrays {
            let one = self.path("one.npy");
            npy::write(&one, &array.shape, floats(array)).unwrap();
            archive.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(&std::fs::read(&one).unwrap()).unwrap();
        }
        archive.finish().unwrap();
        path
    }
}

fn floats(array: &Array) -> &[f32] {
    let Data::F32(values) = &array.data else { panic!("not f32") };
    values
}

/// The pictures (height, width, channels) that the inputs and the outputs of a dense layer hold, where their order counts.
fn pictures(preset: &str, layer: &str) -> [Option<[usize; 3]>; 2] {
    match (preset, layer) {
        ("lfw-conv" | "lfw-denoise" | "emoji-denoise", "encoder.dense_1") => [Some([2, 2, 256]), None],
        ("lfw-conv" | "lfw-denoise" | "emoji-denoise", "decoder.dense_1") => [None, Some([2, 2, 256])],
        ("lfw-linear", "encoder.dense_1") => [Some([32, 32, 3]), None],
        ("lfw-linear", "decoder.dense_1") => [None, Some([32, 32, 3])],
        _ => [None, None],
    }
}

/// Where value `index` of our rows lies in a row with channels first.
fn channels_first(index: usize, picture: Option<[usize; 3]>) -> usize {
    let Some([height, width, channels]) = picture else { return index };
    index % channels * height * width + index / channels
}

/// One of our tensors as PyTorch has it, index by index.
fn in_torch(preset: &str, name: &str, array: &Array) -> Array {
    let ours = floats(array);
    let mut theirs = vec![f32::NAN; ours.len()];
    let (layer, _) = name.rsplit_once('.').unwrap();
    let [inputs, outputs] = pictures(preset, layer);
    let shape = match array.shape[..] {
        // Convolutions and transposed ones alike: their last two axes change places with the first two, and each other.
        [kh, kw, third, fourth] => {
            for (i, &value) in ours.iter().enumerate() {
                let (a, b, c, d) =
                    (i / (kw * third * fourth), i / (third * fourth) % kw, i / fourth % third, i % fourth);
                theirs[((d * third + c) * kh + a) * kw + b] = value;
            }
            vec![fourth, third, kh, kw]
        }
        [rows, columns] => {
            for (i, &value) in ours.iter().enumerate() {
                let (row, column) = (channels_first(i / columns, inputs), channels_first(i % columns, outputs));
                theirs[column * rows + row] = value;
            }
            vec![columns, rows]
        }
        [_] => {
            for (i, &value) in ours.iter().enumerate() {
                theirs[channels_first(i, outputs)] = value;
            }
            array.shape.clone()
        }
        _ => panic!("{name}"),
    };
    Array::f32(shape, theirs)
}

/// The tensors of a network in the order of its layers, under names that `rename` makes of ours.
fn tensors(preset: &Preset, rename: impl Fn(usize, &str) -> String) -> Vec<(String, Array)> {
    let (architecture, weights) = (preset.architecture().unwrap(), weights(preset));
    let of_layers = architecture.layers().flat_map(|layer| layer.parameters.iter().chain(&layer.statistics));
    let mut layers: Vec<String> = Vec::new();
    let named = of_layers.map(|tensor| {
        let (layer, _) = tensor.name.rsplit_once('.').unwrap();
        if layers.last().is_none_or(|last| last != layer) {
            layers.push(layer.to_owned());
        }
        (rename(layers.len() - 1, &tensor.name), weights.tensors[&tensor.name].clone())
    });
    named.collect()
}

/// `encoder.conv2d_2.weight` as `encoder.3.weight`, as modules in a `Sequential` are called.
fn sequential(number: usize, name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    format!("{}.{}.{}", parts[0], number, parts[2])
}

fn read(preset: &Preset, path: &Path) -> Imported {
    import(preset, path, &ImportOptions::default()).unwrap()
}

fn problem(preset: &Preset, path: &Path, options: &ImportOptions) -> String {
    let text = import(preset, path, options).unwrap_err().to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

#[track_caller]
fn assert_same(preset: &Preset, imported: &Imported) {
    let wanted = weights(preset).tensors;
    assert!(imported.weights.tensors.keys().eq(wanted.keys()), "{}", preset.name);
    for (name, array) in &wanted {
        assert!(imported.weights.tensors[name] == *array, "{}: {name} differs", preset.name);
    }
}

#[test]
fn every_preset_comes_back_from_pytorch() {
    for name in Preset::names() {
        let (lab, preset) = (Lab::new(), Preset::load(name).unwrap());
        let ours = tensors(&preset, |_, name| name.to_owned());
        let names = tensors(&preset, sequential).into_iter().map(|(name, _)| name);
        let torch = names.zip(&ours).map(|(theirs, (ours, array))| (theirs, in_torch(name, ours, array))).collect();
        let imported = read(&preset, &lab.safetensors(torch));
        assert_eq!(imported.framework, Framework::Torch, "{name}");
        assert_same(&preset, &imported);
        assert!(
            imported.pairs.iter().map(|(ours, _)| ours).eq(preset.architecture().unwrap().saved().map(|p| &p.name))
        );
    }
}

#[test]
fn every_preset_comes_back_from_keras() {
    for name in Preset::names() {
        let (lab, preset) = (Lab::new(), Preset::load(name).unwrap());
        let mut numbered = tensors(&preset, |_, name| name.to_owned());
        for (i, (name, _)) in numbered.iter_mut().enumerate() {
            *name = format!("arr_{i}");
        }
        let imported = read(&preset, &lab.npz(&numbered));
        assert_eq!(imported.framework, Framework::Keras, "{name}");
        assert_same(&preset, &imported);
    }
}

#[test]
fn names_of_keras_without_an_order() {
    let (lab, preset) = (Lab::new(), Preset::load("lfw-conv").unwrap());
    // As keras.Variable.path has them, which begin without a number; sorted by their names they mix both sides.
    let renamed = |_, name: &str| {
        let name = name.replace("conv2d_transpose_1.", "conv2d_transpose.").replace("conv2d_1.", "conv2d.");
        let name = name.replace("encoder.dense_1.", "encoder.dense.");
        let name = name.replace("encoder.", "").replace("decoder.", "").replace(".weight", "/kernel");
        name.replace(".bias", "/bias:0")
    };
    let imported = read(&preset, &lab.safetensors(tensors(&preset, renamed)));
    assert_eq!(imported.framework, Framework::Keras);
    assert_same(&preset, &imported);
    assert_eq!(imported.pairs[0], ("encoder.conv2d_1.weight".to_owned(), "conv2d/kernel".to_owned()));
}

#[test]
fn our_own_files_and_options_that_say_so() {
    let (lab, preset) = (Lab::new(), Preset::load("quickdraw-conv").unwrap());
    let path = lab.safetensors(weights(&preset).tensors.into_iter().collect());
    let imported = read(&preset, &path);
    assert_eq!(imported.framework, Framework::Degrain);
    assert_same(&preset, &imported);
    let options = ImportOptions { framework: Some(Framework::Degrain), ..ImportOptions::default() };
    assert_same(&preset, &import(&preset, &path, &options).unwrap());
    let options = ImportOptions { framework: Some(Framework::Torch), ..ImportOptions::default() };
    let text = problem(&preset, &path, &options);
    assert!(text.contains("encoder.conv2d_1.weight"), "{text}");
    assert!(text.ends_with("; all tensors fit with --from keras"), "{text}");
}

/// Three dense layers of one shape.
fn square() -> Preset {
    let model = r#"
code = 4
encoder = [{ layer = "flatten" }, { layer = "dense", units = 4 }, { layer = "dense", units = "code" }]
decoder = [{ layer = "dense", units = 4 }, { layer = "reshape", shape = [2, 2, 1] }]"#;
    preset("height = 2\nwidth = 2\nchannels = 1", model, "mse")
}

fn renamed(preset: &Preset, layers: &[&str]) -> Vec<(String, Array)> {
    tensors(preset, |number, name| format!("{}.{}", layers[number], name.rsplit('.').next().unwrap()))
        .into_iter()
        .map(|(name, array)| (name.clone(), in_torch("", &format!("x.{name}"), &array)))
        .collect()
}

#[test]
fn layers_that_cannot_be_told_apart_are_asked_for() {
    let (lab, preset) = (Lab::new(), square());
    let torch = ImportOptions { framework: Some(Framework::Torch), ..ImportOptions::default() };
    let path = lab.safetensors(renamed(&preset, &["first", "second", "out"]));
    let text = problem(&preset, &path, &torch);
    let wanted = "both first and out fit encoder.dense_1: say which it is by --map encoder.dense_1=first";
    assert!(text.ends_with(wanted), "{text}");
    let map = |pairs: &[(&str, &str)]| ImportOptions {
        map: pairs.iter().map(|(ours, theirs)| ((*ours).to_owned(), (*theirs).to_owned())).collect(),
        ..torch.clone()
    };
    let some = map(&[
        ("encoder.dense_1", "first"),
        ("decoder.dense_1.weight", "out.weight"),
        ("decoder.dense_1.bias", "out.bias"),
    ]);
    assert_same(&preset, &import(&preset, &path, &some).unwrap());
    // Numbers and sides tell the order, in whatever order the file has them.
    for layers in [["fc1", "fc2", "fc10"], ["encoder.0", "encoder.1", "decoder.0"], ["enc1", "enc2", "dec1"]] {
        assert_same(&preset, &import(&preset, &lab.safetensors(renamed(&preset, &layers)), &torch).unwrap());
    }
    // So does the order of an .npz.
    assert_same(&preset, &import(&preset, &lab.npz(&renamed(&preset, &["first", "second", "out"])), &torch).unwrap());
    for (pair, wanted) in [
        (
            ("encoder.dense_7", "first"),
            "there is no encoder.dense_7 left to be filled: the network has encoder.dense_1",
        ),
        (("encoder.dense_1", "third"), "the file has no third: it has first, out, second"),
        (("encoder.dense_1.weight", "third.weight"), "has no tensor \"third.weight\" for encoder.dense_1.weight"),
        (
            ("encoder.dense_1.weight", "first.bias"),
            "tensor \"first.bias\" (4,) does not fit encoder.dense_1.weight, which takes (4, 4)",
        ),
    ] {
        let path = lab.safetensors(renamed(&preset, &["first", "second", "out"]));
        let text = problem(&preset, &path, &map(&[pair]));
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn the_first_tensor_that_does_not_fit_is_named() {
    let (lab, preset) = (Lab::new(), Preset::load("quickdraw-deep").unwrap());
    let keras = || -> Vec<(String, Array)> {
        let arrays = tensors(&preset, |_, name| name.to_owned()).into_iter().enumerate();
        arrays.map(|(i, (_, array))| (format!("arr_{i}"), array)).collect()
    };
    let none = ImportOptions::default();
    let mut wrong = keras();
    wrong[2].1 = Array::f32([128, 65], vec![0.0; 128 * 65]);
    let text = problem(&preset, &lab.npz(&wrong), &none);
    let wanted = "weights.npz: tensor \"arr_2\" (128, 65) does not fit encoder.dense_2.weight, which takes (128, 64)";
    assert!(text.ends_with(wanted), "{text}");
    let text = problem(&preset, &lab.npz(&keras()[..11]), &none);
    assert!(text.ends_with("after its 11 there is none for decoder.dense_3.bias (784,)"), "{text}");
    let more = [keras(), vec![("arr_12".to_owned(), Array::f32([3], vec![0.0; 3]))]].concat();
    let text = problem(&preset, &lab.npz(&more), &none);
    assert!(text.ends_with("tensor \"arr_12\" (3,) belongs to no layer of this network"), "{text}");
    let mut infinite = keras();
    infinite[1].1 = Array::f32([128], vec![f32::INFINITY; 128]);
    assert!(problem(&preset, &lab.npz(&infinite), &none).contains("\"arr_1\" has a value that is not finite"));

    let torch = |wrong: &str| -> Vec<(String, Array)> {
        let named = tensors(&preset, sequential);
        let stored = named.into_iter().map(|(name, array)| (name.clone(), in_torch("", &name, &array)));
        stored.filter(|(name, _)| !name.starts_with(wrong)).collect()
    };
    let text = problem(&preset, &lab.safetensors(torch("encoder.1")), &none);
    let wanted = "nothing fits encoder.dense_2, which takes weight (64, 128), bias (64,): the next in the file is tensor \
                  \"encoder.2.bias\" (32,), tensor \"encoder.2.weight\" (32, 64)";
    assert!(text.ends_with(wanted), "{text}");
}

#[test]
fn files_that_are_no_weights() {
    let (lab, preset) = (Lab::new(), square());
    let none = ImportOptions::default();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(lab.path(name), bytes).unwrap();
        lab.path(name)
    };
    assert!(problem(&preset, &lab.path("none.npz"), &none).contains("cannot read"));
    assert!(problem(&preset, &write("a.pt", b"PK"), &none).contains("wanted .safetensors or .npz"));
    assert!(problem(&preset, &write("a.npz", b"nonsense"), &none).contains("a.npz: "));
    assert!(problem(&preset, &write("a.safetensors", b"nonsense"), &none).contains("no safetensors file"));
    assert!(problem(&preset, &lab.npz(&[]), &none).contains("holds no arrays of floats"));
    let whole = std::fs::read(lab.npz(&tensors(&preset, |_, name| name.to_owned()))).unwrap();
    for cut in [1, whole.len() / 2, whole.len() - 30] {
        problem(&preset, &write("cut.npz", &whole[..cut]), &none);
    }
    // Square kernels fit in either order of their axes, and these names tell nothing.
    let names = ["a", "b", "c", "d", "e", "f"];
    let nameless = tensors(&preset, |_, name| name.to_owned()).into_iter().zip(names);
    let nameless: Vec<_> = nameless.map(|((_, array), name)| (name.to_owned(), array)).collect();
    let text = problem(&preset, &lab.npz(&nameless), &none);
    assert!(text.starts_with("--from: its names do not tell"), "{text}");
    let keras = ImportOptions { framework: Some(Framework::Keras), ..none };
    assert_same(&preset, &import(&preset, &lab.npz(&nameless), &keras).unwrap());
}

#[test]
fn numbers_of_other_types_and_counters() {
    let (lab, preset) = (Lab::new(), square());
    let path = lab.path("half.safetensors");
    let (mut header, mut bytes) = (serde_json::Map::new(), Vec::new());
    let mut put = |name: &str, dtype: &str, shape: &[usize], data: &[u8]| {
        let begin = bytes.len();
        bytes.extend(data);
        let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, bytes.len()] });
        header.insert(name.to_owned(), entry);
    };
    // 1.5 in each type.
    put("fc1.weight", "F64", &[4, 4], &1.5_f64.to_le_bytes().repeat(16));
    put("fc1.bias", "F32", &[4], &1.5_f32.to_le_bytes().repeat(4));
    put("fc2.weight", "F16", &[4, 4], &0x3e00_u16.to_le_bytes().repeat(16));
    put("fc2.bias", "BF16", &[4], &0x3fc0_u16.to_le_bytes().repeat(4));
    put("fc3.weight", "F32", &[4, 4], &1.5_f32.to_le_bytes().repeat(16));
    put("num_batches_tracked", "I64", &[], &7_i64.to_le_bytes());
    let header = serde_json::Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat();
    std::fs::write(&path, file).unwrap();
    let imported = read(&preset, &path);
    for (name, array) in &imported.weights.tensors {
        let wanted = if name == "decoder.dense_1.bias" { 0.0 } else { 1.5 };
        assert!(floats(array).iter().all(|v| *v == wanted), "{name}");
    }
    assert_eq!(imported.filled, ["decoder.dense_1.bias"]);
    assert_eq!(imported.ignored, ["num_batches_tracked"]);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|word| word == b"BF16").unwrap();
    bytes[at..at + 4].copy_from_slice(b"U16\"");
    bytes[at + 4] = b' ';
    std::fs::write(&path, bytes).unwrap();
    assert!(read(&preset, &path).filled.contains(&"encoder.dense_2.bias".to_owned()));
}

#[test]
fn epsilon_follows_the_framework_and_flattening_the_flag() {
    let model = r#"
code = 3
batch_norm = "feature"
encoder = [
    { layer = "flatten" },
    { layer = "batch_norm" },
    { layer = "dense", units = "code" },
    { layer = "batch_norm", epsilon = 0.5 },
]
decoder = [
    { layer = "dense", units = 12 },
    { layer = "batch_norm" },
    { layer = "reshape", shape = [2, 2, 3] },
]"#;
    let (lab, preset) = (Lab::new(), preset("height = 2\nwidth = 2\nchannels = 3", model, "mse"));
    let mut numbers = Numbers(3);
    let mut named = tensors(&preset, sequential);
    for (_, array) in &mut named {
        *array = Array::f32(array.shape.iter().rev().copied().collect::<Vec<_>>(), numbers.take(array.data.len()));
    }
    let path = lab.safetensors(named.clone());
    let epsilons = |imported: &Imported| -> Vec<f32> {
        let layers = imported.preset.model.encoder.iter().chain(&imported.preset.model.decoder);
        layers.filter_map(|l| if let Layer::BatchNorm(norm) = l { Some(norm.epsilon) } else { None }).collect()
    };
    let imported = read(&preset, &path);
    assert_eq!(epsilons(&imported), [1e-5, 0.5, 1e-5]);
    let options = ImportOptions { epsilon: Some(0.1), flatten: Some(ChannelOrder::Last), ..ImportOptions::default() };
    let as_rows = import(&preset, &path, &options).unwrap();
    assert_eq!(epsilons(&as_rows), [0.1; 3]);
    // Pixel 1 of channel 2 is value 5 with channels last, 9 with channels first: in all that meets the flattened picture.
    let value = |imported: &Imported, name: &str, i: usize| floats(&imported.weights.tensors[name])[i];
    let theirs = |name: &str, i: usize| floats(&named.iter().find(|(named, _)| named == name).unwrap().1)[i];
    for (name, file) in [
        ("encoder.batch_norm_1.running_mean", "encoder.0.running_mean"),
        ("decoder.dense_1.bias", "decoder.3.bias"),
        ("decoder.batch_norm_1.running_var", "decoder.4.running_var"),
    ] {
        assert_eq!(value(&imported, name, 5), theirs(file, 9), "{name}");
        assert_eq!(value(&as_rows, name, 5), theirs(file, 5), "{name}");
    }
    // Code 1 of inputs (3, 12): ours lies at 5 * 3 + 1, theirs at 12 + 9; of outputs (12, 3) at 12 + 5 and 9 * 3 + 1.
    assert_eq!(value(&imported, "encoder.dense_1.weight", 16), theirs("encoder.1.weight", 21));
    assert_eq!(value(&imported, "decoder.dense_1.weight", 17), theirs("decoder.3.weight", 28));
    assert_eq!(value(&imported, "encoder.batch_norm_2.bias", 1), theirs("encoder.2.bias", 1));
}

#[test]
fn pictures_made_of_other_pictures_cannot_be_told() {
    let model = r#"
code = 8
encoder = [{ layer = "flatten" }]
decoder = [{ layer = "reshape", shape = [1, 2, 4] }, { layer = "conv_transpose2d", channels = 2, kernel = 2, stride = 2 },
    { layer = "reshape", shape = [2, 2, 4] }, { layer = "conv2d", channels = 2, kernel = 1 }]"#;
    let preset = preset("height = 2\nwidth = 2\nchannels = 2", model, "mse");
    let lab = Lab::new();
    let path = lab.npz(&tensors(&preset, sequential));
    let torch = ImportOptions { framework: Some(Framework::Torch), ..ImportOptions::default() };
    let text = problem(&preset, &path, &torch);
    assert!(text.starts_with("decoder.reshape_1: makes a picture of another shape"), "{text}");
    let keras = ImportOptions { framework: Some(Framework::Keras), ..torch };
    assert_same(&preset, &import(&preset, &path, &keras).unwrap());
}

#[test]
fn a_run_is_made_once() {
    let (lab, preset) = (Lab::new(), square());
    let imported = read(&preset, &lab.safetensors(renamed(&preset, &["fc1", "fc2", "fc3"])));
    let run = write_run(&lab.path("run"), &imported).unwrap();
    let read = Preset::read(&run.file("config.toml")).unwrap();
    assert_eq!(read, imported.preset);
    assert_eq!(Weights::read(&run.file("last.safetensors")).unwrap().tensors, weights(&preset).tensors);
    drop(run);
    assert!(write_run(&lab.path("run"), &imported).unwrap_err().to_string().contains("is not empty"));
}

/// What `torch_check.py` and `keras_check.py` made: a small network of every kind of layer that has weights, with what
/// the framework itself put out.
#[test]
fn outputs_of_pytorch_and_keras_are_reproduced() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/vectors");
    let preset = Preset::read(&folder.join("small.toml")).unwrap();
    for (weights, name) in [("torch.safetensors", "torch"), ("keras.npz", "keras")] {
        let Imported { preset, weights, framework, .. } = read(&preset, &folder.join(weights));
        assert_eq!(framework.to_string(), name);
        let mut network = Inference::new(Session::cpu(), &preset, weights, 4).unwrap();
        let (_, x) = npy::read(&folder.join(format!("{name}_input.npy"))).unwrap();
        for (file, got) in [("code", network.encode(&x).unwrap()), ("output", network.reconstruct(&x).unwrap())] {
            let (_, wanted) = npy::read(&folder.join(format!("{name}_{file}.npy"))).unwrap();
            assert_eq!(got.len(), wanted.len());
            let worst = got.iter().zip(&wanted).map(|(got, wanted)| (got - wanted).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-5, "{name}: {file} is off by {worst}");
            assert!(wanted.iter().any(|v| v.abs() > 0.1), "{name}: {file} says something");
        }
    }
}
