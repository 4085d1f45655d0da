//! The `[train]` table of a preset file.

use super::schedule::Schedule;
use super::settings::{Convention, JacobianNorm, Loss, Noise, OptimizerKind, Split};
use crate::kernel::Precision;
use serde::{Deserialize, Serialize};

/// The `[train]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// What is made small.
    pub loss: Loss,
    /// Noise on the inputs, drawn anew each epoch.
    #[serde(default)]
    pub noise: Noise,
    /// Noise on the held-out pictures, the same in each epoch; as in training where the file does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_validation: Option<Noise>,
    /// Noise that the trained network is tested with; as in validation where the file does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_inference: Option<Noise>,
    /// The rule that updates the parameters.
    pub optimizer: OptimizerKind,
    /// Whose form of it.
    #[serde(default)]
    pub convention: Convention,
    /// Learning rate.
    pub lr: f64,
    /// How the rate of each step follows from it.
    #[serde(default)]
    pub schedule: Schedule,
    /// Steps over which the rate rises from nothing, in equal parts, whatever the schedule.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warmup: u64,
    /// Gradients are scaled down where the norm of all of them together exceeds this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Penalty of the kernels: this times the sum of absolute values.
    #[serde(default)]
    pub l1: f64,
    /// Penalty of the kernels: this times half the sum of squares.
    #[serde(default)]
    pub l2: f64,
    /// Factor of the KL divergence of a variational encoder.
    #[serde(default = "default_kl")]
    pub kl: f64,
    /// Penalty of the code: this times the KL divergence of each unit's mean activation from `sparsity_target`.
    #[serde(default)]
    pub sparsity: f64,
    /// The mean activation that is wanted of each unit of a sparse code.
    #[serde(default = "default_sparsity_target")]
    pub sparsity_target: f64,
    /// Penalty of the code: this times the sum of its absolute values, mean over the batch.
    #[serde(default)]
    pub activity_l1: f64,
    /// Penalty of the encoder: this times the squared Frobenius norm of the code's Jacobian, mean over the batch.
    #[serde(default)]
    pub contractive: f64,
    /// How that norm is found.
    #[serde(default)]
    pub contractive_norm: JacobianNorm,
    /// Decay of the running mean of gradients.
    #[serde(default = "default_beta1")]
    pub beta1: f64,
    /// Decay of the running size of gradients.
    #[serde(default = "default_beta2")]
    pub beta2: f64,
    /// Keeps the division finite: 1e-8 where the file does not say.
    #[serde(default = "default_eps")]
    pub eps: f64,
    /// Decay of RMSProp's running mean of squared gradients.
    #[serde(default = "default_rho")]
    pub rho: f64,
    /// Momentum of gradient descent; 0 for none.
    #[serde(default)]
    pub momentum: f64,
    /// Whether gradient descent looks ahead by its momentum.
    #[serde(default)]
    pub nesterov: bool,
    /// Speed of Nadam's momentum schedule: 0.004 in PyTorch and in Keras up to 2.10, 1 in Keras 3.
    #[serde(default = "default_psi")]
    pub psi: f64,
    /// What products are computed of; a device that cannot do so uses `f32`, or does it by arithmetic.
    #[serde(default)]
    pub precision: Precision,
    /// Factor of the loss ahead of the backward pass in half precision, undone on the parameters' gradients: a power of two.
    /// Where the file does not say, the largest that is not more than the numbers whose mean the loss is, so that the
    /// gradients of the outputs are of the size of the errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f64>,
    /// Passes over the training pictures.
    pub epochs: u64,
    /// Passes over the training pictures for each layer of the encoder, trained with its mirror in the decoder on the
    /// codes of the layers before it, ahead of the run proper ([`pretrain`](crate::train::pretrain)); 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pretrain_epochs: u64,
    /// Ends after this many steps in all, even within an epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Pictures per step.
    pub batch: usize,
    /// Leave out the last, short batch of an epoch.
    #[serde(default)]
    pub drop_last: bool,
    /// Where several ranks train together: whether batch normalisation takes the statistics of all their rows, as if they
    /// were one batch, else of each rank's own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sync_batch_norm: bool,
    /// Take the pictures in a new order each epoch, else in file order.
    #[serde(default = "default_shuffle")]
    pub shuffle: bool,
    /// Fraction of the pictures that is held out, 0 to below 1.
    #[serde(default = "default_val")]
    pub val: f64,
    /// Which pictures are held out.
    #[serde(default)]
    pub split: Split,
    /// Seed of everything random: first values, split, order, noise.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Stop after this many epochs without a better validation loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// A validation loss is better if it is smaller by more than this.
    #[serde(default)]
    pub min_delta: f64,
}

/// Largest factor of the loss: `f32` has room for gradients 2^100 times as large.
pub(super) const MAX_LOSS_SCALE: f64 = 16_777_216.0;

impl Train {
    /// The factor of a loss that is the mean of `numbers` in the backward pass.
    pub fn loss_scale(&self, numbers: usize) -> f64 {
        match self.precision {
            Precision::F32 => 1.0,
            Precision::F16 => {
                let automatic = || (numbers.max(1) as f64).log2().floor().exp2().min(MAX_LOSS_SCALE);
                self.loss_scale.unwrap_or_else(automatic)
            }
        }
    }

    /// Noise on the held-out pictures during training.
    pub fn validation_noise(&self) -> Noise {
        self.noise_validation.unwrap_or(self.noise)
    }

    /// Noise that the trained network is tested and shown with.
    pub fn inference_noise(&self) -> Noise {
        self.noise_inference.unwrap_or(self.validation_noise())
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn default_beta1() -> f64 {
    0.9
}

fn default_beta2() -> f64 {
    0.999
}

fn default_eps() -> f64 {
    1e-8
}

fn default_kl() -> f64 {
    1.0
}

fn default_sparsity_target() -> f64 {
    0.05
}

fn default_rho() -> f64 {
    0.9
}

fn default_psi() -> f64 {
    0.004
}

fn default_shuffle() -> bool {
    true
}

fn default_val() -> f64 {
    0.1
}

fn default_seed() -> u64 {
    1
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use crate::model::Preset;

    #[test]
    fn the_loss_scale_follows_the_mean_unless_given() {
        let mut preset = Preset::load("lfw-conv").unwrap();
        assert_eq!(preset.train.loss_scale(196_608), 1.0, "nothing is scaled in f32");
        preset.set("train.precision=f16").unwrap();
        assert_eq!(
            [0, 1, 3, 196_608, 1 << 40].map(|n| preset.train.loss_scale(n)),
            [1.0, 1.0, 2.0, 131_072.0, 16_777_216.0]
        );
        preset.set("train.loss_scale=1024").unwrap();
        assert_eq!(preset.train.loss_scale(196_608), 1024.0);
        for wrong in ["0", "0.5", "1000", "33554432", "-2", "inf", "nan"] {
            let message = preset.set(&format!("train.loss_scale={wrong}")).unwrap_err().to_string();
            assert!(message.starts_with("train.loss_scale: must be a power of two from 1 to 16777216"), "{message}");
        }
        assert!(preset.set("train.precision=f64").unwrap_err().to_string().contains("f64"));
    }
}
