//! The noise of a phase: recorded on a tape, or on the host with the same bits.

use super::program::{Phase, key};
use crate::error::Result;
use crate::graph::Graph;
use crate::model::{Noise, Preset};
use crate::op::{GaussianNoise, PixelNoise, Replaced, normal_from_bits, philox4x32};
use crate::tensor::TensorId;

/// The op of a kind of noise.
enum NoiseOp {
    None,
    Gaussian(GaussianNoise),
    Pixel(PixelNoise),
}

impl NoiseOp {
    fn new(noise: Noise, offset: f64, seed: u64, phase: Phase) -> Self {
        let (seed, stream) = (key(seed), phase.stream());
        let (low, high) = (offset as f32, (offset + 1.0) as f32);
        let pixel = |replaced| Self::Pixel(PixelNoise { replaced, low, high, seed, stream });
        match noise {
            Noise::None => Self::None,
            Noise::Gaussian { sigma } => Self::Gaussian(GaussianNoise { sigma: sigma as f32, seed, stream }),
            Noise::Mask { fraction } => pixel(Replaced::Mask { share: fraction as f32 }),
            Noise::SaltPepper { fraction } => pixel(Replaced::SaltPepper { share: fraction as f32 }),
            Noise::Rect { size } => pixel(Replaced::Square { side: size }),
        }
    }
}

/// Records the phase's noise on a batch of the data set's rows.
pub(super) fn record(
    graph: &mut Graph,
    preset: &Preset,
    phase: Phase,
    clean: TensorId,
    rows: TensorId,
    clock: TensorId,
) -> Result<TensorId> {
    let noise = match phase {
        Phase::Training => preset.train.noise,
        Phase::Validation => preset.train.validation_noise(),
    };
    let inputs = [clean, rows, clock];
    match NoiseOp::new(noise, preset.data.offset, preset.train.seed, phase) {
        NoiseOp::None => Ok(clean),
        NoiseOp::Gaussian(op) => graph.apply_one(op, &inputs),
        NoiseOp::Pixel(op) => graph.apply_one(op, &inputs),
    }
}

/// Adds noise to pictures (N, H, W, C) scaled as the preset has them, one per row of a data set: it depends on the
/// seed, the row and the place alone, and has the words that validation draws on the device.
pub fn add_noise(x: &mut [f32], rows: &[u32], preset: &Preset, noise: Noise, seed: u64) {
    let size = [preset.data.height, preset.data.width, preset.data.channels];
    add_noise_to(x, rows, size, preset.data.offset, noise, seed);
}

/// As [`add_noise`], to pictures of any `size` = [H, W, C] whose values lie in [`offset`, `offset` + 1].
pub fn add_noise_to(x: &mut [f32], rows: &[u32], size: [usize; 3], offset: f64, noise: Noise, seed: u64) {
    let len = size.iter().product::<usize>().max(1);
    match NoiseOp::new(noise, offset, seed, Phase::Validation) {
        NoiseOp::None => {}
        NoiseOp::Pixel(op) => op.apply(x, size, rows, &[0; 4]),
        NoiseOp::Gaussian(GaussianNoise { sigma, seed, stream }) => {
            for (&row, picture) in rows.iter().zip(x.chunks_exact_mut(len)) {
                for (quad, values) in picture.chunks_mut(4).enumerate() {
                    let bits = philox4x32([quad as u32, row, 0, 0], [seed, stream]);
                    values.iter_mut().zip(bits).for_each(|(x, bits)| *x += sigma * normal_from_bits(bits));
                }
            }
        }
    }
}
