//! What is asked of codes: variational, sparse and contractive, held against formulas written out by hand.

use super::*;
use degrain::op::{normal_from_bits, philox4x32};
use degrain::train::{SyntheticLoss, read_rows};

/// The last row of `metrics.csv` of a run on the four pictures that changes nothing.
fn still_epoch(preset: &Preset) -> degrain::train::EpochRow {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(&folder.path().join("run")).unwrap();
    let split = Split { train: (0..4).collect(), held_out: Vec::new() };
    let options = TrainOptions { log_every: 100, ..TrainOptions::default() };
    let mut trainer = Trainer::start(preset, &pictures(), &split, Session::cpu(), run, &options).unwrap();
    trainer.run(&mut Quiet).unwrap();
    let rows = read_rows(&folder.path().join("run/metrics.csv")).unwrap();
    rows.last().copied().unwrap()
}

/// x w + b, x one row.
fn dense(x: &[f64], values: &BTreeMap<String, Vec<f64>>, layer: &str) -> Vec<f64> {
    let (weight, bias) = (&values[&format!("{layer}.weight")], &values[&format!("{layer}.bias")]);
    let unit = |j: usize| x.iter().enumerate().map(|(i, x)| x * weight[i * bias.len() + j]).sum::<f64>() + bias[j];
    (0..bias.len()).map(unit).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

const VARIATIONAL: [&str; 5] = [
    r#"model.encoder=[{ layer = "flatten" }, { layer = "gaussian_code" }]"#,
    r#"model.decoder=[{ layer = "dense", units = 4 }, { layer = "reshape", shape = [2, 2, 1] }]"#,
    "train.lr=1e-30",
    "train.epochs=1",
    "train.kl=0.5",
];

#[test]
fn a_variational_loss_is_the_sum_over_a_picture_and_the_divergence() {
    let preset = preset(&VARIATIONAL);
    let values = first_values(&preset);
    let named: Vec<&str> = values.keys().map(String::as_str).filter(|name| name.starts_with("encoder")).collect();
    let heads = ["log_variance.bias", "log_variance.weight", "mean.bias", "mean.weight"];
    assert!(named.iter().zip(heads).all(|(name, head)| *name == format!("encoder.{head}")), "{named:?}");
    let (mut reconstruction, mut divergence) = (0.0, 0.0);
    for (row, x) in floats(&pictures()).chunks_exact(4).enumerate() {
        let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let (mean, logarithm) = (dense(&x, &values, "encoder.mean"), dense(&x, &values, "encoder.log_variance"));
        // Layer 2 of the network, training's stream, the first step.
        let words = philox4x32([0, row as u32, 0, 0], [1, 1 + 2 * 256]);
        let z: Vec<f64> =
            (0..3).map(|k| mean[k] + (logarithm[k] / 2.0).exp() * f64::from(normal_from_bits(words[k]))).collect();
        let y = dense(&z, &values, "decoder.dense_1");
        reconstruction += x.iter().zip(&y).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / 4.0;
        divergence +=
            (0..3).map(|k| -0.5 * (1.0 + logarithm[k] - mean[k].powi(2) - logarithm[k].exp())).sum::<f64>() / 4.0;
    }
    let epoch = still_epoch(&preset);
    let near = |got: f64, wanted: f64| (got - wanted).abs() <= 1e-5 * wanted.abs();
    assert!(near(epoch.parts[0].unwrap(), reconstruction), "{:?}, wanted {reconstruction}", epoch.parts);
    assert!(near(epoch.parts[1].unwrap(), 0.5 * divergence), "{:?}, wanted {}", epoch.parts, 0.5 * divergence);
    assert!(near(epoch.train_loss, reconstruction + 0.5 * divergence), "{}", epoch.train_loss);
    assert_eq!(epoch.parts[2], None, "the kernels have no penalty here");
}

#[test]
fn a_variational_code_is_the_mean_in_use() {
    let preset = preset(&VARIATIONAL);
    let values = first_values(&preset);
    let x = floats(&pictures());
    let codes = Inference::new(Session::cpu(), &preset, first_weights(&preset), 4).unwrap().encode(&x).unwrap();
    for (x, code) in x.chunks_exact(4).zip(codes.chunks_exact(3)) {
        let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        for (got, wanted) in code.iter().zip(dense(&x, &values, "encoder.mean")) {
            assert!((f64::from(*got) - wanted).abs() <= 1e-6, "{got}, wanted {wanted}");
        }
    }
}

/// Mean activation of each unit of the code after training with these changes.
fn mean_activations(changes: &[&str]) -> Vec<f64> {
    let preset = preset(&[&["train.epochs=400", "train.lr=0.05"][..], changes].concat());
    let mut inference = Inference::new(Session::cpu(), &preset, train(&preset), 4).unwrap();
    let codes = inference.encode(&floats(&pictures())).unwrap();
    (0..3).map(|j| codes.iter().skip(j).step_by(3).map(|&h| f64::from(h)).sum::<f64>() / 4.0).collect()
}

#[test]
fn sparsity_moves_mean_activations_to_the_target() {
    let free = mean_activations(&[]);
    assert!(free.iter().any(|mean| (mean - 0.1).abs() > 0.1), "{free:?}");
    let sparse = mean_activations(&["train.sparsity=1", "train.sparsity_target=0.1"]);
    assert!(sparse.iter().all(|mean| (mean - 0.1).abs() < 0.02), "{sparse:?}");
    let small = mean_activations(&["train.activity_l1=1"]);
    assert!(small.iter().sum::<f64>() < 0.2 * free.iter().sum::<f64>(), "{small:?}, without {free:?}");
}

#[test]
fn sparsity_is_that_of_the_formula() {
    let none = BTreeMap::new();
    let (loss, _) = gradients(&preset(&[]), &none);
    let (total, _) = gradients(&preset(&["train.sparsity=0.5", "train.sparsity_target=0.2"]), &none);
    let preset = preset(&[]);
    let values = first_values(&preset);
    let codes: Vec<Vec<f64>> = inputs(&preset).iter().map(|x| code(x, &values)).collect();
    let wanted: f64 = (0..3)
        .map(|j| {
            let r = codes.iter().map(|code| code[j]).sum::<f64>() / 4.0;
            let rho = f64::from(0.2f32);
            0.5 * (rho * (rho / r).ln() + (1.0 - rho) * ((1.0 - rho) / (1.0 - r)).ln())
        })
        .sum();
    assert_near(total - loss, wanted, "sparsity");
}

/// The synthetic pictures as the network sees them.
fn inputs(preset: &Preset) -> Vec<Vec<f64>> {
    let synthetic = synthetic_loss(preset, 4).unwrap();
    let bytes = synthetic.step.values.iter().find(|(name, _)| name == "data.0").map(|(_, array)| array.u8().to_vec());
    bytes.unwrap().chunks_exact(4).map(|x| x.iter().map(|&x| f64::from(x) / 255.0).collect()).collect()
}

/// The code of the small network: tanh, then sigmoid.
fn code(x: &[f64], values: &BTreeMap<String, Vec<f64>>) -> Vec<f64> {
    let hidden: Vec<f64> = dense(x, values, "encoder.dense_1").into_iter().map(f64::tanh).collect();
    dense(&hidden, values, "encoder.dense_2").into_iter().map(sigmoid).collect()
}

/// Mean over the pictures of the squared Frobenius norm of the Jacobian, as a product of matrices.
fn squared_norm(pictures: &[Vec<f64>], values: &BTreeMap<String, Vec<f64>>) -> f64 {
    let (first, second) = (&values["encoder.dense_1.weight"], &values["encoder.dense_2.weight"]);
    let mut sum = 0.0;
    for x in pictures {
        let hidden: Vec<f64> = dense(x, values, "encoder.dense_1").into_iter().map(f64::tanh).collect();
        let code = code(x, values);
        for (k, h) in code.iter().enumerate() {
            for i in 0..4 {
                let through = |j: usize| first[i * 5 + j] * (1.0 - hidden[j].powi(2)) * second[j * 3 + k];
                sum += (h * (1.0 - h) * (0..5).map(through).sum::<f64>()).powi(2);
            }
        }
    }
    sum / pictures.len() as f64
}

#[test]
fn the_contractive_penalty_is_the_norm_of_the_product_of_all_layers() {
    let plain = preset(&[]);
    let wanted = squared_norm(&inputs(&plain), &first_values(&plain));
    let none = BTreeMap::new();
    let (loss, _) = gradients(&plain, &none);
    let (total, _) = gradients(&preset(&["train.contractive=0.5"]), &none);
    assert_near(total - loss, 0.5 * wanted, "exact");
    // The estimate: the mean over many seeds, each of which draws another vector for each picture.
    let values = synthetic_loss(&plain, 4).unwrap().step.values;
    let estimates = (1..=600u32).map(|seed| {
        let changes = ["train.contractive=1", "train.contractive_norm=projection", &format!("train.seed={seed}")];
        let SyntheticLoss { step, loss: name, .. } = synthetic_loss(&preset(&changes), 4).unwrap();
        let plan = Plan::new(&step.graph, PlanOptions { target: None, fuse: false, variant: None }).unwrap();
        let mut oracle = Oracle::new();
        values.iter().for_each(|(name, array)| oracle.write(name, array.clone()));
        oracle.run(&plan).unwrap();
        oracle.read(&name).unwrap().f64()[0] - loss
    });
    let estimates: Vec<f64> = estimates.collect();
    let (mean, variance) = mean_and_variance(estimates.iter().copied());
    let error = (variance / 600.0).sqrt();
    assert!(error > 0.0 && error < 0.1 * wanted, "{error}");
    assert!((mean - wanted).abs() <= 4.0 * error, "{mean} within {error}, wanted {wanted}");
}

#[test]
fn the_contractive_penalty_makes_the_jacobian_small() {
    let after = |changes: &[&str]| {
        let preset = preset(&[&["train.epochs=400", "train.lr=0.02"][..], changes].concat());
        let weights = train(&preset);
        let read = |name: &String| (name.clone(), values(&weights, name));
        squared_norm(&inputs(&preset), &first_values(&preset).keys().map(read).collect())
    };
    let (free, exact) = (after(&[]), after(&["train.contractive=0.1"]));
    let projected = after(&["train.contractive=0.1", "train.contractive_norm=projection"]);
    assert!(exact < 0.5 * free && projected < 0.5 * free, "{exact} exact, {projected} projected, {free} without");
}
