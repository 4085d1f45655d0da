//! Every kernel of every op against the reference: on each adapter, with and without run-time checks, and on the
//! CPU executor. Where there is no adapter the GPU tests are reported as ignored, unless DEGRAIN_REQUIRE_GPU=1.

use degrain::gpu::{Adapter, adapters};
use degrain::op::{OPS, OpEntry};
use degrain::session::Session;
use degrain::validate::{Expectation, check, variant_names};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = OPS.iter().map(|op| Trial::test(format!("cpu::{}", op.name), || on_cpu(op))).collect();
    let found = adapters();
    let required = std::env::var("DEGRAIN_REQUIRE_GPU").is_ok_and(|v| v == "1");
    for op in OPS {
        if found.is_empty() {
            let missing =
                || Err(Failed::from("no Vulkan, Metal or DX12 adapter; on Debian install mesa-vulkan-drivers"));
            trials.push(Trial::test(format!("gpu::{}", op.name), missing).with_ignored_flag(!required));
        }
        for (i, adapter) in found.iter().enumerate() {
            for checked in [true, false] {
                let kind = if checked { "checked" } else { "trusted" };
                let adapter = adapter.clone();
                let name = format!("gpu::{i}::{kind}::{}", op.name);
                trials.push(Trial::test(name, move || on_gpu(op, &adapter, checked)));
            }
        }
    }
    for (i, adapter) in found.iter().enumerate() {
        eprintln!("gpu {i}: {} ({}, {})", adapter.name(), adapter.backend(), adapter.driver());
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn on_cpu(op: &OpEntry) -> Result<(), Failed> {
    let mut failures = Vec::new();
    for case in (op.cases)() {
        let found = check(&mut Session::cpu(), &case, &Expectation::of(&case)?, None)?;
        failures.extend(found.failure.map(|f| format!("{}: {f}", case.label)));
    }
    report(failures)
}

fn on_gpu(op: &OpEntry, adapter: &Adapter, checked: bool) -> Result<(), Failed> {
    let mut failures = Vec::new();
    let cases = (op.cases)();
    if cases.is_empty() {
        return Err(Failed::from("the op has no cases"));
    }
    let mut session = Session::gpu(adapter.open(checked)?);
    for (c, case) in cases.iter().enumerate() {
        if c % 16 == 15 {
            // A session keeps every tensor: a new one now and then bounds the memory.
            session = Session::gpu(adapter.open(checked)?);
        }
        let expectation = Expectation::of(case)?;
        for variant in variant_names(case, &adapter.target())? {
            let found = check(&mut session, case, &expectation, Some(variant))?;
            failures.extend(found.failure.map(|f| format!("{variant} {}: {f}", case.label)));
        }
    }
    report(failures)
}

fn report(failures: Vec<String>) -> Result<(), Failed> {
    if failures.is_empty() { Ok(()) } else { Err(Failed::from(failures.join("\n"))) }
}
