//! `degrain validate`.

use super::console::Console;
use super::{device, vectors};
use clap::{Args, ValueEnum};
use degrain::model::Preset;
use degrain::session::Session;
use degrain::train::synthetic_step;
use degrain::validate::{
    BisectedStep, Bisection, CaseFailure, Direction, Filter, Modules, Report, Row, Subject, Suite, bisect,
};
use degrain::{Error, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Flags of `degrain validate`.
#[derive(Args)]
pub(super) struct Flags {
    /// Only this op
    #[arg(long, value_name = "NAME")]
    op: Option<String>,
    /// Only the kernels of this name
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Only the case with this label, or all that have it in theirs
    #[arg(long, value_name = "LABEL")]
    case: Option<String>,
    /// Only one way through the ops
    #[arg(long)]
    direction: Option<Way>,
    /// Only shader modules with or without run-time checks
    #[arg(long)]
    modules: Option<Kind>,
    /// Add this many random cases of every op
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=10_000))]
    random: u64,
    /// Seed of the first random case
    #[arg(long, value_name = "S", default_value_t = 0, requires = "random")]
    seed: u64,
    /// Run the cases in this folder, made elsewhere, on this device and on the reference
    #[arg(long, value_name = "DIR", conflicts_with_all = ["op", "variant", "case", "direction", "random", "bisect"])]
    vectors: Option<PathBuf>,
    /// Do not count cases of --vectors as failed whose op or attribute is not supported
    #[arg(long, requires = "vectors")]
    allow_unsupported: bool,
    /// Run one training step of this preset on both sides and name the first launch that diverges
    #[arg(long, value_name = "PRESET|FILE.toml", conflicts_with_all = ["op", "variant", "case", "direction"])]
    bisect: Option<String>,
    /// Pictures in the step of --bisect
    #[arg(long, value_name = "N", default_value_t = 2, requires = "bisect", value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
}

/// `--direction`.
#[derive(Clone, Copy, ValueEnum)]
enum Way {
    Forward,
    Backward,
}

/// `--modules`.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    Checked,
    Trusted,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    match (&flags.bisect, &flags.vectors) {
        (Some(preset), _) => run_bisection(preset, flags, device, console),
        (None, Some(dir)) => run_vectors(dir, flags, device, console),
        (None, None) => run_suite(flags, device, console),
    }
}

fn run_suite(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let filter = Filter {
        op: flags.op.clone(),
        variant: flags.variant.clone(),
        case: flags.case.clone(),
        direction: flags.direction.map(|way| match way {
            Way::Forward => Direction::Forward,
            Way::Backward => Direction::Backward,
        }),
    };
    let suite = Suite::built_in().with_random(flags.random, flags.seed)?.filtered(&filter)?;
    let wanted = |kind: Kind| flags.modules.is_none_or(|only| only == kind);
    let (mut subjects, mut halves) = device::open_with(
        device,
        console,
        || (vec![Subject::cpu()], Vec::new()),
        |adapter| {
            let kinds = [Kind::Checked, Kind::Trusted].into_iter().filter(|&kind| wanted(kind));
            let single = kinds.map(|kind| Subject::gpu(adapter, kind == Kind::Checked)).collect::<Result<_>>()?;
            let half = wanted(Kind::Trusted).then(|| Subject::gpu_in_half_precision(adapter)).transpose()?;
            Ok((single, half.into_iter().collect()))
        },
    )?;
    let half = suite.clone().in_half_precision();
    if half.cases() == 0 {
        halves.clear();
    }
    let single = run_subjects(&suite, &mut subjects, console);
    let report = if halves.is_empty() {
        single?
    } else {
        joined(&suite, single, run_subjects(&half, &mut halves, console), flags)?
    };
    let seconds = console.started.elapsed().as_secs_f64();
    let repeat = |failure: &CaseFailure| repeat(failure, &report.device, device);
    let mut text = report.to_string();
    for failure in &report.failures {
        // Writing to a String cannot fail.
        let _ = write!(text, "\nrepeat with: {}", repeat(failure));
    }
    let object = json!({
        "device": report.device,
        "checked": report.checked(),
        "failed": report.failed(),
        "seconds": seconds,
        "ops": report.rows.iter().map(row).collect::<Vec<_>>(),
        "without_kernel": report.without_kernel,
        "failures": report.failures.iter().map(|f| failure(f, &repeat(f))).collect::<Vec<_>>(),
    });
    console.result(&object, text)?;
    match report.failed() {
        0 => Ok(()),
        failed => Err(Error::Validation { device: report.device.clone(), failed, checked: report.checked() }),
    }
}

/// Both reports as one. A kernel that was named need be there in one precision only.
fn joined(suite: &Suite, single: Result<Report>, half: Result<Report>, flags: &Flags) -> Result<Report> {
    let mut report = match (single, half) {
        (Ok(mut single), Ok(half)) => {
            single.extend(half);
            single
        }
        (Ok(only), Err(Error::Setting { .. })) | (Err(Error::Setting { .. }), Ok(only)) if flags.variant.is_some() => {
            only
        }
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    sort(suite, &mut report);
    Ok(report)
}

/// Brings the rows into the order of the suite.
fn sort(suite: &Suite, report: &mut Report) {
    let place = |row: &Row| suite.ops().iter().position(|op| op.name == row.op);
    report.rows.sort_by_key(|row| (place(row), row.direction, row.variant, row.modules));
}

/// Runs the suite on all subjects at once: compiling kernels takes one core each.
fn run_subjects(suite: &Suite, subjects: &mut [Subject], console: &Console) -> Result<Report> {
    let cases = suite.cases() * subjects.len();
    let bar = console.bar(cases as u64, "validating [{bar:30}] {pos} of {len} cases, {elapsed}");
    let reports: Vec<Result<Report>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            subjects.iter_mut().map(|subject| scope.spawn(|| suite.run(subject, || bar.inc(1)))).collect();
        let gone = || Error::Device { name: "validation".to_owned(), problem: "a thread ended early".to_owned() };
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(gone()))).collect()
    });
    bar.finish_and_clear();
    let mut total: Option<Report> = None;
    for report in reports {
        let report = report?;
        match &mut total {
            Some(total) => total.extend(report),
            None => total = Some(report),
        }
    }
    let mut report = total.unwrap_or_default();
    sort(suite, &mut report);
    Ok(report)
}

fn row(row: &Row) -> Value {
    json!({
        "op": row.op,
        "variant": row.variant,
        "direction": row.direction.name(),
        "modules": row.modules.name(),
        "cases": row.cases,
        "failed": row.failed,
        "worst": row.worst,
        "tolerance": row.tolerance,
    })
}

fn failure(failure: &CaseFailure, repeat: &str) -> Value {
    let mismatch = failure.mismatch.as_ref();
    json!({
        "op": failure.op,
        "variant": failure.variant,
        "direction": failure.direction.name(),
        "modules": failure.modules.name(),
        "case": failure.case,
        "failing_op": failure.step_op,
        "problem": failure.what,
        "index": mismatch.map(|m| m.index),
        "expected": mismatch.map(|m| m.expected),
        "got": mismatch.map(|m| m.got),
        "allowed": mismatch.map(|m| m.allowed),
        "launches": failure.launches,
        "seeds": failure.seeds,
        "repeat": repeat,
    })
}

/// The command that runs one failed case again.
fn repeat(failure: &CaseFailure, description: &str, device: &str) -> String {
    // What `auto` took is named, so that the command stands for itself.
    let name = if device.is_empty() || device.eq_ignore_ascii_case("auto") {
        description.split(" (").next().unwrap_or(description)
    } else {
        device
    };
    let CaseFailure { op, case, direction, modules, .. } = failure;
    let mut command = format!("degrain validate --device '{name}' --op {op} --case '{case}' --direction {direction}");
    if let Some(seed) = case.strip_prefix("random ").and_then(|rest| rest.split(':').next()) {
        let _ = write!(command, " --random 1 --seed {seed}");
    }
    if let Some(variant) = failure.variant {
        let _ = write!(command, " --variant {variant}");
    }
    if *modules != Modules::Native {
        let _ = write!(command, " --modules {}", modules.name());
    }
    command
}

fn open_one(flags: &Flags, device: &str, console: &Console) -> Result<Session> {
    let checked = flags.modules == Some(Kind::Checked);
    device::open_with(device, console, Session::cpu, |adapter| Ok(Session::gpu(adapter.open(checked)?)))
}

fn run_vectors(dir: &Path, flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let mut session = open_one(flags, device, console)?;
    let [checked, failed] = vectors::run(dir, &mut session, flags.allow_unsupported, console)?;
    match failed {
        0 => Ok(()),
        failed => Err(Error::Validation { device: session.device().to_owned(), failed, checked }),
    }
}

fn run_bisection(preset: &str, flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let preset = Preset::load(preset)?;
    let mut session = open_one(flags, device, console)?;
    let step = synthetic_step(&preset, usize::from(flags.batch), session.target())?;
    let found = bisect(&mut session, &step.graph, &step.values)?;
    let device = session.device().to_owned();
    let verdict = verdict(&found);
    let first = found.first.and_then(|at| found.steps.get(at));
    let object = json!({
        "device": device,
        "preset": preset.name,
        "batch": flags.batch,
        "checked": found.steps.len(),
        "failed": found.steps.iter().filter(|step| step.outcome.failure.is_some()).count(),
        "first": first.map(bisected),
        "unstable": found.unstable,
        "steps": found.steps.iter().map(bisected).collect::<Vec<_>>(),
    });
    console.result(&object, bisection_text(&found, &device, &verdict))?;
    if found.passed() {
        return Ok(());
    }
    let failed = found.steps.iter().filter(|step| step.outcome.failure.is_some()).count().max(1);
    Err(Error::Validation { device, failed, checked: found.steps.len() })
}

fn bisected(step: &BisectedStep) -> Value {
    let outcome = &step.outcome;
    json!({
        "step": outcome.step,
        "label": step.label,
        "op": outcome.op,
        "variant": outcome.variant,
        "worst": outcome.worst,
        "tolerance": outcome.tolerance,
        "drift": step.drift,
        "problem": outcome.failure.as_ref().map(|f| &f.what),
        "launches": outcome.failure.as_ref().map(|f| &f.launches),
    })
}

fn bisection_text(found: &Bisection, device: &str, verdict: &str) -> String {
    let labels = found.steps.iter().map(|step| step.label.len()).max().unwrap_or(0).max(5);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "step  {:labels$}  {:22}  {:9}  {:>9}  {:>9}  {:>9}",
        "layer", "op", "variant", "worst", "tolerance", "drift"
    );
    for BisectedStep { label, outcome, drift } in &found.steps {
        let mark = if outcome.failure.is_some() { "  WRONG" } else { "" };
        let _ = writeln!(
            text,
            "{:4}  {label:labels$}  {:22}  {:9}  {:9.2e}  {:9.2e}  {drift:9.2e}{mark}",
            outcome.step, outcome.op, outcome.variant, outcome.worst, outcome.tolerance
        );
    }
    let _ = write!(text, "{verdict} on {device}");
    text
}

/// What a bisection says, in one line or a few.
fn verdict(found: &Bisection) -> String {
    if let Some(BisectedStep { label, outcome, .. }) = found.first.and_then(|at| found.steps.get(at)) {
        let failure = outcome.failure.as_ref();
        let what = failure.map_or("", |f| f.what.as_str());
        let launches = failure.map_or(&[][..], |f| &f.launches);
        let mut text = format!("the first to diverge is step {}, {label} {}: {what}", outcome.step, outcome.op);
        launches.iter().for_each(|launch| {
            let _ = write!(text, "\n    launch {launch}");
        });
        text.push('\n');
        return text;
    }
    match &found.unstable {
        Some(tensor) => format!("every step is right alone, but {tensor} differs when the whole step runs"),
        None => format!("all {} steps agree with the reference", found.steps.len()),
    }
}
