//! How runs end: early, with the best weights kept, or because something is no longer finite.

use super::{Open, StopAt, Test, options, pictures, preset, split, train};
use degrain::train::{Array, Ending, EpochRow, Event, Observer, RunDir, TrainOptions, Trainer, Weights};
use degrain::train::{read_rows, validation_loss};
use std::path::Path;

pub(crate) const TESTS: [Test; 10] = [
    ("stops_early_and_keeps_the_best", stops_early_and_keeps_the_best),
    ("the_best_weights_are_those_of_the_best_epoch", the_best_weights_are_those_of_the_best_epoch),
    ("an_equal_loss_is_no_better", an_equal_loss_is_no_better),
    ("a_better_loss_exceeds_min_delta", a_better_loss_exceeds_min_delta),
    ("the_validation_loss_of_saved_weights_is_the_logged_one", the_validation_loss_of_saved_weights_is_the_logged_one),
    ("a_loss_that_is_not_finite_names_where_it_began", a_loss_that_is_not_finite_names_where_it_began),
    ("a_gradient_that_is_not_finite_is_named", a_gradient_that_is_not_finite_is_named),
    ("a_parameter_that_is_not_finite_is_named", a_parameter_that_is_not_finite_is_named),
    ("the_steps_since_the_last_save_are_repeated", the_steps_since_the_last_save_are_repeated),
    ("weights_that_are_not_finite_are_refused_by_name", weights_that_are_not_finite_are_refused_by_name),
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

/// Hears whether the trainer repeated steps.
#[derive(Default)]
struct Repeats(Option<(u64, u64)>);

impl Observer for Repeats {
    fn event(&mut self, event: &Event<'_>) {
        if let Event::Diagnosis { step, from } = event {
            self.0 = Some((*step, *from));
        }
    }
}

/// The message of a run that cannot go on, and the steps that it repeated; what it had saved stays, and resumes. Its first
/// `saved` steps are those of a run without the changes.
fn failure(open: &Open, changes: &[&str], init: Option<&Path>, saved: u64) -> (String, (u64, u64)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = RunDir::create(&path).unwrap();
    let options = TrainOptions { init: init.map(|path| Weights::read(path).unwrap()), ..options() };
    let first = preset(if saved > 0 { &[] } else { changes });
    let singly = TrainOptions { log_every: 1, ..options.clone() };
    let mut trainer = Trainer::start(&first, &pictures(64), &split(), open(), run, &singly).unwrap();
    if saved > 0 {
        assert_eq!(trainer.run(&mut StopAt(saved, 0)).unwrap().steps, saved);
    }
    let mut run = trainer.into_parts().1;
    let (preset, mut ended) = (preset(changes), Vec::new());
    for _ in 0..2 {
        let mut trainer = Trainer::resume(&preset, &pictures(64), &split(), open(), run, &options).unwrap();
        let mut repeats = Repeats::default();
        let message = trainer.run(&mut repeats).unwrap_err().to_string();
        run = trainer.into_parts().1;
        let state = Weights::read(&path.join("state.safetensors")).unwrap();
        assert_eq!((state.text("step").unwrap(), state.first_not_finite()), (&*saved.to_string(), None), "{message}");
        ended.push((message, repeats.0.unwrap()));
    }
    assert_eq!(ended[0], ended[1], "resumed, it ends the same way");
    ended.swap_remove(0)
}

const ADVICE: &str = ": try a smaller --lr; what was saved before is kept";

/// The first weights, with some tensors of one value each.
fn weights_with(changes: &[(&str, f32)], path: &Path) {
    let preset = preset(&[]);
    let mut weights = Weights::default();
    for p in preset.architecture().unwrap().saved() {
        let mut values = preset.model.init.draw(preset.train.seed, p);
        if let Some((_, value)) = changes.iter().find(|(name, _)| *name == p.name) {
            values.fill(*value);
        }
        weights.tensors.insert(p.name.clone(), Array::f32(p.shape.clone(), values));
    }
    weights.write(path).unwrap();
}

/// Codes near one, as the encoder ends in a tanh.
const ONES: (&str, f32) = ("encoder.dense_1.bias", 10.0);

fn a_loss_that_is_not_finite_names_where_it_began(open: &Open) {
    let (message, repeated) = failure(open, &["train.lr=1e30"], None, 0);
    assert!(message.starts_with("training stopped at step 2: the loss is "), "{message}");
    assert!(message.contains("; it began in step 2 with the output of ") && message.ends_with(ADVICE), "{message}");
    assert_eq!(repeated, (2, 1));
    // The sum of six products of 3e38 and one is past the largest f32.
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.safetensors");
    weights_with(&[ONES, ("decoder.dense_1.weight", 3e38)], &init);
    let (message, _) = failure(open, &[], Some(&init), 0);
    // Where it shows is the device's affair: a kernel may turn a NaN into a number, and then the parameters tell.
    assert!(
        message.contains("; it began in step 1 with the output of matmul in decoder.dense_1, which is inf:"),
        "{message}"
    );
}

/// A loss that is finite and a gradient that is not: the loss tells of it a step later.
fn a_gradient_that_is_not_finite_is_named(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.safetensors");
    // What the large kernel multiplies on the way forth is small, and on the way back it is not.
    let (small, large) = (("decoder.dense_1.weight", 1e-24), ("decoder.conv2d_transpose_1.weight", 1e24));
    weights_with(&[ONES, small, large, ("decoder.conv2d_transpose_2.weight", 1e10)], &init);
    let (message, repeated) = failure(open, &[], Some(&init), 0);
    let place = " in the backward pass of decoder.conv2d_transpose_1, which is inf:";
    assert!(message.contains("; it began in step 1 with the output of ") && message.contains(place), "{message}");
    assert!(repeated.0 >= 2 && repeated.1 == 1, "{repeated:?}");
}

/// A rate that no f32 holds in the end: the update itself spoils the kernels, and the loss was still finite.
fn a_parameter_that_is_not_finite_is_named(open: &Open) {
    let (message, repeated) = failure(open, &["train.lr=3e38"], None, 0);
    assert!(message.starts_with("training stopped at step 2: the loss is NaN; it began in step 1 with "), "{message}");
    assert!(message.contains(".weight, which adamax_several made "), "{message}");
    assert_eq!(repeated, (2, 1));
    // Where the run or its epoch ends with that step, no loss tells of it; it must not be saved all the same.
    for changes in [["train.lr=3e38", "train.steps=1"], ["train.lr=3e38", "train.batch=64"]] {
        let (message, repeated) = failure(open, &changes, None, 0);
        assert!(message.starts_with("training stopped at step 1: decoder.conv2d_transpose_1."), "{message}");
        assert!(message.contains(" is not finite; it began in step 1 with ") && message.ends_with(ADVICE), "{message}");
        assert_eq!(repeated, (1, 1));
    }
}

/// Steps that were saved are not repeated, and the pictures come in the order of the epoch, from its start or within.
fn the_steps_since_the_last_save_are_repeated(open: &Open) {
    for saved in [7, 9] {
        let (message, repeated) = failure(open, &["train.lr=1e30"], None, saved);
        let bad = saved + 2;
        assert_eq!(repeated, (bad, saved + 1), "{message}");
        assert!(message.starts_with(&format!("training stopped at step {bad}: the loss is ")), "{message}");
        assert!(message.contains(&format!("; it began in step {bad} with the output of ")), "{message}");
    }
}

fn weights_that_are_not_finite_are_refused_by_name(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    for value in [f32::NAN, f32::INFINITY] {
        let init = folder.path().join("init.safetensors");
        weights_with(&[("encoder.conv2d_2.bias", value)], &init);
        let run = RunDir::create(&folder.path().join(value.to_string())).unwrap();
        let options = TrainOptions { init: Some(Weights::read(&init).unwrap()), ..options() };
        let result = Trainer::start(&preset(&[]), &pictures(64), &split(), open(), run, &options);
        let message = result.err().unwrap().to_string();
        let wanted = "tensor \"encoder.conv2d_2.bias\" has a value that is not finite: at index 0";
        assert!(message.contains("init.safetensors") && message.ends_with(wanted), "{message}");
    }
}
