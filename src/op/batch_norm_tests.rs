//! Batch normalisation as training records it, against the definition.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::cpu::Oracle;
use crate::plan::{Plan, PlanOptions};
use crate::session::Session;
use crate::tensor::Class;

const ROWS: usize = 5;
const CHANNELS: usize = 2;
const NAMES: [&str; 5] = ["x", "weight", "bias", "mean", "variance"];

fn inputs() -> [Vec<f64>; 5] {
    let x = (0..ROWS * CHANNELS).map(|i| ((i * 7) % 10) as f64 / 4.0 - 1.0).collect();
    [x, vec![1.5, -0.5], vec![0.25, -1.0], vec![0.5, -2.0], vec![1.0, 3.0]]
}

fn upstream() -> Vec<f64> {
    (0..ROWS * CHANNELS).map(|i| ((i * 3) % 7) as f64 / 3.0 - 0.8).collect()
}

/// A graph of one training step, its output under the name `y` and the gradient of x under `dx`.
fn graph(settings: BatchNormTraining) -> Graph {
    let mut graph = Graph::new();
    let ids = NAMES.map(|name| {
        let ty = if name == "x" { TensorType::f32([ROWS, CHANNELS]) } else { TensorType::f32([CHANNELS]) };
        graph.persistent(Class::State, name, ty).unwrap()
    });
    let [y, _, _] = settings.record(&mut graph, ids).unwrap();
    graph.keep(y, "y").unwrap();
    let up = graph.persistent(Class::Input, "upstream", TensorType::f32([ROWS, CHANNELS])).unwrap();
    let dx = graph.vector_jacobian(&[(y, up)], &[ids[0]]).unwrap()[0];
    graph.keep(dx, "dx").unwrap();
    graph
}

/// y, running mean, running variance and dx after one step in double precision.
fn step(settings: BatchNormTraining, x: &[f64]) -> [Vec<f64>; 4] {
    let graph = graph(settings);
    let plan = Plan::new(&graph, PlanOptions { target: None, fuse: true, variant: None }).unwrap();
    let mut oracle = Oracle::new();
    for (name, values) in NAMES.iter().zip(inputs()) {
        oracle.write(name, Array::F64(if *name == "x" { x.to_vec() } else { values }));
    }
    oracle.write("upstream", Array::F64(upstream()));
    oracle.run(&plan).unwrap();
    ["y", "mean", "variance", "dx"].map(|name| oracle.read(name).unwrap().f64().to_vec())
}

const KERAS: BatchNormTraining =
    BatchNormTraining { momentum: 0.75, epsilon: 0.001, unbiased: false, statistics: BatchStatistics::Alone };

fn assert_near(got: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(got.len(), wanted.len());
    for (i, (g, w)) in got.iter().zip(wanted).enumerate() {
        assert!((g - w).abs() <= tolerance, "element {i}: {g}, wanted {w}");
    }
}

#[test]
fn training_normalises_with_the_batch_and_moves_the_running_statistics() {
    let [x, weight, bias, mean, variance] = inputs();
    let mut wanted = [vec![0.0; x.len()], vec![0.0; CHANNELS], vec![0.0; CHANNELS], vec![0.0; CHANNELS]];
    for c in 0..CHANNELS {
        let column: Vec<f64> = x.iter().skip(c).step_by(CHANNELS).copied().collect();
        let m = column.iter().sum::<f64>() / ROWS as f64;
        let v = column.iter().map(|x| (x - m).powi(2)).sum::<f64>() / ROWS as f64;
        for (r, x) in column.iter().enumerate() {
            wanted[0][r * CHANNELS + c] = weight[c] * (x - m) / (v + f64::from(KERAS.epsilon)).sqrt() + bias[c];
        }
        wanted[1][c] = 0.75 * mean[c] + 0.25 * m;
        wanted[2][c] = 0.75 * variance[c] + 0.25 * v;
        wanted[3][c] = 0.75 * variance[c] + 0.25 * v * 5.0 / 4.0;
    }
    let [y, mean, variance, _] = step(KERAS, &x);
    assert_near(&y, &wanted[0], 1e-12);
    assert_near(&mean, &wanted[1], 1e-12);
    assert_near(&variance, &wanted[2], 1e-12);
    let [y, _, variance, _] = step(BatchNormTraining { unbiased: true, ..KERAS }, &x);
    assert_near(&y, &wanted[0], 1e-12);
    // The correction N / (N - 1) is held in single precision: 5 / 4 is exact.
    assert_near(&variance, &wanted[3], 1e-12);
}

#[test]
fn the_gradient_goes_through_the_batch_statistics() {
    let x = inputs()[0].clone();
    let weighted = |x: &[f64]| step(KERAS, x)[0].iter().zip(upstream()).map(|(y, u)| y * u).sum::<f64>();
    let dx = step(KERAS, &x)[3].clone();
    for i in 0..x.len() {
        let moved = |by: f64| {
            let mut x = x.clone();
            x[i] += by;
            weighted(&x)
        };
        let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        assert!((dx[i] - difference).abs() <= 1e-7, "element {i}: {} against {difference}", dx[i]);
    }
    // A shift of all rows changes nothing.
    for c in 0..CHANNELS {
        assert!(dx.iter().skip(c).step_by(CHANNELS).sum::<f64>().abs() < 1e-12);
    }
}

#[test]
fn a_step_on_the_executor_equals_the_formula() {
    let mut session = Session::cpu();
    let program = session.record(&graph(KERAS)).unwrap();
    for (name, values) in NAMES.iter().zip(inputs()) {
        session.write(name, &values.iter().map(|&v| v as f32).collect::<Vec<_>>()).unwrap();
    }
    session.write("upstream", &upstream().iter().map(|&v| v as f32).collect::<Vec<_>>()).unwrap();
    session.run(program, 1).unwrap();
    let wanted = step(KERAS, &inputs()[0]);
    for (name, wanted) in ["y", "mean", "variance", "dx"].into_iter().zip(wanted) {
        let got: Vec<f64> = session.read(name).unwrap().into_iter().map(f64::from).collect();
        assert_near(&got, &wanted, 2e-6);
    }
}

#[test]
fn one_row_has_no_unbiased_variance() {
    let mut graph = Graph::new();
    let x = graph.persistent(Class::Input, "x", TensorType::f32([1, 2])).unwrap();
    let c = graph.persistent(Class::State, "c", TensorType::f32([2])).unwrap();
    let torch = BatchNormTraining { unbiased: true, ..KERAS };
    let message = torch.record(&mut graph, [x, c, c, c, c]).unwrap_err().to_string();
    assert!(message.contains("at least two rows"), "{message}");
}

/// `torch.nn.BatchNorm1d(2, eps=1e-3, momentum=0.25)` in double precision, in training, on the same numbers.
#[test]
fn a_step_equals_that_of_pytorch() {
    let [y, mean, variance, dx] = step(BatchNormTraining { unbiased: true, ..KERAS }, &inputs()[0]);
    assert_near(&y[..4], &[-1.869202199903, -1.35320036665, 0.25, -0.293599266699], 1e-8);
    assert_near(&mean, &[0.375, -1.4375], 1e-12);
    assert_near(&variance, &[0.90625, 2.40625], 1e-12);
    assert_near(&dx[..4], &[-1.274059286648, -0.305777988746, 1.695361759922, 0.423182448612], 1e-8);
}
