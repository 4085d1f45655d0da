//! Principal component analysis, exactly: the best linear code of a given size, and so the bar for an autoencoder.

use std::ops::Range;

use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, MatRef, Par};

use super::eigen;
use crate::error::{Error, Result};

/// Rows are widened to f64 this many at a time: 12.6 MB at 3,072 values a row.
const ROWS_AT_ONCE: usize = 512;
/// The smaller of rows and values per row may not pass this: about 3 GB of matrices.
const MAX_SIDE: usize = 8192;

/// The principal subspace of a set of rows.
///
/// The k directions along which the mean-centred rows vary most (Pearson 1901), from the eigenvectors of their d x d
/// covariance or, where there are fewer rows than values per row, of their n x n Gram matrix. All sums are f64. Each
/// component's sign is chosen so that its largest element is positive; the same rows give the same components.
///
/// 11,909 rows of 3,072 values (LFW) take 6 s of processor time for k = 32 and 12 s for k = 512 (6.5 s on two idle cores),
/// and 190 and 480 MB beside the rows; `eigen.rs` beside this file compares the solvers. The mean squared errors on 1,324
/// other rows agree with those of `numpy.linalg.eigh` to all 12 decimals printed, for k = 1, 8, 32, 128 and 512.
#[derive(Clone, Debug)]
pub struct Pca {
    mean: Vec<f64>,
    /// (d, k), one component a column.
    components: Mat<f64>,
    /// Variance along each component, over n.
    variances: Vec<f64>,
    /// Variance of the rows in all directions together, over n.
    total_variance: f64,
}

impl Pca {
    /// Finds the `k` principal components of `n` `rows` of `d` values each, row after row.
    ///
    /// # Errors
    /// Where `rows` is not n * d long or holds a NaN or an infinity, where `k` is 0 or more than min(n, d), and where
    /// min(n, d) passes 8,192.
    pub fn fit(rows: &[f32], n: usize, d: usize, k: usize) -> Result<Self> {
        check(rows, n, d, k)?;
        let mean = mean_of(rows, d);
        let (values, mut components, total) = if d <= n {
            let scatter = scatter_of_columns(rows, &mean);
            let (values, vectors) = eigen::leading(scatter.as_ref(), k)?;
            (values, vectors, trace(scatter.as_ref()))
        } else {
            let gram = gram_of_rows(rows, &mean);
            let (values, vectors) = eigen::leading(gram.as_ref(), k)?;
            (values, components_of_gram(rows, &mean, vectors.as_ref()), trace(gram.as_ref()))
        };
        orient(&mut components);
        let variances = values.iter().map(|value| value / n as f64).collect();
        Ok(Self { mean, components, variances, total_variance: total / n as f64 })
    }

    /// The same analysis with only its first `k` components (all of them, if it has no more).
    pub fn leading(&self, k: usize) -> Self {
        let k = k.min(self.k());
        Self {
            mean: self.mean.clone(),
            components: self.components.subcols(0, k).to_owned(),
            variances: self.variances[..k].to_vec(),
            total_variance: self.total_variance,
        }
    }

    /// Number of components.
    pub fn k(&self) -> usize {
        self.components.ncols()
    }

    /// Values per row.
    pub fn d(&self) -> usize {
        self.mean.len()
    }

    /// Mean of the rows that were fitted, (d).
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The component of rank `index`, counted from 0: a unit vector (d). None where there is no such component.
    pub fn component(&self, index: usize) -> Option<&[f64]> {
        (index < self.k()).then(|| self.components.col_as_slice(index))
    }

    /// The variance of the fitted rows along each component, over n, in falling order.
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }

    /// The share of the fitted rows' variance that each component explains, in falling order; 0 where all rows are equal.
    pub fn explained_variance_ratio(&self) -> Vec<f64> {
        let share = |&variance: &f64| if self.total_variance > 0.0 { variance / self.total_variance } else { 0.0 };
        self.variances.iter().map(share).collect()
    }

    /// Mean squared reconstruction error per element over the rows that were fitted: the variance left over.
    pub fn train_mse(&self) -> f64 {
        (self.total_variance - self.variances.iter().sum::<f64>()).max(0.0) / self.d() as f64
    }

    /// Codes (m, k) of `rows` (m, d).
    ///
    /// # Errors
    /// Where `rows` does not hold whole rows of d values.
    pub fn project(&self, rows: &[f32]) -> Result<Vec<f32>> {
        self.check_width("pca.project", rows, self.d())?;
        let mut codes = Vec::with_capacity(rows.len() / self.d() * self.k());
        for block in rows.chunks(ROWS_AT_ONCE * self.d()) {
            append_columns(&mut codes, (self.components.transpose() * centred(block, &self.mean)).as_ref(), &[]);
        }
        Ok(codes)
    }

    /// Rows (m, d) from `codes` (m, k).
    ///
    /// # Errors
    /// Where `codes` does not hold whole codes of k values.
    pub fn expand(&self, codes: &[f32]) -> Result<Vec<f32>> {
        let k = self.k();
        self.check_width("pca.expand", codes, k)?;
        let mut rows = Vec::with_capacity(codes.len() / k * self.d());
        for block in codes.chunks(ROWS_AT_ONCE * k) {
            let code = Mat::from_fn(k, block.len() / k, |j, i| f64::from(block[i * k + j]));
            append_columns(&mut rows, (&self.components * code).as_ref(), &self.mean);
        }
        Ok(rows)
    }

    /// The nearest points of the principal subspace to `rows` (m, d), of the same shape.
    ///
    /// # Errors
    /// Where `rows` does not hold whole rows of d values.
    pub fn reconstruct(&self, rows: &[f32]) -> Result<Vec<f32>> {
        self.check_width("pca.reconstruct", rows, self.d())?;
        let mut restored = Vec::with_capacity(rows.len());
        for block in rows.chunks(ROWS_AT_ONCE * self.d()) {
            let code = self.components.transpose() * centred(block, &self.mean);
            append_columns(&mut restored, (&self.components * code).as_ref(), &self.mean);
        }
        Ok(restored)
    }

    /// Mean squared reconstruction error per element over `rows` (m, d), unclipped.
    ///
    /// # Errors
    /// Where `rows` is empty or does not hold whole rows of d values.
    pub fn mse(&self, rows: &[f32]) -> Result<f64> {
        self.check_width("pca.mse", rows, self.d())?;
        if rows.is_empty() {
            return Err(Error::shape("pca.mse", "at least one row", "none"));
        }
        let mut sum = 0.0;
        for block in rows.chunks(ROWS_AT_ONCE * self.d()) {
            let x = centred(block, &self.mean);
            let code = self.components.transpose() * &x;
            sum += (x - &self.components * code).squared_norm_l2();
        }
        Ok(sum / rows.len() as f64)
    }

    fn check_width(&self, name: &str, values: &[f32], width: usize) -> Result<()> {
        if values.len().is_multiple_of(width) {
            return Ok(());
        }
        Err(Error::shape(name, format!("whole rows of {width} values"), format!("{} values", values.len())))
    }
}

fn check(rows: &[f32], n: usize, d: usize, k: usize) -> Result<()> {
    if n.checked_mul(d) != Some(rows.len()) {
        return Err(Error::shape("pca", format!("{n} rows of {d} values"), format!("{} values", rows.len())));
    }
    let side = n.min(d);
    if k == 0 || k > side {
        return Err(Error::setting(
            "components",
            format!("{k} cannot be had from {n} rows of {d} values: take 1 to {side}, or more data"),
        ));
    }
    if side > MAX_SIDE {
        return Err(Error::setting(
            "pca",
            format!("{n} rows of {d} values are too many: take at most {MAX_SIDE} rows, or smaller pictures"),
        ));
    }
    match rows.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::setting(
            "pca",
            format!("value {} of row {} is {}: the rows must be finite", at % d, at / d, rows[at]),
        )),
    }
}

fn mean_of(rows: &[f32], d: usize) -> Vec<f64> {
    let mut mean = vec![0.0; d];
    for row in rows.chunks_exact(d) {
        mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    let n = (rows.len() / d) as f64;
    mean.iter_mut().for_each(|sum| *sum /= n);
    mean
}

/// `rows` (m, d) less the mean, in f64, transposed: (d, m), so that each row stays contiguous.
fn centred(rows: &[f32], mean: &[f64]) -> Mat<f64> {
    let d = mean.len();
    Mat::from_fn(d, rows.len() / d, |j, i| f64::from(rows[i * d + j]) - mean[j])
}

/// (d, d): n times the covariance over n.
fn scatter_of_columns(rows: &[f32], mean: &[f64]) -> Mat<f64> {
    let mut scatter = Mat::zeros(mean.len(), mean.len());
    for block in rows.chunks(ROWS_AT_ONCE * mean.len()) {
        add_outer(&mut scatter, centred(block, mean).as_ref());
    }
    mirror(&mut scatter);
    scatter
}

/// (n, n): products of the centred rows.
fn gram_of_rows(rows: &[f32], mean: &[f64]) -> Mat<f64> {
    let n = rows.len() / mean.len();
    let mut gram = Mat::zeros(n, n);
    for columns in column_blocks(mean.len(), n) {
        add_outer(&mut gram, centred_columns(rows, mean, columns).as_ref());
    }
    mirror(&mut gram);
    gram
}

/// Principal components (d, k) from the leading eigenvectors (n, k) of the Gram matrix: X^T u, orthonormal but for its
/// length. The QR step restores what the small ones among them lose to rounding, and completes a basis where the rows
/// have fewer than k independent directions.
fn components_of_gram(rows: &[f32], mean: &[f64], vectors: MatRef<'_, f64>) -> Mat<f64> {
    let mut components = Mat::<f64>::zeros(mean.len(), vectors.ncols());
    for columns in column_blocks(mean.len(), vectors.nrows()) {
        let part = centred_columns(rows, mean, columns.clone()).transpose() * vectors;
        components.subrows_mut(columns.start, columns.len()).copy_from(part);
    }
    components.qr().compute_thin_Q()
}

/// Ranges of columns that hold about as many values as `ROWS_AT_ONCE` rows of 4,096.
fn column_blocks(d: usize, n: usize) -> impl Iterator<Item = Range<usize>> {
    let width = (ROWS_AT_ONCE * 4096 / n.max(1)).max(1);
    (0..d).step_by(width).map(move |start| start..(start + width).min(d))
}

/// Some columns of the centred rows: (n, columns).
fn centred_columns(rows: &[f32], mean: &[f64], columns: Range<usize>) -> Mat<f64> {
    let d = mean.len();
    Mat::from_fn(rows.len() / d, columns.len(), |i, j| {
        f64::from(rows[i * d + columns.start + j]) - mean[columns.start + j]
    })
}

/// Adds x x^T to the lower triangle.
fn add_outer(sum: &mut Mat<f64>, x: MatRef<'_, f64>) {
    let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    triangular::matmul(sum.as_mut(), lower, Accum::Add, x, full, x.transpose(), full, 1.0, Par::rayon(0));
}

fn mirror(matrix: &mut Mat<f64>) {
    for j in 0..matrix.ncols() {
        for i in 0..j {
            matrix[(i, j)] = matrix[(j, i)];
        }
    }
}

fn trace(matrix: MatRef<'_, f64>) -> f64 {
    matrix.diagonal().column_vector().iter().sum()
}

/// An eigenvector's sign is arbitrary: let its first largest element be positive.
fn orient(components: &mut Mat<f64>) {
    for j in 0..components.ncols() {
        let column = components.col_as_slice_mut(j);
        let largest = column.iter().fold(0.0f64, |best, &value| if value.abs() > best.abs() { value } else { best });
        if largest < 0.0 {
            column.iter_mut().for_each(|value| *value = -*value);
        }
    }
}

/// Appends the columns of `matrix`, each with `offset` (or nothing) added, as rows of f32.
fn append_columns(rows: &mut Vec<f32>, matrix: MatRef<'_, f64>, offset: &[f64]) {
    for column in matrix.col_iter() {
        rows.extend(column.iter().enumerate().map(|(i, value)| (value + offset.get(i).unwrap_or(&0.0)) as f32));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Correlated rows that any language makes alike: v = (i * 2654435761 mod 2^32) / 4096 mod 1000 of the element's
    /// index, plus twice its left neighbour, over 1000.
    fn rows(n: usize, d: usize, first: u64) -> Vec<f32> {
        let value = |i: usize| ((((i as u64 + first) * 2_654_435_761) % (1 << 32)) >> 12) % 1000;
        let sum = |i: usize| value(i) + if i.is_multiple_of(d) { 0 } else { 2 * value(i - 1) };
        (0..n * d).map(|i| (sum(i) as f64 / 1000.0) as f32).collect()
    }

    fn assert_near(found: f64, wanted: f64, relative: f64) {
        assert!((found - wanted).abs() <= relative * wanted.abs(), "{found} for {wanted}");
    }

    /// The figures are scikit-learn 1.9.1's: `PCA(k, svd_solver="full")` on `rows(n, d, 1)` in float64, mean squared
    /// error of `inverse_transform(transform(x))` on `rows(7, d, 100001)` and on the fitted rows.
    #[test]
    fn agrees_with_scikit_learn_on_both_sides() {
        struct Case {
            n: usize,
            d: usize,
            test_mse: f64,
            train_mse: f64,
            ratios: &'static [f64],
            first_code: &'static [f64],
        }
        let cases = [
            Case {
                n: 40,
                d: 12,
                test_mse: 0.07901075864539375,
                train_mse: 0.11166898717677692,
                ratios: &[0.2816515574730484, 0.23299162500316617, 0.18648125577956276],
                first_code: &[0.9312615652068641, 1.503854791548538, 0.9916860386031261],
            },
            Case {
                n: 10,
                d: 25,
                test_mse: 0.3013971620398265,
                train_mse: 0.05586262053623138,
                ratios: &[0.29372387633478025, 0.2354472033852429, 0.1830984468075645, 0.13379351829125352],
                first_code: &[1.0495263137687854, 0.10647187145495529, 0.8775413910211414, 2.035755417870521],
            },
        ];
        for case in cases {
            let (train, test) = (rows(case.n, case.d, 1), rows(7, case.d, 100_001));
            let pca = Pca::fit(&train, case.n, case.d, case.ratios.len()).unwrap();
            assert_near(pca.mse(&test).unwrap(), case.test_mse, 1e-9);
            assert_near(pca.mse(&train).unwrap(), case.train_mse, 1e-9);
            assert_near(pca.train_mse(), case.train_mse, 1e-9);
            for (found, wanted) in pca.explained_variance_ratio().iter().zip(case.ratios) {
                assert_near(*found, *wanted, 1e-9);
            }
            let codes = pca.project(&test).unwrap();
            assert_eq!(codes.len(), 7 * case.first_code.len());
            for (found, wanted) in codes.iter().zip(case.first_code) {
                assert_near(f64::from(found.abs()), *wanted, 1e-6);
            }
            let restored = pca.expand(&codes).unwrap();
            for (through_codes, direct) in restored.iter().zip(pca.reconstruct(&test).unwrap()) {
                assert!((through_codes - direct).abs() <= 1e-5, "{through_codes} and {direct}");
            }
        }
    }

    #[test]
    fn all_components_restore_the_rows_and_fewer_are_a_prefix() {
        let train = rows(30, 8, 1);
        let all = Pca::fit(&train, 30, 8, 8).unwrap();
        assert!(all.mse(&train).unwrap() <= 1e-24 && all.train_mse() <= 1e-12);
        assert_near(all.explained_variance_ratio().iter().sum(), 1.0, 1e-12);
        let (two, cut) = (Pca::fit(&train, 30, 8, 2).unwrap(), all.leading(2));
        assert_eq!(cut.k(), 2);
        assert_eq!(two.mse(&train).unwrap(), cut.mse(&train).unwrap());
        assert_eq!(two.component(1).unwrap(), all.component(1).unwrap());
        assert!(two.component(2).is_none());
    }

    #[test]
    fn components_stay_orthonormal_where_rows_run_out_of_directions() {
        // Nine rows, centred, span eight directions; three of them are copies, so six.
        let mut train = rows(9, 50, 1);
        train.copy_within(0..150, 150);
        let pca = Pca::fit(&train, 9, 50, 9).unwrap();
        for i in 0..9 {
            for j in 0..9 {
                let product: f64 =
                    pca.component(i).unwrap().iter().zip(pca.component(j).unwrap()).map(|(a, b)| a * b).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() <= 1e-12, "{i} . {j} = {product}");
            }
        }
        assert!(pca.mse(&train).unwrap() <= 1e-20);
        let constant = Pca::fit(&[0.25; 40], 4, 10, 2).unwrap();
        assert_eq!(constant.explained_variance_ratio(), [0.0, 0.0]);
        assert!(constant.mse(&[0.25; 20]).unwrap() <= 1e-20);
    }

    #[test]
    fn what_cannot_be_fitted_is_named() {
        let train = rows(6, 4, 1);
        let message = |result: Result<Pca>| result.unwrap_err().to_string();
        assert!(message(Pca::fit(&train, 6, 4, 5)).contains("take 1 to 4"));
        assert!(message(Pca::fit(&train, 6, 4, 0)).contains("take 1 to 4"));
        assert!(message(Pca::fit(&train, 5, 4, 1)).contains("5 rows of 4 values, got 24 values"));
        assert!(message(Pca::fit(&train, usize::MAX, 4, 1)).contains("got 24 values"));
        assert!(message(Pca::fit(&[], 0, 4, 1)).contains("0 rows"));
        let mut broken = train.clone();
        broken[9] = f32::NAN;
        assert!(message(Pca::fit(&broken, 6, 4, 1)).contains("value 1 of row 2"));
        let pca = Pca::fit(&train, 6, 4, 2).unwrap();
        assert!(pca.mse(&train[..5]).is_err() && pca.project(&train[..5]).is_err() && pca.expand(&[0.0]).is_err());
        assert!(pca.mse(&[]).is_err());
    }
}
