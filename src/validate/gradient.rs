//! Analytic gradients against central differences, everything stored in `f64`.

use super::case::upstream;
use crate::cpu::Oracle;
use crate::error::Result;
use crate::graph::Graph;
use crate::op::{Activate, Activation, Case};
use crate::plan::{Plan, PlanOptions};
use crate::tensor::{Array, Class, DType, TensorId};

/// Step of the central differences.
const STEP: f64 = 1e-6;
/// `|analytic - difference| <= ATOL + RTOL |difference|`.
const RTOL: f64 = 1e-3;
const ATOL: f64 = 1e-5;
/// Elements of each input that are moved, spread over the tensor.
const ELEMENTS: usize = 40;

/// Result of [`check_gradients`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct GradientCheck {
    /// Elements whose gradient was compared.
    pub elements: usize,
    /// Largest `|analytic - difference|`, relative to what is allowed; at most one where all is well.
    pub worst: f64,
    /// The first element that failed, in one line.
    pub failure: Option<String>,
}

/// Where in a graph the op stands.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Place {
    /// On its own inputs.
    Alone,
    /// Behind another op, on tensors that a second op reads as well.
    MidGraph,
}

/// Holds the gradients of a case's op with respect to the inputs that [`Case::gradients`] names against central
/// differences of its reference, under an upstream gradient that is not one: with the op alone, and with the op in
/// the middle of a graph, on tensors that another op consumes too.
///
/// # Errors
/// If the op cannot take the inputs or has no gradient.
pub fn check_gradients(case: &Case) -> Result<GradientCheck> {
    let mut check = GradientCheck::default();
    for place in [Place::Alone, Place::MidGraph] {
        let probe = Probe::new(case, place)?;
        let inputs = case.arrays();
        let analytic = probe.gradients(&inputs)?;
        for (gradient, &input) in analytic.iter().zip(&case.gradients) {
            let len = inputs[input].len();
            for element in (0..len).step_by(len.div_ceil(ELEMENTS).max(1)) {
                let moved = |by: f64| {
                    let mut inputs = inputs.clone();
                    inputs[input].f64_mut()[element] += by;
                    probe.weighted_sum(&inputs)
                };
                let difference = (moved(STEP)? - moved(-STEP)?) / (2.0 * STEP);
                let ratio = (gradient[element] - difference).abs() / (ATOL + RTOL * difference.abs());
                // A NaN must fail.
                let within = ratio <= 1.0;
                if !within && check.failure.is_none() {
                    let (found, op) = (gradient[element], case.op.name());
                    check.failure = Some(format!(
                        "{op}, {}, {place:?}: input {input}, element {element}: gradient {found}, difference {difference}",
                        case.label
                    ));
                }
                check.worst = if ratio.is_nan() { f64::INFINITY } else { check.worst.max(ratio) };
                check.elements += 1;
            }
        }
    }
    Ok(check)
}

/// A case as a function of its inputs with a scalar value: the sum over all outputs of upstream times output.
struct Probe {
    value: Plan,
    gradient: Plan,
    /// Name of each output and of its upstream gradient.
    outputs: Vec<[String; 2]>,
    /// Where each gradient is found.
    gradients: Vec<String>,
    upstreams: Vec<Array>,
}

impl Probe {
    fn new(case: &Case, place: Place) -> Result<Self> {
        let mut graph = Graph::new();
        let types = case.input_types();
        let ids: Vec<TensorId> = types
            .iter()
            .enumerate()
            .map(|(i, ty)| graph.persistent(Class::Parameter, &format!("input {i}"), ty.clone()))
            .collect::<Result<_>>()?;
        let mut fed = ids.clone();
        let mut ends = Vec::new();
        if place == Place::MidGraph {
            for &i in &case.gradients {
                fed[i] = graph.apply_one(Activate { kind: Activation::Tanh }, &[ids[i]])?;
                ends.push(graph.apply_one(Activate { kind: Activation::Sigmoid }, &[fed[i]])?);
            }
        }
        ends.extend(graph.apply_shared(case.op.clone(), &fed)?);
        let (mut outputs, mut upstreams, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
        for (o, &output) in ends.iter().enumerate() {
            let ty = graph.ty(output).clone();
            if ty.dtype == DType::F32 {
                let names = [format!("output {o}"), format!("upstream {o}")];
                graph.keep(output, &names[0])?;
                upstreams.push(Array::F64(upstream(ty.shape.len(), o)));
                pairs.push((output, graph.persistent(Class::Input, &names[1], ty)?));
                outputs.push(names);
            }
        }
        let value = plan(&graph)?;
        let mut gradients = Vec::new();
        let wrt: Vec<TensorId> = case.gradients.iter().map(|&i| ids[i]).collect();
        for (g, id) in graph.vector_jacobian(&pairs, &wrt)?.into_iter().enumerate() {
            // A gradient may be an upstream tensor itself, or be asked for twice: it is in the store already then.
            if !graph.tensors()[id.index()].class.is_persistent() {
                graph.keep(id, &format!("gradient {g}"))?;
            }
            gradients.push(graph.tensors()[id.index()].name.clone());
        }
        Ok(Self { value, gradient: plan(&graph)?, outputs, gradients, upstreams })
    }

    fn run(&self, plan: &Plan, inputs: &[Array]) -> Result<Oracle> {
        let mut oracle = Oracle::new();
        for (i, array) in inputs.iter().enumerate() {
            oracle.write(&format!("input {i}"), array.clone());
        }
        for ([_, name], array) in self.outputs.iter().zip(&self.upstreams) {
            oracle.write(name, array.clone());
        }
        oracle.run(plan)?;
        Ok(oracle)
    }

    fn weighted_sum(&self, inputs: &[Array]) -> Result<f64> {
        let oracle = self.run(&self.value, inputs)?;
        let mut sum = 0.0;
        for ([name, _], upstream) in self.outputs.iter().zip(&self.upstreams) {
            sum += oracle.read(name)?.f64().iter().zip(upstream.f64()).map(|(y, u)| y * u).sum::<f64>();
        }
        Ok(sum)
    }

    fn gradients(&self, inputs: &[Array]) -> Result<Vec<Vec<f64>>> {
        let oracle = self.run(&self.gradient, inputs)?;
        self.gradients.iter().map(|name| Ok(oracle.read(name)?.f64().to_vec())).collect()
    }
}

fn plan(graph: &Graph) -> Result<Plan> {
    Plan::new(graph, PlanOptions { target: None, fuse: false, variant: None })
}
