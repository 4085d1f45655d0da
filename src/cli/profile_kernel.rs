//! `degrain profile KERNEL.wgsl`.

use super::console::Console;
use super::device::{self, Candidate, Choice};
use super::profile::{Measuring, seconds};
use clap::Args;
use degrain::gpu::{Checks, Gpu, adapters};
use degrain::kernel::Tolerance;
use degrain::profile::{
    Binding, Checked, Expected, KernelBench, KernelContest, KernelProfile, LoneKernel, Options, duration, rate, ratio,
    wrap,
};
use degrain::{Error, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Flags of `degrain profile KERNEL.wgsl`.
#[derive(Args)]
#[command(next_help_heading = "For a KERNEL.wgsl")]
pub(super) struct KernelFlags {
    /// Workgroup counts; with --sweep one triple for each value may be given, with `;` between them
    #[arg(long, value_name = "X[,Y[,Z]]")]
    workgroups: Option<String>,
    /// A buffer: f32, f16, u32 or i32 with rand, rand:LO..HI, zeros, ones, iota, FILE.npy or numbers; a uniform block of
    /// several types as u32[]:64,64,0.5f,-1i
    #[arg(long = "bind", value_name = "G:B=TYPE[LEN]:FILL")]
    binds: Vec<String>,
    /// The entry point, where the file has several
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// Value of a top-level const or override
    #[arg(long = "const", value_name = "NAME=VALUE")]
    constants: Vec<String>,
    /// In the place of the entry point's @workgroup_size
    #[arg(long, value_name = "X[,Y[,Z]]")]
    workgroup_size: Option<String>,
    /// Floating-point operations of one run, for GFLOP/s
    #[arg(long, value_name = "N", value_parser = amount)]
    flops: Option<f64>,
    /// Bytes that one run moves, for GB/s; else every buffer counts once for reading and once for writing
    #[arg(long, value_name = "N", value_parser = amount)]
    bytes: Option<f64>,
    /// Run once on fresh data and compare a buffer with this file; without a place the only one that is written
    #[arg(long = "check", value_name = "[G:B=]FILE.npy")]
    checks: Vec<String>,
    /// Relative tolerance of --check
    #[arg(long, value_name = "R", default_value_t = 1e-4, requires = "checks", value_parser = amount)]
    rtol: f64,
    /// Absolute tolerance of --check
    #[arg(long, value_name = "A", default_value_t = 1e-5, requires = "checks", value_parser = amount)]
    atol: f64,
    /// Measure this kernel in turn with the first, with the same buffers, and compare
    #[arg(long, value_name = "OTHER.wgsl", conflicts_with = "sweep")]
    vs: Option<PathBuf>,
    /// Workgroup counts of the other kernel, where they differ
    #[arg(long, value_name = "X[,Y[,Z]]", requires = "vs")]
    vs_workgroups: Option<String>,
    /// Entry point of the other kernel, where it differs
    #[arg(long, value_name = "NAME", requires = "vs")]
    vs_entry: Option<String>,
    /// Measure with each of these values of a const or override
    #[arg(long, value_name = "NAME=V,V,...")]
    sweep: Option<String>,
    /// Every run gets buffers that no cache has, from copies that take turns
    #[arg(long)]
    cold: bool,
    /// Profile a build without wgpu's run-time checks
    #[arg(long)]
    trusted: bool,
    /// Do not time builds with and without run-time checks; for kernels that rely on them
    #[arg(long)]
    no_effects: bool,
    /// Longest time of one run
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    time_limit: f64,
    /// Seed of random contents
    #[arg(long = "fill-seed", value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl KernelFlags {
    /// A flag that was given and that means nothing for a step.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--workgroups", self.workgroups.is_some()),
            ("--bind", !self.binds.is_empty()),
            ("--entry", self.entry.is_some()),
            ("--const", !self.constants.is_empty()),
            ("--workgroup-size", self.workgroup_size.is_some()),
            ("--flops", self.flops.is_some()),
            ("--bytes", self.bytes.is_some()),
            ("--check", !self.checks.is_empty()),
            ("--vs", self.vs.is_some()),
            ("--sweep", self.sweep.is_some()),
            ("--cold", self.cold),
            ("--trusted", self.trusted),
            ("--no-effects", self.no_effects),
        ];
        given.into_iter().find_map(|(name, given)| given.then_some(name))
    }
}

pub(super) fn amount(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "wanted a number".to_owned())?;
    if number >= 0.0 && number.is_finite() {
        Ok(number)
    } else {
        Err("wanted a number that is not negative".to_owned())
    }
}

/// Profiles the kernel in a file.
///
/// # Errors
/// Flags, files, kernels and devices that cannot work; a check that fails. Where a run does not end in time the process
/// ends here: a driver that computes for ever keeps a process from ending in the ordinary way.
pub(super) fn run(
    path: &Path,
    flags: &KernelFlags,
    measuring: &Measuring,
    device: &str,
    console: &Console,
) -> Result<()> {
    match profile(path, flags, measuring, device, console) {
        Err(error @ Error::Endless { .. }) => {
            console.error(&error);
            end_at_once(1)
        }
        other => other,
    }
}

/// Ends the process without the handlers that libraries left to run at its end, which would wait for their threads.
fn end_at_once(code: i32) -> ! {
    unsafe extern "C" {
        safe fn _exit(status: std::ffi::c_int) -> !;
    }
    _exit(code)
}

fn profile(path: &Path, flags: &KernelFlags, measuring: &Measuring, device: &str, console: &Console) -> Result<()> {
    let kernels = kernels(path, flags)?;
    let expected: Vec<Expected> = flags.checks.iter().map(|text| text.parse()).collect::<Result<_>>()?;
    for kernel in &kernels {
        // Mistakes in the file are told before a device is opened.
        kernel.module()?;
    }
    let checks = if flags.trusted { Checks::NONE } else { Checks::ALL };
    let options = Options {
        budget: measuring.budget(),
        cold: flags.cold,
        timestamps: !measuring.no_timestamps,
        effects: !flags.no_effects,
        checks,
        time_limit: Duration::from_secs_f64(flags.time_limit),
        seed: flags.seed,
    };
    let mut bench = KernelBench::new(open(device, console)?, options);
    let tolerance = Tolerance::Close { rtol: flags.rtol, atol: flags.atol };
    let mut checked = Vec::new();
    for kernel in kernels.iter().filter(|_| !expected.is_empty()) {
        checked.push(bench.check(kernel, &expected, tolerance)?);
    }
    let wrong = kernels.iter().zip(&checked).find_map(|(kernel, all)| Some((kernel, first_failure(all)?)));
    if let Some((kernel, failed)) = wrong {
        let problem = failed.failure.as_deref().unwrap_or_default();
        let problem = format!("{} is not as in {}: {problem}", failed.binding, failed.file.display());
        let text = checked.iter().flatten().map(check_line).collect::<Vec<_>>().join("\n");
        console.result(&json!({ "checks": checked }), text)?;
        return Err(Error::file(&kernel.name, problem));
    }
    let (mut object, mut text) = match (&flags.vs, &flags.sweep) {
        (Some(_), _) => versus(&bench.compare(&kernels)?),
        (_, Some(sweep)) => swept(sweep, &bench.compare(&kernels)?),
        _ => {
            let first = kernels.first().ok_or_else(|| Error::file(path, "has no kernel"))?;
            let profile = bench.profile(first)?;
            (json!(profile), profile.to_string())
        }
    };
    if !checked.is_empty() {
        object["checks"] = json!(checked);
        checked.iter().flatten().for_each(|check| {
            let _ = write!(text, "\n{}", check_line(check));
        });
    }
    console.result(&object, text)
}

fn first_failure(checked: &[Checked]) -> Option<&Checked> {
    checked.iter().find(|check| check.failure.is_some())
}

fn check_line(check: &Checked) -> String {
    let (binding, file, elements) = (&check.binding, check.file.display(), check.elements);
    match &check.failure {
        None => format!("{binding} is as in {file}: {elements} elements, worst error {:.2e}", check.worst),
        Some(problem) => format!("{binding} is NOT as in {file}: {problem}"),
    }
}

/// The device: with `auto`, a software driver where there is no GPU.
fn open(wanted: &str, console: &Console) -> Result<Gpu> {
    let refused = || {
        device::problem("cpu", "the CPU executor runs no WGSL: name a GPU or a software driver of `degrain devices`")
    };
    if wanted.eq_ignore_ascii_case("cpu") {
        return Err(refused());
    }
    let adapters = adapters();
    let candidates: Vec<Candidate> = adapters.iter().map(Candidate::of).collect();
    let index = if device::is_auto(wanted) {
        let gpu = device::automatic(&candidates).first().copied();
        if let (None, Some(first)) = (gpu, candidates.first()) {
            console.note(format_args!("no GPU was found: measuring on {} ({})", first.name, first.kind.name()));
        }
        gpu.unwrap_or(0)
    } else {
        match device::named(wanted, &candidates)? {
            Choice::Adapter(index) => index,
            Choice::Cpu => return Err(refused()),
        }
    };
    let missing = || device::problem(wanted, "no Vulkan, Metal or DX12 driver was found, and WGSL needs one");
    adapters.get(index).ok_or_else(missing)?.open_for_any_kernel()
}

/// What is to be measured in turn.
fn kernels(path: &Path, flags: &KernelFlags) -> Result<Vec<LoneKernel>> {
    let missing = || Error::setting("--workgroups", "is needed to launch a kernel: how many, as X, X,Y or X,Y,Z");
    let workgroups = flags.workgroups.as_deref().ok_or_else(missing)?;
    let workgroups: Vec<[u32; 3]> =
        workgroups.split(';').map(|text| triple("--workgroups", text)).collect::<Result<_>>()?;
    let first = kernel(path, flags, workgroups.first().copied().unwrap_or([1; 3]))?;
    if let Some(sweep) = &flags.sweep {
        return sweep_kernels(sweep, &first, &workgroups);
    }
    if workgroups.len() > 1 {
        return Err(Error::setting("--workgroups", "several triples go with --sweep only"));
    }
    let Some(other) = &flags.vs else { return Ok(vec![first]) };
    let workgroups = match &flags.vs_workgroups {
        Some(text) => triple("--vs-workgroups", text)?,
        None => first.workgroups,
    };
    let mut other = kernel(other, flags, workgroups)?;
    if flags.vs_entry.is_some() {
        other.entry.clone_from(&flags.vs_entry);
    }
    Ok(vec![first, other])
}

fn kernel(path: &Path, flags: &KernelFlags, workgroups: [u32; 3]) -> Result<LoneKernel> {
    let source = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    let constant = |text: &String| {
        let pair = text.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
        let whole = pair.filter(|(name, value)| !name.is_empty() && !value.is_empty());
        whole.ok_or_else(|| Error::setting("--const", format!("{text}: wanted NAME=VALUE")))
    };
    Ok(LoneKernel {
        entry: flags.entry.clone(),
        workgroups,
        workgroup_size: flags.workgroup_size.as_deref().map(|text| triple("--workgroup-size", text)).transpose()?,
        constants: flags.constants.iter().map(constant).collect::<Result<_>>()?,
        bindings: flags.binds.iter().map(|text| text.parse::<Binding>()).collect::<Result<_>>()?,
        flops: flags.flops,
        bytes: flags.bytes,
        ..LoneKernel::new(path.display().to_string(), source)
    })
}

fn sweep_kernels(sweep: &str, first: &LoneKernel, workgroups: &[[u32; 3]]) -> Result<Vec<LoneKernel>> {
    let wrong = |problem: String| Error::setting("--sweep", problem);
    let malformed = || wrong(format!("{sweep}: wanted NAME=VALUE,VALUE,..., such as TILE=8,16,32"));
    let (name, values) = sweep.split_once('=').ok_or_else(malformed)?;
    let values: Vec<&str> = values.split(',').map(str::trim).collect();
    if name.is_empty() || values.iter().any(|value| value.is_empty()) {
        return Err(malformed());
    }
    if first.constants.iter().any(|(given, _)| given == name) {
        return Err(wrong(format!("{name} is given by --const, too")));
    }
    if workgroups.len() > 1 && workgroups.len() != values.len() {
        let (triples, values) = (workgroups.len(), values.len());
        return Err(wrong(format!(
            "{values} values and {triples} triples of --workgroups: give one triple, or {values}"
        )));
    }
    let kernel = |(at, value): (usize, &&str)| {
        let mut kernel = first.clone();
        kernel.constants.push((name.to_owned(), (*value).to_owned()));
        kernel.workgroups = workgroups.get(at).copied().unwrap_or(first.workgroups);
        kernel
    };
    Ok(values.iter().enumerate().map(kernel).collect())
}

/// `X`, `X,Y` or `X,Y,Z`.
fn triple(flag: &str, text: &str) -> Result<[u32; 3]> {
    let numbers: Option<Vec<u32>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    // Drivers count workgroups by 32 bits.
    let all = numbers.iter().flatten().try_fold(1_u32, |all, &n| all.checked_mul(n));
    if numbers.is_some() && all.is_none() {
        return Err(Error::setting(flag, format!("{text}: wanted at most {} workgroups in all", u32::MAX)));
    }
    match numbers.as_deref() {
        Some(&[x]) => Ok([x, 1, 1]),
        Some(&[x, y]) => Ok([x, y, 1]),
        Some(&[x, y, z]) => Ok([x, y, z]),
        _ => Err(Error::setting(flag, format!("{text}: wanted X, X,Y or X,Y,Z"))),
    }
}

/// The object and the text of an A/B measurement.
fn versus(contest: &KernelContest) -> (Value, String) {
    let [first, other] = contest.profiles.as_slice() else { return (Value::Null, String::new()) };
    let found = contest.ratios.get(1).copied().flatten();
    let mut object = json!(first);
    object["vs"] = json!(other);
    object["ratio"] = json!(found);
    object["clear"] = json!(found.map(|ratio| ratio.is_clear()));
    let mut text = table(&[(first.kernel.clone(), first), (other.kernel.clone(), other)], "kernel");
    let verdict = match &found {
        None => "too few samples to compare: raise --budget".to_owned(),
        Some(found) => {
            let verdict = match (found.is_clear(), found.median < 1.0) {
                (false, _) => "no clear difference",
                (true, true) => "clearly faster",
                (true, false) => "clearly slower",
            };
            format!("{} takes {} as long as\n{}: {verdict}", other.kernel, ratio(found), first.kernel)
        }
    };
    let _ = write!(text, "\n{verdict}");
    text.push_str(&hints(contest));
    (object, text)
}

/// The object and the text of a sweep.
fn swept(sweep: &str, contest: &KernelContest) -> (Value, String) {
    let name = sweep.split('=').next().unwrap_or(sweep);
    let value = |profile: &KernelProfile| profile.constants.get(name).cloned().unwrap_or_default();
    let by_time = |a: &&KernelProfile, b: &&KernelProfile| a.us.median.total_cmp(&b.us.median);
    let fastest = contest.profiles.iter().min_by(by_time).map(value);
    let object = json!({ "sweep": name, "fastest": fastest, "rows": contest.profiles, "ratios": contest.ratios });
    let rows: Vec<(String, &KernelProfile)> = contest.profiles.iter().map(|p| (value(p), p)).collect();
    let mut text = table(&rows, name);
    let _ = write!(text, "\nfastest: {name}={}", fastest.unwrap_or_default());
    text.push_str(&hints(contest));
    (object, text)
}

/// What is to be said of the launches of any of the kernels, each once, below a table.
fn hints(contest: &KernelContest) -> String {
    let mut told: Vec<&String> = Vec::new();
    for hint in contest.profiles.iter().flat_map(|profile| &profile.hints) {
        if !told.contains(&hint) {
            told.push(hint);
        }
    }
    let lines = told.iter().flat_map(|hint| wrap(hint, 80));
    lines.fold(String::new(), |text, line| text + "\n" + &line)
}

/// One row for each profile.
fn table(rows: &[(String, &KernelProfile)], head: &str) -> String {
    let width = rows.iter().map(|(label, _)| label.chars().count()).chain([head.chars().count()]).max().unwrap_or(0);
    let mut text = String::new();
    if let Some((_, first)) = rows.first() {
        let _ = writeln!(text, "on {}\n{}", first.device, first.method());
    }
    let with_flops = rows.iter().any(|(_, profile)| profile.gflops.is_some());
    let gflops = if with_flops { "   GFLOP/s" } else { "" };
    let heads = ["median", "min", "p95"].map(|head| format!("{head:>10}")).join("  ");
    let _ = writeln!(text, "{head:width$}  {heads}  {:>7}  {:>8}{gflops}", "+-", "GB/s");
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), rate);
    for (label, profile) in rows {
        let us = &profile.us;
        let interval = profile.interval.map_or_else(|| "-".to_owned(), |width| format!("{:.2} %", 100.0 * width));
        let _ = write!(
            text,
            "{label:width$}  {:>10}  {:>10}  {:>10}  {interval:>7}  {:>8}",
            duration(us.median),
            duration(us.min),
            duration(us.p95),
            number(profile.gbps)
        );
        let _ = if with_flops { writeln!(text, "  {:>8}", number(profile.gflops)) } else { writeln!(text) };
    }
    let discarded = rows.first().map_or(0, |(_, profile)| profile.discarded_timestamps);
    if discarded > 0 {
        let _ = writeln!(text, "discarded {discarded} impossible timestamps");
    }
    text
}
