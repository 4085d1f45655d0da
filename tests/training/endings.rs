//! How runs end: early, with the best weights kept, or because something is no longer finite.

use super::{Open, StopAt, Test, options, pictures, preset, split, train};
use degrain::train::{Ending, EpochRow, RunDir, Trainer, Weights, read_rows, validation_loss};
use std::path::Path;

pub(crate) const TESTS: [Test; 6] = [
    ("stops_early_and_keeps_the_best", stops_early_and_keeps_the_best),
    ("the_best_weights_are_those_of_the_best_epoch", the_best_weights_are_those_of_the_best_epoch),
    ("an_equal_loss_is_no_better", an_equal_loss_is_no_better),
    ("a_better_loss_exceeds_min_delta", a_better_loss_exceeds_min_delta),
    ("the_validation_loss_of_saved_weights_is_the_logged_one", the_validation_loss_of_saved_weights_is_the_logged_one),
    ("a_loss_that_is_not_finite_ends_the_run", a_loss_that_is_not_finite_ends_the_run),
];

fn val_losses(run: &Path) -> Vec<f64> {
    let rows: Vec<EpochRow> = read_rows(&run.join("metrics.csv")).unwrap();
    rows.iter().map(|row| row.val_loss.unwrap()).collect()
}

/// Settings under which the validation loss goes up and down, and the run ends early.
const RESTLESS: [&str; 3] = ["train.epochs=200", "train.patience=2", "train.lr=0.1"];

fn stops_early_and_keeps_the_best(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let outcome = train(open(), &RESTLESS, &run);
    assert_eq!(outcome.ending, Ending::EarlyStopped);
    assert!(outcome.epochs < 200);
    assert_eq!(outcome.best_epoch, Some(outcome.epochs - 2));
    let (best, last) = (run.join("best.safetensors"), run.join("last.safetensors"));
    assert_ne!(Weights::read(&best).unwrap().tensors, Weights::read(&last).unwrap().tensors);
}

fn the_best_weights_are_those_of_the_best_epoch(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let (long, short) = (folder.path().join("long"), folder.path().join("short"));
    let best = train(open(), &RESTLESS, &long).best_epoch.unwrap();
    let losses = val_losses(&long);
    let smallest = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(losses.iter().position(|&loss| loss == smallest), Some(best as usize - 1), "{losses:?}");
    let epochs = format!("train.epochs={best}");
    train(open(), &[&RESTLESS[1..], &[epochs.as_str()]].concat(), &short);
    let read = |path: &Path| std::fs::read(path).unwrap();
    assert!(read(&long.join("best.safetensors")) == read(&short.join("last.safetensors")), "other weights");
}

/// A network that does not move is as good after each epoch as after the first.
fn an_equal_loss_is_no_better(open: &Open) {
    for patience in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let patience_setting = format!("train.patience={patience}");
        let changes = ["train.lr=1e-30", "train.noise=none", "train.epochs=9", &patience_setting];
        let outcome = train(open(), &changes, &run);
        let losses = val_losses(&run);
        assert!(losses.iter().all(|&loss| loss == losses[0]), "{losses:?}");
        let ended = (outcome.ending, outcome.best_epoch, outcome.epochs);
        assert_eq!(ended, (Ending::EarlyStopped, Some(1), 1 + patience), "patience {patience}");
    }
}

/// A loss that is smaller by min_delta and no more does not count; one that is smaller by a little more does.
fn a_better_loss_exceeds_min_delta(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let ended = |name: &str, more: &[&str]| {
        let run = folder.path().join(name);
        let outcome = train(open(), &[&["train.epochs=2", "train.patience=1"], more].concat(), &run);
        (outcome.ending, outcome.best_epoch, val_losses(&run))
    };
    let (_, best, losses) = ended("free", &[]);
    let fall = losses[0] - losses[1];
    assert!(best == Some(2) && fall > 0.0, "{losses:?}");
    assert_eq!(losses[0] - fall, losses[1], "the bound is met exactly, or this is no test");
    let (ending, best, _) = ended("met", &[&format!("train.min_delta={fall:?}")]);
    assert_eq!((ending, best), (Ending::EarlyStopped, Some(1)), "smaller by min_delta alone");
    let (ending, best, _) = ended("exceeded", &[&format!("train.min_delta={:?}", fall * 0.999)]);
    assert_eq!((ending, best), (Ending::Finished, Some(2)), "smaller by more than min_delta");
}

fn the_validation_loss_of_saved_weights_is_the_logged_one(open: &Open) {
    for changes in
        [&["train.noise=none"][..], &["train.l2=0.001", "train.batch=4"], &["train.noise_validation=mask:0.5"]]
    {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let best = train(open(), &[&["train.lr=0.05"], changes].concat(), &run).best_epoch.unwrap();
        let logged = val_losses(&run);
        let (preset, data, mut session) = (preset(changes), pictures(64), open());
        let mut loss = |file: &str| {
            let weights = Weights::read(&run.join(file)).unwrap();
            validation_loss(&mut session, &preset, &data, &split(), weights).unwrap().unwrap()
        };
        assert_eq!(loss("best.safetensors"), logged[best as usize - 1], "{changes:?}");
        assert_eq!(loss("last.safetensors"), logged[3], "{changes:?}");
    }
}

fn a_loss_that_is_not_finite_ends_the_run(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(&folder.path().join("run")).unwrap();
    let preset = preset(&["train.lr=1e30"]);
    let mut trainer = Trainer::start(&preset, &pictures(64), &split(), open(), run, &options()).unwrap();
    let message = trainer.run(&mut StopAt(u64::MAX, 0)).unwrap_err().to_string();
    assert!(message.contains("step") && message.contains("--lr"), "{message}");
}
