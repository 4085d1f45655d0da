//! Cases of some ops, and the walk over all their kernels on one device.

use super::case::{CaseGraph, Direction};
use super::report::{CaseFailure, Report, Row};
use super::shaders::{BlockLayout, check_launch};
use super::walk::{Outcome, References};
use crate::error::{Error, Result};
use crate::graph::Signature;
use crate::kernel::{Precision, Products, Target};
use crate::op::{Case, OPS};
use crate::session::Session;
use std::fmt;

/// How shader modules were made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Modules {
    /// With the run-time checks of array bounds and loops.
    Checked,
    /// Without them, as training runs.
    Trusted,
    /// There are none: the CPU executor.
    Native,
}

impl Modules {
    /// The word used in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checked => "checked",
            Self::Trusted => "trusted",
            Self::Native => "native",
        }
    }
}

impl fmt::Display for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native code"),
            other => write!(f, "{} modules", other.name()),
        }
    }
}

/// A session to hold against the reference.
pub struct Subject {
    /// How its shader modules are made.
    pub modules: Modules,
    /// The device. It loses what it held.
    pub session: Session,
}

impl Subject {
    /// The CPU executor.
    pub fn cpu() -> Self {
        Self { modules: Modules::Native, session: Session::cpu() }
    }

    /// An adapter, opened with or without run-time checks.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn gpu(adapter: &crate::gpu::Adapter, checked: bool) -> Result<Self> {
        let modules = if checked { Modules::Checked } else { Modules::Trusted };
        Ok(Self { modules, session: Session::gpu(adapter.open(checked)?) })
    }

    /// An adapter in half precision, without run-time checks: on its matrix units, where it has some, whether or not they
    /// are any good.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn gpu_in_half_precision(adapter: &crate::gpu::Adapter) -> Result<Self> {
        let Self { modules, session } = Self::gpu(adapter, false)?;
        let mut session = session.with_matrix_units().unwrap_or(session);
        session.set_precision(Precision::F16);
        Ok(Self { modules, session })
    }
}

/// One op of a suite.
#[derive(Clone, Debug)]
pub struct SuiteOp {
    /// Its name in reports.
    pub name: String,
    /// Its cases.
    pub cases: Vec<Case>,
}

/// What to run of a suite; empty parts mean everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name of an op.
    pub op: Option<String>,
    /// Name of a kernel.
    pub variant: Option<String>,
    /// A case's label, or a part of it where no label is equal.
    pub case: Option<String>,
    /// Forward or backward.
    pub direction: Option<Direction>,
}

/// Largest extent of random cases; channels and columns are up to three times that.
const RANDOM_EXTENT: usize = 12;

/// Ops with their cases.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    ops: Vec<SuiteOp>,
    layouts: Vec<BlockLayout>,
    /// Whether the second run of each kernel has its workgroups in two rows: the built-in ones promise to cope.
    refold: bool,
    variant: Option<String>,
    direction: Option<Direction>,
}

impl Suite {
    /// Every built-in op.
    pub fn built_in() -> Self {
        let ops = OPS.iter().map(|op| SuiteOp { name: op.name.to_owned(), cases: (op.cases)() });
        Self { ops: ops.collect(), refold: true, ..Self::default() }
    }

    /// Also `count` random cases of every op of [`OPS`] in the suite, of seeds from `seed` on.
    ///
    /// # Errors
    /// If an op refuses what it drew itself.
    pub fn with_random(mut self, count: u64, seed: u64) -> Result<Self> {
        for op in &mut self.ops {
            let Some(entry) = OPS.iter().find(|entry| entry.name == op.name) else { continue };
            for number in 0..count {
                op.cases.push(entry.random_case(seed.wrapping_add(number), RANDOM_EXTENT)?);
            }
        }
        Ok(self)
    }

    /// One op of your own.
    pub fn of(name: impl Into<String>, cases: Vec<Case>) -> Self {
        Self { ops: vec![SuiteOp { name: name.into(), cases }], ..Self::default() }
    }

    /// Says that every kernel numbers its workgroups `y * num_workgroups.x + x` and ignores the surplus, as grids of
    /// [`crate::kernel::linear_grid`] ask of it: the second run of each then has its workgroups in two rows, so that
    /// what happens past 65,535 of them is seen on small cases.
    #[must_use]
    pub fn with_refolded_grids(mut self) -> Self {
        self.refold = true;
        self
    }

    pub(super) fn with_layouts(mut self, layouts: Vec<BlockLayout>) -> Self {
        self.layouts = layouts;
        self
    }

    /// One op of this suite under the suite's settings.
    pub(super) fn part(&self, name: String, cases: Vec<Case>) -> Self {
        Self { ops: vec![SuiteOp { name, cases }], ..self.clone() }
    }

    /// The part of the suite that has kernels in half precision, forward: what their gradients record are ops that have
    /// cases of their own.
    #[must_use]
    pub fn in_half_precision(mut self) -> Self {
        let has_kernels = |case: &Case| {
            let (inputs, Ok(outputs)) = (case.input_types(), case.output_types()) else { return false };
            let signature = Signature { inputs: &inputs, outputs: &outputs };
            let variants = case.op.variants(&signature, &Target::MATRIX_UNITS);
            variants.iter().any(|variant| variant.products != Products::F32)
        };
        self.ops.retain(|op| op.cases.iter().any(has_kernels));
        if self.direction == Some(Direction::Backward) {
            self.ops.clear();
        }
        self.direction = Some(Direction::Forward);
        self
    }

    /// The ops.
    pub fn ops(&self) -> &[SuiteOp] {
        &self.ops
    }

    /// The part of the suite that `filter` names.
    ///
    /// # Errors
    /// If there is no such op or case, with those that there are.
    pub fn filtered(mut self, filter: &Filter) -> Result<Self> {
        if let Some(op) = &filter.op {
            let names: Vec<String> = self.ops.iter().map(|o| o.name.clone()).collect();
            self.ops.retain(|o| o.name == *op);
            if self.ops.is_empty() {
                return Err(Error::setting("--op", format!("there is no op {op}; there are {}", names.join(", "))));
            }
        }
        if let Some(label) = &filter.case {
            let exact = self.ops.iter().flat_map(|o| &o.cases).any(|case| case.label == *label);
            let fits = |case: &Case| if exact { case.label == *label } else { case.label.contains(label.as_str()) };
            self.ops.iter_mut().for_each(|o| o.cases.retain(fits));
            self.ops.retain(|o| !o.cases.is_empty());
            if self.ops.is_empty() {
                return Err(Error::setting("--case", format!("no case has \"{label}\" in its label")));
            }
        }
        self.variant.clone_from(&filter.variant);
        self.direction = filter.direction;
        Ok(self)
    }

    /// Checks every shader that a case launches, without a device: valid WGSL (errors carry the place in the
    /// source), parameter block and bindings as the launch gives them, inputs only read, within WebGPU's default
    /// limits. Returns the number of launches checked. Whether Metal and DX12 can express a kernel is asked of
    /// [`crate::gpu::translate`].
    ///
    /// # Errors
    /// What is wrong with the first shader that fails.
    pub fn check_shaders(&self) -> Result<usize> {
        self.layouts.iter().try_for_each(BlockLayout::check)?;
        let mut checked = 0;
        for target in Target::ALL {
            for case in self.ops.iter().flat_map(|op| &op.cases) {
                let (inputs, outputs) = (case.input_types(), case.output_types()?);
                for variant in case.op.variants(&Signature { inputs: &inputs, outputs: &outputs }, &target) {
                    for launch in &variant.launches {
                        check_launch(launch, &target)?;
                        checked += 1;
                    }
                }
            }
        }
        Ok(checked)
    }

    /// For a plain `#[test]`: checks the shaders, and runs the suite on every adapter, with and without run-time
    /// checks in the shader modules. Where tests should be reported as ignored for want of an adapter, use
    /// [`super::test_main`].
    ///
    /// # Panics
    /// With the table and what failed; and where there is no adapter, since then nothing has been shown.
    pub fn assert_everywhere(&self) {
        let fail = |problem: String| panic!("{problem}");
        if let Err(error) = self.check_shaders() {
            fail(error.to_string());
        }
        let adapters = crate::gpu::adapters();
        if adapters.is_empty() {
            fail("no Vulkan, Metal or DX12 adapter: install a driver (on Debian mesa-vulkan-drivers is one for any processor)".to_owned());
        }
        for adapter in adapters {
            for checked in [true, false] {
                match Subject::gpu(&adapter, checked).and_then(|mut subject| self.run(&mut subject, || {})) {
                    Ok(report) if report.failed() == 0 && report.checked() > 0 => {}
                    Ok(report) => fail(report.to_string()),
                    Err(error) => fail(error.to_string()),
                }
            }
        }
    }

    /// Number of cases, to show progress against.
    pub fn cases(&self) -> usize {
        self.ops.iter().map(|op| op.cases.len()).sum()
    }

    /// Runs every case with every kernel of the subject's device (of large cases on a software driver only with the
    /// one that a plan would take there: a processor needs minutes for the others), forward, and backward where the case names gradients. Calls `done` after each case.
    ///
    /// # Errors
    /// If an op cannot take its own case, or if no kernel has the name that was asked for.
    pub fn run(&self, subject: &mut Subject, mut done: impl FnMut()) -> Result<Report> {
        let mut report = Report { device: subject.session.device().to_owned(), ..Report::default() };
        for op in &self.ops {
            for case in &op.cases {
                for direction in [Direction::Forward, Direction::Backward] {
                    let skipped = direction == Direction::Backward && case.gradients.is_empty();
                    if !skipped && self.direction.is_none_or(|wanted| wanted == direction) {
                        self.run_case(op, case, direction, subject, &mut report)?;
                    }
                }
                done();
            }
        }
        if let Some(name) = self.variant.as_ref().filter(|_| report.rows.is_empty()) {
            return Err(Error::setting("--variant", format!("no case has a kernel {name} on this device")));
        }
        Ok(report)
    }

    fn run_case(
        &self,
        op: &SuiteOp,
        case: &Case,
        direction: Direction,
        subject: &mut Subject,
        report: &mut Report,
    ) -> Result<()> {
        let graph = CaseGraph::new(case, direction)?;
        let mut references = References::default();
        let target = subject.session.target().copied();
        let slow = case.large && target.is_some_and(|target| target.is_software());
        let variants = match graph.variants(target.as_ref()) {
            Err(Error::NoKernel { op, .. }) if op == case.op.name() => {
                report.without_kernel.insert(op);
                return Ok(());
            }
            other => other?,
        };
        let taken = if slow { graph.taken(target.as_ref())? } else { None };
        for variant in variants {
            if taken.is_some_and(|taken| variant != Some(taken)) {
                continue;
            }
            if self.variant.as_ref().is_some_and(|wanted| variant.is_none_or(|name| name != wanted)) {
                continue;
            }
            let found = graph.walk(&mut subject.session, variant, self.refold, &mut references);
            let modules = subject.modules;
            let failure = match &found {
                Ok(outcomes) => failure_of(outcomes),
                Err(error) => Some((case.op.name().to_owned(), error.to_string(), None, Vec::new())),
            };
            let failed = usize::from(failure.is_some());
            let outcomes = found.unwrap_or_default();
            let name = variant.or_else(|| outcomes.first().map(|outcome| outcome.variant)).unwrap_or("cpu");
            let worst =
                outcomes.iter().max_by(|a, b| a.ratio.total_cmp(&b.ratio).then(a.tolerance.total_cmp(&b.tolerance)));
            report.count(Row {
                op: op.name.clone(),
                variant: name,
                direction,
                modules,
                cases: 1,
                failed,
                worst: worst.map_or(0.0, |w| w.worst),
                tolerance: worst.map_or(0.0, |w| w.tolerance),
                ratio: worst.map_or(0.0, |w| w.ratio),
            });
            if let Some((step_op, what, mismatch, launches)) = failure {
                let seeds = (0..case.inputs.len()).map(|i| case.seed(i)).collect();
                let (op, case) = (op.name.clone(), case.label.clone());
                report.failures.push(CaseFailure {
                    op,
                    variant,
                    direction,
                    modules,
                    case,
                    step_op,
                    what,
                    mismatch,
                    launches,
                    seeds,
                });
            }
        }
        Ok(())
    }
}

type StepFailure = (String, String, Option<super::Mismatch>, Vec<String>);

fn failure_of(outcomes: &[Outcome]) -> Option<StepFailure> {
    let outcome = outcomes.iter().find(|outcome| outcome.failure.is_some())?;
    let failure = outcome.failure.clone()?;
    Some((outcome.op.to_owned(), failure.what, failure.mismatch, failure.launches))
}
