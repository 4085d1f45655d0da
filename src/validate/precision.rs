//! Half precision on a session, and the test that matrix units have to pass before they are used.

use super::case::{Direction, check};
use crate::error::Result;
use crate::graph::Graph;
use crate::kernel::Precision;
use crate::op::{Activation, Case, Conv2d, Conv2dWeightGrad, ConvTranspose2d, Matmul, Padding, Values, Window};
use crate::session::Session;
use crate::tensor::{Class, TensorType};

/// Replays of one product that must give the same bits.
const REPLAYS: usize = 24;
/// Its kernel.
const KERNEL: &str = "matrix";

/// The session in half precision: on its device's matrix units, which are opened anew and tested first; else by rounding
/// operands ahead of kernels in `f32`, which has the same results and is slower than `f32`; on the CPU executor in `f32`.
/// Beside it, in one line, why it is not what was hoped for. [`Session::products`] tells what it is. Call it first: what the
/// session held is lost.
pub fn in_half_precision(mut session: Session) -> (Session, Option<String>) {
    if session.target().is_none() {
        let note = "the CPU executor computes in f32, which --precision f16 would not make faster";
        return (session, Some(note.to_owned()));
    }
    const SLOWER: &str = "operands are rounded to f16 ahead of kernels in f32, which is slower than --precision f32";
    let note = match session.with_matrix_units() {
        None => format!("this device has no matrix units that can be used: {SLOWER}"),
        Some(mut units) => {
            units.set_precision(Precision::F16);
            match test_matrix_units(&mut units) {
                Ok(None) => return (units, None),
                Ok(Some(problem)) => format!("the matrix units of this device are not used, {problem}: {SLOWER}"),
                Err(error) => format!("the matrix units of this device are not used ({error}): {SLOWER}"),
            }
        }
    };
    session.set_precision(Precision::F16);
    (session, Some(note))
}

/// What matrix units must compute before they are trusted: every kernel for them, sums over many slices, several workgroups,
/// tiles with ragged edges.
///
/// # Errors
/// None: the shapes are fixed, and fit.
pub fn matrix_unit_cases() -> Result<Vec<Case>> {
    let reals = |dims: &[usize]| (TensorType::f32(dims), Values::Uniform(-1.0, 1.0));
    let product = Matmul { activation: Activation::Relu, ..Matmul::default() };
    let gradient = Matmul { transpose_a: true, ..Matmul::default() };
    let window = Window::square(3, 1);
    let conv = Conv2d { activation: Activation::Tanh, ..Conv2d::new(window, Padding::Same, [9, 10])? };
    let up = ConvTranspose2d::new(Window::square(3, 2), Padding::Same, [5, 6])?;
    Ok(vec![
        Case::new("product", product, vec![reals(&[100, 1000]), reals(&[1000, 70]), reals(&[70])]),
        Case::new("weight gradient", gradient, vec![reals(&[900, 90]), reals(&[900, 70])]),
        Case::new("convolution", conv, vec![reals(&[2, 9, 10, 20]), reals(&[3, 3, 20, 36]), reals(&[36])]),
        Case::new("transposed convolution", up, vec![reals(&[2, 5, 6, 20]), reals(&[3, 3, 36, 20])]),
        Case::new(
            "gradient of a convolution",
            Conv2dWeightGrad { window: conv.window },
            vec![reals(&[2, 9, 10, 20]), reals(&[2, 9, 10, 36])],
        ),
    ])
}

/// What is wrong with the units of a session; none where all is well.
fn test_matrix_units(session: &mut Session) -> Result<Option<String>> {
    let mut problem = None;
    for case in matrix_unit_cases()? {
        let outcomes = check(session, &case, Direction::Forward, Some(KERNEL))?;
        let wrong = outcomes.iter().find_map(|outcome| match &outcome.failure {
            Some(failure) => Some(format!("as a {} is wrong: {}", case.label, failure.what)),
            None if outcome.variant != KERNEL => Some(format!("as there is no kernel for a {}", case.label)),
            None => None,
        });
        problem = problem.or(wrong);
    }
    session.set_guard_words(0);
    session.set_variant(Some(KERNEL));
    let stable = match problem {
        None => replays_agree(session)?,
        Some(_) => true,
    };
    session.set_variant(None);
    session.clear()?;
    Ok(problem.or_else(|| (!stable).then(|| "as a product differs from one replay to the next".to_owned())))
}

/// Whether a large product has the same bits each time: some drivers lose sums that are carried across a loop, now and then.
fn replays_agree(session: &mut Session) -> Result<bool> {
    session.clear()?;
    let [rows, inner, columns] = [256, 2048, 256];
    let mut graph = Graph::new();
    let a = graph.persistent(Class::Input, "test.a", TensorType::f32([rows, inner]))?;
    let b = graph.persistent(Class::Input, "test.b", TensorType::f32([inner, columns]))?;
    let y = graph.apply_one(Matmul::default(), &[a, b])?;
    graph.keep(y, "test.y")?;
    let program = session.record(&graph)?;
    let values = |len: usize, step: usize| (0..len).map(|i| ((i * step) % 1021) as f32 / 512.0 - 1.0).collect();
    let (left, right): (Vec<f32>, Vec<f32>) = (values(rows * inner, 37), values(inner * columns, 91));
    session.write("test.a", &left)?;
    session.write("test.b", &right)?;
    session.run(program, 1)?;
    let first = session.read_words("test.y")?;
    for _ in 0..REPLAYS {
        session.run(program, 1)?;
        if session.read_words("test.y")? != first {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::kernel::Products;

    #[test]
    fn the_executor_stays_at_single_precision_and_says_so() {
        let (session, note) = in_half_precision(Session::cpu());
        assert_eq!(session.products(), Products::F32);
        assert!(note.unwrap().contains("CPU executor computes in f32"));
    }

    #[test]
    fn a_device_without_units_rounds_and_says_so() {
        for adapter in crate::gpu::adapters() {
            let (mut session, note) = in_half_precision(Session::gpu(adapter.open(true).unwrap()));
            if adapter.matrix_units().is_some() {
                assert_eq!((session.products(), note), (Products::MatrixUnits, None));
                continue;
            }
            assert_eq!(session.products(), Products::F16);
            assert!(note.unwrap().contains("no matrix units"), "on {}", adapter.name());
            // The test of the units sees that it was not they that computed.
            let problem = test_matrix_units(&mut session).unwrap().unwrap();
            assert_eq!(problem, "as there is no kernel for a product");
        }
    }
}
