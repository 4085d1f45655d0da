//! The linear probe: how well a linear classifier tells labels from codes, beside the same from pixels.

use super::logistic::{Problem, minimise};
use crate::data::{Labels, stratified_split};
use crate::error::{Error, Result};

/// Strengths of the penalty that [`LinearProbe::tuned`] tries, each from the solution of the one before.
const STRENGTHS: [f64; 6] = [1e4, 1e3, 1e2, 1e1, 1.0, 1e-1];
/// Share of the rows on which the strengths are compared.
const TUNING_FRACTION: f64 = 0.2;
/// Tuning ends after this many strengths in a row that are no better.
const PATIENCE: usize = 2;
/// Rows whose scores are computed at once.
const ROWS_AT_ONCE: usize = 4096;

/// Multinomial logistic regression on standardised features.
///
/// Minimises the mean over the n rows of -log softmax(W x + b)\[label\] plus `l2` / (2n) |W|^2, without a penalty on b: the
/// objective of scikit-learn's `LogisticRegression(C = 1 / l2)`. Features are first shifted and scaled to mean 0 and
/// deviation 1 over the rows that are fitted; a constant one counts nothing.
///
/// The problem is convex and has few weights, so full-batch L-BFGS finds its one minimum in about a hundred
/// products of the rows with the weights, from zero, with nothing drawn and no learning rate to choose; the same rows give the
/// same bits. A dense layer of the engine, trained in batches, would need both and end beside it.
///
/// ```
/// use degrain::data::Labels;
/// use degrain::latent::{Classified, LinearProbe};
///
/// // The label is whether the first feature passes the second.
/// let rows: Vec<f32> = (0..200).map(|i| ((i * 37 + i / 3) % 11) as f32).collect();
/// let names: Vec<&str> = rows.chunks(2).map(|row| if row[0] > row[1] { "more" } else { "less" }).collect();
/// let labels = Labels::from_names(&names);
/// let probe = LinearProbe::tuned(&rows, &labels, 1)?;
/// let found = Classified::of(&labels.ids, &probe.predict(&rows)?, labels.names.len());
/// assert!(found.accuracy > 0.95);
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LinearProbe {
    scaling: Scaling,
    /// (classes, d + 1): the weights of each class and its bias.
    weights: Vec<f64>,
    classes: usize,
    l2: f64,
}

impl LinearProbe {
    /// Fits `rows` (n, d), whose labels are `labels`, with a penalty of strength `l2`.
    ///
    /// # Errors
    /// Fewer than two labels, rows that are not n * d finite numbers, or a strength that is negative or not finite.
    pub fn fit(rows: &[f32], labels: &Labels, l2: f64) -> Result<Self> {
        if !(l2 >= 0.0 && l2.is_finite()) {
            return Err(Error::setting("--l2", format!("must be a finite number of at least 0, not {l2}")));
        }
        let (scaling, rows) = standardise(rows, labels)?;
        let problem = Problem::new(&rows, &labels.ids, labels.names.len(), l2);
        let weights = minimise(&problem, vec![0.0; problem.len()]);
        Ok(Self { scaling, weights, classes: labels.names.len(), l2 })
    }

    /// As [`LinearProbe::fit`], with the strength among 10000, 1000, …, 0.1 that is best on a fifth of the rows, split off by
    /// `seed` label by label.
    ///
    /// # Errors
    /// As [`LinearProbe::fit`], and labels of one row only.
    pub fn tuned(rows: &[f32], labels: &Labels, seed: u64) -> Result<Self> {
        let (scaling, rows) = standardise(rows, labels)?;
        let classes = labels.names.len();
        let d = scaling.mean.len();
        let split = stratified_split(labels, None, TUNING_FRACTION, seed)?;
        let select = |part: &[u32]| -> (Vec<f32>, Vec<u32>) {
            let row = |&i: &u32| rows.get(i as usize * d..(i as usize + 1) * d).unwrap_or_default();
            (
                part.iter().flat_map(row).copied().collect(),
                part.iter().filter_map(|&i| labels.ids.get(i as usize)).copied().collect(),
            )
        };
        let ((train, train_ids), (held_out, wanted)) = (select(&split.train), select(&split.held_out));
        let mut weights = vec![0.0; classes * (d + 1)];
        let (mut best, mut best_weights, mut worse) = ((0, 0.0), weights.clone(), 0);
        for (index, l2) in STRENGTHS.into_iter().enumerate() {
            weights = minimise(&Problem::new(&train, &train_ids, classes, l2), weights);
            let accuracy = Classified::of(&wanted, &predict(&held_out, &weights, classes), classes).accuracy;
            // Of equal ones the stronger penalty is taken.
            if accuracy > best.1 {
                (best, worse) = ((index, accuracy), 0);
                best_weights.clone_from(&weights);
            } else {
                worse += 1;
            }
            if worse == PATIENCE {
                break;
            }
        }
        drop((train, held_out));
        let l2 = STRENGTHS.get(best.0).copied().unwrap_or(1.0);
        let weights = minimise(&Problem::new(&rows, &labels.ids, classes, l2), best_weights);
        Ok(Self { scaling, weights, classes, l2 })
    }

    /// Strength of the penalty: 1 / C of scikit-learn.
    pub fn l2(&self) -> f64 {
        self.l2
    }

    /// The likeliest label of each of `rows` (m, d), as an index into the names of the labels that were fitted.
    ///
    /// # Errors
    /// Where `rows` does not hold whole rows of d values.
    pub fn predict(&self, rows: &[f32]) -> Result<Vec<u32>> {
        let d = self.scaling.mean.len();
        if !rows.len().is_multiple_of(d) {
            return Err(Error::shape("probe", format!("whole rows of {d} values"), format!("{} values", rows.len())));
        }
        let mut labels = Vec::with_capacity(rows.len() / d);
        for block in rows.chunks(ROWS_AT_ONCE * d) {
            let mut block = block.to_vec();
            self.scaling.apply(&mut block);
            labels.extend(predict(&block, &self.weights, self.classes));
        }
        Ok(labels)
    }
}

/// The likeliest label of standardised rows; of equal ones the first.
fn predict(rows: &[f32], weights: &[f64], classes: usize) -> Vec<u32> {
    let d = weights.len() / classes - 1;
    let mut labels = Vec::with_capacity(rows.len() / d);
    for block in rows.chunks(ROWS_AT_ONCE * d) {
        let scores = super::logistic::scores(block, weights, classes);
        labels.extend(scores.chunks_exact(classes).map(|scores| {
            let first = (0, f32::NEG_INFINITY);
            let (label, _) =
                (0..).zip(scores).fold(first, |best, (i, &score)| if score > best.1 { (i, score) } else { best });
            label
        }));
    }
    labels
}

/// Mean and deviation of each feature.
#[derive(Clone, Debug)]
struct Scaling {
    mean: Vec<f32>,
    /// 1 over the deviation; 0 where it is 0.
    factor: Vec<f32>,
}

impl Scaling {
    fn of(rows: &[f32], d: usize) -> Self {
        let n = (rows.len() / d) as f64;
        let mut mean = vec![0.0_f64; d];
        for row in rows.chunks_exact(d) {
            mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        mean.iter_mut().for_each(|sum| *sum /= n);
        let mut variance = vec![0.0_f64; d];
        for row in rows.chunks_exact(d) {
            variance.iter_mut().zip(row).zip(&mean).for_each(|((sum, &x), mean)| *sum += (f64::from(x) - mean).powi(2));
        }
        // What rounding of the mean leaves of a constant feature is no deviation.
        let is_constant = |variance: f64, mean: f64| variance / n <= (1e-7 * mean).powi(2);
        let factor = variance
            .iter()
            .zip(&mean)
            .map(|(&variance, &mean)| if is_constant(variance, mean) { 0.0 } else { (n / variance).sqrt() as f32 });
        Self { factor: factor.collect(), mean: mean.into_iter().map(|mean| mean as f32).collect() }
    }

    fn apply(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.mean.len()) {
            row.iter_mut().zip(&self.mean).zip(&self.factor).for_each(|((x, mean), factor)| *x = (*x - mean) * factor);
        }
    }
}

/// The rows, checked against their labels and standardised.
fn standardise(rows: &[f32], labels: &Labels) -> Result<(Scaling, Vec<f32>)> {
    let n = labels.ids.len();
    if labels.names.len() < 2 {
        return Err(Error::setting("labels", "a classifier needs at least two of them"));
    }
    if n == 0 || rows.is_empty() || !rows.len().is_multiple_of(n) {
        return Err(Error::shape(
            "probe",
            format!("as many numbers for each of {n} labels"),
            format!("{} numbers", rows.len()),
        ));
    }
    if let Some(id) = labels.ids.iter().find(|&&id| id as usize >= labels.names.len()) {
        return Err(Error::shape("probe", format!("labels below {}", labels.names.len()), format!("label {id}")));
    }
    let d = rows.len() / n;
    if let Some(at) = rows.iter().position(|x| !x.is_finite()) {
        return Err(Error::shape("probe", "finite numbers", format!("{} in row {}", rows[at], at / d)));
    }
    let (scaling, mut rows) = (Scaling::of(rows, d), rows.to_vec());
    scaling.apply(&mut rows);
    Ok((scaling, rows))
}

/// How well labels were told.
#[derive(Clone, Debug, PartialEq)]
pub struct Classified {
    /// Share of the rows whose label was told right.
    pub accuracy: f64,
    /// One for each class, in their order.
    pub classes: Vec<ClassScore>,
}

/// How well one label was told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassScore {
    /// Rows that have it.
    pub count: usize,
    /// Share of them that were told so; none where there are none.
    pub recall: Option<f64>,
    /// Share of the rows told so that have it; none where none were.
    pub precision: Option<f64>,
}

impl Classified {
    /// Compares the labels that rows have with those that were predicted, both below `classes`.
    pub fn of(truth: &[u32], predicted: &[u32], classes: usize) -> Self {
        let mut counts = vec![[0_usize; 3]; classes];
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            let mut add = |class: u32, what: usize| {
                if let Some(count) = counts.get_mut(class as usize).and_then(|counts| counts.get_mut(what)) {
                    *count += 1;
                }
            };
            add(truth, 0);
            add(predicted, 1);
            if truth == predicted {
                add(truth, 2);
            }
        }
        let share = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
        let right: usize = counts.iter().map(|[_, _, right]| right).sum();
        let class = |&[count, told, right]: &[usize; 3]| ClassScore {
            count,
            recall: share(right, count),
            precision: share(right, told),
        };
        Self { accuracy: share(right, truth.len()).unwrap_or(0.0), classes: counts.iter().map(class).collect() }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn rows(n: usize) -> (Vec<f32>, Labels) {
        rows_from(0, n)
    }

    /// Rows (n, 4) that any language makes alike: v = (i * 2654435761 mod 2^32) / 4096 mod 1000 over 1000 of the element's
    /// index, counted from that of row `first`, and their labels: of v0 + v1 + v3 / 2, cut at 0.9 and 1.4.
    fn rows_from(first: usize, n: usize) -> (Vec<f32>, Labels) {
        let value = |i: usize| ((((i as u64 * 2_654_435_761) % (1 << 32)) >> 12) % 1000) as f32 / 1000.0;
        let rows: Vec<f32> = (first * 4..(first + n) * 4).map(value).collect();
        let names: Vec<String> = rows
            .chunks(4)
            .map(|row| {
                let sum = row[0] + row[1] + row[3] / 2.0;
                (if sum < 0.9 {
                    "0"
                } else if sum < 1.4 {
                    "1"
                } else {
                    "2"
                })
                .to_owned()
            })
            .collect();
        (rows, Labels::from_names(&names))
    }

    /// The figures are scikit-learn 1.9.1's: `LogisticRegression(C=1/l2, tol=1e-10)` after `StandardScaler`, the rows right
    /// of 200 others and the first label's weights and bias.
    #[test]
    fn agrees_with_scikit_learn() {
        struct Case {
            l2: f64,
            right: usize,
            weights: [f64; 5],
            within: f64,
        }
        let cases = [
            Case {
                l2: 1.0,
                right: 196,
                weights: [-3.56853222, -3.29432535, -0.21029525, -1.5536076, -1.91643924],
                within: 0.02,
            },
            Case {
                l2: 1e3,
                right: 128,
                weights: [-0.07505397, -0.04184299, 0.00813467, -0.05176092, -0.25033099],
                within: 5e-4,
            },
        ];
        let ((train, labels), (test, truth)) = (rows(300), rows_from(300, 200));
        for case in cases {
            let probe = LinearProbe::fit(&train, &labels, case.l2).unwrap();
            let predicted = probe.predict(&test).unwrap();
            assert_eq!(predicted.iter().zip(&truth.ids).filter(|(a, b)| a == b).count(), case.right);
            for (found, wanted) in probe.weights.iter().zip(case.weights) {
                assert!((found - wanted).abs() <= case.within, "{:?} for {:?}", &probe.weights[..5], case.weights);
            }
        }
    }

    #[test]
    fn tuning_takes_a_strength_that_serves() {
        let ((train, labels), (test, truth)) = (rows(300), rows_from(300, 200));
        let probe = LinearProbe::tuned(&train, &labels, 3).unwrap();
        assert!(STRENGTHS.contains(&probe.l2()) && probe.l2() <= 10.0, "{}", probe.l2());
        let found = Classified::of(&truth.ids, &probe.predict(&test).unwrap(), 3);
        assert!(found.accuracy >= 0.95, "{}", found.accuracy);
        assert_eq!(probe.weights, LinearProbe::tuned(&train, &labels, 3).unwrap().weights);
    }

    #[test]
    fn labels_of_one_sign_or_shape_are_refused() {
        let (mut values, labels) = rows(30);
        let message = |result: Result<LinearProbe>| result.unwrap_err().to_string();
        assert!(message(LinearProbe::fit(&values[..119], &labels, 1.0)).contains("119 numbers"));
        assert!(message(LinearProbe::fit(&values, &labels, -1.0)).starts_with("--l2"));
        assert!(message(LinearProbe::fit(&values, &labels, f64::NAN)).starts_with("--l2"));
        let one = Labels { names: vec!["a".to_owned()], ids: vec![0; 30] };
        assert!(message(LinearProbe::tuned(&values, &one, 1)).contains("at least two"));
        let wrong = Labels { names: vec!["a".to_owned(), "b".to_owned()], ids: vec![2; 30] };
        assert!(message(LinearProbe::fit(&values, &wrong, 1.0)).contains("label 2"));
        let probe = LinearProbe::fit(&values, &labels, 1.0).unwrap();
        assert!(probe.predict(&values[..5]).is_err());
        values[9] = f32::INFINITY;
        assert!(message(LinearProbe::fit(&values, &labels, 1.0)).contains("inf in row 2"));
    }

    #[test]
    fn a_constant_feature_counts_nothing() {
        let (values, labels) = rows(60);
        let with: Vec<f32> = values.chunks(4).flat_map(|row| [row[0], row[1], 0.1, row[2], row[3]]).collect();
        let (plain, more) =
            (LinearProbe::fit(&values, &labels, 1.0).unwrap(), LinearProbe::fit(&with, &labels, 1.0).unwrap());
        assert_eq!(plain.predict(&values).unwrap(), more.predict(&with).unwrap());
        // Elsewhere another value of it changes nothing either.
        let moved: Vec<f32> = values.chunks(4).flat_map(|row| [row[0], row[1], 7.0, row[2], row[3]]).collect();
        assert_eq!(plain.predict(&values).unwrap(), more.predict(&moved).unwrap());
    }

    #[test]
    fn scores_count_each_label() {
        let found = Classified::of(&[0, 0, 0, 1, 1, 2], &[0, 0, 1, 1, 1, 0], 4);
        assert!((found.accuracy - 4.0 / 6.0).abs() < 1e-12);
        let score = |count, recall, precision| ClassScore { count, recall, precision };
        assert_eq!(found.classes[0], score(3, Some(2.0 / 3.0), Some(2.0 / 3.0)));
        assert_eq!(found.classes[1], score(2, Some(1.0), Some(2.0 / 3.0)));
        assert_eq!(found.classes[2], score(1, Some(0.0), None));
        assert_eq!(found.classes[3], score(0, None, None));
        assert_eq!(Classified::of(&[], &[], 2).accuracy, 0.0);
    }
}
