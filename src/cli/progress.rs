//! What training tells while it runs: a bar on a terminal, else one line per epoch.

use super::console::Console;
use super::interrupt::Guard;
use super::tensorboard::{self, TensorBoard};
use degrain::train::{EpochRow, Event, Observer};
use indicatif::ProgressBar;
use std::cell::Cell;

/// Hears a trainer's events.
pub(super) struct Progress<'a> {
    console: &'a Console,
    guard: &'a Guard,
    bar: ProgressBar,
    /// Without a bar, a line for every report of the loss.
    log_steps: bool,
    /// None where the user did not ask for it, and after a write that failed.
    tensorboard: &'a mut Option<TensorBoard>,
    epochs: u64,
    stop_told: Cell<bool>,
    /// From the start of the process to the end of the first step.
    pub(super) seconds_to_first_step: Option<f64>,
}

impl<'a> Progress<'a> {
    /// `log_steps`: whether the user asked for the loss between the ends of epochs.
    pub(super) fn new(
        console: &'a Console,
        guard: &'a Guard,
        log_steps: bool,
        tensorboard: &'a mut Option<TensorBoard>,
    ) -> Self {
        let bar = console.bar(0, "[{bar:30}] {pos}/{len} steps  {msg}  ETA {eta}");
        let log_steps = log_steps && !console.has_bars();
        let stop_told = Cell::new(false);
        Self { console, guard, bar, log_steps, tensorboard, epochs: 0, stop_told, seconds_to_first_step: None }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| self.console.note(line));
    }
}

impl Observer for Progress<'_> {
    fn event(&mut self, event: &Event<'_>) {
        if let Some(error) = tensorboard::put(self.tensorboard, |log| log.event(event)) {
            self.bar.suspend(|| tensorboard::tell_given_up(&error, self.console));
        }
        match event {
            Event::Stage { number, count } => {
                self.bar.set_length(0);
                self.say(&format!("pre-training, stage {number} of {count}"));
            }
            Event::FirstStep { .. } => {
                self.seconds_to_first_step.get_or_insert(self.console.started.elapsed().as_secs_f64());
            }
            Event::Progress { step, steps, epoch, epochs, loss, images_per_second, .. } => {
                self.epochs = *epochs;
                let begins = self.bar.length() == Some(0);
                self.bar.set_length(*steps);
                self.bar.set_position(*step);
                if begins {
                    // A resumed run's earlier steps say nothing about its speed.
                    self.bar.reset_eta();
                }
                self.bar
                    .set_message(format!("epoch {epoch}/{epochs}  loss {loss:.6}  {images_per_second:.0} images/s"));
                if self.log_steps {
                    self.say(&format!("step {step}/{steps}  loss {loss:.6}  {images_per_second:.0} images/s"));
                }
            }
            Event::Epoch(row) => self.say(&epoch_line(row, self.epochs)),
            Event::Diagnosis { step, from } => self.say(&format!(
                "step {step} gave values that are not finite: repeating from step {from} to find where they began"
            )),
            Event::Steps(_) | Event::Saved { .. } => {}
        }
    }

    fn stop_requested(&self) -> bool {
        let requested = self.guard.requested();
        if requested && !self.stop_told.replace(true) {
            self.say("stopping: finishing the step and saving (Ctrl-C again to abort at once)");
        }
        requested
    }
}

fn epoch_line(row: &EpochRow, epochs: u64) -> String {
    let EpochRow { epoch, train_loss, val_loss, seconds, images_per_second, .. } = row;
    let of = if epochs > 0 { format!("/{epochs}") } else { String::new() };
    let val = val_loss.map(|loss| format!("  val loss {loss:.6}")).unwrap_or_default();
    format!("epoch {epoch}{of}  train loss {train_loss:.6}{val}  {images_per_second:.0} images/s  {seconds:.1} s")
}
