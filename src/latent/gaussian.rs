//! Gaussians in code space: the prior of a variational network, or one fitted to codes. What they draw, decoded, is new
//! pictures.

use super::{Codes, Pca};
use crate::error::{Error, Result};
use crate::op::{normal_from_bits, philox4x32};
use faer::Mat;

/// Directions in which the variance is below this share of the greatest: what rounding leaves of none.
const NO_VARIANCE: f64 = 1e-12;
/// Keeps draws apart from those that training makes with the same seed.
const STREAM: u32 = 0x6761_7573;

/// A multivariate normal distribution of codes.
///
/// Eight new drawings from a Gaussian fitted to codes, and eight like the first drawing:
///
/// ```
/// use degrain::data::bundled_quickdraw;
/// use degrain::latent::{Codes, Gaussian};
/// use degrain::model::Preset;
/// use degrain::session::Session;
/// use degrain::train::{Inference, Weights};
///
/// let preset = Preset::load("quickdraw-deep")?;
/// let weights = Weights::initial(&preset)?; // of a run: Weights::read(Path::new("runs/…/best.safetensors"))?
/// let mut network = Inference::new(Session::cpu(), &preset, weights, 64)?;
/// let mut pictures = bundled_quickdraw()?;
/// pictures.limit(100);
/// let codes = Codes::of(&mut network, &pictures, &mut |_| {})?;
/// let gaussian = Gaussian::fit(&codes)?;
/// let new = network.decode(gaussian.sample(8, 1.0, 7)?.values())?; // (8, 28, 28, 1)
/// let alike = gaussian.around(codes.get(0).unwrap_or_default(), 8, 0.3, 7)?;
/// assert_eq!((new.len(), alike.len(), alike.dim()), (8 * 784, 8, codes.dim()));
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gaussian {
    mean: Vec<f64>,
    /// (code, rank), F with the covariance F F^T; without one, the covariance is the identity.
    factor: Option<Mat<f64>>,
}

impl Gaussian {
    /// N(0, I) over codes of `dim` values: the prior that a variational network is trained towards.
    pub fn standard(dim: usize) -> Self {
        Self { mean: vec![0.0; dim], factor: None }
    }

    /// The Gaussian of greatest likelihood: the mean of `codes` and their full covariance (over N), by way of its
    /// eigenvectors. Where codes vary in fewer directions than they have values (units that are always 0, fewer codes than
    /// values), what is drawn varies in no others.
    ///
    /// # Errors
    /// No codes, or more than 8,192 of more than 8,192 values.
    pub fn fit(codes: &Codes) -> Result<Self> {
        if codes.is_empty() {
            return Err(Error::shape("gaussian", "at least one code to fit to", "none"));
        }
        let pca = Pca::fit(codes.values(), codes.len(), codes.dim(), codes.len().min(codes.dim()))?;
        let least = NO_VARIANCE * pca.variances().first().copied().unwrap_or(0.0);
        let rank = pca.variances().iter().take_while(|&&variance| variance > least).count();
        let factor = Mat::from_fn(codes.dim(), rank, |i, j| {
            let direction = pca.component(j).and_then(|component| component.get(i));
            direction.copied().unwrap_or(0.0) * pca.variances().get(j).copied().unwrap_or(0.0).sqrt()
        });
        Ok(Self { mean: pca.mean().to_vec(), factor: Some(factor) })
    }

    /// Values of a code.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Independent directions in which codes vary.
    pub fn rank(&self) -> usize {
        self.factor.as_ref().map_or(self.dim(), Mat::ncols)
    }

    /// The mean, (code).
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The standard deviation of each value of a code, (code).
    pub fn deviations(&self) -> Vec<f64> {
        match &self.factor {
            None => vec![1.0; self.dim()],
            Some(factor) => factor.row_iter().map(|row| row.norm_l2()).collect(),
        }
    }

    /// `count` codes, (count, code), with deviations from the mean `temperature` times those of the distribution: under 1
    /// they are more alike and more typical. A code depends on `seed` and its place alone: the first ones are the same
    /// however many there are.
    ///
    /// # Errors
    /// A temperature that is negative or not finite.
    pub fn sample(&self, count: usize, temperature: f64, seed: u64) -> Result<Codes> {
        self.draw(&self.mean, count, temperature, seed)
    }

    /// `count` codes around `code`: the distribution of [`Gaussian::sample`] with its mean moved there, so that the
    /// noise on each value is `sigma` times that value's standard deviation, and the values vary together as they do in
    /// the codes.
    ///
    /// # Errors
    /// A code of another length, a sigma that is negative or not finite.
    pub fn around(&self, code: &[f32], count: usize, sigma: f64, seed: u64) -> Result<Codes> {
        if code.len() != self.dim() {
            let wanted = format!("a code of {} values", self.dim());
            return Err(Error::shape("gaussian", wanted, format!("{} values", code.len())));
        }
        let centre: Vec<f64> = code.iter().map(|&value| f64::from(value)).collect();
        self.draw(&centre, count, sigma, seed)
    }

    fn draw(&self, centre: &[f64], count: usize, scale: f64, seed: u64) -> Result<Codes> {
        if !(0.0..=f64::MAX).contains(&scale) {
            return Err(Error::setting("gaussian", format!("deviations cannot be scaled by {scale}: take 0 or more")));
        }
        let mut values = Vec::with_capacity(count * self.dim());
        for place in 0..count {
            let z = normals(self.rank(), place, seed);
            let mut code = centre.to_vec();
            match &self.factor {
                None => code.iter_mut().zip(&z).for_each(|(value, z)| *value += scale * z),
                Some(factor) => {
                    for (column, z) in factor.col_iter().zip(&z) {
                        code.iter_mut().zip(column.iter()).for_each(|(value, f)| *value += scale * z * f);
                    }
                }
            }
            values.extend(code.into_iter().map(|value| value as f32));
        }
        Codes::new(values, self.dim())
    }
}

/// `count` standard normal numbers, the same for the same place and seed.
fn normals(count: usize, place: usize, seed: u64) -> Vec<f64> {
    let (place, seed) = (place as u64, [seed as u32, (seed >> 32) as u32]);
    let words = |quad: usize| philox4x32([quad as u32, place as u32, (place >> 32) as u32, STREAM], seed);
    (0..count.div_ceil(4)).flat_map(words).take(count).map(|bits| f64::from(normal_from_bits(bits))).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// (mean, covariance (code, code)) over N.
    fn moments(codes: &Codes) -> (Vec<f64>, Vec<f64>) {
        let (n, d) = (codes.len() as f64, codes.dim());
        let mean: Vec<f64> = (0..d).map(|j| codes.iter().map(|code| f64::from(code[j])).sum::<f64>() / n).collect();
        let product = |i: usize, j: usize| {
            codes.iter().map(|c| (f64::from(c[i]) - mean[i]) * (f64::from(c[j]) - mean[j])).sum::<f64>() / n
        };
        let covariance = (0..d * d).map(|at| product(at / d, at % d)).collect();
        (mean, covariance)
    }

    fn skewed(count: usize) -> Codes {
        let z = Gaussian::standard(2).sample(count, 1.0, 5).unwrap();
        // The third value is a sum of the others, the fourth always the same.
        let values = z.iter().flat_map(|z| [3.0 + z[0], 2.0 * z[1] - z[0], z[0] + z[1], -1.5]);
        Codes::new(values.collect(), 4).unwrap()
    }

    #[test]
    fn the_prior_has_mean_0_and_variance_1() {
        let (mean, covariance) = moments(&Gaussian::standard(3).sample(40_000, 1.0, 1).unwrap());
        // Five standard errors, 5 / sqrt(N), of the mean and more than three of a variance.
        assert!(mean.iter().all(|mean| mean.abs() <= 0.025), "{mean:?}");
        for (at, value) in covariance.iter().enumerate() {
            let wanted = f64::from(u8::from(at / 3 == at % 3));
            assert!((value - wanted).abs() <= 0.025, "{covariance:?}");
        }
    }

    #[test]
    fn what_is_drawn_has_the_moments_of_the_codes_also_where_they_are_rank_deficient() {
        let codes = skewed(500);
        let gaussian = Gaussian::fit(&codes).unwrap();
        assert_eq!((gaussian.rank(), gaussian.dim()), (2, 4));
        let (mean, covariance) = moments(&codes);
        let (drawn_mean, drawn) = moments(&gaussian.sample(40_000, 1.0, 3).unwrap());
        for (found, wanted) in drawn_mean.iter().zip(&mean) {
            assert!((found - wanted).abs() <= 0.06, "{drawn_mean:?} for {mean:?}");
        }
        for (found, wanted) in drawn.iter().zip(&covariance) {
            assert!((found - wanted).abs() <= 0.15, "{drawn:?} for {covariance:?}");
        }
        for (deviation, at) in gaussian.deviations().iter().zip([0, 5, 10, 15]) {
            assert!((deviation - covariance[at].sqrt()).abs() <= 1e-6, "{deviation} for {}", covariance[at]);
        }
        // No direction is left that the codes do not have.
        for code in gaussian.sample(100, 1.0, 9).unwrap().iter() {
            assert!(
                (code[3] + 1.5).abs() <= 1e-5
                    && (code[0] - 3.0 + (code[1] + code[0] - 3.0) / 2.0 - code[2]).abs() <= 1e-4
            );
        }
    }

    #[test]
    fn fewer_codes_than_values_are_enough() {
        let codes = Codes::new((0..3 * 50).map(|i| ((i * i) % 37) as f32 / 37.0).collect(), 50).unwrap();
        let gaussian = Gaussian::fit(&codes).unwrap();
        assert_eq!(gaussian.rank(), 2);
        let one = Gaussian::fit(&Codes::new(vec![0.5, -1.0], 2).unwrap()).unwrap();
        assert_eq!(one.sample(2, 1.0, 1).unwrap().values(), [0.5, -1.0, 0.5, -1.0]);
        assert!(Gaussian::fit(&Codes::new(Vec::new(), 2).unwrap()).is_err());
    }

    #[test]
    fn a_draw_depends_on_seed_and_place_alone() {
        let gaussian = Gaussian::fit(&skewed(50)).unwrap();
        let five = gaussian.sample(5, 1.0, 1).unwrap();
        assert_eq!(gaussian.sample(9, 1.0, 1).unwrap().values()[..20], *five.values());
        assert_ne!(gaussian.sample(5, 1.0, 2).unwrap(), five);
        assert_ne!(gaussian.sample(5, 1.0, 1 + (1 << 32)).unwrap(), five);
        assert_ne!(five.get(0), five.get(1));
    }

    #[test]
    fn temperature_and_sigma_scale_the_deviations() {
        let gaussian = Gaussian::fit(&skewed(50)).unwrap();
        let centre = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(gaussian.around(&centre, 2, 0.0, 1).unwrap().values(), [centre, centre].concat());
        let (full, half) = (gaussian.sample(3, 1.0, 1).unwrap(), gaussian.sample(3, 0.5, 1).unwrap());
        for (at, (full, half)) in full.values().iter().zip(half.values()).enumerate() {
            let mean = gaussian.mean()[at % 4];
            assert!((f64::from(*half) - mean - (f64::from(*full) - mean) / 2.0).abs() <= 1e-6);
        }
        for scale in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(gaussian.sample(1, scale, 1).is_err() && gaussian.around(&centre, 1, scale, 1).is_err());
        }
        assert!(gaussian.around(&[1.0], 1, 1.0, 1).is_err());
    }
}
