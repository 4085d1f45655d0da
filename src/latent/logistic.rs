//! Multinomial logistic regression by L-BFGS.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

/// Rows whose scores are held at once.
const ROWS_AT_ONCE: usize = 8192;
/// Pairs of steps and changes of the gradient that stand for the curvature.
const MEMORY: usize = 10;
const MOST_ITERATIONS: usize = 300;
/// The largest element of the gradient at which the minimum is reached; scikit-learn's default.
const GRADIENT_TOLERANCE: f64 = 1e-4;
/// A step must lower the objective by at least this share of what its slope promises (Armijo).
const SUFFICIENT: f64 = 1e-4;
/// Halvings of a step before it is given up: below, f32 products cannot tell the objectives apart.
const MOST_HALVINGS: usize = 25;

/// The objective over the weights (classes, d + 1), each class's bias last: the mean over the rows of
/// -log softmax(W x + b)\[label\], plus `l2` / (2n) |W|^2.
pub(super) struct Problem<'a> {
    /// (n, d).
    rows: &'a [f32],
    labels: &'a [u32],
    d: usize,
    classes: usize,
    l2: f64,
}

impl<'a> Problem<'a> {
    /// `rows` (n, d) with one label each, below `classes`.
    pub(super) fn new(rows: &'a [f32], labels: &'a [u32], classes: usize, l2: f64) -> Self {
        Self { rows, labels, d: rows.len() / labels.len().max(1), classes, l2 }
    }

    /// How many weights there are.
    pub(super) fn len(&self) -> usize {
        self.classes * (self.d + 1)
    }

    /// The objective at `weights`, and its gradient.
    fn at(&self, weights: &[f64]) -> (f64, Vec<f64>) {
        let Self { rows, labels, d, classes, l2 } = *self;
        let n = labels.len() as f64;
        let mut products = Mat::<f32>::zeros(d, classes);
        let mut biases = vec![0.0; classes];
        let mut loss = 0.0;
        for (rows, labels) in rows.chunks(ROWS_AT_ONCE * d).zip(labels.chunks(ROWS_AT_ONCE)) {
            let mut residuals = scores(rows, weights, classes);
            // One number a row, summed in their order: the same bits whatever the number of threads.
            let losses: Vec<f64> = residuals
                .par_chunks_exact_mut(classes)
                .zip(labels)
                .map(|(scores, &label)| to_residual(scores, label as usize))
                .collect();
            loss += losses.iter().sum::<f64>();
            for residual in residuals.chunks_exact(classes) {
                biases.iter_mut().zip(residual).for_each(|(sum, &x)| *sum += f64::from(x));
            }
            let rows = MatRef::from_column_major_slice(rows, d, labels.len());
            let residuals = MatRef::from_column_major_slice(&residuals, classes, labels.len());
            matmul(products.as_mut(), Accum::Add, rows, residuals.transpose(), 1.0, Par::rayon(0));
        }
        let mut gradient = Vec::with_capacity(weights.len());
        let mut squares = 0.0;
        for (class, (weights, bias)) in weights.chunks_exact(d + 1).zip(biases).enumerate() {
            for (w, product) in weights.iter().zip(products.col_as_slice(class)) {
                squares += w * w;
                gradient.push((f64::from(*product) + l2 * w) / n);
            }
            gradient.push(bias / n);
        }
        ((loss + l2 / 2.0 * squares) / n, gradient)
    }
}

/// Turns the scores of a row into softmax - onehot(label); returns -log softmax\[label\].
fn to_residual(scores: &mut [f32], label: usize) -> f64 {
    let greatest = scores.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let own = scores.get(label).map_or(0.0, |score| f64::from(score - greatest));
    let mut sum = 0.0_f64;
    for score in scores.iter_mut() {
        *score = (*score - greatest).exp();
        sum += f64::from(*score);
    }
    let factor = (1.0 / sum) as f32;
    scores.iter_mut().for_each(|x| *x *= factor);
    if let Some(x) = scores.get_mut(label) {
        *x -= 1.0;
    }
    sum.ln() - own
}

/// W x + b of `rows` (m, d): (m, classes).
pub(super) fn scores(rows: &[f32], weights: &[f64], classes: usize) -> Vec<f32> {
    let width = weights.len() / classes;
    let (d, m) = (width - 1, rows.len() / (width - 1));
    let kernel = Mat::from_fn(classes, d, |class, j| weights[class * width + j] as f32);
    let biases: Vec<f32> = weights.chunks_exact(width).filter_map(|class| class.last()).map(|&b| b as f32).collect();
    let mut scores = biases.repeat(m);
    let rows = MatRef::from_column_major_slice(rows, d, m);
    let out = faer::MatMut::from_column_major_slice_mut(&mut scores, classes, m);
    matmul(out, Accum::Add, kernel.as_ref(), rows, 1.0, Par::rayon(0));
    scores
}

/// The minimum of the problem, from `weights` on, by L-BFGS (Liu and Nocedal 1989) with steps halved until they suffice.
pub(super) fn minimise(problem: &Problem<'_>, mut weights: Vec<f64>) -> Vec<f64> {
    let (mut value, mut gradient) = problem.at(&weights);
    let mut pairs: Vec<Pair> = Vec::new();
    for _ in 0..MOST_ITERATIONS {
        if gradient.iter().all(|g| g.abs() <= GRADIENT_TOLERANCE) {
            break;
        }
        let mut direction = descent(&gradient, &pairs);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            // Curvature that rounding has spoilt: begin anew along the gradient.
            pairs.clear();
            direction = descent(&gradient, &pairs);
            slope = dot(&direction, &gradient);
        }
        let Some(next) = search(problem, &weights, value, &direction, slope) else { break };
        let step: Vec<f64> = next.weights.iter().zip(&weights).map(|(a, b)| a - b).collect();
        let change: Vec<f64> = next.gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let product = dot(&step, &change);
        if product > 1e-10 * dot(&change, &change) {
            if pairs.len() == MEMORY {
                pairs.remove(0);
            }
            pairs.push(Pair { step, change, product });
        }
        Point { weights, value, gradient } = next;
    }
    weights
}

/// Weights with the objective and its gradient.
struct Point {
    weights: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// A step, the change of the gradient over it, and their inner product.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    product: f64,
}

/// The first of the whole step, its half, its quarter, … that lowers the objective enough; none where none does.
fn search(problem: &Problem<'_>, weights: &[f64], value: f64, direction: &[f64], slope: f64) -> Option<Point> {
    let mut length = 1.0;
    for _ in 0..MOST_HALVINGS {
        let candidate: Vec<f64> = weights.iter().zip(direction).map(|(w, d)| w + length * d).collect();
        let (found, gradient) = problem.at(&candidate);
        if found <= value + SUFFICIENT * length * slope {
            return Some(Point { weights: candidate, value: found, gradient });
        }
        length /= 2.0;
    }
    None
}

/// Minus the gradient times the inverse curvature that `pairs` stand for (the two-loop recursion).
fn descent(gradient: &[f64], pairs: &[Pair]) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut factors = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let factor = dot(&pair.step, &direction) / pair.product;
        add(&mut direction, -factor, &pair.change);
        factors.push(factor);
    }
    // Without any pair a step of length 1, which is about right for standardised rows.
    let scale = match pairs.last() {
        Some(pair) => pair.product / dot(&pair.change, &pair.change),
        None => 1.0 / dot(gradient, gradient).sqrt().max(1e-300),
    };
    direction.iter_mut().for_each(|d| *d *= scale);
    for (pair, factor) in pairs.iter().zip(factors.into_iter().rev()) {
        let back = dot(&pair.change, &direction) / pair.product;
        add(&mut direction, factor - back, &pair.step);
    }
    direction
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64], factor: f64, values: &[f64]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_central_differences() {
        let rows: Vec<f32> = (0..60).map(|i| ((i * 7 % 13) as f32 - 6.0) / 4.0).collect();
        let labels: Vec<u32> = (0..20).map(|i| i * i % 3).collect();
        let problem = Problem::new(&rows, &labels, 3, 0.7);
        let weights: Vec<f64> = (0..problem.len()).map(|i| (i as f64 * 0.37).sin()).collect();
        let (_, gradient) = problem.at(&weights);
        for i in 0..weights.len() {
            let shifted = |by: f64| {
                let mut weights = weights.clone();
                weights[i] += by;
                problem.at(&weights).0
            };
            let slope = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            assert!((slope - gradient[i]).abs() <= 1e-4, "{i}: {} for {slope}", gradient[i]);
        }
    }

    #[test]
    fn the_minimum_is_where_the_gradient_vanishes_and_repeats_to_the_bit() {
        let rows: Vec<f32> = (0..800).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 291.0).collect();
        let labels: Vec<u32> = (0..200).map(|i| (i * i + i / 7) % 4).collect();
        let problem = Problem::new(&rows, &labels, 4, 1.0);
        let weights = minimise(&problem, vec![0.0; problem.len()]);
        let (value, gradient) = problem.at(&weights);
        assert!(gradient.iter().all(|g| g.abs() <= GRADIENT_TOLERANCE));
        assert!(value < problem.at(&vec![0.0; problem.len()]).0);
        assert_eq!(weights, minimise(&problem, vec![0.0; problem.len()]));
        // Biases are free and sum to what they began with: the scores' mean has no say.
        let width = weights.len() / 4;
        let sum: f64 = weights.iter().skip(width - 1).step_by(width).sum();
        assert!(sum.abs() <= 1e-6, "{sum}");
    }
}
