//! As far as numbers and buffers go: counters past 2^32, data past 2^31 bytes, and the largest buffers that a device binds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small;

use degrain::gpu::Adapter;
use degrain::graph::Graph;
use degrain::op::{Gather, Scale, Tick};
use degrain::session::Session;
use degrain::tensor::{Class, TensorType};
use degrain::train::{
    Array, Data, EpochRow, Event, Observer, Outcome, RunDir, StepRow, TrainOptions, Trainer, Weights, read_rows,
};
use degrain::validate::{Open, device_trials};
use libtest_mimic::Arguments;
use small::{Quiet, adapter_trials, assert_same, pictures, preset, split};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut trials = device_trials([
        ("counters_go_past_2_to_the_32", counters_go_past_2_to_the_32 as fn(&Open)),
        ("data_goes_past_2_to_the_31_bytes", data_goes_past_2_to_the_31_bytes),
    ]);
    trials.extend(adapter_trials([(
        "the_largest_binding_works_and_one_word_more_is_refused",
        the_largest_binding_works_and_one_word_more_is_refused as fn(&Adapter),
    )]));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Bytes of the largest buffer here, on devices that bind larger ones: a test is to run in 3 GiB, and SwiftShader binds a
/// GiB, but does not allocate it.
const LARGE: u64 = 512 << 20;

/// Stops a run once this many steps are done.
struct StopAt(u64, bool);

impl Observer for StopAt {
    fn event(&mut self, event: &Event<'_>) {
        self.1 |= matches!(event, Event::Progress { step, .. } if *step >= self.0);
    }

    fn stop_requested(&self) -> bool {
        self.1
    }
}

/// Steps that are done where the counters are set to: four less than two words count.
const DONE: u64 = (1 << 32) - 4;
/// Steps in an epoch of 32 pictures.
const PER_EPOCH: u64 = 4;

/// Makes the saved state that of a run which has done [`DONE`] steps.
fn set_counters(run: &Path) {
    let path = run.join("state.safetensors");
    let mut state = Weights::read(&path).unwrap();
    state.metadata.insert("step".to_owned(), DONE.to_string());
    state.metadata.insert("epoch".to_owned(), (DONE / PER_EPOCH).to_string());
    let clock = state.tensors.insert("train.clock".to_owned(), Array::u32([4], vec![DONE as u32, 0, 0, 0]));
    assert_eq!(clock.unwrap().data, Data::U32(vec![PER_EPOCH as u32, 0, 0, 0]), "as the first epoch left it");
    state.write(&path).unwrap();
}

/// Goes on with a run to its end, or until the observer stops it.
fn resume(session: Session, run: &Path, changes: &[&str], observer: &mut dyn Observer) -> Outcome {
    let options = TrainOptions { log_every: 1, ..TrainOptions::default() };
    let run = RunDir::open(run).unwrap();
    let mut trainer = Trainer::resume(&preset(changes), &pictures(), &split(), session, run, &options).unwrap();
    trainer.run(observer).unwrap()
}

fn counters_go_past_2_to_the_32(open: &Open) {
    // A GPU compiles its kernels anew for each run; Nadam's take the clock twice.
    let optimizers: &[&str] = match open().target() {
        Some(_) => &["nadam"],
        None => &["adamax", "adam", "nadam", "rmsprop", "sgd"],
    };
    for optimizer in optimizers {
        let folder = tempfile::tempdir().unwrap();
        let optimizer = format!("train.optimizer={optimizer}");
        let runs = ["whole", "halted"].map(|name| folder.path().join(name));
        for run in &runs {
            let options = TrainOptions::default();
            let one_epoch = preset(&[&optimizer, "train.epochs=1"]);
            let created = RunDir::create(run).unwrap();
            let trainer = Trainer::start(&one_epoch, &pictures(), &split(), open(), created, &options);
            trainer.unwrap().run(&mut Quiet).unwrap();
            set_counters(run);
        }
        let epochs = format!("train.epochs={}", DONE / PER_EPOCH + 3);
        let changes = [optimizer.as_str(), &epochs, "train.schedule=cosine", "train.warmup=4294967300"];
        let outcome = resume(open(), &runs[0], &changes, &mut Quiet);
        let last = DONE + 3 * PER_EPOCH;
        assert_eq!((outcome.steps, outcome.epochs), (last, DONE / PER_EPOCH + 3));
        // Stopped within the first epoch that lies past the border.
        let stop = DONE + PER_EPOCH + 2;
        assert_eq!(resume(open(), &runs[1], &changes, &mut StopAt(stop, false)).steps, stop);
        resume(open(), &runs[1], &changes, &mut Quiet);
        assert_same(&runs[0], &runs[1]);
        let rows = read_rows::<StepRow>(&runs[0].join("steps.csv")).unwrap();
        let steps: Vec<u64> = rows.iter().map(|row| row.step).collect();
        assert_eq!(steps, (1..=PER_EPOCH).chain(DONE + 1..=last).collect::<Vec<u64>>());
        assert!(rows.iter().all(|row| row.loss.is_finite()), "{rows:?}");
        let epochs = read_rows::<EpochRow>(&runs[0].join("metrics.csv")).unwrap();
        let epochs: Vec<u64> = epochs.iter().map(|row| row.epoch).collect();
        assert_eq!(epochs, [1, DONE / PER_EPOCH + 1, DONE / PER_EPOCH + 2, DONE / PER_EPOCH + 3]);
        let mut state = Weights::read(&runs[0].join("state.safetensors")).unwrap();
        assert_eq!(state.take_u32("train.clock", &[4]).unwrap()[..2], [2 * PER_EPOCH as u32, 1]);
    }
}

/// Or as far as the device has memory, if that is less.
fn data_goes_past_2_to_the_31_bytes(open: &Open) {
    const COLUMNS: usize = 4096;
    let mut session = open();
    let room = session.memory_bytes().unwrap_or(u64::MAX) / 4 * 3;
    let all = (1 << 31) / COLUMNS + 5;
    let rows = all.min(room as usize / COLUMNS);
    let most = session.target().map_or(usize::MAX, |target| target.max_binding_bytes.min(LARGE) as usize);
    let per_chunk = (most / COLUMNS).min(rows);
    let firsts: Vec<usize> = (0..rows).step_by(per_chunk).collect();
    let held = |first: &usize| per_chunk.min(rows - first);
    // The first and the last row of each buffer.
    let order: Vec<u32> =
        firsts.iter().rev().flat_map(|first| [first + held(first) - 1, *first]).map(|row| row as u32).collect();
    let mut graph = Graph::new();
    let input = |graph: &mut Graph, name: &str, ty| graph.persistent(Class::Input, name, ty).unwrap();
    let mut inputs =
        vec![input(&mut graph, "order", TensorType::u32([order.len()])), input(&mut graph, "clock", Tick::clock())];
    for (chunk, first) in firsts.iter().enumerate() {
        inputs.push(input(&mut graph, &format!("chunk {chunk}"), TensorType::u8([held(first), COLUMNS])));
    }
    let op = Gather { sample: [COLUMNS].into(), batch: order.len(), offset: 0.0, ring: false };
    let outputs = graph.apply(op, &inputs).unwrap();
    graph.keep(outputs[0], "batch").unwrap();
    let program = session.record(&graph).unwrap();
    assert!(session.allocated_bytes() > if rows == all { 1 << 31 } else { 1 << 30 }, "{}", session.allocated_bytes());
    let byte = |row: usize, column: usize| (row * 37 + column * 11) as u8;
    for row in order.iter().map(|&row| row as usize) {
        let words = (0..COLUMNS).step_by(4).map(|c| u32::from_le_bytes(std::array::from_fn(|i| byte(row, c + i))));
        let place = row % per_chunk * COLUMNS / 4;
        session.write_part(&format!("chunk {}", row / per_chunk), place, &words.collect::<Vec<_>>()).unwrap();
    }
    session.write_words("order", &order).unwrap();
    session.run(program, 1).unwrap();
    let batch = session.read("batch").unwrap();
    for (row, values) in order.iter().zip(batch.chunks_exact(COLUMNS)) {
        for (column, &x) in values.iter().enumerate() {
            let expected = f32::from(byte(*row as usize, column)) / 255.0;
            assert!((x - expected).abs() <= 1e-6, "row {row}, column {column}: {x} for {expected}");
        }
    }
}

/// `y = 2 x` over this many reals.
fn doubling(numbers: usize) -> Graph {
    let mut graph = Graph::new();
    let x = graph.persistent(Class::Input, "x", TensorType::f32([numbers])).unwrap();
    let y = graph.apply_one(Scale { factor: 2.0 }, &[x]).unwrap();
    graph.keep(y, "y").unwrap();
    graph
}

fn the_largest_binding_works_and_one_word_more_is_refused(adapter: &Adapter) {
    let mut session = Session::gpu(adapter.open(true).unwrap());
    let most = session.target().unwrap().max_binding_bytes;
    let error = session.record(&doubling(most as usize / 4 + 1)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("scale: wanted tensors of at most {most} bytes on this device")), "{error}");
    assert_eq!(session.allocated_bytes(), 0, "it is refused before anything is allocated");
    let numbers = most.min(LARGE) as usize / 4;
    // Past 65,535 workgroups of 64 invocations, four numbers each.
    assert!(numbers > 65_535 * 64 * 4, "{numbers}");
    let program = session.record(&doubling(numbers)).unwrap();
    let places = [0, numbers / 2 - 1, numbers / 2, 3 * (numbers / 4) + 1, numbers - 1];
    for (i, &place) in places.iter().enumerate() {
        session.write_part("x", place, &[(1.5 + i as f32).to_bits()]).unwrap();
    }
    session.run(program, 1).unwrap();
    let y = session.read("y").unwrap();
    let found: Vec<(usize, f32)> = y.iter().copied().enumerate().filter(|(_, y)| *y != 0.0).collect();
    assert_eq!(found, places.into_iter().zip([3.0, 5.0, 7.0, 9.0, 11.0]).collect::<Vec<_>>());
}
