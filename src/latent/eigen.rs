//! The leading eigenpairs of a covariance or Gram matrix, to the precision of f64 or nearly so.
//!
//! Two ways, measured on the covariance of 11,909 pictures of 32x32x3 (LFW; side 3,072), in seconds of processor time
//! of one core of an EPYC "Milan" (building the matrix itself takes 4.9 s; on two idle cores it took 2.4 s, and all
//! eigenpairs 3.9 s):
//!
//! | way | k = 32 | k = 128 | k = 512 |
//! |---|---|---|---|
//! | all eigenpairs (tridiagonal form, divide and conquer) | 7.0 | 7.0 | 7.0 |
//! | block subspace iteration, this file | 1.0 | 3.4 | |
//! | `faer`'s restarted Lanczos, `partial_self_adjoint_eigen`, tolerance 1e-9 | 0.4 | 1.7 | 8.8 |
//!
//! The Lanczos solver is quicker but not used: version 0.24.4 never returns for a zero matrix (all rows equal), and a
//! single starting vector can miss copies of a repeated eigenvalue. A block has neither fault, and where it converges
//! slowly (a flat spectrum) the full decomposition takes over.

use faer::{Mat, MatRef, Side};

use crate::error::{Error, Result};

/// Subspace iteration pays only where few pairs of many are wanted.
const SIDE_PER_COMPONENT: usize = 16;
/// Below this side the full decomposition is cheap enough.
const SMALL_SIDE: usize = 512;
/// A spectrum so flat that the block has not converged by then is left to the full decomposition.
const MAX_ITERATIONS: usize = 40;
/// |C v - lambda v| against the smallest eigenvalue wanted.
const RESIDUAL: f64 = 1e-8;
/// The same against the largest eigenvalue: what rounding in the products leaves.
const ROUNDING: f64 = 1e-13;

/// The `k` largest eigenvalues of the symmetric, positive semi-definite `matrix`, in falling order, and their
/// orthonormal eigenvectors as columns. `k` is at most the side; both triangles are filled.
pub(super) fn leading(matrix: MatRef<'_, f64>, k: usize) -> Result<(Vec<f64>, Mat<f64>)> {
    let side = matrix.nrows();
    if side >= SMALL_SIDE
        && k.saturating_mul(SIDE_PER_COMPONENT) <= side
        && let Some(pairs) = iterate_subspace(matrix, k)
    {
        return Ok(pairs);
    }
    decompose(matrix, k)
}

/// All eigenpairs, of which the leading `k` are kept.
fn decompose(matrix: MatRef<'_, f64>, k: usize) -> Result<(Vec<f64>, Mat<f64>)> {
    let side = matrix.nrows();
    let eigen = matrix.self_adjoint_eigen(Side::Lower).map_err(|e| {
        Error::setting("pca", format!("the eigenvalues of a {side}x{side} matrix were not found: {e:?}"))
    })?;
    Ok(take_last(eigen.S().column_vector().iter().copied().collect(), eigen.U(), k))
}

/// Orthogonal iteration with a Rayleigh-Ritz step (Golub and Van Loan, *Matrix Computations*, 8.2.4), on a block of
/// more than twice the wanted pairs, so that the error falls by lambda_(2k+17) / lambda_k each time. None where that is
/// too slow.
fn iterate_subspace(matrix: MatRef<'_, f64>, k: usize) -> Option<(Vec<f64>, Mat<f64>)> {
    let side = matrix.nrows();
    let block = (2 * k + 16).min(side);
    let mut image = matrix * scattered(side, block);
    for _ in 0..MAX_ITERATIONS {
        let basis = image.qr().compute_thin_Q();
        image = matrix * &basis;
        let small = basis.transpose() * &image;
        let eigen = small.self_adjoint_eigen(Side::Lower).ok()?;
        let vectors = &basis * eigen.U();
        image = &image * eigen.U();
        let values: Vec<f64> = eigen.S().column_vector().iter().copied().collect();
        let (largest, smallest) = (values[block - 1], values[block - k]);
        let allowed = (RESIDUAL * smallest).max(ROUNDING * largest);
        if (block - k..block).all(|j| (image.col(j) - vectors.col(j) * values[j]).norm_l2() <= allowed) {
            return Some(take_last(values, vectors.as_ref(), k));
        }
    }
    None
}

/// Ascending pairs to the leading `k` in falling order. Rounding may leave an eigenvalue just under zero.
fn take_last(ascending: Vec<f64>, vectors: MatRef<'_, f64>, k: usize) -> (Vec<f64>, Mat<f64>) {
    let side = vectors.ncols();
    let values = ascending.iter().rev().take(k).map(|&value| value.max(0.0)).collect();
    (values, Mat::from_fn(vectors.nrows(), k, |i, j| vectors[(i, side - 1 - j)]))
}

/// A fixed start in general position: SplitMix64 (Steele, Lea and Flood 2014) of the element's index, in [-1, 1).
fn scattered(rows: usize, columns: usize) -> Mat<f64> {
    Mat::from_fn(rows, columns, |i, j| {
        let mut z = ((j * rows + i) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 * 2.0 / (1u64 << 53) as f64 - 1.0
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Q diag(spectrum) Q^T for a random orthogonal Q, which shares no column with the iteration's start.
    fn with_spectrum(spectrum: &[f64]) -> Mat<f64> {
        let side = spectrum.len();
        let q = scattered(side + 1, side).subrows(1, side).qr().compute_thin_Q();
        let scaled = Mat::from_fn(side, side, |i, j| q[(i, j)] * spectrum[j]);
        let product = &scaled * q.transpose();
        Mat::from_fn(side, side, |i, j| 0.5 * (product[(i, j)] + product[(j, i)]))
    }

    fn assert_pairs(matrix: &Mat<f64>, values: &[f64], vectors: &Mat<f64>) {
        for (j, &value) in values.iter().enumerate() {
            let residual = (matrix * vectors.col(j) - vectors.col(j) * value).norm_l2();
            assert!(residual <= 1e-8 * values[0], "pair {j}: residual {residual}");
        }
        let gram = vectors.transpose() * vectors;
        let off = (gram - Mat::<f64>::identity(values.len(), values.len())).norm_max();
        assert!(off <= 1e-12, "not orthonormal: {off}");
    }

    #[test]
    fn both_ways_find_a_known_spectrum() {
        let spectrum: Vec<f64> = (1..=200).map(|i| 1.0 / (i * i) as f64).collect();
        let matrix = with_spectrum(&spectrum);
        for (values, vectors) in [decompose(matrix.as_ref(), 7).unwrap(), iterate_subspace(matrix.as_ref(), 7).unwrap()]
        {
            for (found, wanted) in values.iter().zip(&spectrum) {
                assert!((found - wanted).abs() <= 1e-12, "{found} for {wanted}");
            }
            assert_pairs(&matrix, &values, &vectors);
        }
    }

    #[test]
    fn iteration_finds_every_copy_of_a_repeated_eigenvalue() {
        let mut spectrum = vec![0.01; 150];
        spectrum[..4].copy_from_slice(&[5.0, 5.0, 5.0, 1.0]);
        let matrix = with_spectrum(&spectrum);
        let (values, vectors) = iterate_subspace(matrix.as_ref(), 4).unwrap();
        for (found, wanted) in values.iter().zip([5.0, 5.0, 5.0, 1.0]) {
            assert!((found - wanted).abs() <= 1e-10, "{values:?}");
        }
        assert_pairs(&matrix, &values, &vectors);
    }

    #[test]
    fn few_active_rows_and_a_flat_spectrum_end() {
        let side = 600;
        let small = with_spectrum(&[4.0, 3.0, 2.0, 1.0, 0.5]);
        let sparse = Mat::from_fn(side, side, |i, j| if i < 5 && j < 5 { small[(i, j)] } else { 0.0 });
        let (values, vectors) = leading(sparse.as_ref(), 8).unwrap();
        assert!((values.iter().sum::<f64>() - 10.5).abs() <= 1e-12, "{values:?}");
        assert_pairs(&sparse, &values, &vectors);

        let zero = Mat::<f64>::zeros(side, side);
        let (values, vectors) = leading(zero.as_ref(), 3).unwrap();
        assert_eq!(values, [0.0; 3]);
        assert_pairs(&zero, &values, &vectors);

        let flat: Vec<f64> = (0..side).map(|i| 1.0 - 1e-3 * i as f64).collect();
        let matrix = with_spectrum(&flat);
        assert!(iterate_subspace(matrix.as_ref(), 4).is_none());
        let (values, vectors) = leading(matrix.as_ref(), 4).unwrap();
        assert!((values[3] - flat[3]).abs() <= 1e-12, "{values:?}");
        assert_pairs(&matrix, &values, &vectors);
    }
}
