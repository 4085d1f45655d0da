//! Every shader file is broken on purpose, and the validation has to notice: a wrong index, a wrong boundary, a wrong
//! sign or constant, a missing barrier. Where there is no adapter the tests are reported as ignored, unless
//! DEGRAIN_REQUIRE_GPU=1. The score is printed at the end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../matrix_units/altered.rs"]
mod altered;
mod codes;
mod convolutions;
mod elementwise;
#[path = "../matrix_units/emulated.rs"]
mod emulated;
mod faults;
mod mutant;
mod noise;
mod pooling;
mod precision;
mod reductions;
mod search;

use altered::altered;
use degrain::Error;
use degrain::gpu::{Adapter, adapters};
use degrain::graph::Signature;
use degrain::kernel::{MatrixUnits, Precision, Products, Target};
use degrain::op::{Case, OPS};
use degrain::session::Session;
use degrain::validate::{Direction, check, missing_adapter};
use emulated::{Emulation, UNITS};
use faults::{Fault, FileFaults, Kind};
use libtest_mimic::{Arguments, Failed, Trial};
use mutant::Mutation;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What became of the faults of one file.
#[derive(Clone, Copy, Default)]
struct Score {
    planted: usize,
    found: usize,
    /// Those that only some other driver shows.
    elsewhere: usize,
}

/// By shader file.
static SCORES: Mutex<BTreeMap<&str, Score>> = Mutex::new(BTreeMap::new());

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let machines: Arc<Vec<Machine>> = Arc::new(adapters().into_iter().map(Machine::new).collect());
    let on_machines = |name: &str, test: fn(&'static FileFaults, &[Machine]) -> Result<(), Failed>, file| {
        let machines = machines.clone();
        if machines.is_empty() {
            return missing_adapter(name).with_kind("no adapter");
        }
        let used = machines.iter().any(|machine| machine.runs(file).next().is_some());
        let trial = Trial::test(name, move || test(file, &machines));
        if used { trial } else { trial.with_kind("no kernel for these devices has it").with_ignored_flag(true) }
    };
    let mut trials = vec![
        Trial::test("table::every_file_has_every_kind_of_fault", every_file_has_every_kind),
        on_machines("harmless_changes_are_not_reported", none_is_found, &faults::HARMLESS),
        on_machines("faults_that_do_not_apply_or_compile_are_errors", none_compiles, &faults::INVALID),
    ];
    trials.extend(faults::all().map(|file| on_machines(&format!("found::{}", file.file), all_are_found, file)));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let scores = SCORES.lock().unwrap();
    let mut total = Score::default();
    for (file, score) in scores.iter() {
        eprintln!("{file:32} {:2} of {:2}", score.found, score.planted);
        total.planted += score.planted;
        total.found += score.found;
        total.elsewhere += score.elsewhere;
    }
    if total.planted > 0 {
        let Score { planted, found, elsewhere } = total;
        eprintln!("mutations: {found} of {planted} found, {elsewhere} that only another driver shows");
    }
    conclusion.exit_code()
}

/// An adapter, and what may run there: kernels of many cases first, since a fault makes a driver compile every kernel anew, and
/// of each kernel the smallest cases.
struct Machine {
    adapter: Adapter,
    runs: Vec<Run>,
}

/// How a kernel is run.
#[derive(Clone, Copy, Debug)]
enum How {
    /// In this precision.
    In(Precision),
    /// With these units emulated.
    On(MatrixUnits),
}

/// One kernel of one case.
struct Run {
    case: Arc<Case>,
    how: How,
    variant: &'static str,
    /// What a driver compiles: shaders and constants.
    kernel: String,
    /// The shader files that the kernel is made of.
    files: Vec<&'static str>,
    elements: usize,
}

impl Machine {
    fn new(adapter: Adapter) -> Self {
        let target = adapter.target();
        let mut runs = runs(How::In(Precision::F32), &target);
        let units = if target.f16 { &UNITS[..] } else { &[] };
        for how in [How::In(Precision::F16)].into_iter().chain(units.iter().copied().map(How::On)) {
            // Files that other kernels are made of have runs enough.
            let known: BTreeSet<&str> = runs.iter().flat_map(|run| &run.files).copied().collect();
            let only_here = |mut run: Run| {
                run.files.retain(|file| !known.contains(file));
                (!run.files.is_empty()).then_some(run)
            };
            runs.extend(self::runs(how, &target).into_iter().filter_map(only_here));
        }
        let mut cases: BTreeMap<String, usize> = BTreeMap::new();
        runs.iter().for_each(|run| *cases.entry(run.kernel.clone()).or_default() += 1);
        runs.sort_by_cached_key(|run| (std::cmp::Reverse(cases[&run.kernel]), run.kernel.clone(), run.elements));
        Self { adapter, runs }
    }

    /// The kernels that are made of a file, under every case.
    fn runs(&self, file: &FileFaults) -> impl Iterator<Item = &Run> {
        let text = text(file.file).unwrap_or_default();
        self.runs.iter().filter(move |run| run.files.contains(&text.as_str()))
    }
}

/// Every kernel of every case on a target.
fn runs(how: How, target: &Target) -> Vec<Run> {
    let target = match how {
        How::In(precision) => Target { precision, ..*target },
        How::On(units) => Emulation { units, faulty: false }.target(target),
    };
    let mut runs = Vec::new();
    for case in OPS.iter().flat_map(|op| (op.cases)()).filter(|case| !case.large).map(Arc::new) {
        let (inputs, outputs) = (case.input_types(), case.output_types().unwrap());
        let elements = inputs.iter().chain(&outputs).map(|ty| ty.shape.len()).sum();
        for variant in case.op.variants(&Signature { inputs: &inputs, outputs: &outputs }, &target) {
            // What is emulated is the units alone.
            if matches!(how, How::On(_)) && variant.products != Products::MatrixUnits {
                continue;
            }
            let files = variant.launches.iter().flat_map(|launch| launch.shader.files).copied().collect();
            let compiled = variant.launches.iter().map(|launch| (launch.shader.name, &launch.constants));
            let kernel = format!("{how:?} {} {:?}", variant.name, compiled.collect::<Vec<_>>());
            runs.push(Run { case: case.clone(), how, variant: variant.name, kernel, files, elements });
        }
    }
    runs
}

/// The text of a shader file.
fn text(file: &str) -> Result<String, Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(format!("{file}.wgsl"));
    Ok(std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?)
}

/// What the validation says about a kernel of a case, if it does not agree: the only place that asks it.
fn disagreement(session: &mut Session, case: &Case, variant: &str) -> Result<Option<String>, Error> {
    let outcomes = check(session, case, Direction::Forward, Some(variant))?;
    Ok(outcomes.into_iter().find_map(|outcome| outcome.failure).map(|failure| failure.what))
}

/// One shader file on one machine.
struct Bench<'m> {
    file: &'static str,
    original: String,
    device: String,
    session: Session,
    /// What runs the file; the kernel that showed the last fault comes first.
    runs: Vec<&'m Run>,
}

impl<'m> Bench<'m> {
    fn new(file: &'static FileFaults, machine: &'m Machine) -> Result<Self, Failed> {
        Ok(Self {
            file: file.file,
            original: text(file.file)?,
            device: machine.adapter.name(),
            session: Session::gpu(machine.adapter.open(true)?),
            runs: machine.runs(file).collect(),
        })
    }

    /// What the validation says about a fault; none if it lets every case pass that runs the file here.
    ///
    /// # Errors
    /// If the fault does not stand in the file exactly once, or does not compile.
    fn find(&mut self, fault: &Fault) -> Result<Option<String>, Failed> {
        let places = self.original.matches(fault.find).count();
        if places != 1 {
            return Err(format!("{}: {:?} stands there {places} times, not once", self.file, fault.find).into());
        }
        let broken = self.original.replace(fault.find, fault.replace);
        let mutation = Arc::new(Mutation::new(self.original.clone(), broken));
        for r in 0..self.runs.len() {
            let run = self.runs[r];
            let mut case = altered(&run.case, mutation.clone());
            match run.how {
                How::In(precision) => self.session.set_precision(precision),
                How::On(units) => case = altered(&case, Emulation { units, faulty: false }),
            }
            if let Some(what) = disagreement(&mut self.session, &case, run.variant)? {
                self.runs.sort_by_key(|other| other.kernel != run.kernel);
                return Ok(Some(format!("{} {} {}: {what}", case.op.name(), case.label, run.variant)));
            }
        }
        Ok(None)
    }
}

fn all_are_found(file: &'static FileFaults, machines: &[Machine]) -> Result<(), Failed> {
    let mut benches: Vec<Bench<'_>> = machines.iter().map(|m| Bench::new(file, m)).collect::<Result<_, _>>()?;
    let mut score = Score { planted: file.faults.len(), ..Score::default() };
    let mut missed = Vec::new();
    for fault in file.faults {
        let shows_on = |bench: &&mut Bench<'_>| fault.device.is_none_or(|name| bench.device.contains(name));
        let (mut tried, mut found) = (false, false);
        // A fault may show on one driver only: a missing barrier where invocations run in step, say.
        for bench in benches.iter_mut().filter(shows_on) {
            tried = true;
            found = found || bench.find(fault)?.is_some();
        }
        match (tried, found) {
            (_, true) => score.found += 1,
            (false, _) => score.elsewhere += 1,
            (true, false) => missed.push(format!("{:?}: {:?} in place of {:?}", fault.kind, fault.replace, fault.find)),
        }
    }
    SCORES.lock().unwrap().insert(file.file, score);
    if missed.is_empty() { Ok(()) } else { Err(format!("not noticed:\n{}", missed.join("\n")).into()) }
}

fn none_is_found(file: &'static FileFaults, machines: &[Machine]) -> Result<(), Failed> {
    for machine in machines {
        let mut bench = Bench::new(file, machine)?;
        for change in file.faults {
            if let Some(what) = bench.find(change)? {
                return Err(format!("{:?} in place of {:?} was reported: {what}", change.replace, change.find).into());
            }
        }
    }
    Ok(())
}

fn none_compiles(file: &'static FileFaults, machines: &[Machine]) -> Result<(), Failed> {
    for machine in machines {
        let mut bench = Bench::new(file, machine)?;
        for change in file.faults {
            if let Ok(found) = bench.find(change) {
                return Err(format!("{:?} in place of {:?} counts as {found:?}", change.replace, change.find).into());
            }
        }
    }
    Ok(())
}

/// Every file of the folder is in the table once, and has a fault of each kind unless a reason stands beside it.
fn every_file_has_every_kind() -> Result<(), Failed> {
    let mut problems = Vec::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders"))? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let rows: Vec<_> = faults::all().filter(|file| file.file == name).collect();
        let [file] = rows[..] else {
            problems.push(format!("{name} has {} entries in the table of faults", rows.len()));
            continue;
        };
        let barriers = text(name)?.matches("Barrier();").count();
        for kind in [Kind::Index, Kind::Boundary, Kind::Arithmetic] {
            let has = file.faults.iter().any(|fault| fault.kind == kind);
            let excused = file.without.iter().any(|(without, _)| *without == kind);
            if has == excused {
                problems.push(format!("{name}: {kind:?} must have a fault, or a reason why not"));
            }
        }
        let broken = file.faults.iter().filter(|fault| fault.kind == Kind::Barrier).count();
        if broken != barriers {
            problems.push(format!("{name} has {barriers} barriers, of which {broken} are taken away"));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n").into()) }
}
