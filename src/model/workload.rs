//! The workloads that speed is measured on, here and with other frameworks.

use super::Preset;
use crate::error::{Error, Result};

/// A standard workload: a preset and what is changed in it.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Name of the workload and of its preset.
    pub name: &'static str,
    settings: &'static [&'static str],
}

/// All of them, the heaviest first.
pub const WORKLOADS: [Workload; 5] = [
    Workload {
        name: "lfw-conv",
        settings: &[
            "model.encoder.0.activation=relu",
            "model.encoder.2.activation=relu",
            "model.encoder.4.activation=relu",
            "model.encoder.6.activation=relu",
            "model.decoder.2.activation=relu",
            "model.decoder.3.activation=relu",
            "model.decoder.4.activation=relu",
            "train.noise=gaussian:0.1",
            "train.batch=64",
        ],
    },
    Workload { name: "mnist-dae", settings: &["train.batch=50"] },
    Workload { name: "quickdraw-simple", settings: &["train.batch=64"] },
    Workload { name: "quickdraw-deep", settings: &["train.batch=64"] },
    Workload { name: "quickdraw-conv", settings: &["train.batch=32"] },
];

impl Workload {
    /// The workload of this name.
    ///
    /// # Errors
    /// If there is none; the message lists those that there are.
    pub fn named(name: &str) -> Result<&'static Self> {
        let names = || WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ");
        let unknown = || Error::setting(name, format!("is no workload: there are {}", names()));
        WORKLOADS.iter().find(|workload| workload.name == name).ok_or_else(unknown)
    }

    /// The preset, with the workload's changes and, where it is given, another batch size.
    ///
    /// # Errors
    /// If the batch size is none.
    pub fn preset(&self, batch: Option<u32>) -> Result<Preset> {
        let mut preset = Preset::load(self.name)?;
        let batch = batch.map(|batch| format!("train.batch={batch}"));
        let settings: Vec<&str> = self.settings.iter().copied().chain(batch.as_deref()).collect();
        preset.set_all(&settings)?;
        Ok(preset)
    }
}
