//! What the summary and the report of a run tell of its layer-wise pre-training.

use super::Table;
use crate::error::Result;
use crate::model::Preset;
use crate::train::pretraining::stage_folder;
use crate::train::row_log::read_rows;
use crate::train::run_dir::{METRICS, STEPS};
use crate::train::{EpochRow, StepRow};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The stages of a run, and where they left its loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pretraining {
    /// Of each stage.
    pub epochs: u64,
    /// Loss of the first batch of the run proper; none before it.
    pub first_loss: Option<f32>,
    /// Those that are done or under way.
    pub stages: Vec<StageRow>,
}

/// A stage that is done or under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRow {
    /// `encoder.dense_2`.
    pub encoder: String,
    /// `decoder.dense_1`.
    pub decoder: String,
    /// `mse` or `bce`.
    pub loss: String,
    /// Epochs done.
    pub epochs: u64,
    /// Mean loss over the last of them.
    pub train_loss: f64,
    /// Loss on the held-out pictures after it; none where there are none.
    pub val_loss: Option<f64>,
}

impl Pretraining {
    /// What a run's folder holds of it; none where the preset asks for none.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn read(preset: &Preset, run: &Path) -> Result<Option<Self>> {
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
    pub fn text(&self) -> String {
        let Self { epochs, stages, .. } = self;
        let then = self.first_loss.map(|loss| format!(", then from a loss of {loss:.6}")).unwrap_or_default();
        format!("{} stages of {epochs} epochs{then}", stages.len())
    }

    /// The stages.
    pub fn table(&self) -> Table {
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
