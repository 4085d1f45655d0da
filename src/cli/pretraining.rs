//! What the summary and the report of a run tell of its layer-wise pre-training.

use degrain::Result;
use degrain::model::Preset;
use degrain::report::Table;
use degrain::train::pretraining::stage_folder;
use degrain::train::row_log::read_rows;
use degrain::train::run_dir::{METRICS, STEPS};
use degrain::train::{EpochRow, StepRow};
use serde::Serialize;
use std::path::Path;

/// The stages of a run, and where they left its loss.
#[derive(Serialize)]
pub(super) struct Pretraining {
    /// Of each stage.
    epochs: u64,
    /// Loss of the first batch of the run proper; none before it.
    first_loss: Option<f32>,
    stages: Vec<StageRow>,
}

/// A stage that is done or under way.
#[derive(Serialize)]
struct StageRow {
    /// `encoder.dense_2`.
    encoder: String,
    decoder: String,
    loss: String,
    epochs: u64,
    train_loss: f64,
    val_loss: Option<f64>,
}

impl Pretraining {
    /// What a run's folder holds of it; none where the preset asks for none.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub(super) fn read(preset: &Preset, run: &Path) -> Result<Option<Self>> {
        let epochs = preset.train.pretrain_epochs;
        if epochs == 0 {
            return Ok(None);
        }
        let mut rows = Vec::new();
        for (index, stage) in preset.stages()?.into_iter().enumerate() {
            let metrics = stage_folder(run, index + 1).join(METRICS);
            if !metrics.is_file() {
                break;
            }
            if let Some(EpochRow { epoch, train_loss, val_loss, .. }) = read_rows(&metrics)?.last().copied() {
                let loss = stage.preset.train.loss.to_string();
                let (encoder, decoder) = (stage.encoder, stage.decoder);
                rows.push(StageRow { encoder, decoder, loss, epochs: epoch, train_loss, val_loss });
            }
        }
        let steps = run.join(STEPS);
        let steps: Vec<StepRow> = if steps.is_file() { read_rows(&steps)? } else { Vec::new() };
        Ok(Some(Self { epochs, first_loss: steps.first().map(|row| row.loss), stages: rows }))
    }

    /// In one line.
    pub(super) fn text(&self) -> String {
        let Self { epochs, stages, .. } = self;
        let then = self.first_loss.map(|loss| format!(", then from a loss of {loss:.6}")).unwrap_or_default();
        format!("{} stages of {epochs} epochs{then}", stages.len())
    }

    /// The stages.
    pub(super) fn table(&self) -> Table {
        let row = |stage: &StageRow| {
            vec![
                format!("{} with {}", stage.encoder, stage.decoder),
                stage.loss.clone(),
                stage.epochs.to_string(),
                format!("{:.6}", stage.train_loss),
                stage.val_loss.map(|loss| format!("{loss:.6}")).unwrap_or_default(),
            ]
        };
        Table {
            title: "Pre-training".to_owned(),
            header: ["layers", "loss", "epochs", "train loss", "validation loss"].map(str::to_owned).to_vec(),
            rows: self.stages.iter().map(row).collect(),
        }
    }
}
