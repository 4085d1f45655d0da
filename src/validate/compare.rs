//! The comparator. Everything that validation says rests on it, so its tests are as many as its rules.

use crate::kernel::Tolerance;
use crate::tensor::Array;

/// The first element that is further off than it may be.
#[derive(Clone, PartialEq, Debug)]
pub struct Mismatch {
    /// Position in the tensor, row-major.
    pub index: usize,
    /// What the reference has.
    pub expected: f64,
    /// What the kernel has.
    pub got: f64,
    /// How far they may be apart there.
    pub allowed: f64,
}

/// Result of one comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// Elements compared.
    pub elements: usize,
    /// Elements further off than they may be.
    pub wrong: usize,
    /// Error of the element that comes nearest to what it is allowed, or furthest past it.
    pub worst: f64,
    /// What that element is allowed.
    pub tolerance: f64,
    /// `worst / tolerance`: at most one where all is well, 0 where every element is equal.
    pub ratio: f64,
    /// Sum of squared errors over sum of squared expected values, over the finite elements.
    pub normalised_mse: f64,
    /// What failed, in one line, if anything did.
    pub failure: Option<String>,
    /// The first wrong element, if it is an element that failed.
    pub mismatch: Option<Mismatch>,
}

/// Normalised mean squared error that a sum of products may have.
const NORMALISED_MSE_LIMIT: f64 = 1e-10;

impl Comparison {
    /// Nothing compared, nothing wrong.
    pub(super) fn empty() -> Self {
        Self {
            elements: 0,
            wrong: 0,
            worst: 0.0,
            tolerance: 0.0,
            ratio: 0.0,
            normalised_mse: 0.0,
            failure: None,
            mismatch: None,
        }
    }

    fn failed(failure: String) -> Self {
        Self { worst: f64::INFINITY, ratio: f64::INFINITY, failure: Some(failure), ..Self::empty() }
    }

    fn take_worst(&mut self, error: f64, allowed: f64) {
        // A NaN counts as infinitely wrong; an error where none is allowed does as well.
        let ratio = if error == 0.0 { 0.0 } else { error / allowed };
        let ratio = if ratio.is_nan() { f64::INFINITY } else { ratio };
        if ratio > self.ratio || (self.ratio == 0.0 && allowed > self.tolerance) {
            (self.worst, self.tolerance, self.ratio) = (error, allowed, ratio);
        }
    }
}

/// Compares element by element.
///
/// - Lengths and element types must be the same.
/// - A NaN agrees with a NaN alone, an infinity with the same infinity alone (a finite expectation past the range of
///   `f32` counts as the infinity that it rounds to). The two zeros agree.
/// - Under [`Tolerance::Exact`] an element must be what the expectation rounds to in `f32`; words and bytes must be equal.
/// - [`Tolerance::Sum`] needs `magnitude`, the sum of |a_i b_i| behind each element; without it, and where it is not
///   finite, nothing but the other parts of the tolerance is allowed. A plain sum must also have a normalised mean
///   squared error of at most 1e-10.
pub fn compare(expected: &Array, got: &Array, tolerance: Tolerance, magnitude: Option<&Array>) -> Comparison {
    if std::mem::discriminant(expected) != std::mem::discriminant(got) {
        return Comparison::failed(format!("expected {}, got {}", kind(expected), kind(got)));
    }
    if expected.len() != got.len() {
        return Comparison::failed(format!("expected {} elements, got {}", expected.len(), got.len()));
    }
    let whole = !matches!(expected, Array::F64(_));
    let (expected, got) = (reals(expected), reals(got));
    let mut comparison = Comparison { elements: expected.len(), ..Comparison::empty() };
    let (mut error_squares, mut squares) = (0.0, 0.0);
    for (index, (&e, &g)) in expected.iter().zip(got.iter()).enumerate() {
        let allowed = allowed(tolerance, e, magnitude.and_then(|m| m.f64().get(index)).copied());
        let error = if whole { (e - g).abs() } else { error(e, g, tolerance) };
        comparison.take_worst(error, allowed);
        // Not `error > allowed`: a NaN must fail.
        let within = error <= allowed;
        if !within {
            comparison.wrong += 1;
            comparison.mismatch.get_or_insert(Mismatch { index, expected: e, got: g, allowed });
        }
        if e.is_finite() {
            error_squares += error * error;
            squares += e * e;
        }
    }
    comparison.normalised_mse = if error_squares == 0.0 { 0.0 } else { error_squares / squares };
    comparison.failure = comparison.mismatch.as_ref().map(|m| {
        let (Mismatch { index, expected, got, allowed }, wrong, all) = (m, comparison.wrong, comparison.elements);
        let off = (expected - got).abs();
        format!("element {index}: expected {expected:e}, got {got:e}, off by {off:e} where {allowed:e} is allowed ({wrong} of {all} elements are wrong)")
    });
    let plain_sum = matches!(tolerance, Tolerance::Sum { rtol: 0.0, atol: 0.0, .. });
    // Not `> LIMIT`, for the same reason.
    let close_on_average = comparison.normalised_mse <= NORMALISED_MSE_LIMIT;
    if plain_sum && comparison.failure.is_none() && !close_on_average {
        let (found, limit) = (comparison.normalised_mse, NORMALISED_MSE_LIMIT);
        comparison.failure = Some(format!("normalised mean squared error {found:e} where {limit:e} is allowed"));
        (comparison.worst, comparison.tolerance, comparison.ratio) = (found, limit, found / limit);
    }
    comparison
}

fn kind(array: &Array) -> &'static str {
    match array {
        Array::F64(_) => "reals",
        Array::U32(_) => "words",
        Array::U8(_) => "bytes",
    }
}

fn reals(array: &Array) -> std::borrow::Cow<'_, [f64]> {
    match array {
        Array::F64(values) => values.into(),
        Array::U32(words) => words.iter().map(|&w| f64::from(w)).collect(),
        Array::U8(bytes) => bytes.iter().map(|&b| f64::from(b)).collect(),
    }
}

/// How far a real is off; 0 where the two count as equal, NaN where one of them alone is.
fn error(expected: f64, got: f64, tolerance: Tolerance) -> f64 {
    let rounded = f64::from(expected as f32);
    let equal = expected == got
        || (expected.is_nan() && got.is_nan())
        || (rounded == got && (tolerance == Tolerance::Exact || rounded.is_infinite()));
    if equal { 0.0 } else { (expected - got).abs() }
}

fn allowed(tolerance: Tolerance, expected: f64, magnitude: Option<f64>) -> f64 {
    if !expected.is_finite() {
        return 0.0;
    }
    match tolerance {
        Tolerance::Exact => 0.0,
        Tolerance::Close { rtol, atol } => atol + rtol * expected.abs(),
        Tolerance::Sum { terms, rtol, atol } => {
            let magnitude = magnitude.filter(|m| m.is_finite()).unwrap_or(0.0);
            4.0 * (terms as f64).sqrt() * 2f64.powi(-24) * magnitude + atol + rtol * expected.abs()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSE: Tolerance = Tolerance::ELEMENTWISE;
    const TOLERANCES: [Tolerance; 3] = [Tolerance::Exact, CLOSE, Tolerance::Sum { terms: 9, rtol: 0.0, atol: 0.0 }];

    fn values(n: usize) -> Vec<f64> {
        (0..n).map(|i| f64::from((i as f32 * 0.37).sin())).collect()
    }

    fn against(expected: &[f64], got: &[f64], tolerance: Tolerance) -> Comparison {
        let magnitude = Array::F64(expected.iter().map(|e| e.abs()).collect());
        compare(&Array::F64(expected.to_vec()), &Array::F64(got.to_vec()), tolerance, Some(&magnitude))
    }

    #[test]
    fn equal_tensors_agree_under_every_tolerance() {
        for tolerance in TOLERANCES {
            let found = against(&values(100), &values(100), tolerance);
            assert_eq!((found.failure.clone(), found.wrong, found.ratio), (None, 0, 0.0), "{tolerance:?}");
            assert_eq!(found.elements, 100);
        }
    }

    #[test]
    fn one_wrong_element_is_found_wherever_it_is() {
        for tolerance in TOLERANCES {
            for at in [0, 1, 50, 98, 99] {
                for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -values(100)[at] - 1.0, 1e-3] {
                    let mut got = values(100);
                    got[at] = wrong;
                    let found = against(&values(100), &got, tolerance);
                    let mismatch = found.mismatch.as_ref();
                    assert_eq!(mismatch.map(|m| m.index), Some(at), "{wrong} at {at} under {tolerance:?}");
                    assert_eq!(found.wrong, 1);
                    assert!(found.failure.is_some_and(|f| f.contains(&format!("element {at}:"))));
                    assert!(found.ratio > 1.0);
                }
            }
        }
    }

    #[test]
    fn the_first_of_several_is_named_and_all_are_counted() {
        let mut got = values(100);
        for at in [71, 13, 90] {
            got[at] += 0.5;
        }
        let found = against(&values(100), &got, CLOSE);
        assert_eq!((found.mismatch.map(|m| m.index), found.wrong), (Some(13), 3));
    }

    #[test]
    fn a_transposition_is_found() {
        let (rows, columns) = (8, 12);
        let matrix = values(rows * columns);
        let transposed: Vec<f64> =
            (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c)).map(|i| matrix[i]).collect();
        for tolerance in TOLERANCES {
            assert!(against(&matrix, &transposed, tolerance).failure.is_some(), "{tolerance:?}");
        }
    }

    #[test]
    fn a_wrong_length_or_type_is_found() {
        for tolerance in TOLERANCES {
            for n in [0, 99, 101] {
                let found = against(&values(100), &values(n), tolerance);
                assert!(found.failure.is_some_and(|f| f.contains(&format!("got {n}"))), "{n}");
                assert!(found.ratio.is_infinite());
            }
            let words = compare(&Array::F64(vec![1.0]), &Array::U32(vec![1]), tolerance, None);
            assert_eq!(words.failure.as_deref(), Some("expected reals, got words"));
        }
    }

    #[test]
    fn a_nan_agrees_with_a_nan_alone() {
        for tolerance in TOLERANCES {
            assert_eq!(against(&[f64::NAN], &[f64::NAN], tolerance).failure, None);
            for other in [0.0, 1.0, f64::INFINITY] {
                assert!(against(&[f64::NAN], &[other], tolerance).failure.is_some(), "{other}");
                assert!(against(&[other], &[f64::NAN], tolerance).failure.is_some(), "{other}");
            }
        }
    }

    #[test]
    fn an_infinity_agrees_with_the_same_infinity_alone() {
        let huge = f64::from(f32::MAX);
        for tolerance in TOLERANCES {
            assert_eq!(against(&[f64::INFINITY], &[f64::INFINITY], tolerance).failure, None);
            assert_eq!(against(&[1e300], &[f64::INFINITY], tolerance).failure, None, "what 1e300 is in f32");
            for (expected, got) in [(f64::INFINITY, f64::NEG_INFINITY), (f64::INFINITY, huge), (huge, f64::INFINITY)] {
                assert!(against(&[expected], &[got], tolerance).failure.is_some(), "{expected} {got}");
            }
        }
    }

    #[test]
    fn exact_means_the_nearest_f32() {
        let third = f64::from((1.0f64 / 3.0) as f32);
        let next = f64::from(f32::from_bits((third as f32).to_bits() + 1));
        let exact = |got| against(&[1.0 / 3.0], &[got], Tolerance::Exact).failure.is_none();
        assert!(exact(third) && !exact(next));
        assert_eq!(against(&[0.0], &[-0.0], Tolerance::Exact).failure, None);
        let words = |got| compare(&Array::U32(vec![u32::MAX]), &Array::U32(vec![got]), Tolerance::Exact, None);
        assert!(words(u32::MAX).failure.is_none() && words(u32::MAX - 1).failure.is_some());
        // Words that are one and the same in f32 are still two.
        let close = compare(&Array::U32(vec![(1 << 24) + 1]), &Array::U32(vec![1 << 24]), Tolerance::Exact, None);
        assert_eq!((close.wrong, close.worst), (1, 1.0));
    }

    #[test]
    fn close_is_the_stated_bound() {
        let tolerance = Tolerance::Close { rtol: 1e-3, atol: 1e-2 };
        let fails = |got| against(&[10.0], &[got], tolerance).failure.is_some();
        assert!(!fails(10.0199) && fails(10.0201) && !fails(9.9801) && fails(9.9799));
        let found = against(&[10.0, 0.0], &[10.01, 0.001], tolerance);
        approx::assert_relative_eq!(found.ratio, 0.5, max_relative = 1e-6);
        approx::assert_relative_eq!(found.worst, 0.01, max_relative = 1e-6);
        approx::assert_relative_eq!(found.tolerance, 0.02, max_relative = 1e-6);
    }

    #[test]
    fn a_sum_may_err_with_its_length_and_its_magnitude() {
        let tolerance = Tolerance::Sum { terms: 100, rtol: 0.0, atol: 0.0 };
        let allowed = 4.0 * 10.0 * 2f64.powi(-24) * 50.0;
        let fails = |got, magnitude: Option<f64>| {
            let magnitude = magnitude.map(|m| Array::F64(vec![m]));
            compare(&Array::F64(vec![20.0]), &Array::F64(vec![got]), tolerance, magnitude.as_ref()).failure.is_some()
        };
        assert!(!fails(20.0 + 0.99 * allowed, Some(50.0)) && fails(20.0 + 1.01 * allowed, Some(50.0)));
        assert!(fails(20.0 + 0.99 * allowed, None), "no magnitude allows no error");
        for unbounded in [f64::INFINITY, f64::NAN] {
            assert!(fails(1e9, Some(unbounded)), "a magnitude of {unbounded} allows no error");
        }
    }

    #[test]
    fn a_sum_must_also_be_close_on_average() {
        // Each element is within a bound that cancellation has made wide; together they are not.
        let expected = vec![1e-3; 100];
        let got = vec![1e-3 + 5e-8; 100];
        let magnitude = Array::F64(vec![1.0; 100]);
        let tolerance = Tolerance::Sum { terms: 4, rtol: 0.0, atol: 0.0 };
        let found = compare(&Array::F64(expected), &Array::F64(got), tolerance, Some(&magnitude));
        assert!(found.mismatch.is_none() && found.wrong == 0);
        assert!(
            found.failure.is_some_and(|f| f.contains("normalised mean squared error")),
            "{:e}",
            found.normalised_mse
        );
    }

    #[test]
    fn nothing_agrees_with_nothing() {
        assert_eq!(against(&[], &[], CLOSE).failure, None);
    }
}
