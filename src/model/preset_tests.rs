#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::super::layer::Activation;
use super::super::settings::{Convention, Loss, Noise, OptimizerKind, Split};
use super::*;

const CONV: &str = include_str!("../../data/presets/lfw-conv.toml");

/// The message for lfw-conv with one piece of its text replaced.
fn message(from: &str, to: &str) -> String {
    assert!(CONV.contains(from), "{from}");
    let text = CONV.replacen(from, to, 1);
    let message = Preset::from_toml(&text, Path::new("my.toml")).unwrap_err().to_string();
    assert!(message.starts_with("my.toml: ") && !message.contains('\n'), "{message}");
    message
}

fn set(preset: &str, assignment: &str) -> Result<Preset> {
    let mut preset = Preset::load(preset)?;
    preset.set(assignment)?;
    Ok(preset)
}

#[test]
fn bundled_presets_read_and_carry_their_own_name() {
    assert_eq!(Preset::names().next(), Some(Preset::DEFAULT));
    for name in Preset::names() {
        let preset = Preset::load(name).unwrap();
        assert_eq!(preset.name, name);
        assert!((10..=100).contains(&preset.description.len()), "{name}");
    }
}

#[test]
fn settings_are_those_of_the_originals() {
    for (name, code, epochs, noise) in [
        ("lfw-linear", 32, 15, Noise::None),
        ("lfw-conv", 32, 25, Noise::None),
        ("lfw-denoise", 512, 25, Noise::Gaussian { sigma: 0.1 }),
    ] {
        let Preset { data, model, train, .. } = Preset::load(name).unwrap();
        assert_eq!((data.height, data.width, data.channels, data.offset, data.crop), (32, 32, 3, -0.5, Some(80)));
        assert_eq!((model.code, model.init, train.epochs, train.noise), (code, Init::GlorotUniform, epochs, noise));
        assert_eq!((train.optimizer, train.convention), (OptimizerKind::Adamax, Convention::Keras));
        assert_eq!((train.lr, train.beta1, train.beta2, train.eps), (0.002, 0.9, 0.999, 1e-8));
        assert_eq!((train.batch, train.val, train.split, train.loss), (32, 0.1, Split::Seeded, Loss::Mse));
    }
    let default = Preset::load(Preset::DEFAULT).unwrap();
    assert_eq!((default.data.source, default.data.crop, default.model.code), (vec!["bundled:emoji".into()], None, 512));
    assert_eq!((default.train.noise, default.data.offset), (Noise::Gaussian { sigma: 0.3 }, -0.5));
    let conv = Preset::load("lfw-conv").unwrap();
    let activations: Vec<_> = conv.model.encoder.iter().chain(&conv.model.decoder).map(Layer::activation).collect();
    assert_eq!(activations.iter().filter(|&&activation| activation == Some(Activation::ELU)).count(), 7);
    assert_eq!(activations.last(), Some(&Some(Activation::Linear)));
}

#[test]
fn toml_with_everything_resolved_reads_back_equal() {
    for name in Preset::names() {
        let mut preset = Preset::load(name).unwrap();
        let many = r#"data.source=["a.npz", "b \"quoted\" \\ folder"]"#;
        for change in ["train.patience=3", "train.steps=100", "data.limit=50", many, "train.seed=9223372036854775807"] {
            let text = preset.to_toml().unwrap();
            assert_eq!(Preset::from_toml(&text, Path::new("config.toml")).unwrap(), preset, "{text}");
            assert!(["beta1 = 0.9\n", "shuffle = true\n"].iter().all(|part| text.contains(part)));
            assert!(text.contains("stride = 2\n") || !text.contains("\"max_pool2d\""), "{name}");
            preset.set(change).unwrap();
        }
    }
    let mut preset = Preset::load("lfw-conv").unwrap();
    preset.train.seed = u64::MAX;
    assert!(preset.to_toml().unwrap_err().to_string().starts_with("train.seed: "));
}

#[test]
fn a_path_is_read_and_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, CONV.replace("epochs = 25", "epochs = 3")).unwrap();
    assert_eq!(Preset::load(path.to_str().unwrap()).unwrap().train.epochs, 3);
    let missing = folder.path().join("missing.toml");
    let message = Preset::load(missing.to_str().unwrap()).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{}: cannot read", missing.display())), "{message}");
    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    assert!(Preset::read(&path).unwrap_err().to_string().contains("not UTF-8"));
    std::fs::write(&path, vec![b'#'; 2 << 20]).unwrap();
    assert!(Preset::read(&path).unwrap_err().to_string().contains("larger than 1048576 bytes"));
    assert!(Preset::read(folder.path()).is_err());
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let message = Preset::load("lfw-cnov").unwrap_err().to_string();
    assert!(message.contains("did you mean lfw-conv?"), "{message}");
    assert!(Preset::names().all(|name| message.contains(name)), "{message}");
    let message = Preset::load("something-else").unwrap_err().to_string();
    assert!(!message.contains("did you mean") && message.contains("lfw-denoise"), "{message}");
}

#[test]
fn distances_count_edits() {
    for (a, b, distance) in
        [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("lfw", "lf", 1), ("ab", "ba", 2)]
    {
        assert_eq!((edit_distance(a, b), edit_distance(b, a)), (distance, distance), "{a} {b}");
    }
}

#[test]
fn a_wrong_key_is_named_with_its_line() {
    let line = |part: &str| CONV.lines().position(|line| line.starts_with(part)).unwrap() + 1;
    let cases = [
        ("height = 32", "heigth = 32", line("height"), "unknown field `heigth`"),
        ("lr = 0.002", "lr = \"fast\"", line("lr"), "invalid type: string \"fast\""),
        ("batch = 32", "batch = -1", line("batch"), "invalid value: integer `-1`"),
        ("seed = 1", "seed = ", line("seed"), ""),
        ("noise = \"none\"", "noise = \"salt:0.1\"", line("noise"), "noise \"salt:0.1\" is not known"),
        ("loss = \"mse\"", "loss = \"mae\"", line("loss"), "unknown variant `mae`"),
        ("[train]", "[training]", line("[train]"), "unknown field `training`"),
        (
            "{ layer = \"flatten\" }",
            "{ layer = \"flat\" }",
            line("    { layer = \"flatten\""),
            "unknown variant `flat`",
        ),
        (
            "channels = 64, kernel = 3",
            "channels = 64, kernal = 3",
            line("    { layer = \"conv2d\", channels = 64"),
            "unknown field `kernal`",
        ),
        ("init = \"glorot-uniform\"", "init = \"glorot\"", line("init"), "initialiser \"glorot\" is not known"),
        ("name = \"lfw-conv\"", "name = \"lfw-conv", line("name"), ""),
    ];
    for (from, to, line, problem) in cases {
        let message = message(from, to);
        assert!(
            message.contains(&format!("line {line}, column ")) && message.contains(problem),
            "{line} {problem}: {message}"
        );
    }
    assert!(message("epochs = 25\n", "").contains("missing field `epochs`"));
}

#[test]
fn settings_that_cannot_work_are_named() {
    let cases = [
        ("lr = 0.002", "lr = 0.0", "train.lr: must be a finite number above 0, not 0"),
        ("lr = 0.002", "lr = -1", "train.lr: must be a finite number above 0, not -1"),
        ("lr = 0.002", "lr = nan", "train.lr: "),
        ("lr = 0.002", "lr = inf", "train.lr: "),
        ("lr = 0.002", "lr = 1e-60", "train.lr: "),
        ("eps = 1e-8", "eps = 0.0", "train.eps: "),
        ("seed = 1", "beta1 = 1.0", "train.beta1: must be at least 0 and below 1, not 1"),
        ("seed = 1", "beta2 = nan", "train.beta2: "),
        ("seed = 1", "min_delta = -0.1", "train.min_delta: "),
        ("seed = 1", "patience = 0", "train.patience: "),
        ("seed = 1", "steps = 0", "train.steps: "),
        ("val = 0.1", "val = 1.0", "train.val: "),
        ("val = 0.1", "val = -0.1", "train.val: "),
        ("batch = 32", "batch = 0", "train.batch: must be 1 to 65536, not 0"),
        ("batch = 32", "batch = 65536", "train.batch: a layer would put out 2147483648 values per batch"),
        ("epochs = 25", "epochs = 0", "train.epochs: "),
        ("height = 32", "height = 0", "data.height: must be at least 1"),
        ("channels = 3", "channels = 0", "data.channels: "),
        ("height = 32", "height = 9000000000000000000", "data: a picture of "),
        ("height = 32", "height = 30", "decoder.conv2d_transpose_4: the decoder ends in 32x32x3, but must give back"),
        ("offset = -0.5", "offset = inf", "data.offset: "),
        ("offset = -0.5", "offset = 1e300", "data.offset: "),
        ("crop = 80", "crop = 125", "data.crop: cutting 125 pixels"),
        ("crop = 80", "limit = 0", "data.limit: "),
        ("crop = 80", "source = [\"\"]", "data.source: "),
        ("code = 32 ", "code = 0", "model.code: must be 1 to "),
        ("\"lfw-conv\"", "\"../up\"", "name: "),
        ("\"lfw-conv\"", "\"\"", "name: "),
        ("channels = 64", "channels = 0", "encoder.conv2d_2: channels must be at least 1"),
        (
            "    { layer = \"flatten\" },\n",
            "",
            "encoder.dense_1: takes one row of values but gets 2x2x256: put a flatten",
        ),
        ("units = \"code\" }", "units = 31 }", "encoder.dense_1: the encoder ends in 31, but the code is 32"),
        ("seed = 1", "l2 = -1.0", "train.l2: must be a finite number of at least 0, not -1"),
        ("seed = 1", "sparsity = 1.0", "train.sparsity: needs a code between 0 and 1"),
        ("seed = 1", "sparsity_target = 1.0", "train.sparsity_target: must be above 0 and below 1, not 1"),
        ("seed = 1", "clip_norm = 0.0", "train.clip_norm: must be a finite number above 0, not 0"),
        ("seed = 1", "noise_validation = \"mask:2\"", "is not a number from 0 to 1"),
        ("\"keras\"", "\"tf1\"", "train.convention: TensorFlow 1 has no adamax"),
        ("\"adamax\"", "\"adamax\"\nmomentum = 0.9", "train.momentum: only sgd takes a momentum, not adamax"),
        ("\"adamax\"", "\"sgd\"\nnesterov = true", "train.nesterov: needs a train.momentum above 0"),
        ("\"adamax\"", "\"nadam\"\npsi = -1.0", "train.psi: must be a finite number"),
        ("\"adamax\"", "\"rmsprop\"\nrho = 1.0", "train.rho: must be at least 0 and below 1"),
        ("\"mse\"", "\"bce\"", "train.loss: bce needs pictures from 0 to 1, but data.offset is -0.5"),
    ];
    for (from, to, wanted) in cases {
        let message = message(from, to);
        assert!(message.contains(wanted), "{to}: {message}");
    }
}

#[test]
fn bce_wants_logits() {
    let sigmoid = "model.decoder.5.activation=sigmoid";
    let mut preset = Preset::load("lfw-conv").unwrap();
    let message = preset.set_all(&["data.offset=0", "train.loss=bce", sigmoid]).unwrap_err().to_string();
    assert!(message.starts_with("decoder.conv2d_transpose_4: bce takes the values before the sigmoid"), "{message}");
    preset.set_all(&["train.loss=bce", "data.offset=0"]).unwrap();
    assert_eq!(preset.train.loss, Loss::Bce);
}

#[test]
fn set_changes_one_setting() {
    let changed = |assignment: &str| set("lfw-conv", assignment).unwrap();
    assert_eq!(changed("train.lr=0.01").train.lr, 0.01);
    assert_eq!(changed("train.lr = 1").train.lr, 1.0);
    assert_eq!(changed("train.noise=gaussian:0.25").train.noise, Noise::Gaussian { sigma: 0.25 });
    assert_eq!(changed("train.noise=\"gaussian:0.25\"").train.noise, Noise::Gaussian { sigma: 0.25 });
    assert_eq!(changed("data.crop=").data.crop, None);
    assert_eq!(changed("train.patience=2").train.patience, Some(2));
    assert_eq!(changed("name=mine").name, "mine");
    assert_eq!(changed("data.source=/some/folder").data.source, ["/some/folder"]);
    assert_eq!(changed("model.encoder.0.activation=relu").model.encoder[0].activation(), Some(Activation::Relu));
    let layers = r#"model.encoder=[{ layer = "flatten" }, { layer = "dense", units = "code" }]"#;
    assert_eq!(changed(layers).model.encoder.len(), 2);
    let unit = r#"model.encoder.9={ layer = "dense", units = 32, activation = "tanh" }"#;
    assert_eq!(changed(unit).model.encoder[9].activation(), Some(Activation::Tanh));
}

#[test]
fn set_names_the_key_that_cannot_be_set() {
    let cases = [
        ("train.lrr=1", "train.lrr: unknown field `lrr`"),
        ("training.lr=1", "training.lr: is no setting"),
        ("train.lr.x=1", "train.lr.x: is no setting"),
        ("train.lr", "--set: \"train.lr\" is no key=value"),
        ("=3", ": unknown field"),
        ("train.lr=fast", "train.lr: invalid type: string \"fast\""),
        ("train.lr=", "train.lr: missing field `lr`"),
        ("train.batch=0", "train.batch: must be 1 to"),
        ("train.batch=1.5", "train.batch: invalid type: floating point `1.5`"),
        ("model.encoder.99={}", "model.encoder.99: the list has no item"),
        ("model.encoder.99.channels=3", "model.encoder.99.channels: is no setting"),
        ("model.encoder.0.kernal=3", "model.encoder.0.kernal: unknown field `kernal`"),
        ("train.seed=99999999999999999999", "train.seed: "),
        ("train=3", "train: invalid type"),
        ("train.lr=1\ntrain.val=0.5", "train.lr: "),
    ];
    let before = Preset::load("lfw-conv").unwrap();
    for (assignment, wanted) in cases {
        let mut preset = before.clone();
        let message = preset.set(assignment).unwrap_err().to_string();
        assert!(message.starts_with(wanted) && !message.contains('\n'), "{assignment}: {message}");
        assert_eq!(preset, before, "{assignment}");
    }
}
