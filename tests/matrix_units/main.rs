//! The kernels for matrix units, with the cooperative operations emulated, on every adapter that has half precision: how
//! they stage tiles, what they do at edges, their grids, biases and activations. A device with matrix units runs the kernels
//! themselves in `tests/kernels.rs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod altered;
mod emulated;

use altered::altered;
use degrain::gpu::{Adapter, adapters};
use degrain::kernel::{MatrixUnits, Precision, Products, Shader, Target, Tolerance, linear_grid};
use degrain::op::{Case, OPS, Values};
use degrain::session::Session;
use degrain::tensor::TensorType;
use degrain::validate::{
    BareKernel, Direction, Filter, KernelCase, Modules, Open, Subject, Suite, check, device_trials, matrix_unit_cases,
    missing_adapter, variant_names,
};
use emulated::{Emulation, UNITS};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let found = adapters();
    let mut trials = vec![Trial::test("ops_with_kernels", ops_with_kernels)];
    trials.extend(device_trials([("rounding", rounding as fn(&Open))]));
    if found.is_empty() {
        trials.push(missing_adapter("gpu"));
    }
    for (i, adapter) in found.iter().enumerate() {
        let has_halves = adapter.target().f16;
        let emulated = |name: String, test: Box<dyn FnOnce() -> Result<(), Failed> + Send>| {
            let kind = if has_halves { "emulated" } else { "no half precision" };
            Trial::test(name, test).with_kind(kind).with_ignored_flag(!has_halves)
        };
        let own = adapter.clone();
        trials.push(emulated(format!("gpu::{i}::test_of_units"), Box::new(move || test_of_units(&own))));
        for units in UNITS {
            for (op, cases) in matrix_cases(units) {
                let (name, adapter, cases) = (format!("gpu::{i}::{}::{op}", units.size), adapter.clone(), cases);
                trials.push(emulated(name, Box::new(move || agrees(&adapter, units, op, &cases))));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The ops that have kernels on these units, with the cases that these take.
fn matrix_cases(units: MatrixUnits) -> Vec<(&'static str, Vec<Case>)> {
    let target = Target { matrix_units: Some(units), ..Target::MATRIX_UNITS };
    // An emulated product costs a software driver as much as hundreds of plain ones.
    let is_small = |case: &Case| case.input_types().iter().map(|ty| ty.shape.len()).sum::<usize>() <= 1 << 13;
    let takes = |case: &Case| is_small(case) && variant_names(case, &target).unwrap().contains(&"matrix");
    let of = |op: &degrain::op::OpEntry| (op.name, (op.cases)().into_iter().filter(takes).collect::<Vec<_>>());
    OPS.iter().map(of).filter(|(_, cases)| !cases.is_empty()).collect()
}

fn ops_with_kernels() -> Result<(), Failed> {
    for units in UNITS {
        let found = matrix_cases(units);
        let names: Vec<&str> = found.iter().map(|(op, _)| *op).collect();
        let sloped = ["conv2d_times_slope", "conv_transpose2d_times_slope", "matmul_times_slope"];
        let (with_slope, plain): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| sloped.contains(*name));
        assert_eq!(plain, ["conv2d", "conv2d_weight_grad", "conv_transpose2d", "matmul"], "on {units:?}");
        assert_eq!(with_slope, sloped, "on {units:?}");
        assert!(found.iter().all(|(_, cases)| cases.len() > 10));
    }
    Ok(())
}

/// The cases that matrix units are tested by before they are used pass on right ones, and all fail where units leave out
/// the last product of each slice.
fn test_of_units(adapter: &Adapter) -> Result<(), Failed> {
    let units = UNITS[0];
    let mut session = Session::gpu(adapter.open(true)?);
    for case in matrix_unit_cases()? {
        let mut failure = |faulty: bool| -> Result<Option<String>, Failed> {
            let case = altered(&case, Emulation { units, faulty });
            let outcomes = check(&mut session, &case, Direction::Forward, Some("matrix"))?;
            assert_eq!((outcomes.len(), outcomes[0].variant), (1, "matrix"));
            Ok(outcomes[0].failure.as_ref().map(|failure| failure.what.clone()))
        };
        assert_eq!(failure(false)?, None, "{}", case.label);
        assert!(failure(true)?.is_some_and(|what| what.contains("is allowed")), "{}", case.label);
    }
    Ok(())
}

/// The kernel that rounds operands, on every kind of number.
fn rounding(open: &Open) {
    let files = &[include_str!("../../shaders/half.wgsl"), include_str!("../../shaders/round_half.wgsl")];
    let mut session = open();
    if session.target().is_none() {
        // The executor has no such kernel, and stays in single precision.
        session.set_precision(Precision::F16);
        assert_eq!(session.products(), Products::F32);
        return;
    }
    // Every normal half, and on both sides of the middle to the next one.
    let halves = (0..30u32 << 10).map(|n| (113 << 23) + (n << 13));
    let around = halves.flat_map(|bits| [bits, bits + 0xfff, bits + 0x1000, bits + 0x1001]);
    let mut numbers: Vec<f64> = around.map(|bits| f64::from(f32::from_bits(bits))).collect();
    numbers.extend((0..5000).map(|n| f64::from(n) * 2f64.powi(-26)));
    numbers.extend([0.0, 65504.0, 65519.0, 65520.0, 1e6, f64::from(f32::MAX), f64::INFINITY, f64::NAN]);
    numbers.extend(numbers.clone().into_iter().map(|number| -number));
    let len = numbers.len();
    let kernel = BareKernel::new(Shader { name: "round_half", files }, |_: &Rounding, inputs, outputs| {
        outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()).for_each(|(y, x)| *y = nearest_half(*x));
    });
    let case = KernelCase::new("all", Rounding { elements: len as u32 })
        .input(TensorType::f32([len]), Values::Exact(numbers))
        .output(TensorType::f32([len]));
    let suite =
        kernel.tolerance(Tolerance::Exact).workgroups(|p, _| linear_grid(p.elements as usize, 64)).suite([case]);
    let report = suite.run(&mut Subject { modules: Modules::Checked, session }, || {}).unwrap();
    assert_eq!((report.checked(), report.failed()), (1, 0), "{report}");
}

degrain::parameter_block! {
    struct Rounding { elements: u32 }
}

/// By the spacing of halves: 2^-24 below 2^-14, else 2^-10 of the power of two below the number.
fn nearest_half(number: f64) -> f64 {
    if number == 0.0 || number.is_nan() {
        return number;
    }
    let number = number.clamp(-65504.0, 65504.0);
    let step = (number.abs().log2().floor().max(-14.0) - 10.0).exp2();
    (number / step).round_ties_even() * step
}

fn agrees(adapter: &Adapter, units: MatrixUnits, op: &'static str, cases: &[Case]) -> Result<(), Failed> {
    let emulated = cases.iter().map(|case| altered(case, Emulation { units, faulty: false })).collect();
    let forward = Filter { direction: Some(Direction::Forward), ..Filter::default() };
    let suite = Suite::of(op, emulated).with_refolded_grids().filtered(&forward)?;
    let report = suite.run(&mut Subject::gpu(adapter, true)?, || {})?;
    assert_eq!(report.checked(), cases.len());
    if report.failed() == 0 { Ok(()) } else { Err(Failed::from(report.to_string())) }
}
