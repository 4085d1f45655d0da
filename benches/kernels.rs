//! The ops of the standard workloads' training steps, each alone, at the shapes that it has there: `cargo bench --bench
//! kernels`, with a part of a name to run fewer of them. On the CPU executor, and on the adapter that `DEGRAIN_DEVICE` names.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run has nobody to tell but the terminal")]

mod device;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use degrain::graph::{Graph, Op, Signature, input_name};
use degrain::model::{WORKLOADS, Workload};
use degrain::session::{ProgramId, Session};
use degrain::tensor::{Array, DType, TensorType};
use degrain::train::synthetic_step;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Ops that do less than this part of a step's arithmetic and of its traffic are left out.
const SHARE: f64 = 0.01;

/// An op of a step.
struct Layer {
    name: String,
    op: Arc<dyn Op>,
    inputs: Vec<TensorType>,
    flops: f64,
}

fn layers(workload: &Workload, session: &Session) -> Vec<Layer> {
    let preset = workload.preset(None).unwrap();
    let step = synthetic_step(&preset, preset.train.batch, session.target()).unwrap();
    let plan = session.plan(&step.graph).unwrap();
    let total = plan.cost();
    let mut seen = HashSet::new();
    let mut layers = Vec::new();
    for step in plan.steps().iter().filter(|step| !step.op.is_view()) {
        let (inputs, outputs) = plan.types(step);
        let cost = step.op.cost(&Signature { inputs: &inputs, outputs: &outputs });
        let shapes = inputs.iter().map(|ty| ty.shape.to_string()).collect::<Vec<_>>().join(",");
        let name = format!("{} {shapes}", step.op.name());
        let matters = cost.flops >= SHARE * total.flops || cost.bytes >= SHARE * total.bytes;
        // Two layers of one shape may still differ, in their activation or their window.
        if matters && seen.insert(format!("{:?} {shapes}", step.op)) {
            layers.push(Layer { name, op: step.op.clone(), inputs, flops: cost.flops });
        }
    }
    layers
}

/// Numbers that no op objects to: small positive reals, indices within reach of any table, and bytes.
fn values(ty: &TensorType) -> Array {
    let count = ty.shape.len();
    match ty.dtype {
        DType::F32 => Array::F64((0..count).map(|i| (i * 7919 % 1000) as f64 / 1000.0 + 0.001).collect()),
        DType::U32 => Array::U32(vec![0; count]),
        DType::U8 => Array::U8((0..count).map(|i| (i * 31 % 256) as u8).collect()),
    }
}

/// The op alone, recorded on inputs of its own; none where it cannot stand alone.
fn record(layer: &Layer, session: &mut Session) -> Option<ProgramId> {
    let (graph, ..) = Graph::of_op(layer.op.clone(), &layer.name, layer.inputs.iter().cloned()).ok()?;
    let program = session.record(&graph).ok()?;
    for (i, ty) in layer.inputs.iter().enumerate() {
        session.write_array(&input_name(i), &values(ty)).ok()?;
    }
    Some(program)
}

fn kernels(criterion: &mut Criterion) {
    for (device, mut session) in device::sessions() {
        for workload in &WORKLOADS {
            let mut group = criterion.benchmark_group(format!("{device}/{}", workload.name));
            for layer in layers(workload, &session) {
                group.throughput(Throughput::Elements(layer.flops as u64));
                group.bench_function(&layer.name, |bencher| {
                    session.clear().unwrap();
                    let program = record(&layer, &mut session).unwrap();
                    bencher.iter_custom(|times| device::time(&mut session, program, times));
                });
            }
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(300));
    targets = kernels
}
criterion_main!(benches);
