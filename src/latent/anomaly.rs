//! Pictures unlike those that a network has learnt: by their reconstruction error.

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::model::Noise;
use crate::report::metrics;
use crate::train::Inference;

/// The mean squared error of each picture of `data`, in their order, between the picture and what the network makes of it
/// without noise: high where it is unlike the pictures of training. Errors are of the outputs as they are, unclipped.
/// `advance` hears of each picture that is done.
///
/// ```
/// use degrain::data::bundled_quickdraw;
/// use degrain::latent::{auroc, reconstruction_errors};
/// use degrain::model::Preset;
/// use degrain::session::Session;
/// use degrain::train::{Inference, Weights};
///
/// let preset = Preset::load("vae")?;
/// let weights = Weights::initial(&preset)?; // of a run: Weights::read(Path::new("runs/vae-1/best.safetensors"))?
/// let mut network = Inference::new(Session::cpu(), &preset, weights, 32)?;
/// let mut pictures = bundled_quickdraw()?;
/// pictures.limit(40);
/// let errors = reconstruction_errors(&mut network, &pictures, &mut || {})?;
/// assert_eq!(errors.len(), 40);
/// // How well errors tell the pictures from the 30th on from those before: 0.5 is chance.
/// let anomalous: Vec<bool> = (0..40).map(|i| i >= 30).collect();
/// assert!(auroc(&errors, &anomalous).is_some_and(|area| (0.0..=1.0).contains(&area)));
/// # Ok::<(), degrain::Error>(())
/// ```
///
/// # Errors
/// If the pictures are of another size than the network takes, the device is lost, or an error is not finite.
pub fn reconstruction_errors(network: &mut Inference, data: &Dataset, advance: &mut dyn FnMut()) -> Result<Vec<f64>> {
    let rows: Vec<u32> = (0..data.len() as u32).collect();
    let mut errors = Vec::with_capacity(rows.len());
    // Without noise no number is drawn, whatever the seed.
    network.evaluate(data, &rows, Noise::None, 0, &mut |seen| {
        errors.push(metrics::mse(seen.clean, seen.restored));
        advance();
    })?;
    match errors.iter().position(|error| !error.is_finite()) {
        Some(at) => Err(Error::shape("anomaly", "finite errors", format!("{} of picture {at}", errors[at]))),
        None => Ok(errors),
    }
}

/// Area under the receiver operating characteristic: the chance that one of the rows marked in `positive` scores higher
/// than one of the others, equal scores counting half (the statistic U of Mann and Whitney 1947 over the number of pairs).
/// None where all rows are of one kind, a score is NaN, or the lengths differ.
pub fn auroc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    if scores.len() != positive.len() || scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let mut rows: Vec<(f64, bool)> = scores.iter().copied().zip(positive.iter().copied()).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut pairs_won) = (0.0, 0.0);
    // 0 and -0 are equal, though their order is total.
    for equal in rows.chunk_by(|a, b| a.0 == b.0) {
        let positives = equal.iter().filter(|row| row.1).count() as f64;
        let negatives = equal.len() as f64 - positives;
        pairs_won += positives * (below + negatives / 2.0);
        below += negatives;
    }
    let pairs = below * (rows.len() as f64 - below);
    (pairs > 0.0).then(|| pairs_won / pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_pairs_and_ties_as_halves() {
        assert_eq!(auroc(&[0.1, 0.2, 0.3, 0.4], &[false, false, true, true]), Some(1.0));
        assert_eq!(auroc(&[0.4, 0.3, 0.2, 0.1], &[false, false, true, true]), Some(0.0));
        assert_eq!(auroc(&[1.0; 5], &[true, false, true, false, false]), Some(0.5));
        assert_eq!(auroc(&[0.0, -0.0], &[true, false]), Some(0.5));
        // sklearn.metrics.roc_auc_score of these: 0.75.
        let area = auroc(&[0.5, 0.5, 0.7, 0.2, 0.9, 0.5], &[true, false, false, false, true, false]);
        assert_eq!(area, Some((1.0 + 0.5 * 2.0 + 4.0) / 8.0));
        assert_eq!(auroc(&[0.5, 0.5], &[true, true]), None);
        assert_eq!(auroc(&[], &[]), None);
        assert_eq!(auroc(&[f64::NAN, 0.5], &[true, false]), None);
        assert_eq!(auroc(&[0.5], &[true, false]), None);
        assert_eq!(auroc(&[f64::INFINITY, f64::INFINITY, 1.0], &[true, false, false]), Some(0.75));
    }
}
