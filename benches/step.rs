//! Training steps of the standard workloads: `cargo bench --bench step`, with a part of a name to run fewer of them. On the
//! CPU executor, and on the adapter that `DEGRAIN_DEVICE` names.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run has nobody to tell but the terminal")]

mod device;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use degrain::model::WORKLOADS;
use degrain::train::synthetic_step;
use std::time::Duration;

fn steps(criterion: &mut Criterion) {
    for (device, mut session) in device::sessions() {
        let mut group = criterion.benchmark_group(&device);
        for workload in &WORKLOADS {
            let preset = workload.preset(None).unwrap();
            let batch = preset.train.batch;
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(workload.name, |bencher| {
                session.clear().unwrap();
                let step = synthetic_step(&preset, batch, session.target()).unwrap();
                let program = session.record(&step.graph).unwrap();
                session.write_used(&step.values).unwrap();
                bencher.iter_custom(|times| device::time(&mut session, program, times));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = steps
}
criterion_main!(benches);
