#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::super::settings::Noise;
use super::*;

fn preset(name: &str, changes: &[&str]) -> Preset {
    let mut preset = Preset::load(name).unwrap();
    let all: Vec<&str> = changes.iter().copied().chain(["train.pretrain_epochs=7"]).collect();
    preset.set_all(&all).unwrap();
    preset
}

/// Shape of the pictures and code of each stage.
fn sizes(stages: &[Stage]) -> Vec<([usize; 3], usize)> {
    let size = |stage: &Stage| {
        let architecture = stage.preset.architecture().unwrap();
        (architecture.input, architecture.code)
    };
    stages.iter().map(size).collect()
}

#[test]
fn mirrored_presets_fall_into_pairs_of_layers() {
    let of = |name| sizes(&preset(name, &[]).stages().unwrap());
    assert_eq!(of("lfw-linear"), [([32, 32, 3], 32)]);
    assert_eq!(of("quickdraw-deep"), [([28, 28, 1], 128), ([1, 1, 128], 64), ([1, 1, 64], 32)]);
    assert_eq!(of("mnist-dae"), [([28, 28, 1], 300), ([1, 1, 300], 100), ([1, 1, 100], 50)]);
    assert_eq!(of("pokemon-conv"), [([40, 40, 3], 20 * 20 * 16), ([20, 20, 16], 10 * 10 * 32)]);
    let convolutions =
        [([32, 32, 3], 8192), ([16, 16, 32], 4096), ([8, 8, 64], 2048), ([4, 4, 128], 1024), ([2, 2, 256], 32)];
    assert_eq!(of("lfw-conv"), convolutions);
    assert_eq!(preset("lfw-conv", &[]).stages().unwrap()[4].decoder, "decoder.dense_1");
}

#[test]
fn every_stage_is_a_preset_that_can_be_written() {
    for name in ["lfw-conv", "mnist-dae", "stacked", "pokemon-mlp", "sparse"] {
        let whole = preset(name, &["train.steps=3", "train.patience=2", "data.limit=9"]);
        let stages = whole.stages().unwrap();
        for (index, stage) in stages.iter().enumerate() {
            let Preset { data, train, .. } = &stage.preset;
            let text = stage.preset.to_toml().unwrap();
            assert_eq!(Preset::from_toml(&text, "stage.toml".as_ref()).unwrap(), stage.preset, "{text}");
            assert_eq!((train.epochs, train.pretrain_epochs, train.steps, train.patience), (7, 0, None, None));
            assert_eq!(train.loss, if index == 0 { whole.train.loss } else { Loss::Mse });
            assert_eq!((data.limit, data.offset), if index == 0 { (Some(9), whole.data.offset) } else { (None, 0.0) });
        }
        let mut names: Vec<_> = stages.iter().flat_map(|stage| &stage.tensors).map(|(_, p)| p.clone()).collect();
        let mut wanted: Vec<_> = whole.architecture().unwrap().saved().cloned().collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        wanted.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(names, wanted, "each tensor of {name} is in one stage, with its own shape");
    }
    assert_eq!(Preset::load("quickdraw-deep").unwrap().stages().unwrap(), []);
}

#[test]
fn tied_stages_have_the_kernel_of_the_encoder() {
    let stages = preset("mnist-dae", &[]).stages().unwrap();
    let names = |stage: &Stage| stage.tensors.iter().map(|(_, p)| p.name.clone()).collect::<Vec<_>>();
    assert!(stages.iter().all(|stage| stage.preset.model.tie));
    assert!(names(&stages[1]).contains(&"encoder.dense_2.weight".to_owned()));
    assert!(!stages.iter().flat_map(names).any(|name| name.starts_with("decoder.dense") && name.ends_with("weight")));
    let statistics = names(&stages[1]).into_iter().filter(|name| name.contains("running_mean")).collect::<Vec<_>>();
    assert_eq!(statistics, ["encoder.batch_norm_2.running_mean", "decoder.batch_norm_2.running_mean"]);
}

#[test]
fn noise_and_penalties_go_where_they_mean_something() {
    let noise = |text: &str| {
        let stages = preset("quickdraw-deep", &[&format!("train.noise={text}"), "train.noise_validation=none"]);
        stages.stages().unwrap().iter().map(|stage| stage.preset.train.noise.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(noise("mask:0.3"), ["mask:0.3"; 3]);
    assert_eq!(noise("rect:8"), ["rect:8", "none", "none"], "codes have no squares");
    let code = ["model.encoder.3.activation=sigmoid", "train.sparsity=0.1", "train.contractive=0.2", "train.l2=0.3"];
    let stages = preset("quickdraw-deep", &code).stages().unwrap();
    let of = |stage: &Stage| (stage.preset.train.sparsity, stage.preset.train.contractive, stage.preset.train.l2);
    assert_eq!(stages.iter().map(of).collect::<Vec<_>>(), [(0.0, 0.0, 0.3), (0.0, 0.0, 0.3), (0.1, 0.2, 0.3)]);
    assert!(stages.iter().all(|stage| stage.preset.train.validation_noise() == Noise::None));
}

#[test]
fn dropout_stays_on_codes_and_leaves_outputs() {
    let dropout = [
        r#"model.encoder.2={ layer = "dropout", rate = 0.5 }"#,
        r#"model.encoder.3={ layer = "dense", units = 32, activation = "relu" }"#,
        r#"model.decoder=[{ layer = "dense", units = 128 }, { layer = "dropout", rate = 0.5 }, { layer = "dense", units = 784 }, { layer = "reshape", shape = [28, 28, 1] }]"#,
    ];
    let stages = preset("quickdraw-deep", &dropout).stages().unwrap();
    let drops = |layers: &[Layer]| layers.iter().filter(|layer| matches!(layer, Layer::Dropout(_))).count();
    let of = |stage: &Stage| (drops(&stage.preset.model.encoder), drops(&stage.preset.model.decoder));
    assert_eq!(stages.iter().map(of).collect::<Vec<_>>(), [(1, 0), (0, 0)]);
}

#[test]
fn networks_without_mirrors_are_refused_by_layer() {
    let message = |name: &str, changes: &[&str]| {
        let mut preset = Preset::load(name).unwrap();
        let all: Vec<&str> = changes.iter().copied().chain(["train.pretrain_epochs=1"]).collect();
        let message = preset.set_all(&all).unwrap_err().to_string();
        assert!(message.contains("train.pretrain_epochs") && !message.contains('\n'), "{message}");
        message
    };
    assert!(message("vae", &[]).starts_with("encoder.gaussian_code_1: is random and has two kernels"));
    let more = message("quickdraw-conv", &[]);
    assert!(more.starts_with("decoder.conv2d_4: has no mirror, as 3 layers encode and 4 decode"), "{more}");
    let fewer = message("quickdraw-deep", &[r#"model.decoder.0={ layer = "dropout", rate = 0.1 }"#]);
    assert!(fewer.starts_with("encoder.dense_1: has no mirror, as 3 layers encode and 2 decode"), "{fewer}");
    let shape = message("quickdraw-deep", &["model.decoder.0.units=65"]);
    assert!(shape.starts_with("decoder.dense_1: does not mirror encoder.dense_3, whose input is 64"), "{shape}");
}
