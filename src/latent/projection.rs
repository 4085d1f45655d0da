//! Codes in the plane, for eyes.

use super::{Codes, Pca, Tsne};
use crate::error::{Error, Result};

/// A place in the plane for every code, and what the axes are.
///
/// ```
/// use degrain::latent::{Codes, Projection};
///
/// let codes = Codes::new(vec![0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 6.0, 0.0, -1.0], 3)?;
/// let plane = Projection::pca(&codes)?;
/// assert_eq!((plane.points.len(), plane.explained.len()), (3, 2));
/// assert!((plane.points[1][0]).abs() < 1e-6 && plane.explained[0] > 0.9);
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// (x, y) of each code.
    pub points: Vec<[f64; 2]>,
    /// What x and y are.
    pub axes: [String; 2],
    /// The share of the codes' variance along each axis, where that can be told.
    pub explained: Vec<f64>,
}

impl Projection {
    /// The first two principal components of the codes; of codes of one value, that value beside 0.
    ///
    /// # Errors
    /// No codes, or more than 8,192 of more than 8,192 values.
    pub fn pca(codes: &Codes) -> Result<Self> {
        if codes.is_empty() {
            return Err(Error::shape("pca", "at least one code", "none"));
        }
        let k = codes.len().min(codes.dim()).min(2);
        let pca = Pca::fit(codes.values(), codes.len(), codes.dim(), k)?;
        let projected = pca.project(codes.values())?;
        let explained = pca.explained_variance_ratio();
        let axis = |rank: usize| match explained.get(rank) {
            Some(share) => format!("principal component {} ({:.1} % of the variance)", rank + 1, 100.0 * share),
            None => String::new(),
        };
        Ok(Self { points: in_plane(&projected, k), axes: [axis(0), axis(1)], explained })
    }

    /// By t-SNE; `advance` hears how many more steps are done.
    ///
    /// # Errors
    /// As [`Tsne::embed`].
    pub fn tsne(codes: &Codes, settings: &Tsne, advance: &mut (dyn FnMut(usize) + Send)) -> Result<Self> {
        let points = settings.embed(codes, advance)?;
        Ok(Self { points, axes: ["t-SNE 1", "t-SNE 2"].map(str::to_owned), explained: Vec::new() })
    }

    /// The codes themselves, of one value (beside 0) or two.
    ///
    /// # Errors
    /// Longer codes.
    pub fn code(codes: &Codes) -> Result<Self> {
        if codes.dim() > 2 {
            return Err(Error::shape("projection", "codes of 1 or 2 values", format!("{} values", codes.dim())));
        }
        let axis = |at: usize| if at < codes.dim() { format!("code {at}") } else { String::new() };
        Ok(Self { points: in_plane(codes.values(), codes.dim()), axes: [axis(0), axis(1)], explained: Vec::new() })
    }
}

fn in_plane(values: &[f32], dim: usize) -> Vec<[f64; 2]> {
    let at = |row: &[f32], i: usize| row.get(i).map_or(0.0, |&value| f64::from(value));
    values.chunks_exact(dim.max(1)).map(|row| [at(row, 0), at(row, 1)]).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn codes_of_one_value_lie_on_a_line() {
        let codes = Codes::new(vec![1.0, 2.0, 6.0], 1).unwrap();
        assert_eq!(Projection::code(&codes).unwrap().points, [[1.0, 0.0], [2.0, 0.0], [6.0, 0.0]]);
        let pca = Projection::pca(&codes).unwrap();
        assert_eq!((pca.points[2], pca.explained), ([3.0, 0.0], vec![1.0]));
    }

    #[test]
    fn codes_of_two_values_are_their_own_picture_and_longer_ones_are_not() {
        let codes = Codes::new(vec![1.0, 2.0, 6.0, -1.0], 2).unwrap();
        let plane = Projection::code(&codes).unwrap();
        assert_eq!((plane.points[1], plane.axes[1].as_str()), ([6.0, -1.0], "code 1"));
        assert!(Projection::code(&Codes::new(vec![0.0; 6], 3).unwrap()).is_err());
        assert!(Projection::pca(&Codes::new(Vec::new(), 3).unwrap()).is_err());
        assert_eq!(Projection::pca(&Codes::new(vec![0.5; 3], 3).unwrap()).unwrap().points, [[0.0, 0.0]]);
    }
}
