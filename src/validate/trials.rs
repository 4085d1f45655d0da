//! Suites as trials of `cargo test`.

use super::suite::{Subject, Suite, SuiteOp};
use crate::gpu::adapters;
use crate::graph::Signature;
use crate::kernel::Target;
use crate::op::Case;
use crate::session::Session;
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

/// Set to `1`, a missing adapter fails tests that need one; else they are reported as ignored.
const REQUIRE_GPU: &str = "DEGRAIN_REQUIRE_GPU";

/// The `main` of a test target with `harness = false`: runs the [`trials`] of a suite under the flags of
/// `cargo test`.
pub fn test_main(suite: &Suite) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), trials(suite)).exit_code()
}

/// One trial for each op of a suite and each of: its shaders, without a device; the CPU executor, where it has a
/// kernel for the op; every adapter, with and without run-time checks in the shader modules, and in half precision. Without an adapter there is one trial for each op that is
/// reported as ignored, or fails where the environment has `DEGRAIN_REQUIRE_GPU=1`.
pub fn trials(suite: &Suite) -> Vec<Trial> {
    let mut trials = Vec::new();
    let adapters = adapters();
    for (i, adapter) in adapters.iter().enumerate() {
        eprintln!("gpu {i}: {} ({}, {})", adapter.name(), adapter.backend(), adapter.driver());
    }
    for op in suite.ops() {
        let SuiteOp { name, cases } = op.clone();
        let of = move |cases| suite.part(name.clone(), cases);
        let (shaders, cpu) = (of(cases.clone()), of(cases.clone()));
        trials.push(Trial::test(format!("shaders::{}", op.name), move || Ok(shaders.check_shaders().map(|_| ())?)));
        if has_cpu_kernel(op) {
            trials.push(Trial::test(format!("cpu::{}", op.name), move || run(&cpu, Subject::cpu())));
        }
        if adapters.is_empty() {
            trials.push(missing_adapter(format!("gpu::{}", op.name)));
        }
        for (i, adapter) in adapters.iter().enumerate() {
            for checked in [true, false] {
                let kind = if checked { "checked" } else { "trusted" };
                let (suite, adapter) = (of(cases.clone()), adapter.clone());
                let takes = has_kernel(&cases, &adapter.target());
                let test = move || run(&suite, Subject::gpu(&adapter, checked)?);
                trials.push(Trial::test(format!("gpu::{i}::{kind}::{}", op.name), test).with_ignored_flag(!takes));
            }
            let half = of(cases.clone()).in_half_precision();
            if half.cases() > 0 {
                let adapter = adapter.clone();
                let test = move || run(&half, Subject::gpu_in_half_precision(&adapter)?);
                trials.push(Trial::test(format!("gpu::{i}::trusted::f16::{}", op.name), test));
            }
        }
    }
    trials
}

/// Opens one more session on some device.
pub type Open = Box<dyn Fn() -> Session + Send>;

/// One trial of each test on the CPU executor and on every adapter, with run-time checks in the shader modules. Without an
/// adapter there is one [`missing_adapter`] for each test. A test that fails panics, as does a driver that refuses.
pub fn device_trials(tests: impl IntoIterator<Item = (&'static str, fn(&Open))>) -> Vec<Trial> {
    let found = adapters();
    let mut trials = Vec::new();
    for (name, test) in tests {
        let on = |open: Open| {
            move || {
                test(&open);
                Ok(())
            }
        };
        trials.push(Trial::test(format!("cpu::{name}"), on(Box::new(Session::cpu))));
        if found.is_empty() {
            trials.push(missing_adapter(format!("gpu::{name}")));
        }
        for (i, adapter) in found.iter().cloned().enumerate() {
            let opened = move || adapter.open(true).unwrap_or_else(|error| panic!("{error}"));
            trials.push(Trial::test(format!("gpu::{i}::{name}"), on(Box::new(move || Session::gpu(opened())))));
        }
    }
    trials
}

/// What stands for a trial that needs an adapter where there is none: reported as ignored, or failed where the
/// environment has `DEGRAIN_REQUIRE_GPU=1`.
pub fn missing_adapter(name: impl Into<String>) -> Trial {
    let required = std::env::var(REQUIRE_GPU).is_ok_and(|value| value == "1");
    let missing = || Err(Failed::from("no Vulkan, Metal or DX12 adapter; on Debian install mesa-vulkan-drivers"));
    Trial::test(name, missing).with_ignored_flag(!required)
}

/// Whether a device with these limits has a kernel for any of these cases. Those of some fused ops bind more buffers than
/// every device has: their trials are reported as ignored there.
pub fn has_kernel(cases: &[Case], target: &Target) -> bool {
    cases.iter().any(|case| {
        let inputs = case.input_types();
        let outputs = case.output_types().unwrap_or_default();
        !case.op.variants(&Signature { inputs: &inputs, outputs: &outputs }, target).is_empty()
    })
}

/// Whether the CPU executor has a kernel for an op; else it runs the reference, and a trial would show nothing.
fn has_cpu_kernel(op: &SuiteOp) -> bool {
    let small = op.cases.iter().find(|case| !case.large);
    small.is_some_and(|case| {
        let Ok(outputs) = case.output_types() else { return true };
        let inputs = case.input_types();
        let words: Vec<Vec<u32>> = case.arrays().iter().zip(&inputs).map(|(array, ty)| array.to_words(ty)).collect();
        crate::cpu::has_kernel(case.op.as_ref(), &Signature { inputs: &inputs, outputs: &outputs }, &words)
    })
}

fn run(suite: &Suite, mut subject: Subject) -> Result<(), Failed> {
    if suite.cases() == 0 {
        return Err(Failed::from("the op has no cases"));
    }
    let report = suite.run(&mut subject, || {})?;
    if report.checked() == 0 {
        return Err(Failed::from("no kernel was run"));
    }
    if report.failed() == 0 { Ok(()) } else { Err(Failed::from(report.to_string())) }
}
