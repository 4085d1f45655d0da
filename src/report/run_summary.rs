//! `summary.json` of a run: what it was, how it ended, and what it came to.

use super::{Metrics, Pretraining};
use crate::error::{Error, Result};
use crate::kernel::Precision;
use crate::train::run_dir::{REPORT, SUMMARY};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::Path;

/// Largest `summary.json` that is read, in bytes.
const MAX_BYTES: u64 = 1 << 24;

/// What `summary.json` holds and `degrain train --json` prints. Keys that the file of an older version lacks are read as
/// zero, empty or null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSummary {
    /// The run's folder, as it was named.
    pub run: String,
    /// Name of the preset.
    pub preset: String,
    /// What it was computed on; of several ranks, the first one's.
    pub device: String,
    /// Processes that trained together; 0 in files of older versions, which had one.
    pub ranks: usize,
    /// What was asked for: `f32` or `f16`.
    pub precision: Precision,
    /// What products were computed of in the end.
    pub products: String,
    /// `finished`, `early_stopped` or `interrupted`.
    pub ending: String,
    /// Whole epochs done.
    pub epochs: u64,
    /// Steps done.
    pub steps: u64,
    /// The epoch of the best weights, from 1.
    pub best_epoch: Option<u64>,
    /// What layer-wise pre-training did ahead of these epochs and steps, where the preset asks for it.
    pub pretraining: Option<Pretraining>,
    /// Mean loss over the last epoch.
    pub train_loss: Option<f64>,
    /// Loss on the held-out pictures after the last step.
    pub val_loss: Option<f64>,
    /// Of the best weights on the held-out pictures, with the preset's noise on the inputs.
    pub test: Option<Metrics>,
    /// The preset's noise.
    pub noise: String,
    /// Values in a code.
    pub code: usize,
    /// Mean squared error of an exact PCA with as many components, on the clean held-out pictures.
    pub pca_mse: Option<f64>,
    /// Training pictures per second.
    pub images_per_second: f64,
    /// From the start of the process to the end of the first step.
    pub seconds_to_first_step: Option<f64>,
    /// All buffers on the device.
    pub peak_device_bytes: u64,
    /// Whether the pictures streamed to the device, as they did not fit there.
    pub streamed: bool,
    /// Pictures that were trained on.
    pub train_pictures: usize,
    /// Pictures that were held out.
    pub held_out_pictures: usize,
    /// Files that could not be used.
    pub skipped_pictures: usize,
    /// The sheet to look at first.
    pub sheet: Option<String>,
    /// The command line that repeats the run, its words quoted for a shell.
    pub command: String,
}

impl RunSummary {
    /// What it was computed on, in words.
    fn on(&self) -> String {
        if self.ranks > 1 { format!("{} ranks, {}", self.ranks, self.device) } else { self.device.clone() }
    }

    /// What the run at `folder` has of it; none where it has not ended yet.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(SUMMARY);
        if !path.is_file() {
            return Ok(None);
        }
        if fs::metadata(&path).map_err(Error::io(&path, "read"))?.len() > MAX_BYTES {
            return Err(Error::file(&path, "is too large for the summary of a run"));
        }
        let text = fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| Error::file(&path, format!("is damaged ({error}): remove it")))
    }

    /// Name and value of what a report shows.
    pub fn lines(&self) -> Vec<(String, String)> {
        let test = self.test.as_ref();
        let noisy = test.and_then(|test| test.noisy_mse);
        let decibels = test.and_then(|test| test.psnr).map(|psnr| format!("{psnr:.2} dB"));
        let all = [
            ("device", Some(self.on())),
            ("precision", self.precision_text()),
            ("training", Some(format!("{}, {} epochs, {} steps", self.ending(), self.epochs, self.steps))),
            ("pre-training", self.pretraining.as_ref().map(Pretraining::text)),
            ("pictures", Some(format!("{} trained, {} held out", self.train_pictures, self.held_out_pictures))),
            ("noise", Some(self.noise.clone())),
            ("train loss", self.train_loss.map(|loss| format!("{loss:.6}"))),
            ("validation loss", self.val_loss.map(|loss| format!("{loss:.6}"))),
            ("best epoch", self.best_epoch.map(|epoch| epoch.to_string())),
            ("test MSE", test.map(|test| format!("{:.6}", test.mse))),
            ("noisy MSE", noisy.map(|mse| format!("{mse:.6} (the inputs as they are)"))),
            ("PSNR", decibels),
            ("SSIM", test.and_then(|test| test.ssim).map(|ssim| format!("{ssim:.4}"))),
            ("exact PCA", self.pca_mse.map(|mse| self.pca_text(mse))),
            ("speed", self.speed_text()),
            ("first step", self.seconds_to_first_step.map(|seconds| format!("after {seconds:.2} s"))),
            ("device memory", Some(self.memory_text())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// `early stopped`.
    pub(super) fn ending(&self) -> String {
        self.ending.replace('_', " ")
    }

    pub(super) fn speed_text(&self) -> Option<String> {
        (self.images_per_second > 0.0).then(|| format!("{:.0} images/s", self.images_per_second))
    }

    pub(super) fn memory_text(&self) -> String {
        let streamed = if self.streamed { ", pictures streamed" } else { "" };
        format!("{:.1} MiB{streamed}", self.peak_device_bytes as f64 / f64::from(1 << 20))
    }

    /// What was asked for and what it became; none where that is `f32` as ever.
    fn precision_text(&self) -> Option<String> {
        (self.precision != Precision::F32).then(|| format!("{} asked for, {} used", self.precision, self.products))
    }

    fn pca_text(&self, mse: f64) -> String {
        let of = if self.noise == "none" { "" } else { ", of the clean pictures" };
        format!("{mse:.6} (code of {}{of})", self.code)
    }
}

/// What `train` prints for people.
impl fmt::Display for RunSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { preset, epochs, steps, .. } = self;
        writeln!(f, "{preset} {}: {epochs} epochs, {steps} steps on {}", self.ending(), self.on())?;
        if let Some(pretraining) = &self.pretraining {
            writeln!(f, "pre-trained {}", pretraining.text())?;
        }
        if let Some(precision) = self.precision_text() {
            writeln!(f, "precision   {precision}")?;
        }
        if let Some(test) = &self.test {
            write!(f, "{test}")?;
        }
        if let Some(mse) = self.pca_mse {
            writeln!(f, "exact PCA   {}", self.pca_text(mse))?;
        }
        if let Some(speed) = self.speed_text() {
            writeln!(f, "speed       {speed}")?;
        }
        write!(f, "run         {}", self.run)?;
        if let Some(sheet) = &self.sheet {
            let report = Path::new(&self.run).join(REPORT);
            write!(f, "\nsheet       {sheet}\nreport      {}", report.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn summaries_read_back_and_older_ones_lack_keys() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(RunSummary::read(folder.path()).unwrap(), None);
        let summary = RunSummary {
            preset: "vae".to_owned(),
            steps: 7,
            // A number that a hasty parser reads as its neighbour.
            pca_mse: Some(7.118844954151071e-32),
            ending: "early_stopped".to_owned(),
            ..RunSummary::default()
        };
        let path = folder.path().join(SUMMARY);
        fs::write(&path, serde_json::to_string(&summary).unwrap()).unwrap();
        assert_eq!(RunSummary::read(folder.path()).unwrap(), Some(summary));
        fs::write(&path, r#"{"preset": "old", "epochs": 3, "test": {"mse": null, "psnr": null, "ssim": null, "count": 1}, "more": 1}"#).unwrap();
        let old = RunSummary::read(folder.path()).unwrap().unwrap();
        assert_eq!((old.preset.as_str(), old.epochs, old.streamed, old.precision), ("old", 3, false, Precision::F32));
        assert!(old.lines().iter().all(|(name, _)| name != "speed"));
        fs::write(&path, "{").unwrap();
        assert!(RunSummary::read(folder.path()).unwrap_err().to_string().contains("summary.json: is damaged"));
    }
}
