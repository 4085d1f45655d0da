//! The words of a preset's `[train]` table: noise, loss, optimiser, split.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Noise added to the input of the network; the target stays clean. The same text stands in a preset file and
/// behind `--noise`: `none`, `gaussian:0.1`, `mask:0.3`, `salt-pepper:0.1`, `rect:8`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Noise {
    /// The input as it is.
    #[default]
    None,
    /// Adds a normal deviate to every value, unclipped.
    Gaussian {
        /// Standard deviation, in the units of the scaled pictures (white - black = 1).
        sigma: f64,
    },
    /// Sets pixels to black.
    Mask {
        /// Share of the pixels, 0 to 1.
        fraction: f64,
    },
    /// Sets pixels to black or to white, with equal chance.
    SaltPepper {
        /// Share of the pixels, 0 to 1.
        fraction: f64,
    },
    /// Blackens one square at a random place.
    Rect {
        /// Side of the square, in pixels.
        size: usize,
    },
}

/// What training makes small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Mean over all elements of the squared difference.
    Mse,
    /// Mean over all elements of the binary cross-entropy, from logits; pictures get the sigmoid of the output.
    Bce,
}

/// Which rule updates the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Adam (Kingma and Ba 2015).
    Adam,
    /// Adam with the infinity norm (section 7.1 of the same paper).
    Adamax,
    /// Adam with Nesterov momentum.
    Nadam,
    /// Steps divided by a running root mean square of the gradient.
    Rmsprop,
    /// Plain stochastic gradient descent.
    Sgd,
}

/// Whose form of an optimiser is meant: they differ in where epsilon or the learning rate stands. Nadam has one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Convention {
    /// Adam: eps beside the uncorrected sqrt(v). Adamax: u = max(b2 u, |g|), divided by u + eps. RMSProp: divided by
    /// sqrt(s + eps), s from 0. Gradient descent: the learning rate is inside the momentum.
    #[default]
    Keras,
    /// Adam: eps beside the corrected sqrt(v). Adamax: u = max(b2 u, |g| + eps), divided by u. RMSProp: divided by
    /// sqrt(s) + eps, s from 0. Gradient descent: the learning rate stands before the momentum.
    Torch,
    /// TensorFlow 1. Adam as in Keras; RMSProp as in Keras, but s from 1; gradient descent as in PyTorch. It has no
    /// Adamax and no Nadam.
    Tf1,
}

/// Which pictures are held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// A random part, the same for the same seed.
    #[default]
    Seeded,
    /// The last part in file order, as Keras's `validation_split` takes it.
    Last,
}

/// What batch normalisation takes one mean and one deviation of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchNormKind {
    /// The layers are left out.
    None,
    /// Each feature (channel), over the batch and the places of a picture, with a weight and a bias for each.
    #[default]
    Feature,
    /// The whole tensor, with one weight and one bias.
    Tensor,
}

/// How the contractive penalty gets the norm of the code's Jacobian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JacobianNorm {
    /// One product with the Jacobian for each value of the code.
    #[default]
    Exact,
    /// One product with a random normal vector, anew each step: right on average.
    Projection,
}

impl FromStr for Noise {
    /// One line that says what is wrong; the caller knows whether a flag or a key was read.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, amount) = text.split_once(':').map_or((text, None), |(kind, amount)| (kind, Some(amount)));
        match (kind, amount) {
            ("none", None) => Ok(Self::None),
            ("gaussian", Some(sigma)) => Ok(Self::Gaussian { sigma: number(text, sigma, f64::INFINITY)? }),
            ("mask", Some(share)) => Ok(Self::Mask { fraction: number(text, share, 1.0)? }),
            ("salt-pepper", Some(share)) => Ok(Self::SaltPepper { fraction: number(text, share, 1.0)? }),
            ("rect", Some(size)) => match size.parse() {
                Ok(size) if size > 0 => Ok(Self::Rect { size }),
                _ => Err(format!("noise {text:?}: the side of the square must be a whole number of pixels above 0")),
            },
            _ => Err(format!(
                "noise {text:?} is not known: wanted none, gaussian:SIGMA, mask:SHARE, salt-pepper:SHARE or rect:PIXELS"
            )),
        }
    }
}

fn number(noise: &str, amount: &str, most: f64) -> Result<f64, String> {
    match amount.parse::<f64>() {
        // The device holds it as f32.
        Ok(value) if (value as f32).is_finite() && value >= 0.0 && value <= most => Ok(value),
        _ if most.is_finite() => Err(format!("noise {noise:?}: {amount:?} is not a number from 0 to {most}")),
        _ => Err(format!("noise {noise:?}: {amount:?} is not a finite number of at least 0")),
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gaussian { sigma } => write!(f, "gaussian:{sigma}"),
            Self::Mask { fraction } => write!(f, "mask:{fraction}"),
            Self::SaltPepper { fraction } => write!(f, "salt-pepper:{fraction}"),
            Self::Rect { size } => write!(f, "rect:{size}"),
        }
    }
}

impl TryFrom<String> for Noise {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Noise> for String {
    fn from(noise: Noise) -> Self {
        noise.to_string()
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mse => "mse",
            Self::Bce => "bce",
        })
    }
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Adam => "adam",
            Self::Adamax => "adamax",
            Self::Nadam => "nadam",
            Self::Rmsprop => "rmsprop",
            Self::Sgd => "sgd",
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn noise_reads_back_as_written() {
        for text in ["none", "gaussian:0.1", "gaussian:0", "mask:0.3", "mask:1", "salt-pepper:0.1", "rect:8"] {
            assert_eq!(text.parse::<Noise>().unwrap().to_string(), text);
        }
        assert_eq!("gaussian:0.1".parse(), Ok(Noise::Gaussian { sigma: 0.1 }));
        assert_eq!("salt-pepper:0.25".parse(), Ok(Noise::SaltPepper { fraction: 0.25 }));
    }

    #[test]
    fn bad_noise_is_one_line_with_the_text() {
        let texts = [
            "",
            "gauss:0.1",
            "gaussian",
            "gaussian:",
            "gaussian:-1",
            "gaussian:nan",
            "gaussian:inf",
            "gaussian:1e300",
            "gaussian:0.1:2",
            "mask:1.5",
            "salt-pepper:-0.1",
            "rect:0",
            "rect:2.5",
            "rect:-3",
            "none:1",
            "GAUSSIAN:1",
        ];
        for text in texts {
            let message = text.parse::<Noise>().unwrap_err();
            assert!(message.contains(text) && !message.contains('\n'), "{text}: {message}");
        }
    }
}
