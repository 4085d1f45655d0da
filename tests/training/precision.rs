//! Training in half precision: the loss scale changes no bit where products are in `f32`, and rounded operands reach the same
//! loss.

use super::{Open, Test, preset, train};
use degrain::kernel::{Precision, Products};
use degrain::model::Preset;
use degrain::train::synthetic_step;
use degrain::validate::in_half_precision;
use std::path::Path;

pub(crate) const TESTS: [Test; 3] = [
    ("a_loss_scale_changes_no_bit", a_loss_scale_changes_no_bit),
    ("penalties_are_scaled_and_unscaled", penalties_are_scaled_and_unscaled),
    ("half_precision_reaches_the_same_loss", half_precision_reaches_the_same_loss),
];

fn weights(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("last.safetensors")).unwrap()
}

/// Settings for half precision, on a session that stays in `f32`.
fn a_loss_scale_changes_no_bit(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, changes: &[&str]| {
        let path = folder.path().join(name);
        let both =
            ["train.epochs=2", "train.clip_norm=0.3", "train.l1=1e-4", "train.l2=1e-3", "train.activity_l1=1e-3"];
        train(open(), &[&both[..], changes].concat(), &path);
        weights(&path)
    };
    let plain = run("plain", &[]);
    assert!(run("scaled", &["train.precision=f16"]) == plain, "the loss scale is not undone to the bit");
    assert!(run("more", &["train.precision=f16", "train.loss_scale=1048576"]) == plain, "nor is another one");
}

/// Every kind of penalty, the contractive one with gradients of gradients among them.
fn penalties_are_scaled_and_unscaled(open: &Open) {
    for name in ["vae", "sparse", "contractive", "mnist-dae"] {
        let after = |precision: &str| {
            let mut preset = Preset::load(name).unwrap();
            preset.set_all(&[format!("train.precision={precision}"), "train.batch=4".to_owned()]).unwrap();
            let mut session = open();
            let step = synthetic_step(&preset, 4, session.target()).unwrap();
            let labels: Vec<&str> = step.graph.nodes().iter().map(|node| node.label.as_str()).collect();
            assert_eq!(labels.contains(&"loss scale"), precision == "f16");
            let program = session.record(&step.graph).unwrap();
            session.write_used(&step.values).unwrap();
            session.run(program, 2).unwrap();
            let kept = step.values.iter().filter(|(name, _)| session.contains(name)).map(|(name, _)| name.clone());
            let names: Vec<String> = kept.collect();
            names.iter().map(|name| (name.clone(), session.read_words(name).unwrap())).collect::<Vec<_>>()
        };
        for (single, scaled) in after("f32").into_iter().zip(after("f16")) {
            assert!(single == scaled, "{name}: {} differs", single.0);
        }
    }
}

fn half_precision_reaches_the_same_loss(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["train.epochs=30", "train.noise=none"];
    let single = train(open(), &settings, &folder.path().join("single"));
    let (session, note) = in_half_precision(open());
    let (products, is_gpu) = (session.products(), session.target().is_some());
    assert_eq!(products != Products::F32, is_gpu, "{note:?}");
    let settings = [&settings[..], &["train.precision=f16"]].concat();
    assert_eq!(preset(&settings).train.precision, Precision::F16);
    let half = train(session, &settings, &folder.path().join("half"));
    let losses = [single.val_loss.unwrap(), half.val_loss.unwrap()];
    let ratio = losses[1] / losses[0];
    assert!((0.98..=1.02).contains(&ratio), "{losses:?}");
    // That the precision was another one shows, where it was.
    let same = weights(&folder.path().join("single")) == weights(&folder.path().join("half"));
    assert_eq!(same, !is_gpu);
}
