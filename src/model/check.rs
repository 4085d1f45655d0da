//! Whether the settings of a preset can work.

use super::layer::Activation;
use super::preset::{Data, Preset, Train};
use super::settings::{Convention, Loss, OptimizerKind};
use super::shapes::Architecture;
use super::train_table::MAX_LOSS_SCALE;
use crate::error::{Error, Result};

/// Side of the pictures of the LFW archive, in pixels.
const LFW_SIDE: usize = 250;
/// Most patches of a picture.
const MAX_PATCHES: usize = 1 << 16;
/// Most pictures in a batch.
const MAX_BATCH: usize = 1 << 16;
/// Most values in one tensor of a batch: 2^30, so that its bytes can be counted in 32 bits.
const MAX_BATCH_VALUES: usize = 1 << 30;
/// Largest seed, epoch and step: what a TOML integer holds.
const MAX_INTEGER: u64 = i64::MAX as u64;

/// Checks every setting that the types alone do not.
///
/// # Errors
/// [`Error::Setting`] naming the key (`train.lr`) or the layer (`encoder.conv2d_2`).
pub(super) fn check(preset: &Preset) -> Result<()> {
    check_name(preset)?;
    check_data(&preset.data)?;
    let architecture = preset.architecture()?;
    check_training(&preset.train)?;
    check_loss(preset, &architecture)?;
    check_code(preset, &architecture)?;
    // Whether every layer has its mirror.
    preset.stages()?;
    let values = architecture.largest_activation().saturating_mul(preset.train.batch);
    require("train.batch", values <= MAX_BATCH_VALUES, || {
        format!("a layer would put out {values} values per batch: at most {MAX_BATCH_VALUES}; take a smaller batch")
    })
}

fn require(name: &str, holds: bool, problem: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::setting(name, problem())) }
}

fn check_name(preset: &Preset) -> Result<()> {
    let name = &preset.name;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = (1..=64).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with('.');
    require("name", good, || {
        format!("{name:?} must be 1 to 64 letters, digits, '-', '_' or '.', and not begin with '.'")
    })?;
    let one_line = !preset.description.contains(['\n', '\r']);
    require("description", one_line, || "must be one line".to_owned())
}

fn check_data(data: &Data) -> Result<()> {
    for (name, size) in [("data.height", data.height), ("data.width", data.width), ("data.channels", data.channels)] {
        require(name, size > 0, || "must be at least 1".to_owned())?;
    }
    require("data.source", data.source.iter().all(|source| !source.is_empty()), || "must not be empty".to_owned())?;
    require("data.offset", (data.offset as f32).is_finite(), || {
        format!("must be a finite number, not {}", data.offset)
    })?;
    require("data.patches", data.patches.is_none_or(|count| (1..=MAX_PATCHES).contains(&count)), || {
        format!("must be 1 to {MAX_PATCHES} of each picture, not {}", data.patches.unwrap_or(0))
    })?;
    require("data.labels", data.patches.is_none() || data.labels.is_none(), || {
        "lists pictures, but the network is trained on patches of them (data.patches)".to_owned()
    })?;
    require("data.limit", data.limit != Some(0), || "must be at least 1".to_owned())?;
    let labelled = data.attribute.is_none() || data.labels.is_some();
    require("data.attribute", labelled, || {
        "needs a file of attributes: name lfw_attributes.txt by --labels".to_owned()
    })?;
    require("data.channel_rows", !data.channel_rows || data.channels == 1, || {
        format!("makes grey pictures, but data.channels is {}: set it to 1", data.channels)
    })?;
    let crop = data.crop.unwrap_or(0);
    require("data.crop", crop < LFW_SIDE / 2, || {
        format!("cutting {crop} pixels from each side leaves nothing of {LFW_SIDE}: at most {}", LFW_SIDE / 2 - 1)
    })
}

fn check_training(train: &Train) -> Result<()> {
    check_optimizer(train)?;
    for (name, value) in [("train.lr", train.lr), ("train.eps", train.eps)] {
        // In f32, as the device will hold it.
        let good = (value as f32).is_finite() && value as f32 > 0.0;
        require(name, good, || format!("must be a finite number above 0, not {value}"))?;
    }
    let penalties = [
        ("train.l1", train.l1),
        ("train.l2", train.l2),
        ("train.kl", train.kl),
        ("train.sparsity", train.sparsity),
        ("train.activity_l1", train.activity_l1),
        ("train.contractive", train.contractive),
    ];
    for (name, value) in penalties {
        let good = (value as f32).is_finite() && value >= 0.0;
        require(name, good, || format!("must be a finite number of at least 0, not {value}"))?;
    }
    let limit = train.clip_norm.unwrap_or(1.0);
    require("train.clip_norm", (limit as f32).is_finite() && limit as f32 > 0.0, || {
        format!("must be a finite number above 0, not {limit}")
    })?;
    let scale = train.loss_scale.unwrap_or(1.0);
    require("train.loss_scale", (1.0..=MAX_LOSS_SCALE).contains(&scale) && scale.log2().fract() == 0.0, || {
        format!("must be a power of two from 1 to {MAX_LOSS_SCALE}, not {scale}")
    })?;
    let target = train.sparsity_target as f32;
    require("train.sparsity_target", target > 0.0 && target < 1.0, || {
        format!("must be above 0 and below 1, not {}", train.sparsity_target)
    })?;
    let shares = [
        ("train.beta1", train.beta1),
        ("train.beta2", train.beta2),
        ("train.rho", train.rho),
        ("train.momentum", train.momentum),
        ("train.val", train.val),
    ];
    for (name, value) in shares {
        require(name, (0.0..1.0).contains(&value), || format!("must be at least 0 and below 1, not {value}"))?;
    }
    let min_delta = train.min_delta;
    require("train.min_delta", min_delta.is_finite() && min_delta >= 0.0, || {
        format!("must be a finite number of at least 0, not {min_delta}")
    })?;
    require("train.batch", (1..=MAX_BATCH).contains(&train.batch), || {
        format!("must be 1 to {MAX_BATCH}, not {}", train.batch)
    })?;
    let counts = [
        ("train.epochs", train.epochs, 1),
        ("train.steps", train.steps.unwrap_or(1), 1),
        ("train.patience", train.patience.unwrap_or(1), 1),
        ("train.seed", train.seed, 0),
        ("train.warmup", train.warmup, 0),
        ("train.pretrain_epochs", train.pretrain_epochs, 0),
    ];
    for (name, value, least) in counts {
        require(name, (least..=MAX_INTEGER).contains(&value), || {
            format!("must be {least} to {MAX_INTEGER}, not {value}")
        })?;
    }
    Ok(())
}

/// What an optimiser does not have is an error, not ignored.
fn check_optimizer(train: &Train) -> Result<()> {
    let kind = train.optimizer;
    let known = train.convention != Convention::Tf1 || !matches!(kind, OptimizerKind::Adamax | OptimizerKind::Nadam);
    require("train.convention", known, || format!("TensorFlow 1 has no {kind}: use keras or torch"))?;
    require("train.momentum", train.momentum == 0.0 || kind == OptimizerKind::Sgd, || {
        format!("only sgd takes a momentum, not {kind}")
    })?;
    require("train.nesterov", !train.nesterov || train.momentum as f32 > 0.0, || {
        "needs a train.momentum above 0".to_owned()
    })?;
    require("train.psi", (train.psi as f32).is_finite() && train.psi >= 0.0, || {
        format!("must be a finite number of at least 0, not {}", train.psi)
    })
}

/// Penalties of the code that only some codes can have.
fn check_code(preset: &Preset, architecture: &Architecture) -> Result<()> {
    let last = architecture.encoder.iter().rev().find_map(|layer| layer.layer.activation());
    require("train.sparsity", preset.train.sparsity == 0.0 || last == Some(Activation::Sigmoid), || {
        "needs a code between 0 and 1: give the encoder's last layer the activation sigmoid".to_owned()
    })
}

fn check_loss(preset: &Preset, architecture: &Architecture) -> Result<()> {
    if preset.train.loss != Loss::Bce {
        return Ok(());
    }
    require("train.loss", preset.data.offset == 0.0, || {
        format!("bce needs pictures from 0 to 1, but data.offset is {}: set it to 0", preset.data.offset)
    })?;
    let output = architecture.decoder.iter().rev().find_map(|layer| Some((layer, layer.layer.activation()?)));
    match output {
        Some((layer, activation)) if activation != Activation::Linear => {
            let problem = format!(
                "bce takes the values before the sigmoid, so the last activation must be linear, not {activation}: \
                 pictures get the sigmoid by themselves"
            );
            Err(Error::setting(layer.full_name(), problem))
        }
        _ => Ok(()),
    }
}
