//! Random shapes and settings of every op: on the CPU executor and on each adapter. A failing case is made smaller
//! before it is shown.

use degrain::gpu::adapters;
use degrain::op::{OPS, OpEntry};
use degrain::validate::{Subject, Suite, check_gradients, has_kernel, missing_adapter};
use libtest_mimic::{Arguments, Failed, Trial};
use proptest::prelude::{TestCaseError, any};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::RefCell;

/// Cases of each op on the CPU executor, on an adapter, and of its gradients.
const CASES: [u32; 3] = [64, 12, 12];
/// Largest extent drawn; channels are up to three times that.
const LARGEST: usize = 10;

/// Runs `property` on cases of a fixed stream of seeds and sizes, then on smaller ones where one fails.
fn for_cases(
    op: &OpEntry,
    cases: u32,
    property: impl Fn(degrain::op::Case) -> Result<(), TestCaseError>,
) -> Result<(), Failed> {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let seeds = (any::<u32>(), 1..=LARGEST);
    let run = |(seed, largest): (u32, usize)| {
        let case = op.random_case(u64::from(seed), largest).map_err(|e| TestCaseError::fail(e.to_string()))?;
        property(case)
    };
    TestRunner::new_with_rng(config, rng).run(&seeds, run).map_err(|e| Failed::from(e.to_string()))
}

fn on(op: &OpEntry, cases: u32, subject: Subject) -> Result<(), Failed> {
    let subject = RefCell::new(subject);
    for_cases(op, cases, |case| {
        let suite = Suite::of(op.name, vec![case]).with_refolded_grids();
        let report = suite.run(&mut subject.borrow_mut(), || {}).map_err(|e| TestCaseError::fail(e.to_string()))?;
        if report.failed() > 0 || report.checked() == 0 {
            return Err(TestCaseError::fail(report.to_string()));
        }
        Ok(())
    })
}

fn gradients(op: &OpEntry) -> Result<(), Failed> {
    for_cases(op, CASES[2], |case| {
        let found = check_gradients(&case).map_err(|e| TestCaseError::fail(e.to_string()))?;
        found.failure.map_or(Ok(()), |failure| Err(TestCaseError::fail(failure)))
    })
}

fn main() -> std::process::ExitCode {
    let adapters = adapters();
    let mut trials = Vec::new();
    for op in OPS {
        trials.push(Trial::test(format!("cpu::{}", op.name), || on(op, CASES[0], Subject::cpu())));
        if (op.cases)().iter().any(|case| !case.gradients.is_empty()) {
            trials.push(Trial::test(format!("gradients::{}", op.name), || gradients(op)));
        }
        for (i, adapter) in adapters.iter().enumerate() {
            let adapter = adapter.clone();
            let takes = has_kernel(&(op.cases)(), &adapter.target());
            let test = move || on(op, CASES[1], Subject::gpu(&adapter, true)?);
            trials.push(Trial::test(format!("gpu::{i}::{}", op.name), test).with_ignored_flag(!takes));
        }
        if adapters.is_empty() {
            trials.push(missing_adapter(format!("gpu::{}", op.name)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
