//! The way from one code to another, and so from one picture to another.

use super::Codes;
use crate::error::{Error, Result};

/// Sines under this are those of two codes that point the same or the opposite way: no arc joins them that is the
/// shortest by more than rounding.
const PARALLEL: f64 = 1e-6;

/// How two codes are joined. The ends of both ways are the codes themselves, bit by bit.
///
/// Five pictures from one drawing to another; the first and the last are the network's reconstructions of the two:
///
/// ```
/// use degrain::data::bundled_quickdraw;
/// use degrain::latent::{Interpolation, morph};
/// use degrain::model::Preset;
/// use degrain::session::Session;
/// use degrain::train::{Inference, Weights};
///
/// let preset = Preset::load("vae")?;
/// let weights = Weights::initial(&preset)?; // of a run: Weights::read(Path::new("runs/vae-1/best.safetensors"))?
/// let mut network = Inference::new(Session::cpu(), &preset, weights, 32)?;
/// let x = bundled_quickdraw()?.floats(&[0, 500], preset.data.offset as f32);
/// let ends = network.encode(&x)?;
/// let (from, to) = ends.split_at(network.code_len());
/// let way = Interpolation::Linear.way(from, to, &morph::alphas(5))?; // (5, 16)
/// let pictures = network.decode(way.values())?; // (5, 28, 28, 1)
/// assert_eq!(pictures[..784], network.reconstruct(&x)?[..784]);
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Interpolation {
    /// The straight line, (1 - alpha) from + alpha to.
    #[default]
    Linear,
    /// The arc around the origin at an even pace (Shoemake 1985; for codes White 2016): codes in between are as far
    /// out as the ends, where a straight line passes nearer to the origin than a variational network's codes lie. Codes that point
    /// the same or the opposite way, or are zero, are joined by the line.
    Spherical,
}

impl Interpolation {
    /// The code at `alpha`, from 0 (`from`) to 1 (`to`), both of the same length.
    pub fn between(self, from: &[f32], to: &[f32], alpha: f64) -> Vec<f32> {
        // Of -0 the formula would make 0.
        if alpha == 0.0 {
            return from.to_vec();
        }
        if alpha == 1.0 {
            return to.to_vec();
        }
        let (a, b) = match self {
            Self::Linear => (1.0 - alpha, alpha),
            Self::Spherical => spherical(from, to, alpha),
        };
        from.iter().zip(to).map(|(&x, &y)| (a * f64::from(x) + b * f64::from(y)) as f32).collect()
    }

    /// The codes at `alphas`, (alphas, code).
    ///
    /// # Errors
    /// Codes of different lengths, or that are not finite.
    pub fn way(self, from: &[f32], to: &[f32], alphas: &[f64]) -> Result<Codes> {
        if from.len() != to.len() {
            let got = format!("{} and {} numbers", from.len(), to.len());
            return Err(Error::shape("morph", "two codes of the same length", got));
        }
        Codes::new(alphas.iter().flat_map(|&alpha| self.between(from, to, alpha)).collect(), from.len())
    }
}

/// The weights of the two codes on the arc between them.
fn spherical(from: &[f32], to: &[f32], alpha: f64) -> (f64, f64) {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let lengths = (dot(from, from) * dot(to, to)).sqrt();
    let angle = if lengths > 0.0 { (dot(from, to) / lengths).clamp(-1.0, 1.0).acos() } else { 0.0 };
    match angle.sin() {
        sine if sine > PARALLEL => (((1.0 - alpha) * angle).sin() / sine, (alpha * angle).sin() / sine),
        _ => (1.0 - alpha, alpha),
    }
}

/// `steps` numbers at equal distances from exactly 0 to exactly 1; of a single step only the 0.
pub fn alphas(steps: usize) -> Vec<f64> {
    let last = steps.saturating_sub(1).max(1);
    (0..steps).map(|step| step as f64 / last as f64).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn both_ways_end_in_the_codes_to_the_bit() {
        let (from, to) = ([-0.0, 0.1, 1e-40, 3.0e38], [0.3, -0.0, -7.0, -3.0e38]);
        for way in [Interpolation::Linear, Interpolation::Spherical] {
            let codes = way.way(&from, &to, &alphas(4)).unwrap();
            let bits = |code: &[f32]| code.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(codes.get(0).unwrap()), bits(&from));
            assert_eq!(bits(codes.get(3).unwrap()), bits(&to));
        }
    }

    #[test]
    fn a_line_is_straight_and_an_arc_keeps_its_distance_and_pace() {
        assert_eq!(Interpolation::Linear.between(&[0.0, 4.0], &[2.0, 0.0], 0.25), [0.5, 3.0]);
        let third = Interpolation::Spherical.between(&[2.0, 0.0], &[0.0, 2.0], 1.0 / 3.0);
        let (x, y) = (2.0 * 30f32.to_radians().cos(), 2.0 * 30f32.to_radians().sin());
        assert!((third[0] - x).abs() <= 1e-6 && (third[1] - y).abs() <= 1e-6, "{third:?}");
        for (from, to) in [([1.0, 1.0], [3.0, 3.0]), ([1.0, 0.0], [-3.0, 0.0]), ([0.0, 0.0], [1.0, 2.0])] {
            let line = Interpolation::Linear.between(&from, &to, 0.5);
            assert_eq!(Interpolation::Spherical.between(&from, &to, 0.5), line);
        }
    }

    #[test]
    fn alphas_begin_at_0_and_end_at_1() {
        assert_eq!(alphas(5), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!((alphas(7)[6], alphas(2), alphas(1), alphas(0)), (1.0, vec![0.0, 1.0], vec![0.0], vec![]));
        assert!(Interpolation::Linear.way(&[1.0], &[1.0, 2.0], &[0.5]).is_err());
    }
}
