//! The manifold of a decoder: codes on a grid in the plane, to be decoded beside each other.

use super::{Codes, Pca};
use crate::error::{Error, Result};
use crate::op::normal_from_bits;

/// A grid this fine is past what any sheet shows.
const MAX_SIDE: usize = 256;
/// The share of codes at either end that a range leaves out, so that a lone one does not stretch it.
const OUTERMOST: f64 = 0.01;

/// Codes at the points of a grid, row after row from the top left: the first axis runs to the right, the second upwards,
/// as in a scatter of codes.
///
/// ```
/// use degrain::latent::Manifold;
///
/// let grid = Manifold::of_prior(4)?;
/// assert_eq!((grid.rows(), grid.columns(), grid.codes().len()), (4, 4, 16));
/// // N(0, 1) has 1/8 of its mass under -1.1503.
/// let corner = grid.codes().get(0).unwrap_or_default();
/// assert!((corner[0] + 1.1503).abs() < 1e-4 && (corner[1] - 1.1503).abs() < 1e-4);
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Manifold {
    codes: Codes,
    columns: usize,
}

impl Manifold {
    /// `side` x `side` codes of two values at equal steps of probability under N(0, I), the prior of a variational
    /// network (Kingma and Welling 2014, figure 4).
    ///
    /// # Errors
    /// A side of 0 or over 256.
    pub fn of_prior(side: usize) -> Result<Self> {
        let steps = normal_steps(side)?;
        Self::grid(&steps, &steps, |x, y| vec![x as f32, y as f32])
    }

    /// `side` x `side` codes of two values at equal distances over the range of `codes`, less the outermost hundredth on
    /// either side of each value; `side` codes in a row, where codes have one value.
    ///
    /// # Errors
    /// No codes or longer ones, a side of 0 or over 256.
    pub fn of_range(codes: &Codes, side: usize) -> Result<Self> {
        check_side(side)?;
        if codes.is_empty() || codes.dim() > 2 {
            let got = format!("{} of {} values", codes.len(), codes.dim());
            return Err(Error::shape("manifold", "at least one code, of 1 or 2 values", got));
        }
        let steps = |axis: usize| {
            let (low, high) = range(codes, axis);
            let middle = side as f64 - 1.0;
            (0..side)
                .map(|i| if side == 1 { (low + high) / 2.0 } else { low + (high - low) * i as f64 / middle })
                .collect()
        };
        let x: Vec<f64> = steps(0);
        match codes.dim() {
            1 => Self::grid(&x, &[0.0], |x, _| vec![x as f32]),
            _ => Self::grid(&x, &steps(1), |x, y| vec![x as f32, y as f32]),
        }
    }

    /// `side` x `side` codes of any length in the plane of the first two principal directions through the mean of
    /// `codes`, at equal steps of probability under a normal distribution with the codes' variance along each; a single
    /// row where there is one direction only.
    ///
    /// # Errors
    /// No codes, more than 8,192 of more than 8,192 values, a side of 0 or over 256.
    pub fn of_principal_plane(codes: &Codes, side: usize) -> Result<Self> {
        if codes.is_empty() {
            return Err(Error::shape("manifold", "at least one code", "none"));
        }
        let k = codes.len().min(codes.dim()).min(2);
        let pca = Pca::fit(codes.values(), codes.len(), codes.dim(), k)?;
        let deviation = |axis: usize| pca.variances().get(axis).copied().unwrap_or(0.0).sqrt();
        let steps = normal_steps(side)?;
        let along = |axis: usize, value: f64, i: usize| {
            pca.component(axis)
                .and_then(|component| component.get(i))
                .map_or(0.0, |part| value * deviation(axis) * part)
        };
        let at = |x: f64, y: f64| {
            let parts = pca.mean().iter().enumerate();
            parts.map(|(i, mean)| (mean + along(0, x, i) + along(1, y, i)) as f32).collect()
        };
        Self::grid(&steps, if k == 2 { &steps } else { &[0.0] }, at)
    }

    fn grid(x: &[f64], y: &[f64], at: impl Fn(f64, f64) -> Vec<f32>) -> Result<Self> {
        let codes: Vec<Vec<f32>> =
            y.iter().rev().flat_map(|&y| x.iter().map(move |&x| (x, y))).map(|(x, y)| at(x, y)).collect();
        let dim = codes.first().map_or(0, Vec::len);
        Ok(Self { codes: Codes::new(codes.concat(), dim)?, columns: x.len() })
    }

    /// The codes, row after row.
    pub fn codes(&self) -> &Codes {
        &self.codes
    }

    /// Rows of the grid.
    pub fn rows(&self) -> usize {
        self.codes.len() / self.columns
    }

    /// Columns of the grid.
    pub fn columns(&self) -> usize {
        self.columns
    }
}

fn check_side(side: usize) -> Result<()> {
    if (1..=MAX_SIDE).contains(&side) {
        return Ok(());
    }
    Err(Error::setting("manifold", format!("a grid cannot have {side} codes on a side: take 1 to {MAX_SIDE}")))
}

/// The quantiles of N(0, 1) at (i + 1/2) / side.
fn normal_steps(side: usize) -> Result<Vec<f64>> {
    check_side(side)?;
    Ok((0..side).map(|i| normal_quantile((i as f64 + 0.5) / side as f64)).collect())
}

/// The standard normal quantile of a probability between 2^-32 and 1 - 2^-32, by the words of the random generator.
fn normal_quantile(probability: f64) -> f64 {
    let tail = probability.min(1.0 - probability);
    let quantile = f64::from(normal_from_bits((tail * 2f64.powi(32)) as u32 & 0x7fff_ffff));
    match probability {
        0.5 => 0.0,
        p if p < 0.5 => -quantile.abs(),
        _ => quantile.abs(),
    }
}

/// From where to where value `axis` of the codes goes, less the outermost ones.
fn range(codes: &Codes, axis: usize) -> (f64, f64) {
    let mut values: Vec<f32> = codes.iter().filter_map(|code| code.get(axis)).copied().collect();
    values.sort_by(f32::total_cmp);
    let cut = (values.len() as f64 * OUTERMOST) as usize;
    let at = |i: usize| values.get(i).map_or(0.0, |&value| f64::from(value));
    (at(cut), at(values.len().saturating_sub(1 + cut)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn quantiles_are_those_of_scipy() {
        // scipy.stats.norm.ppf
        let cases =
            [(0.001, -3.090232306), (0.025, -1.959963985), (0.4, -0.2533471031), (0.5, 0.0), (0.9, 1.281551566)];
        for (probability, wanted) in cases {
            let found = normal_quantile(probability);
            assert!((found - wanted).abs() <= 2e-6, "{found} for {wanted}");
            assert!((normal_quantile(1.0 - probability) + wanted).abs() <= 2e-6);
        }
    }

    #[test]
    fn a_grid_runs_to_the_right_and_upwards() {
        let codes = Codes::new((0..=200).flat_map(|i| [i as f32, -2.0 * i as f32]).collect(), 2).unwrap();
        let grid = Manifold::of_range(&codes, 3).unwrap();
        // Two of the 201 are left out at each end.
        let wanted = [[2.0, -4.0], [100.0, -4.0], [198.0, -4.0], [2.0, -200.0], [100.0, -200.0], [198.0, -200.0]];
        for (found, wanted) in grid.codes().iter().zip(wanted) {
            assert_eq!(found, wanted);
        }
        assert_eq!((grid.rows(), grid.columns()), (3, 3));
        assert_eq!(Manifold::of_range(&codes, 1).unwrap().codes().values(), [100.0, -200.0]);
    }

    #[test]
    fn codes_of_one_value_make_a_row() {
        let codes = Codes::new(vec![1.0, 3.0, 5.0], 1).unwrap();
        let grid = Manifold::of_range(&codes, 5).unwrap();
        assert_eq!((grid.rows(), grid.columns(), grid.codes().values()), (1, 5, &[1.0, 2.0, 3.0, 4.0, 5.0][..]));
        assert_eq!(Manifold::of_principal_plane(&codes, 5).unwrap().rows(), 1);
    }

    #[test]
    fn the_principal_plane_passes_through_the_mean_along_the_widest_directions() {
        // Wide along (1, 0, 0), less so along (0, 0, 1), and not at all along (0, 1, 0).
        let codes: Vec<f32> = [[8.0, 1.0, 0.0], [-8.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 1.0, -2.0]].concat();
        let grid = Manifold::of_principal_plane(&Codes::new(codes, 3).unwrap(), 3).unwrap();
        assert_eq!(grid.codes().get(4).unwrap(), [0.0, 1.0, 0.0]);
        let (x, y) = (8f64 / 2f64.sqrt() * 0.967_421_566, 2f64 / 2f64.sqrt() * 0.967_421_566);
        let corner = grid.codes().get(2).unwrap();
        for (found, wanted) in corner.iter().zip([x, 1.0, y]) {
            assert!((f64::from(*found) - wanted).abs() <= 1e-5, "{corner:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_grid_is_refused() {
        let codes = Codes::new(vec![0.0; 6], 3).unwrap();
        assert!(Manifold::of_prior(0).is_err() && Manifold::of_prior(300).is_err());
        assert!(Manifold::of_range(&codes, 3).is_err() && Manifold::of_principal_plane(&codes, 0).is_err());
        assert!(Manifold::of_range(&Codes::new(Vec::new(), 2).unwrap(), 3).is_err());
    }
}
