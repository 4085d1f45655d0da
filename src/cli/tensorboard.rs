//! `train --tensorboard`: what training tells, as event files in the folder of the run.

use super::console::Console;
use super::sheets::Drawn;
use degrain::report::{EventWriter, RunSummary};
use degrain::train::{EpochRow, Event};
use degrain::{Error, Result};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// The parts of the objective, in the order of their columns in `metrics.csv`.
const PARTS: [&str; 6] = [
    "reconstruction/train",
    "code_penalty/train",
    "weight_penalty/train",
    "reconstruction/validation",
    "code_penalty/validation",
    "weight_penalty/validation",
];

/// The event file of this process. Everything is logged over the number of steps done, so that all curves have one
/// axis and a resumed run takes back just what it repeats.
pub(super) struct TensorBoard {
    events: EventWriter<BufWriter<File>>,
    folder: PathBuf,
    /// Steps done; none before this process has told of any.
    step: Option<u64>,
    /// Every setting of the run, for the page of texts.
    config: String,
}

/// Writes to the log, if there is one. A log that cannot be written is no reason to lose the run: it is given up, and
/// the error, which is told once, comes back.
pub(super) fn put(log: &mut Option<TensorBoard>, write: impl FnOnce(&mut TensorBoard) -> Result<()>) -> Option<Error> {
    let error = log.as_mut().and_then(|log| write(log).err());
    if error.is_some() {
        *log = None;
    }
    error
}

/// The warning of a log that was given up.
pub(super) fn tell_given_up(error: &Error, console: &Console) {
    console.warn(format_args!("going on without --tensorboard: {error}"));
}

impl TensorBoard {
    /// Begins an event file in the folder of a run; none, with a warning, where that cannot be.
    pub(super) fn begin(folder: &Path, config: String, console: &Console) -> Option<Self> {
        let begun = EventWriter::create(folder);
        let events = begun.inspect_err(|error| tell_given_up(error, console)).ok()?;
        Some(Self { events, folder: folder.to_path_buf(), step: None, config })
    }

    /// Logs what a trainer tells.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder.
    pub(super) fn event(&mut self, event: &Event<'_>) -> Result<()> {
        self.write(|log| match event {
            Event::Steps(rows) => {
                for row in *rows {
                    if log.step.is_none() {
                        // What an earlier process logged past the last checkpoint is now run again.
                        log.events.begin_at(row.step)?;
                        log.events.text(row.step, "config", &format!("```\n{}\n```", log.config))?;
                    }
                    log.step = Some(row.step);
                    log.events.scalars(row.step, &[("loss/train_step", row.loss.into())])?;
                }
                log.events.flush()
            }
            Event::Progress { step, learning_rate, .. } => {
                log.events.scalars(*step, &[("learning_rate", *learning_rate)])
            }
            Event::Epoch(row) => log.epoch(row),
            Event::Stage { .. } | Event::FirstStep { .. } | Event::Diagnosis { .. } | Event::Saved { .. } => Ok(()),
        })
    }

    fn epoch(&mut self, row: &EpochRow) -> io::Result<()> {
        let optional = [("loss/validation", row.val_loss)].into_iter().chain(PARTS.into_iter().zip(row.parts));
        let mut values = vec![
            ("epoch", row.epoch as f64),
            ("loss/train", row.train_loss),
            ("images_per_second", row.images_per_second),
        ];
        values.extend(optional.filter_map(|(tag, value)| Some((tag, value?))));
        self.events.scalars(self.step.unwrap_or_default(), &values)?;
        self.events.flush()
    }

    /// Logs the metrics and the sheets of a run that has ended.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder.
    pub(super) fn end(&mut self, summary: &RunSummary, sheets: &[Drawn]) -> Result<()> {
        let step = summary.steps;
        self.write(|log| {
            if let Some(test) = &summary.test {
                let optional = [("test/psnr", test.psnr), ("test/ssim", test.ssim), ("test/noisy_mse", test.noisy_mse)];
                let optional = optional.into_iter().filter_map(|(tag, value)| Some((tag, value?)));
                log.events.scalars(step, &[("test/mse", test.mse)].into_iter().chain(optional).collect::<Vec<_>>())?;
            }
            for sheet in sheets {
                let tag = format!("sheets/{}", sheet.name.trim_end_matches(".png"));
                log.events.image(step, &tag, &sheet.png, sheet.size)?;
            }
            log.events.flush()
        })
    }

    fn write(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) -> Result<()> {
        write(self).map_err(Error::io(&self.folder, "write an event file"))
    }
}
