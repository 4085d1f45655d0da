//! Every op's analytic gradient against central differences of its reference, stored in f64, under an upstream
//! gradient that is not one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::cpu::Oracle;
use degrain::graph::Graph;
use degrain::kernel::Target;
use degrain::op::{Case, OPS};
use degrain::plan::{Plan, PlanOptions};
use degrain::tensor::{Array, Class, DType, TensorId};

const STEP: f64 = 1e-6;

fn upstream(len: usize, salt: usize) -> Vec<f64> {
    (0..len).map(|i| 0.3 + ((i * 7 + salt * 3) % 11) as f64 / 5.0 - 1.0).collect()
}

/// Sum over all real outputs of upstream * output.
fn weighted(case: &Case, inputs: &[Array]) -> f64 {
    let outputs = case.expected(inputs).unwrap();
    let reals = outputs.iter().enumerate().filter(|(_, o)| matches!(o, Array::F64(_)));
    reals.map(|(o, array)| array.f64().iter().zip(upstream(array.len(), o)).map(|(y, u)| y * u).sum::<f64>()).sum()
}

fn analytic(case: &Case, inputs: &[Array]) -> Vec<Vec<f64>> {
    let mut graph = Graph::new();
    let types = case.input_types();
    let name = |i: usize| format!("input {i}");
    let ids: Vec<TensorId> =
        (0..types.len()).map(|i| graph.persistent(Class::Parameter, &name(i), types[i].clone()).unwrap()).collect();
    let outputs = graph.apply_shared(case.op.clone(), &ids).unwrap();
    let mut oracle = Oracle::new();
    let mut pairs = Vec::new();
    for (o, &output) in outputs.iter().enumerate() {
        let ty = graph.ty(output).clone();
        if ty.dtype == DType::F32 {
            let name = format!("upstream {o}");
            oracle.write(&name, Array::F64(upstream(ty.shape.len(), o)));
            pairs.push((output, graph.persistent(Class::Input, &name, ty).unwrap()));
        }
    }
    let wrt: Vec<TensorId> = case.gradients.iter().map(|&i| ids[i]).collect();
    let gradients = graph.vector_jacobian(&pairs, &wrt).unwrap();
    for (g, &id) in gradients.iter().enumerate() {
        // A gradient may be an upstream tensor itself: read it by name then.
        let _ = graph.keep(id, &format!("gradient {g}"));
    }
    for (i, array) in inputs.iter().enumerate() {
        oracle.write(&name(i), array.clone());
    }
    let plan = Plan::new(&graph, PlanOptions { target: None::<&Target>, fuse: false, variant: None }).unwrap();
    oracle.run(&plan).unwrap();
    gradients.iter().map(|&id| oracle.read(&graph.tensors()[id.index()].name).unwrap().f64().to_vec()).collect()
}

#[test]
fn analytic_gradients_equal_central_differences() {
    let mut checked = 0;
    for case in OPS.iter().flat_map(|op| (op.cases)()).filter(|case| !case.gradients.is_empty()) {
        let inputs = case.arrays();
        let found = analytic(&case, &inputs);
        for (gradient, &input) in found.iter().zip(&case.gradients) {
            // Up to 40 elements, spread over the tensor.
            let len = inputs[input].len();
            for element in (0..len).step_by(len.div_ceil(40)) {
                let moved = |by: f64| {
                    let mut inputs = inputs.clone();
                    inputs[input].f64_mut()[element] += by;
                    weighted(&case, &inputs)
                };
                let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                let allowed = 1e-5 + 1e-3 * difference.abs();
                let error = (gradient[element] - difference).abs();
                let (op, label) = (case.op.name(), &case.label);
                assert!(
                    error <= allowed,
                    "{op} {label}, input {input}, element {element}: {} against {difference}",
                    gradient[element]
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 3000, "only {checked} elements were checked");
}

#[test]
fn a_tensor_used_twice_gets_the_sum_of_both_gradients() {
    use degrain::op::{Activate, Activation, Add, Matmul};
    use degrain::tensor::TensorType;
    let mut graph = Graph::new();
    let x = graph.persistent(Class::Parameter, "x", TensorType::f32([3, 3])).unwrap();
    // y = tanh(x) x + tanh(x): x is read twice, tanh(x) twice.
    let t = graph.apply_one(Activate { kind: Activation::Tanh }, &[x]).unwrap();
    let product = graph.apply_one(Matmul::default(), &[t, x]).unwrap();
    let y = graph.apply_one(Add, &[product, t]).unwrap();
    graph.keep(y, "y").unwrap();
    let up = graph.persistent(Class::Input, "up", TensorType::f32([3, 3])).unwrap();
    let gradient = graph.vector_jacobian(&[(y, up)], &[x]).unwrap()[0];
    graph.keep(gradient, "gradient").unwrap();
    let plan = Plan::new(&graph, PlanOptions { target: None, fuse: false, variant: None }).unwrap();
    let values: Vec<f64> = (0..9).map(|i| 0.1 * f64::from(i) - 0.35).collect();
    let run = |x: &[f64]| {
        let mut oracle = Oracle::new();
        oracle.write("x", Array::F64(x.to_vec()));
        oracle.write("up", Array::F64(upstream(9, 0)));
        oracle.run(&plan).unwrap();
        let y: f64 = oracle.read("y").unwrap().f64().iter().zip(upstream(9, 0)).map(|(y, u)| y * u).sum();
        (y, oracle.read("gradient").unwrap().f64().to_vec())
    };
    let found = run(&values).1;
    for i in 0..9 {
        let moved = |by: f64| {
            let mut x = values.clone();
            x[i] += by;
            run(&x).0
        };
        let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        assert!((found[i] - difference).abs() <= 1e-6, "element {i}: {} against {difference}", found[i]);
    }
}
