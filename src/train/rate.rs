//! The learning rate of a run, written to the device ahead of the steps that take it.

use super::optimizer;
use super::program::{HISTORY, names};
use super::state::Progress;
use crate::error::Result;
use crate::model::Schedule;
use crate::model::train_table::Train;
use crate::session::Session;

/// The rate of step `step` (from 0), in the epoch under way, of a run of `steps`.
pub(super) fn rate(train: &Train, progress: &Progress, step: u64, steps: u64) -> f64 {
    let warm = if step < train.warmup { (step + 1) as f64 / train.warmup as f64 } else { 1.0 };
    train.lr * warm * progress.rate_scale * train.schedule.share(step, progress.epoch, steps)
}

/// Writes the rates of the next `count` steps, at most [`HISTORY`], all of the epoch under way.
pub(super) fn write(session: &mut Session, train: &Train, progress: &Progress, count: usize, steps: u64) -> Result<()> {
    if !optimizer::rate_per_step(train) {
        return session.write(names::LEARNING_RATE, &[rate(train, progress, progress.step, steps) as f32]);
    }
    let mut rates = vec![0.0; HISTORY];
    for step in progress.step..progress.step + count.min(HISTORY) as u64 {
        rates[(step % HISTORY as u64) as usize] = rate(train, progress, step, steps) as f32;
    }
    session.write(names::LEARNING_RATES, &rates)
}

/// Lowers the rate where the schedule waits for a plateau and an epoch ended on one.
pub(super) fn see_epoch(train: &Train, progress: &mut Progress) {
    let Schedule::Plateau { epochs, factor } = train.schedule else { return };
    let Some(loss) = progress.val_loss.or(progress.train_loss) else { return };
    if progress.plateau_best.is_none_or(|best| loss < best - train.min_delta) {
        progress.plateau_best = Some(loss);
        progress.plateau_epochs = 0;
        return;
    }
    progress.plateau_epochs += 1;
    if progress.plateau_epochs >= epochs {
        progress.plateau_epochs = 0;
        progress.rate_scale *= factor;
    }
}
