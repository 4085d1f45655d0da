//! Every op's analytic gradient against central differences of its reference, stored in f64, under an upstream
//! gradient that is not one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::cpu::Oracle;
use degrain::graph::{Graph, Node, Op, Signature};
use degrain::kernel::{Target, Variant};
use degrain::model::Preset;
use degrain::op::{Case, OPS, Values};
use degrain::plan::{Plan, PlanOptions};
use degrain::tensor::{Array, Class, TensorId, TensorType};
use degrain::train::{SyntheticLoss, synthetic_loss};
use degrain::validate::check_gradients;
use rand::SeedableRng;
use rand_distr::Distribution;
use std::collections::HashMap;

const STEP: f64 = 1e-6;

/// As the library's own, for the test that builds its graph by hand.
fn upstream(len: usize) -> Vec<f64> {
    (0..len).map(|i| 0.3 + ((i * 7) % 11) as f64 / 5.0 - 1.0).collect()
}

#[test]
fn analytic_gradients_equal_central_differences() {
    let mut checked = 0;
    for case in OPS.iter().flat_map(|op| (op.cases)()).filter(|case| !case.gradients.is_empty()) {
        let found = check_gradients(&case).unwrap();
        assert_eq!(found.failure, None);
        assert!(found.elements > 0 && found.worst <= 1.0);
        checked += found.elements;
    }
    assert!(checked > 6000, "only {checked} elements were checked");
}

/// An op whose gradient is right but for its scale, which the check must see wherever the op stands.
#[derive(Debug)]
struct HalfGradient;

impl Op for HalfGradient {
    fn name(&self) -> &'static str {
        "half_gradient"
    }

    fn infer(&self, inputs: &[TensorType]) -> degrain::Result<Vec<TensorType>> {
        Ok(inputs.to_vec())
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> degrain::Result<Vec<Option<TensorId>>> {
        Ok(upstream.to_vec())
    }

    fn variants(&self, _: &Signature<'_>, _: &Target) -> Vec<Variant> {
        Vec::new()
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        for (y, x) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()) {
            *y = 2.0 * x;
        }
    }
}

#[test]
fn a_wrong_gradient_is_found() {
    let input = (TensorType::f32([5]), Values::Uniform(-1.0, 1.0));
    let found = check_gradients(&Case::new("five", HalfGradient, vec![input]).with_gradients([0])).unwrap();
    assert!(found.failure.is_some_and(|f| f.contains("half_gradient, five, Alone: input 0, element 0")));
    assert!(found.worst > 100.0);
}

#[test]
fn a_tensor_used_twice_gets_the_sum_of_both_gradients() {
    use degrain::op::{Activate, Activation, Add, Matmul};
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
        oracle.write("up", Array::F64(upstream(9)));
        oracle.run(&plan).unwrap();
        let y: f64 = oracle.read("y").unwrap().f64().iter().zip(upstream(9)).map(|(y, u)| y * u).sum();
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

/// Directions along which the whole backward pass of each preset is checked.
const DIRECTIONS: u64 = 3;

/// The slope of the loss along random directions of all parameters, against differences.
fn assert_slopes(name: &str, preset: &Preset) {
    let SyntheticLoss { step, loss, gradients } = synthetic_loss(preset, 2).unwrap();
    let plan = Plan::new(&step.graph, PlanOptions { target: None, fuse: false, variant: None }).unwrap();
    let run = |moved: &dyn Fn(&str, usize) -> f64| {
        let mut oracle = Oracle::new();
        for (name, array) in &step.values {
            let mut array = array.clone();
            array.f64_mut().iter_mut().enumerate().for_each(|(i, value)| *value += moved(name, i));
            oracle.write(name, array);
        }
        oracle.run(&plan).unwrap();
        oracle
    };
    let at_rest = run(&|_, _| 0.0);
    for seed in 0..DIRECTIONS {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
        let normal = rand_distr::StandardNormal;
        let directions: HashMap<&str, Vec<f64>> = gradients
            .iter()
            .map(|[parameter, gradient]| {
                let len = at_rest.read(gradient).unwrap().len();
                (parameter.as_str(), (0..len).map(|_| normal.sample(&mut rng)).collect())
            })
            .collect();
        let slope: f64 = gradients
            .iter()
            .map(|[parameter, gradient]| {
                let gradient = at_rest.read(gradient).unwrap();
                gradient.f64().iter().zip(&directions[parameter.as_str()]).map(|(g, d)| g * d).sum::<f64>()
            })
            .sum();
        let along = |by: f64| {
            let moved = |name: &str, i: usize| directions.get(name).map_or(0.0, |d| by * d[i]);
            run(&moved).read(&loss).unwrap().f64()[0]
        };
        // The step is that of a unit vector: a longer one crosses kinks of some of the many units on the way.
        let length = directions.values().flatten().map(|d| d * d).sum::<f64>().sqrt();
        let by = STEP / length;
        let difference = (along(by) - along(-by)) / (2.0 * by);
        let allowed = 1e-5 + 1e-3 * difference.abs();
        assert!(slope.abs() > 1e-3, "{name}: a slope of {slope} shows nothing");
        assert!((slope - difference).abs() <= allowed, "{name}, direction {seed}: {slope} against {difference}");
    }
}

#[test]
fn the_backward_pass_of_every_preset_equals_differences_along_random_directions() {
    for name in Preset::names() {
        assert_slopes(name, &Preset::load(name).unwrap());
    }
}

#[test]
fn a_deep_encoder_with_pooling_can_be_contractive() {
    for norm in ["exact", "projection"] {
        let mut preset = Preset::load("quickdraw-conv").unwrap();
        let pool = r#"{ layer = "max_pool2d", size = 7 }"#;
        let changes = [
            "model.code=8",
            &format!("model.encoder.5={pool}"),
            r#"model.encoder.3={ layer = "avg_pool2d", size = 2 }"#,
            r#"model.decoder=[{ layer = "flatten" }, { layer = "dense", units = 784 }, { layer = "reshape", shape = [28, 28, 1] }]"#,
            "train.contractive=0.5",
            &format!("train.contractive_norm={norm}"),
        ];
        preset.set_all(&changes).unwrap();
        assert_slopes(&format!("contractive, {norm}"), &preset);
    }
}
