//! Each switch of a model and of its training changes what it says, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::cpu::Oracle;
use degrain::data::{Dataset, Split, Values};
use degrain::model::Preset;
use degrain::plan::{Plan, PlanOptions};
use degrain::session::Session;
use degrain::tensor::Array;
use degrain::train::{Data, Event, Inference, Observer, RunDir, TrainOptions, Trainer, Weights, synthetic_loss};
use std::collections::BTreeMap;
use std::path::Path;

#[path = "switches/codes.rs"]
mod codes;

const PRESET: &str = r#"
name = "small"
description = "dense layers on 2x2 pictures"
[data]
height = 2
width = 2
channels = 1
[model]
code = 3
batch_norm = "none"
encoder = [
  { layer = "flatten" },
  { layer = "dense", units = 5, activation = "tanh" },
  { layer = "batch_norm" },
  { layer = "dense", units = "code", activation = "sigmoid" },
]
decoder = [
  { layer = "dense", units = 5, activation = "tanh" },
  { layer = "dense", units = 4 },
  { layer = "reshape", shape = [2, 2, 1] },
]
[train]
loss = "mse"
optimizer = "adam"
lr = 0.01
epochs = 4
batch = 4
val = 0.0
shuffle = false
"#;

fn preset(changes: &[&str]) -> Preset {
    let mut preset = Preset::from_toml(PRESET, Path::new("small.toml")).unwrap();
    preset.set_all(changes).unwrap();
    preset
}

/// Loss and gradients by name, in f64, with these values in place of the first ones.
fn gradients(preset: &Preset, replace: &BTreeMap<String, Vec<f64>>) -> (f64, BTreeMap<String, Vec<f64>>) {
    let synthetic = synthetic_loss(preset, 4).unwrap();
    let plan = Plan::new(&synthetic.step.graph, PlanOptions { target: None, fuse: false, variant: None }).unwrap();
    let mut oracle = Oracle::new();
    for (name, array) in synthetic.step.values {
        let array = replace.get(&name).map_or(array, |values| Array::F64(values.clone()));
        oracle.write(&name, array);
    }
    oracle.run(&plan).unwrap();
    let read = |name: &str| oracle.read(name).unwrap().f64().to_vec();
    let gradients = synthetic.gradients.iter().map(|[parameter, gradient]| (parameter.clone(), read(gradient)));
    (read(&synthetic.loss)[0], gradients.collect())
}

/// The first values of every parameter.
fn first_values(preset: &Preset) -> BTreeMap<String, Vec<f64>> {
    let architecture = preset.architecture().unwrap();
    let draw = |p| preset.model.init.draw(preset.train.seed, p).into_iter().map(f64::from).collect();
    architecture.parameters().map(|p| (p.name.clone(), draw(p))).collect()
}

fn transposed(values: &[f64], rows: usize) -> Vec<f64> {
    let columns = values.len() / rows;
    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
}

#[test]
fn tied_kernels_are_one_kernel_with_the_sum_of_both_gradients() {
    let (tied, untied) = (preset(&["model.tie=true"]), preset(&[]));
    let mut values = first_values(&untied);
    let pairs = [("dense_1", "dense_2", 4), ("dense_2", "dense_1", 5)];
    for (encoder, decoder, inputs) in pairs {
        let kernel = transposed(&values[&format!("encoder.{encoder}.weight")], inputs);
        values.insert(format!("decoder.{decoder}.weight"), kernel);
    }
    let (loss, of_tied) = gradients(&tied, &BTreeMap::new());
    let (same_loss, of_untied) = gradients(&untied, &values);
    assert!((loss - same_loss).abs() <= 1e-12 * loss, "{loss} tied, {same_loss} with equal kernels");
    assert_eq!(of_tied.len() + 2, of_untied.len());
    for (name, gradient) in &of_tied {
        let mut wanted = of_untied[name].clone();
        if let Some((_, decoder, _)) = pairs.iter().find(|(encoder, ..)| *name == format!("encoder.{encoder}.weight")) {
            let other = &of_untied[&format!("decoder.{decoder}.weight")];
            let rows = wanted.len() * other.len() / wanted.len() / if *decoder == "dense_2" { 4 } else { 5 };
            wanted.iter_mut().zip(transposed(other, rows)).for_each(|(w, o)| *w += o);
        }
        for (got, wanted) in gradient.iter().zip(&wanted) {
            assert!((got - wanted).abs() <= 1e-12, "{name}: {got}, wanted {wanted}");
        }
    }
}

struct Quiet;

impl Observer for Quiet {
    fn event(&mut self, _: &Event<'_>) {}
}

/// Four pictures of all different values.
fn pictures() -> Dataset {
    Dataset {
        shape: [2, 2, 1],
        values: Values::U8((0..16u32).map(|i| (i * 37 % 256) as u8).collect()),
        names: (0..4).map(|i| format!("#{i}")).collect(),
        groups: None,
        labels: None,
        attributes: None,
        category: None,
        skipped: Vec::new(),
        ignored: 0,
        origin: "generated".to_owned(),
        from_cache: false,
    }
}

fn floats(data: &Dataset) -> Vec<f32> {
    let mut all = vec![0.0; data.len() * 4];
    for (row, sample) in all.chunks_exact_mut(4).enumerate() {
        assert!(data.sample_f32(row, 0.0, sample));
    }
    all
}

/// Trains and returns the last weights.
fn train(preset: &Preset) -> Weights {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(&folder.path().join("run")).unwrap();
    let split = Split { train: (0..4).collect(), held_out: Vec::new() };
    let options = TrainOptions { log_every: 100, ..TrainOptions::default() };
    let mut trainer = Trainer::start(preset, &pictures(), &split, Session::cpu(), run, &options).unwrap();
    trainer.run(&mut Quiet).unwrap();
    Weights::read(&folder.path().join("run/last.safetensors")).unwrap()
}

fn values(weights: &Weights, name: &str) -> Vec<f64> {
    match &weights.tensors[name].data {
        Data::F32(values) => values.iter().map(|&v| f64::from(v)).collect(),
        Data::U32(_) => panic!("{name} holds counters"),
    }
}

/// tanh(x w + b) of the first layer, one row per picture.
fn first_layer(x: &[f32], weight: &[f64], bias: &[f64]) -> Vec<Vec<f64>> {
    let unit = |x: &[f32], j: usize| {
        let sum: f64 = x.iter().enumerate().map(|(i, &x)| f64::from(x) * weight[i * 5 + j]).sum();
        (sum + bias[j]).tanh()
    };
    x.chunks_exact(4).map(|x| (0..5).map(|j| unit(x, j)).collect()).collect()
}

fn mean_and_variance(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    (mean, values.map(|v| (v - mean).powi(2)).sum::<f64>() / n)
}

/// After one step the running statistics have moved by a hundredth towards those of the batch, which the first weights
/// give; and inference normalises with them.
fn check_batch_norm(kind: &str, features: usize) {
    let preset = preset(&[&format!("model.batch_norm={kind}"), "train.steps=1"]);
    let weights = train(&preset);
    let first = first_values(&preset);
    let x = floats(&pictures());
    let hidden = first_layer(&x, &first["encoder.dense_1.weight"], &first["encoder.dense_1.bias"]);
    let (mean, variance) =
        (values(&weights, "encoder.batch_norm_1.running_mean"), values(&weights, "encoder.batch_norm_1.running_var"));
    assert_eq!((mean.len(), variance.len()), (features, features));
    for feature in 0..features {
        let of_feature = hidden.iter().flat_map(|row| row.iter().enumerate());
        let of_feature = of_feature.filter(|(j, _)| features == 1 || *j == feature).map(|(_, &h)| h);
        let (batch_mean, batch_variance) = mean_and_variance(of_feature);
        assert!((mean[feature] - 0.01 * batch_mean).abs() <= 1e-7, "{kind}: mean {}", mean[feature]);
        let wanted = 0.99 + 0.01 * batch_variance;
        assert!((variance[feature] - wanted).abs() <= 1e-6, "{kind}: variance {}", variance[feature]);
    }
    let read = |name: &str| values(&weights, name);
    let hidden = first_layer(&x, &read("encoder.dense_1.weight"), &read("encoder.dense_1.bias"));
    let (gain, shift) = (read("encoder.batch_norm_1.weight"), read("encoder.batch_norm_1.bias"));
    assert_eq!((gain.len(), shift.len()), (features, features));
    let (weight, bias) = (read("encoder.dense_2.weight"), read("encoder.dense_2.bias"));
    let normal = |j: usize, h: f64| {
        let f = j % features;
        gain[f] * (h - mean[f]) / (variance[f] + f64::from(1e-3f32)).sqrt() + shift[f]
    };
    let codes = Inference::new(Session::cpu(), &preset, weights.clone(), 3).unwrap().encode(&x).unwrap();
    for (row, hidden) in hidden.iter().enumerate() {
        for k in 0..3 {
            let sum: f64 = hidden.iter().enumerate().map(|(j, &h)| normal(j, h) * weight[j * 3 + k]).sum();
            let wanted = 1.0 / (1.0 + (-sum - bias[k]).exp());
            let got = f64::from(codes[row * 3 + k]);
            assert!((got - wanted).abs() <= 1e-5, "{kind}: code {k} of picture {row}: {got}, wanted {wanted}");
        }
    }
}

#[test]
fn batch_norm_per_feature_keeps_running_statistics_that_inference_uses() {
    check_batch_norm("feature", 5);
}

#[test]
fn batch_norm_per_tensor_has_one_mean_for_the_whole_layer() {
    check_batch_norm("tensor", 1);
}

#[test]
fn without_batch_norm_there_is_none() {
    let (with, without) = (preset(&["model.batch_norm=feature"]), preset(&[]));
    let names = |preset: &Preset| {
        let architecture = preset.architecture().unwrap();
        architecture.saved().map(|p| p.name.clone()).collect::<Vec<_>>()
    };
    let rest: Vec<String> = names(&with).into_iter().filter(|name| !name.contains("batch_norm_1.")).collect();
    assert_eq!(rest, names(&without));
    assert_eq!(names(&with).len(), rest.len() + 4);
}

fn assert_near(got: f64, wanted: f64, what: &str) {
    assert!((got - wanted).abs() <= 1e-12 + 1e-7 * wanted.abs(), "{what}: {got}, wanted {wanted}");
}

#[test]
fn weight_penalties_are_those_of_the_formulas_and_tied_kernels_count_once() {
    let none = BTreeMap::new();
    let penalty = ["train.l1=0.25", "train.l2=0.5", "model.batch_norm=feature"];
    for tie in ["model.tie=false", "model.tie=true"] {
        let plain = preset(&["model.batch_norm=feature", tie]);
        let penalised = preset(&[&penalty[..], &[tie]].concat());
        let ((loss, before), (total, after)) = (gradients(&plain, &none), gradients(&penalised, &none));
        let values = first_values(&plain);
        let kernels = values.iter().filter(|(name, _)| name.contains("dense") && name.ends_with("weight"));
        let penalty: f64 = kernels.flat_map(|(_, w)| w).map(|w| 0.25 * w.abs() + 0.5 * w * w / 2.0).sum();
        assert_near(total - loss, penalty, "penalty");
        for (name, gradient) in &after {
            let is_kernel = name.contains("dense") && name.ends_with("weight");
            for ((got, before), w) in gradient.iter().zip(&before[name]).zip(&values[name]) {
                let wanted = if is_kernel { before + 0.25 * w.signum() + 0.5 * w } else { *before };
                assert!((got - wanted).abs() <= 1e-12, "{name}: {got}, wanted {wanted}");
            }
        }
    }
}

/// The change of all parameters after one step of plain gradient descent with lr 1, which is minus the gradient.
fn one_step(changes: &[&str]) -> Vec<f64> {
    let sgd = ["train.optimizer=sgd", "train.lr=1", "train.steps=1"];
    let preset = preset(&[&sgd[..], changes].concat());
    let after = train(&preset);
    let change = |(name, first): (String, Vec<f64>)| {
        values(&after, &name).into_iter().zip(first).map(|(a, b)| a - b).collect::<Vec<f64>>()
    };
    first_values(&preset).into_iter().flat_map(change).collect()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[test]
fn clipping_scales_all_gradients_by_one_factor() {
    let free = one_step(&[]);
    let length = norm(&free);
    let limit = 0.4 * length;
    let clipped = one_step(&[&format!("train.clip_norm={limit}")]);
    assert!((norm(&clipped) - limit).abs() <= 1e-5 * limit, "{} with a limit of {limit}", norm(&clipped));
    for (clipped, free) in clipped.iter().zip(&free) {
        assert!((clipped - 0.4 * free).abs() <= 1e-6, "{clipped}, unclipped {free}");
    }
    assert_eq!(one_step(&[&format!("train.clip_norm={}", 2.0 * length)]), free, "below the limit nothing changes");
}

#[test]
fn schedules_and_warm_up_scale_the_change_of_a_step() {
    let free = one_step(&[]);
    let scaled = |changes: &[&str], share: f64| {
        for (got, free) in one_step(changes).iter().zip(&free) {
            assert!((got - share * free).abs() <= 1e-6, "{changes:?}: {got}, wanted {share} of {free}");
        }
    };
    scaled(&["train.warmup=4"], 0.25);
    scaled(&["train.warmup=1"], 1.0);
    scaled(&["train.schedule=cosine"], 1.0);
    scaled(&["train.schedule=one-cycle:0"], 1.0 / 250_000.0);
    scaled(&["train.schedule=step:1:0.5"], 1.0);
}

/// Validation loss after one epoch, of a network whose learning rate is too small to change anything.
fn validation_loss(changes: &[&str]) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(&folder.path().join("run")).unwrap();
    let still = ["train.lr=1e-30", "train.epochs=1", "train.val=0.5"];
    let preset = preset(&[&still[..], changes].concat());
    let split = Split { train: vec![0, 1], held_out: vec![2, 3] };
    let options = TrainOptions { log_every: 100, ..TrainOptions::default() };
    let mut trainer = Trainer::start(&preset, &pictures(), &split, Session::cpu(), run, &options).unwrap();
    let outcome = trainer.run(&mut Quiet).unwrap();
    (outcome.train_loss.unwrap(), outcome.val_loss.unwrap())
}

#[test]
fn noise_is_set_apart_for_training_validation_and_tests() {
    let kinds = ["gaussian:0.5", "mask:0.5", "salt-pepper:0.5", "rect:1"];
    let (clean_training, clean_validation) = validation_loss(&[]);
    for kind in kinds {
        let (noise, validation) = (format!("train.noise={kind}"), format!("train.noise_validation={kind}"));
        let (training, held_out) = validation_loss(&[&noise]);
        assert!(training != clean_training && held_out != clean_validation, "{kind}");
        let only_training = validation_loss(&[&noise, "train.noise_validation=none"]);
        assert_eq!(only_training, (training, clean_validation), "{kind}");
        assert_eq!(validation_loss(&[&validation]), (clean_training, held_out), "{kind}");
        let inference = preset(&[&noise, "train.noise_inference=none"]);
        assert_eq!(inference.train.inference_noise(), degrain::model::Noise::None);
        assert_eq!(preset(&[&validation]).train.inference_noise().to_string(), kind);
    }
}

#[test]
fn the_noise_of_an_evaluation_is_that_of_validation() {
    for kind in ["gaussian:0.5", "mask:0.5", "salt-pepper:0.5", "rect:1"] {
        let settings = ["train.lr=1e-30".to_owned(), "train.epochs=1".to_owned(), format!("train.noise={kind}")];
        let preset = preset(&settings.each_ref().map(String::as_str));
        let (_, val_loss) = validation_loss(&settings.each_ref().map(String::as_str));
        let mut inference = Inference::new(Session::cpu(), &preset, first_weights(&preset), 4).unwrap();
        let (mut sum, mut seen) = (0.0, 0);
        let noise = preset.train.inference_noise();
        inference
            .evaluate(&pictures(), &[2, 3], noise, preset.train.seed, &mut |picture| {
                let errors = picture.clean.iter().zip(picture.restored).map(|(a, b)| f64::from(a - b).powi(2));
                sum += errors.sum::<f64>();
                seen += picture.clean.len();
            })
            .unwrap();
        let mse = sum / seen as f64;
        assert!((mse - val_loss).abs() <= 1e-6 * mse, "{kind}: {mse} evaluated, {val_loss} validated");
    }
}

#[test]
fn the_logged_loss_comes_back_from_the_weights_of_any_network() {
    let all = ["model.tie=true", "model.batch_norm=feature", "train.l2=0.01", "train.noise=gaussian:0.5"];
    let preset = preset(&[&all[..], &["train.val=0.5", "train.epochs=3", "train.batch=1"]].concat());
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(&folder.path().join("run")).unwrap();
    let split = Split { train: vec![0, 1], held_out: vec![2, 3] };
    let options = TrainOptions::default();
    let mut trainer = Trainer::start(&preset, &pictures(), &split, Session::cpu(), run, &options).unwrap();
    let logged = trainer.run(&mut Quiet).unwrap().val_loss;
    let weights = || Weights::read(&folder.path().join("run/last.safetensors")).unwrap();
    let mut session = Session::cpu();
    let mut loss =
        |split: &Split| degrain::train::validation_loss(&mut session, &preset, &pictures(), split, weights());
    assert_eq!(loss(&split).unwrap(), logged);
    let none = Split { train: vec![0, 1, 2, 3], held_out: Vec::new() };
    assert_eq!(loss(&none).unwrap(), None);
}

fn first_weights(preset: &Preset) -> Weights {
    Weights::initial(preset).unwrap()
}

#[test]
fn dropout_drops_in_training_alone() {
    let dropout = r#"model.encoder.2={ layer = "dropout", rate = 0.5 }"#;
    let (plain, dropped) = (preset(&[]), preset(&[dropout]));
    assert_eq!(first_values(&plain), first_values(&dropped), "dropout learns nothing");
    let none = BTreeMap::new();
    assert_ne!(gradients(&plain, &none).0, gradients(&dropped, &none).0);
    let weights = || train(&plain);
    let codes = |preset: &Preset| {
        Inference::new(Session::cpu(), preset, weights(), 4).unwrap().encode(&floats(&pictures())).unwrap()
    };
    assert_eq!(codes(&plain), codes(&dropped));
}

#[test]
fn a_picture_shaped_code_is_a_row_for_users_and_a_picture_for_the_decoder() {
    let preset = Preset::load("quickdraw-conv").unwrap();
    let architecture = preset.architecture().unwrap();
    assert_eq!(architecture.encoder.last().unwrap().output, [4, 4, 8]);
    assert_eq!(architecture.decoder[0].input, [4, 4, 8]);
    let mut inference = Inference::new(Session::cpu(), &preset, first_weights(&preset), 2).unwrap();
    let x: Vec<f32> = (0..3 * 784).map(|i| (i * 7 % 11) as f32 / 11.0).collect();
    assert_eq!(inference.encode(&x).unwrap().len(), 3 * 128);
    let y = inference.reconstruct(&x).unwrap();
    assert!(y.len() == 3 * 784 && y.iter().all(|y| (0.0..=1.0).contains(y)), "the sigmoid belongs to the pictures");
}
