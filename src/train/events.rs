//! What a run is asked for, what it tells while it goes on, and how it ended.

use super::checkpoint::Weights;
use super::row_log::{EpochRow, StepRow};

/// What a run takes beside its preset.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Weights to start from, in place of drawn ones.
    pub init: Option<Weights>,
    /// Most steps between two readings of the losses; they do not change what is computed.
    pub log_every: u64,
    /// Most bytes of buffers on the device. Pictures that do not fit beside the step stream to it; they do so too where
    /// they exceed what the device can bind. It does not change what is computed.
    pub device_memory: Option<u64>,
}

impl Default for TrainOptions {
    /// Drawn weights, losses read every 20 steps or more often, and as much memory as the device gives.
    fn default() -> Self {
        Self { init: None, log_every: 20, device_memory: None }
    }
}

/// What happens during training.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A stage of layer-wise pre-training begins; what follows is told of it.
    Stage {
        /// From 1.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// The first step is done: everything is compiled.
    FirstStep {
        /// Since the trainer was made.
        seconds: f64,
    },
    /// The losses of the steps since the last report, told before it and also where they end the run.
    Steps(&'a [StepRow]),
    /// Some steps are done.
    Progress {
        /// Steps done in all.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
        /// The epoch under way, from 1.
        epoch: u64,
        /// Epochs of the whole run.
        epochs: u64,
        /// Loss of the last batch.
        loss: f32,
        /// Learning rate of its update.
        learning_rate: f64,
        /// Training pictures per second since the last report.
        images_per_second: f64,
    },
    /// A step gave something that is not finite, which ends the run. Its steps since the last save are run again, to find
    /// the tensor in which it began.
    Diagnosis {
        /// The step, from 1.
        step: u64,
        /// The first step that is run again.
        from: u64,
    },
    /// An epoch is done and validated.
    Epoch(EpochRow),
    /// The state is on the disk.
    Saved {
        /// Steps done.
        step: u64,
    },
}

/// Follows a run and can end it.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: &Event<'_>);

    /// Asked after each group of steps; when true the run is saved and ends.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// How a call of [`Trainer::run`](super::Trainer::run) ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// All epochs or steps are done.
    Finished,
    /// The validation loss stopped falling.
    EarlyStopped,
    /// The observer asked for it; the run can be resumed.
    Interrupted,
}

/// The result of [`Trainer::run`](super::Trainer::run).
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Whole epochs done, over all sessions of the run.
    pub epochs: u64,
    /// Steps done, over all sessions of the run.
    pub steps: u64,
    /// Mean loss over the last whole epoch's pictures, or over those of the epoch under way if there is none.
    pub train_loss: Option<f64>,
    /// Loss on the held-out pictures after the last step; none where there are none.
    pub val_loss: Option<f64>,
    /// The epoch whose weights are `best.safetensors`, from 1.
    pub best_epoch: Option<u64>,
    /// Training pictures per second in this session, without the first step.
    pub images_per_second: f64,
    /// From making the trainer to the end of the first step; none if there was no step to do.
    pub seconds_to_first_step: Option<f64>,
    /// All buffers on the device.
    pub peak_device_bytes: u64,
    /// Whether the pictures streamed to the device, as they do not fit there.
    pub streamed: bool,
}
