//! Where a run stands, as files: weights, and the state that resuming needs.

use super::checkpoint::{Array, Weights};
use super::objective::PartSums;
use super::optimizer;
use super::program::{Phase, names};
use super::run_dir::{self, RunDir};
use crate::error::{Error, Result};
use crate::model::Architecture;
use crate::model::preset::Train;
use crate::session::Session;
use crate::tensor::DType;
use std::path::Path;
use std::str::FromStr;

/// The counters of a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Progress {
    /// Steps done.
    pub(super) step: u64,
    /// Epochs done.
    pub(super) epoch: u64,
    /// Training pictures done in the epoch under way.
    pub(super) row: u64,
    /// Sum over them of their batch's loss.
    pub(super) loss_sum: f64,
    /// Training loss of the last whole epoch.
    pub(super) train_loss: Option<f64>,
    /// Validation loss of the last whole epoch.
    pub(super) val_loss: Option<f64>,
    /// Smallest validation loss, as early stopping counts it.
    pub(super) best: Option<f64>,
    /// Epoch of the best weights, from 1.
    pub(super) best_epoch: Option<u64>,
    /// Epochs since then.
    pub(super) epochs_without: u64,
    /// Whether early stopping has ended the run.
    pub(super) stopped: bool,
    /// Sums over the training pictures of the parts of their batch's loss.
    pub(super) part_sums: PartSums,
    /// What plateaus have made of the learning rate, as a factor.
    pub(super) rate_scale: f64,
    /// The loss that a plateau is measured from.
    pub(super) plateau_best: Option<f64>,
    /// Epochs since then.
    pub(super) plateau_epochs: u64,
}

impl Progress {
    pub(super) fn start() -> Self {
        Self {
            step: 0,
            epoch: 0,
            row: 0,
            loss_sum: 0.0,
            train_loss: None,
            val_loss: None,
            best: None,
            best_epoch: None,
            epochs_without: 0,
            stopped: false,
            part_sums: PartSums::default(),
            rate_scale: 1.0,
            plateau_best: None,
            plateau_epochs: 0,
        }
    }

    /// Leaves out what was done of the epoch under way from `row` on, which is done again.
    pub(super) fn go_back_to(&mut self, row: u64) {
        if row < self.row {
            let kept = row as f64 / self.row as f64;
            self.loss_sum *= kept;
            self.part_sums.0.iter_mut().for_each(|sum| *sum *= kept);
            self.row = row;
        }
    }

    /// The counters as text; `f64` digits read back exactly.
    fn entries(&self) -> Vec<(&'static str, String)> {
        fn optional<T: ToString>(value: Option<T>) -> String {
            value.map_or_else(|| "none".to_owned(), |v| v.to_string())
        }
        vec![
            ("step", self.step.to_string()),
            ("epoch", self.epoch.to_string()),
            ("row", self.row.to_string()),
            ("loss_sum", self.loss_sum.to_string()),
            ("train_loss", optional(self.train_loss)),
            ("val_loss", optional(self.val_loss)),
            ("best", optional(self.best)),
            ("best_epoch", optional(self.best_epoch)),
            ("epochs_without", self.epochs_without.to_string()),
            ("stopped", self.stopped.to_string()),
            ("part_sums", self.part_sums.0.map(|sum| sum.to_string()).join(" ")),
            ("rate_scale", self.rate_scale.to_string()),
            ("plateau_best", optional(self.plateau_best)),
            ("plateau_epochs", self.plateau_epochs.to_string()),
        ]
    }

    /// The counters of a saved state.
    pub(super) fn read(path: &Path) -> Result<Self> {
        Self::parse(&Weights::read(path)?)
    }

    fn parse(weights: &Weights) -> Result<Self> {
        fn value<T: FromStr>(weights: &Weights, key: &str) -> Result<T> {
            let text = weights.text(key)?;
            text.parse().map_err(|_| Error::file(&weights.path, format!("entry {key:?} is {text:?}, not a number")))
        }
        fn optional<T: FromStr>(weights: &Weights, key: &str) -> Result<Option<T>> {
            if weights.text(key)? == "none" { Ok(None) } else { value(weights, key).map(Some) }
        }
        Ok(Self {
            step: value(weights, "step")?,
            epoch: value(weights, "epoch")?,
            row: value(weights, "row")?,
            loss_sum: value(weights, "loss_sum")?,
            train_loss: optional(weights, "train_loss")?,
            val_loss: optional(weights, "val_loss")?,
            best: optional(weights, "best")?,
            best_epoch: optional(weights, "best_epoch")?,
            epochs_without: value(weights, "epochs_without")?,
            stopped: value(weights, "stopped")?,
            part_sums: part_sums(weights)?,
            rate_scale: value(weights, "rate_scale")?,
            plateau_best: optional(weights, "plateau_best")?,
            plateau_epochs: value(weights, "plateau_epochs")?,
        })
    }
}

fn part_sums(weights: &Weights) -> Result<PartSums> {
    let text = weights.text("part_sums")?;
    let sums: Option<Vec<f64>> = text.split(' ').map(|word| word.parse().ok()).collect();
    let sums = sums.and_then(|sums| sums.try_into().ok());
    sums.map(PartSums)
        .ok_or_else(|| Error::file(&weights.path, format!("entry \"part_sums\" is {text:?}, not a list of sums")))
}

/// Name, shape and type of everything that a run carries from step to step, parameters first.
fn carried(train: &Train, architecture: &Architecture) -> Vec<(String, Vec<usize>, DType)> {
    let parameters = architecture.saved().map(|p| (p.name.clone(), p.shape.clone(), DType::F32));
    let mut tensors: Vec<_> = parameters.collect();
    tensors.extend(optimizer::carried(train, architecture).into_iter().map(|t| (t.name, t.shape, DType::F32)));
    tensors.push((names::clock(Phase::Training), vec![4], DType::U32));
    tensors
}

/// Puts the first values of what the optimiser carries onto the device, where they are not zero.
pub(super) fn start_optimizer(session: &mut Session, train: &Train, architecture: &Architecture) -> Result<()> {
    for tensor in optimizer::carried(train, architecture).iter().filter(|tensor| tensor.start != 0.0) {
        session.write(&tensor.name, &vec![tensor.start; tensor.shape.iter().product()])?;
    }
    Ok(())
}

/// The parameters and running statistics as they are on the device.
pub(super) fn read_weights(session: &mut Session, architecture: &Architecture) -> Result<Weights> {
    let mut weights = Weights::default();
    for p in architecture.saved() {
        weights.tensors.insert(p.name.clone(), Array::f32(p.shape.clone(), session.read(&p.name)?));
    }
    Ok(weights)
}

/// Everything that a run carries from step to step, as it is on the device.
pub(super) fn read_carried(session: &mut Session, train: &Train, architecture: &Architecture) -> Result<Weights> {
    let mut state = Weights::default();
    for (name, shape, dtype) in carried(train, architecture) {
        let array = match dtype {
            DType::F32 => Array::f32(shape, session.read(&name)?),
            _ => Array::u32(shape, session.read_words(&name)?),
        };
        state.tensors.insert(name, array);
    }
    Ok(state)
}

/// Writes `last.safetensors`, then `state.safetensors`, which is the commit point, beside the one before it: `state` is
/// what [`read_carried`] read.
pub(super) fn save(
    mut state: Weights,
    architecture: &Architecture,
    run: &RunDir,
    progress: &Progress,
    rows: [usize; 2],
) -> Result<()> {
    let mut last = Weights::default();
    for name in architecture.saved().map(|p| &p.name) {
        last.tensors.extend(state.tensors.get_key_value(name).map(|(name, array)| (name.clone(), array.clone())));
    }
    for (key, text) in progress.entries() {
        state.metadata.insert(key.to_owned(), text);
    }
    state.metadata.insert("pictures".to_owned(), format!("{} {}", rows[0], rows[1]));
    last.write(&run.file(run_dir::LAST))?;
    run.put_state_aside()?;
    state.write(&run.file(run_dir::STATE))
}

/// Puts a saved state back onto the device.
pub(super) fn load(
    session: &mut Session,
    train: &Train,
    architecture: &Architecture,
    path: &Path,
    rows: [usize; 2],
) -> Result<()> {
    let mut state = Weights::read(path)?;
    let (saved, now) = (state.text("pictures")?.to_owned(), format!("{} {}", rows[0], rows[1]));
    if saved != now {
        let problem = format!("was trained on {saved} pictures (training, held out), and the data now has {now}");
        return Err(Error::file(path, problem));
    }
    for (name, shape, dtype) in carried(train, architecture) {
        match dtype {
            DType::F32 => session.write(&name, &state.take_f32(&name, &shape)?)?,
            _ => session.write_words(&name, &state.take_u32(&name, &shape)?)?,
        }
    }
    state.finish()
}
