//! How far a stack's results may be from the reference: the bounds of its layers, each with what the errors of those before it
//! make of its sums.
//!
//! Errors of a layer's inputs are independent roundings, so that a sum takes the root of the sum of their squares, as
//! [`Tolerance::Sum`] has it for those of the sum itself. At a kink an activation may have either slope.

use super::{DenseStack, run};
use crate::graph::Signature;
use crate::kernel::Tolerance;
use crate::op::{Activation, LossOp, Matmul};
use crate::tensor::{Array, TensorType};

/// What an error in the sum of [`Tolerance::Sum`] is, where the magnitude is one.
fn unit(terms: usize) -> f64 {
    4.0 * (terms as f64).sqrt() * 2f64.powi(-24)
}

/// Products of the longest sum of a layer, its bias among them.
fn terms(stack: &DenseStack, signature: &Signature<'_>) -> usize {
    stack.widths(signature).iter().max().map_or(1, |widest| widest + 1)
}

/// The parts of a tolerance that do not come from a sum.
fn parts(tolerance: Tolerance) -> (f64, f64) {
    match tolerance {
        Tolerance::Exact => (0.0, 0.0),
        Tolerance::Close { rtol, atol } | Tolerance::Sum { rtol, atol, .. } => (rtol, atol),
    }
}

/// What comes on top of the sums, where a loss or a slope follows.
fn of_gradients(stack: &DenseStack) -> (f64, f64) {
    match stack.loss {
        LossOp::Mse => parts(Tolerance::ELEMENTWISE),
        LossOp::BceLogits => parts(Tolerance::TRANSCENDENTAL),
    }
}

pub(super) fn tolerances(stack: &DenseStack, signature: &Signature<'_>) -> Vec<Tolerance> {
    let terms = terms(stack, signature);
    let sum = |(rtol, atol)| Tolerance::Sum { terms, rtol, atol };
    let of_y = stack.activations[..stack.layers() - 1].iter().map(|f| f.sum_tolerance(terms));
    let gradients = std::iter::repeat_n(sum(of_gradients(stack)), stack.layers());
    std::iter::once(sum(parts(Tolerance::TRANSCENDENTAL))).chain(of_y).chain(gradients).collect()
}

/// Values of one tensor with a bound on the error of each.
struct Bounded {
    values: Vec<f64>,
    errors: Vec<f64>,
}

/// A layer's product with its weights, forward or back.
struct Product<'a> {
    op: Matmul,
    w: (&'a TensorType, &'a Array),
    bias: Option<(&'a TensorType, &'a Array)>,
    output: &'a TensorType,
    terms: usize,
}

impl Product<'_> {
    /// The product in `f64`, and a bound on the error of a kernel's.
    fn of(&self, left: &Bounded, left_ty: &TensorType) -> Bounded {
        let outputs = std::slice::from_ref(self.output);
        let array = Array::F64(left.values.clone());
        let operands = [(left_ty, &array), self.w];
        let inputs: Vec<(&TensorType, &Array)> = operands.into_iter().chain(self.bias).collect();
        let values = run(&self.op, &inputs, outputs).remove(0);
        let absolute: Vec<Array> = inputs.iter().map(|(_, array)| array.abs()).collect();
        let absolute: Vec<_> = inputs.iter().zip(&absolute).map(|((ty, _), array)| (*ty, array)).collect();
        let magnitudes = run(&self.op, &absolute, outputs).remove(0);
        let square = |values: &[f64]| Array::F64(values.iter().map(|v| v * v).collect());
        let (errors, weights) = (square(&left.errors), square(self.w.1.f64()));
        let variances = run(&self.op, &[(left_ty, &errors), (self.w.0, &weights)], outputs).remove(0);
        let own = unit(self.terms);
        let errors = magnitudes.f64().iter().zip(variances.f64()).map(|(m, v)| own * m + v.sqrt()).collect();
        Bounded { values: values.f64().to_vec(), errors }
    }
}

/// How far the slope at the output y of an activation may be off, y and what the activation takes being off by these.
fn slope_error(f: Activation, y: f64, of_y: f64, z: f64, of_z: f64) -> f64 {
    let jump = if z.abs() <= of_z { f.steepest() } else { 0.0 };
    match f {
        Activation::Linear => 0.0,
        Activation::Relu | Activation::LeakyRelu { .. } => jump,
        Activation::Elu { .. } => jump + of_y,
        Activation::Sigmoid | Activation::Tanh => 2.0 * y.abs().max(1.0) * of_y,
        Activation::Softplus => of_y,
    }
}

/// The gradient before an activation from that behind it, the activation's outputs and what it took.
fn sloped(f: Activation, gradient: &Bounded, y: &Bounded, z: &Bounded) -> Bounded {
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for i in 0..gradient.values.len() {
        let slope = f.slope(y.values[i]);
        let off = slope_error(f, y.values[i], y.errors[i], z.values[i], z.errors[i]);
        values.push(gradient.values[i] * slope);
        errors.push(gradient.errors[i] * (slope.abs() + off) + gradient.values[i].abs() * off);
    }
    Bounded { values, errors }
}

/// Bounds on the errors of all outputs as magnitudes of sums.
pub(super) fn magnitudes(stack: &DenseStack, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
    let (layers, terms) = (stack.layers(), terms(stack, signature));
    let ty = |l: usize| if l == 0 { &signature.inputs[0] } else { &signature.outputs[layers + l - 1] };
    let input = |i: usize| (&signature.inputs[i], inputs[i]);
    let mut y = vec![Bounded { values: inputs[0].f64().to_vec(), errors: vec![0.0; inputs[0].len()] }];
    let mut z = Vec::new();
    for (l, &f) in stack.activations.iter().enumerate() {
        let op = Matmul::default();
        let product = Product { op, w: input(2 + 2 * l), bias: Some(input(3 + 2 * l)), output: ty(l + 1), terms };
        let sums = product.of(&y[l], ty(l));
        let (rtol, atol) = parts(f.tolerance());
        let values: Vec<f64> = sums.values.iter().map(|z| f.reference(*z)).collect();
        let error = |(of_z, y): (&f64, &f64)| f.steepest() * of_z + rtol * y.abs() + atol;
        let errors = sums.errors.iter().zip(&values).map(error).collect();
        y.push(Bounded { values, errors });
        z.push(sums);
    }
    let (loss, behind) = of_loss(stack, &y[layers], inputs[1], terms);
    let mut gradients = vec![sloped(stack.activations[layers - 1], &behind, &y[layers], &z[layers - 1])];
    for l in (1..layers).rev() {
        let op = Matmul { transpose_b: true, ..Matmul::default() };
        let product = Product { op, w: input(2 + 2 * l), bias: None, output: ty(l), terms };
        let Some(dz) = gradients.last_mut() else { break };
        // The slope before it is exact to rounding.
        dz.errors.iter_mut().zip(&dz.values).for_each(|(error, dz)| *error += of_gradients(stack).0 * dz.abs());
        let before = product.of(dz, ty(l + 1));
        gradients.push(sloped(stack.activations[l - 1], &before, &y[l], &z[l - 1]));
    }
    let between = y.drain(1..layers).collect::<Vec<_>>();
    let all = between.into_iter().chain(gradients.into_iter().rev());
    let magnitude = |bounded: Bounded| Array::F64(bounded.errors.iter().map(|e| e / unit(terms)).collect());
    std::iter::once(loss).chain(all.map(magnitude)).collect()
}

/// The magnitude of the loss, and the gradient behind the last activation.
fn of_loss(stack: &DenseStack, y: &Bounded, target: &Array, terms: usize) -> (Array, Bounded) {
    let elements = y.values.len() as f64;
    let scale = f64::from(stack.upstream) / elements;
    // Of the loss's derivative: where it is, and how fast it changes at most.
    let (derivative, change): (fn(f64, f64) -> f64, f64) = match stack.loss {
        LossOp::Mse => (|y, t| 2.0 * (y - t), 2.0),
        LossOp::BceLogits => (|y, t| 1.0 / (1.0 + (-y).exp()) - t, 0.25),
    };
    let (mut values, mut errors, mut off, mut size) = (Vec::new(), Vec::new(), 0.0, 0.0);
    for ((&y, &error), &t) in y.values.iter().zip(&y.errors).zip(target.f64()) {
        let slope = derivative(y, t);
        values.push(scale * slope);
        errors.push((scale * change * error).abs());
        off += slope.abs() * error;
        size += (y.abs() + t.abs()).powi(2);
    }
    (Array::F64(vec![(off / unit(terms) + size) / elements]), Bounded { values, errors })
}
