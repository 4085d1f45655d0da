//! Three steps of every optimiser in PyTorch's form, against what PyTorch 2 gives in double precision for the same
//! gradients; on the oracle and on the CPU executor. The other forms differ by what the ops' own cases check.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::cpu::Oracle;
use degrain::graph::{Graph, Op};
use degrain::op::{
    Adam, AdamConvention, Adamax, AdamaxConvention, Nadam, NadamSchedule, RmsProp, RmsPropConvention, Sgd,
    SgdConvention, Tick,
};
use degrain::plan::{Plan, PlanOptions};
use degrain::session::Session;
use degrain::tensor::{Array, Class, TensorId, TensorType};
use std::sync::Arc;

const START: [f64; 2] = [1.0, -0.5];
const GRADIENTS: [[f64; 2]; 3] = [[0.3, -0.2], [-0.1, 0.4], [0.25, 0.05]];

/// An optimiser, the names of what it reads behind parameter and gradient, and its learning rate at each step.
struct Run {
    op: Arc<dyn Op>,
    reads: &'static [&'static str],
    rates: [f64; 3],
    schedule: Option<NadamSchedule>,
}

impl Run {
    fn new(op: impl Op + 'static, reads: &'static [&'static str], rates: [f64; 3]) -> Self {
        Self { op: Arc::new(op), reads, rates, schedule: None }
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::new();
        let state = |graph: &mut Graph, name: &str| -> TensorId {
            let ty = match name {
                "clock" => Tick::clock(),
                "rate" | "product" => TensorType::f32([]),
                _ => TensorType::f32([2]),
            };
            graph.persistent(Class::State, name, ty).unwrap()
        };
        let mut inputs: Vec<TensorId> =
            ["parameter", "gradient"].iter().chain(self.reads).map(|name| state(&mut graph, name)).collect();
        let clock = state(&mut graph, "clock");
        if let Some(schedule) = self.schedule {
            let product = state(&mut graph, "product");
            inputs.push(graph.apply(schedule, &[product, clock]).unwrap()[1]);
        }
        graph.apply_shared(self.op.clone(), &inputs).unwrap();
        graph.apply(Tick { batch: 1, rows: 1 }, &[clock]).unwrap();
        graph
    }

    fn on_the_oracle(&self) -> Vec<f64> {
        let plan = Plan::new(&self.graph(), PlanOptions { target: None, fuse: true, variant: None }).unwrap();
        let mut oracle = Oracle::new();
        oracle.write("parameter", Array::F64(START.to_vec()));
        oracle.write("product", Array::F64(vec![1.0]));
        for (gradient, rate) in GRADIENTS.iter().zip(self.rates) {
            oracle.write("gradient", Array::F64(gradient.to_vec()));
            oracle.write("rate", Array::F64(vec![rate]));
            oracle.run(&plan).unwrap();
        }
        oracle.read("parameter").unwrap().f64().to_vec()
    }

    fn on_the_executor(&self) -> Vec<f64> {
        let mut session = Session::cpu();
        let program = session.record(&self.graph()).unwrap();
        let single = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        session.write("parameter", &single(&START)).unwrap();
        if self.schedule.is_some() {
            session.write("product", &[1.0]).unwrap();
        }
        for (gradient, rate) in GRADIENTS.iter().zip(self.rates) {
            session.write("gradient", &single(gradient)).unwrap();
            session.write("rate", &single(&[rate])).unwrap();
            session.run(program, 1).unwrap();
        }
        session.read("parameter").unwrap().into_iter().map(f64::from).collect()
    }

    /// The coefficients are held in single precision, which is felt in the eighth digit.
    fn assert_gives(&self, name: &str, wanted: [f64; 2]) {
        for (who, got) in [("oracle", self.on_the_oracle()), ("executor", self.on_the_executor())] {
            for (g, w) in got.iter().zip(wanted) {
                assert!((g - w).abs() <= 4e-7, "{name} on the {who}: {got:?}, wanted {wanted:?}");
            }
        }
    }
}

const MOMENTS: &[&str] = &["m", "v", "clock", "rate"];

#[test]
fn adaptive_moments() {
    let (beta1, beta2, epsilon) = (0.9, 0.999, 0.01);
    let adam = Adam { beta1, beta2, epsilon, convention: AdamConvention::Torch };
    Run::new(adam, MOMENTS, [0.002; 3]).assert_gives("adam", [0.996072987866, -0.499483421136]);
    let adamax = Adamax { beta1, beta2, epsilon, convention: AdamaxConvention::Torch };
    Run::new(adamax, MOMENTS, [0.002; 3]).assert_gives("adamax", [0.996525357431, -0.499106916111]);
    let nadam = |psi| {
        let run = Run::new(Nadam { beta1, beta2, epsilon }, MOMENTS, [0.002; 3]);
        Run { schedule: Some(NadamSchedule { beta1, psi }), ..run }
    };
    nadam(0.004).assert_gives("nadam, psi 0.004", [0.997071448672, -0.500055828064]);
    nadam(1.0).assert_gives("nadam, psi 1", [0.997089916038, -0.499994490993]);
}

#[test]
fn rmsprop() {
    let op = RmsProp { rho: 0.9, epsilon: 0.01, convention: RmsPropConvention::Torch };
    Run::new(op, &["s", "rate"], [0.01; 3]).assert_gives("rmsprop", [0.961674748147, -0.502839430839]);
}

#[test]
fn gradient_descent() {
    let sgd = |momentum, nesterov| Sgd { momentum, nesterov, convention: SgdConvention::Torch };
    let plain = Run::new(sgd(0.0, false), &["rate"], [0.1; 3]);
    plain.assert_gives("sgd", [0.955, -0.525]);
    let rates = [0.1, 0.05, 0.2];
    Run::new(sgd(0.9, false), &["m", "rate"], rates).assert_gives("momentum", [0.8809, -0.5406]);
    Run::new(sgd(0.9, true), &["m", "rate"], rates).assert_gives("nesterov", [0.81781, -0.54654]);
}
