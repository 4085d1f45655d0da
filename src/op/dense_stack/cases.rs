//! Cases of a stack.

use super::{DenseStack, MOST_LAYERS};
use crate::error::Result;
use crate::op::conv2d::reals;
use crate::op::{Activation, Case, Draw, LossOp};

/// A stack on random weights that keep values at about their size.
fn case(loss: LossOp, rows: usize, widths: &[usize], activations: Vec<Activation>) -> Case {
    let last = widths.last().copied().unwrap_or(1);
    let mut inputs = vec![reals([rows, widths[0]], -1.0, 1.0), reals([rows, last], 0.0, 1.0)];
    for pair in widths.windows(2) {
        let reach = (3.0 / pair[0] as f64).sqrt();
        inputs.extend([reals([pair[0], pair[1]], -reach, reach), reals([pair[1]], -0.5, 0.5)]);
    }
    let label = format!("{rows} rows {widths:?} {activations:?}");
    // A gradient of about one, whatever the number of elements.
    let upstream = (rows * last) as f32 / 4.0;
    Case::new(label, DenseStack { activations, loss, upstream }, inputs)
}

/// Each activation at each place, and widths around those at which the kernel shares out its lanes otherwise.
fn cases(loss: LossOp) -> Vec<Case> {
    let kinds = || [Activation::Linear].into_iter().chain(Activation::NONLINEAR).cycle();
    let shapes: [(usize, &[usize]); 10] = [
        (1, &[1, 1, 1]),
        (3, &[5, 33, 7]),
        (4, &[32, 31, 65, 3]),
        (5, &[3, 128, 129, 64, 2]),
        (9, &[40, 257, 30, 12]),
        (2, &[100, 20, 10, 5, 10, 20, 100]),
        (6, &[12, 9, 8, 7, 33, 34]),
        (7, &[260, 32, 260]),
        (66, &[60, 24, 16, 24, 60]),
        (4, &[1024, 6, 1023]),
    ];
    let mut cases = Vec::new();
    for (first, (rows, widths)) in shapes.into_iter().enumerate() {
        cases.push(case(loss, rows, widths, kinds().skip(first).take(widths.len() - 1).collect()));
    }
    // What networks have: one activation, and none or a sigmoid at the end.
    for (of, last) in [(Activation::Relu, Activation::Linear), (Activation::ELU, Activation::Sigmoid)] {
        let widths = [70, 36, 20, 36, 70];
        cases.push(case(loss, 10, &widths, vec![of, of, of, last]));
    }
    cases
}

pub(in crate::op) fn mse_cases() -> Vec<Case> {
    cases(LossOp::Mse)
}

pub(in crate::op) fn bce_cases() -> Vec<Case> {
    cases(LossOp::BceLogits)
}

fn random(draw: &mut Draw, loss: LossOp) -> Case {
    let layers = draw.from(2..=MOST_LAYERS);
    let widths: Vec<usize> = (0..=layers).map(|_| draw.channels()).collect();
    let activations = (0..layers).map(|_| draw.activation()).collect();
    case(loss, draw.extent(), &widths, activations)
}

pub(in crate::op) fn random_mse(draw: &mut Draw) -> Result<Case> {
    Ok(random(draw, LossOp::Mse))
}

pub(in crate::op) fn random_bce(draw: &mut Draw) -> Result<Case> {
    Ok(random(draw, LossOp::BceLogits))
}
