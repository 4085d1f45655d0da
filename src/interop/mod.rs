//! Networks for other frameworks, and weights from them.
//!
//! - [`onnx::model()`] makes an ONNX model of a network, or of its encoder or decoder alone.
//! - [`portable_weights()`] has the tensors as safetensors, which PyTorch, Keras and others read.
//! - [`import()`] takes the weights of a network that PyTorch or Keras trained and has the architecture of a preset: it
//!   finds out which tensor is which, and brings them into degrain's layout. [`write_run()`] makes a run of them, which
//!   every command takes.
//!
//! Codes go out and come in as `.npy`: [`crate::latent::Codes`].

mod axes;
mod import;
pub mod onnx;
mod weights;

pub use import::{ChannelOrder, Framework, ImportOptions, Imported, TORCH_EPSILON, import, write_run};
pub use weights::portable_weights;

use std::fmt;
use std::str::FromStr;

/// How much of an autoencoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// Encoder and decoder.
    #[default]
    Whole,
    /// Picture to code.
    Encoder,
    /// Code to picture.
    Decoder,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Whole, Self::Encoder, Self::Decoder];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "whole",
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        })
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = Self::ALL.into_iter().find(|part| part.to_string() == text);
        part.ok_or_else(|| format!("{text:?} is no part of an autoencoder: wanted whole, encoder or decoder"))
    }
}
