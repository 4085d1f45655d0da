//! What exact PCA makes of a run's held-out pictures.

use super::Pca;
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::model::{Noise, Preset};
use crate::train::add_noise;

/// Most values of the rows that are fitted: 16 GiB as f32.
const MAX_VALUES: usize = 1 << 32;

/// The mean squared errors of exact PCA with as many components as each of `codes`, fitted to the clean training pictures,
/// on the held-out pictures, with the noise that the preset has on an autoencoder's inputs: both are then given the same
/// and held against the same. Beyond the rank of the training pictures more components change nothing.
///
/// # Errors
/// Nothing held out, more pictures than PCA takes, or a code of 0.
pub fn pca_errors(preset: &Preset, data: &Dataset, split: &Split, codes: &[usize]) -> Result<Vec<f64>> {
    let (n, d) = (split.train.len(), data.sample_len());
    if split.held_out.is_empty() {
        return Err(Error::setting("--val", "nothing is held out to measure an error on"));
    }
    if n.saturating_mul(d) > MAX_VALUES {
        let problem =
            format!("{n} pictures of {d} values are too many for an exact PCA: take at most {MAX_VALUES} values");
        return Err(Error::setting("pca", problem));
    }
    let offset = preset.data.offset as f32;
    let most = codes.iter().copied().max().unwrap_or(1).min(n).min(d);
    let pca = Pca::fit(&data.floats(&split.train, offset), n, d, most)?;
    let clean = data.floats(&split.held_out, offset);
    let noise = preset.train.inference_noise();
    let mut noisy = clean.clone();
    add_noise(&mut noisy, &split.held_out, preset, noise, preset.train.seed);
    let error = |&code: &usize| {
        if code == 0 {
            return Err(Error::setting("components", "must be at least 1"));
        }
        let pca = pca.leading(code);
        if noise == Noise::None {
            return pca.mse(&clean);
        }
        let restored = pca.reconstruct(&noisy)?;
        let squares = clean.iter().zip(&restored).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
        Ok(squares.sum::<f64>() / clean.len() as f64)
    };
    codes.iter().map(error).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::data::{SplitKind, bundled_quickdraw, split};

    #[test]
    fn errors_fall_with_the_code_and_rise_with_noise() {
        let mut data = bundled_quickdraw().unwrap();
        data.limit(200);
        let split = split(200, None, 0.2, SplitKind::Seeded(1)).unwrap();
        let mut preset = Preset::load("quickdraw-simple").unwrap();
        let clean = pca_errors(&preset, &data, &split, &[2, 8, 100_000]).unwrap();
        assert!(clean[0] > clean[1] && clean[1] > clean[2], "{clean:?}");
        let rows = data.floats(&split.train, 0.0);
        let exact = Pca::fit(&rows, split.train.len(), data.sample_len(), 8).unwrap();
        let exact = exact.mse(&data.floats(&split.held_out, 0.0)).unwrap();
        assert!((clean[1] - exact).abs() <= 1e-12 * exact, "{} for {exact}", clean[1]);
        preset.set("train.noise=gaussian:0.5").unwrap();
        let noisy = pca_errors(&preset, &data, &split, &[2, 8]).unwrap();
        assert!(noisy[0] > clean[0] && noisy[1] > clean[1], "{noisy:?}");
        assert!(pca_errors(&preset, &data, &split, &[0]).is_err());
        let none = Split { train: vec![0, 1], held_out: Vec::new() };
        assert!(pca_errors(&preset, &data, &none, &[1]).unwrap_err().to_string().starts_with("--val"));
    }
}
