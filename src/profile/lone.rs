//! Lone kernels measured on a device: the library's way to what `degrain profile KERNEL.wgsl` does.

use super::binding::Binding;
use super::contest::{Budget, Outcome, Stopwatch, Turn, contest};
use super::hints::{Shape, hints};
use super::kernel_profile::{BoundBuffer, CheckEffects, KernelProfile, TimedBy};
use super::{Ratio, Statistics};
use crate::error::{Error, Result};
use crate::gpu::{BoundData, Checks, Gpu, LoneBench, LoneModule, LonePass, LoneSource};
use std::time::{Duration, Instant};

/// A compute kernel from any WGSL text, how it is launched and what is bound to it.
#[derive(Clone, PartialEq, Debug)]
pub struct LoneKernel {
    /// Name in messages and results, best the file's path.
    pub name: String,
    /// WGSL.
    pub source: String,
    /// The entry point; may be left out where the text has one only.
    pub entry: Option<String>,
    /// Workgroup counts.
    pub workgroups: [u32; 3],
    /// In the place of the entry point's own `@workgroup_size`.
    pub workgroup_size: Option<[u32; 3]>,
    /// Values of top-level `const`s and `override`s, as WGSL writes them.
    pub constants: Vec<(String, String)>,
    /// The buffers. Those that the text declares and the entry point does not use are left out.
    pub bindings: Vec<Binding>,
    /// Floating-point operations of one run, where they are known.
    pub flops: Option<f64>,
    /// Bytes that one run moves; without, they are counted from the buffers.
    pub bytes: Option<f64>,
}

impl LoneKernel {
    /// One workgroup of the only entry point, with nothing bound.
    pub fn new(name: impl Into<String>, source: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            source: source.into(),
            entry: None,
            workgroups: [1; 3],
            workgroup_size: None,
            constants: Vec::new(),
            bindings: Vec::new(),
            flops: None,
            bytes: None,
        }
    }

    /// Parses and reflects the text, without a device.
    ///
    /// # Errors
    /// As [`LoneModule::parse`].
    pub fn module(&self) -> Result<LoneModule> {
        LoneModule::parse(&LoneSource {
            name: &self.name,
            text: &self.source,
            entry: self.entry.as_deref(),
            constants: &self.constants,
            workgroup_size: self.workgroup_size,
        })
    }
}

/// How kernels are measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// How long and how well.
    pub budget: Budget,
    /// Whether every run gets buffers that no cache has, by turns from copies of 256 MiB together.
    pub cold: bool,
    /// Whether the device's timestamps are used where it has them; else whole submits are timed.
    pub timestamps: bool,
    /// Whether builds with other run-time checks are timed too. They trust the kernel: one that reads or writes past its
    /// arrays may bring the process down.
    pub effects: bool,
    /// The run-time checks of the build that is profiled.
    pub checks: Checks,
    /// Longest time of one run; a longer one ends with [`Error::Endless`].
    pub time_limit: Duration,
    /// Seed of random contents.
    pub seed: u64,
}

impl Default for Options {
    /// The build that wgpu makes unless told otherwise, by timestamps, for about 2 s; runs may take 10 s.
    fn default() -> Self {
        Self {
            budget: Budget::default(),
            cold: false,
            timestamps: true,
            effects: false,
            checks: Checks::ALL,
            time_limit: Duration::from_secs(10),
            seed: 0,
        }
    }
}

/// Kernels that were measured in turn.
#[derive(Clone, PartialEq, Debug)]
pub struct KernelContest {
    /// One for each kernel, in order.
    pub profiles: Vec<KernelProfile>,
    /// For each kernel, how many times as long as the first it takes; none where there were too few rounds.
    pub ratios: Vec<Option<Ratio>>,
}

/// What a kernel wrote.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// Group and binding.
    pub at: [u32; 2],
    /// The buffer's numbers, read as the binding's element type.
    pub values: Vec<f64>,
}

/// A device on which lone kernels are measured.
///
/// ```no_run
/// use degrain::gpu::adapters;
/// use degrain::profile::{KernelBench, LoneKernel, Options};
///
/// # fn main() -> degrain::Result<()> {
/// let text = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
///     @compute @workgroup_size(64)
///     fn main(@builtin(global_invocation_id) id: vec3u) { x[id.x] = 2.0 * x[id.x]; }";
/// let mut kernel = LoneKernel::new("double", text);
/// kernel.workgroups = [1024, 1, 1];
/// kernel.bindings = vec!["0:0=f32[65536]:rand".parse()?];
/// kernel.flops = Some(65_536.0);
/// if let Some(adapter) = adapters().first() {
///     let mut bench = KernelBench::new(adapter.open_for_any_kernel()?, Options::default());
///     println!("{}", bench.profile(&kernel)?);
/// }
/// # Ok(())
/// # }
/// ```
pub struct KernelBench {
    bench: LoneBench,
    options: Options,
}

/// The device as the stopwatch of a contest whose contestants are the kernels of these numbers.
struct Watch<'a> {
    bench: &'a mut LoneBench,
    kernels: &'a [usize],
}

impl Stopwatch for Watch<'_> {
    fn time_us(&mut self, turns: &[Turn]) -> Result<Vec<f64>> {
        let pass = |turn: &Turn| {
            let kernel = self.kernels.get(turn.contestant).copied().unwrap_or(usize::MAX);
            LonePass { kernel, dispatches: turn.runs }
        };
        let passes: Vec<LonePass> = turns.iter().map(pass).collect();
        self.bench.time_us(&passes)
    }

    fn idle_us(&mut self) -> Result<Option<f64>> {
        if self.bench.has_timestamps() { Ok(None) } else { self.bench.time_submit(None).map(Some) }
    }
}

/// A kernel on the device.
struct Entry {
    module: LoneModule,
    buffers: Vec<BoundBuffer>,
    copies: usize,
}

/// Memory that copies of a kernel's buffers take together, so that no cache holds them.
const COLD_BYTES: u64 = 256 << 20;
/// Most copies.
const COLD_COPIES: u64 = 64;
/// Shortest sample of whole submits, in microseconds: what an empty one takes varies by tens.
const SUBMIT_SAMPLE_US: f64 = 2000.0;

impl KernelBench {
    /// On a device opened with `Adapter::open_for_any_kernel`, or in any other way.
    pub fn new(gpu: Gpu, options: Options) -> Self {
        Self { bench: LoneBench::new(gpu, options.timestamps, options.time_limit), options }
    }

    /// Measures one kernel, and the effect of run-time checks where the options ask for it.
    ///
    /// # Errors
    /// A kernel that is not valid or exceeds the device, buffers that do not fit it, a run that does not end in time.
    pub fn profile(&mut self, kernel: &LoneKernel) -> Result<KernelProfile> {
        let contest = self.measure(std::slice::from_ref(kernel), self.options.effects)?;
        contest.profiles.into_iter().next().ok_or_else(|| Error::setting(&kernel.name, "was not measured"))
    }

    /// Measures kernels in turn, so that a machine that becomes slower slows all of them.
    ///
    /// # Errors
    /// As [`KernelBench::profile`].
    pub fn compare(&mut self, kernels: &[LoneKernel]) -> Result<KernelContest> {
        self.measure(kernels, false)
    }

    /// Runs a kernel once on fresh data, and returns what it wrote.
    ///
    /// # Errors
    /// As [`KernelBench::profile`].
    pub fn run(&mut self, kernel: &LoneKernel) -> Result<Vec<Output>> {
        self.bench.clear();
        let module = kernel.module()?;
        let set = self.bind(kernel, &module, 1)?;
        let number = self.bench.add(&module, self.options.checks, kernel.workgroups, set)?;
        self.bench.run(number)?;
        let written = module.bindings.iter().filter(|b| b.written).map(|b| [b.group, b.binding]);
        let output = |at: [u32; 2]| {
            let words = self.bench.read(set, at)?;
            let binding = kernel.bindings.iter().find(|b| b.at() == at);
            let values = binding.map_or_else(Vec::new, |b| {
                let mut values = b.element.numbers(&words);
                // An odd number of halves is padded.
                values.truncate(b.len.unwrap_or(values.len()));
                values
            });
            Ok(Output { at, values })
        };
        written.map(output).collect()
    }

    fn measure(&mut self, kernels: &[LoneKernel], effects: bool) -> Result<KernelContest> {
        self.bench.clear();
        let mut sets: Vec<(&[Binding], usize, usize)> = Vec::new();
        let (mut entries, mut numbers) = (Vec::new(), Vec::new());
        for kernel in kernels {
            let module = kernel.module()?;
            let buffers = self.buffers(kernel, &module)?;
            let copies = self.copies(&buffers);
            // Kernels with the same buffers share them, so that where these lie makes no difference between them.
            let shared = sets.iter().find(|(bindings, c, _)| *bindings == kernel.bindings && *c == copies);
            let set = match shared {
                Some((_, _, set)) => *set,
                None => self.bind(kernel, &module, copies)?,
            };
            sets.push((&kernel.bindings, copies, set));
            let builds = if effects { builds(self.options.checks).to_vec() } else { vec![self.options.checks] };
            for checks in builds {
                numbers.push(self.bench.add(&module, checks, kernel.workgroups, set)?);
            }
            entries.push(Entry { module, buffers, copies });
        }
        let mut budget = self.options.budget;
        if !self.bench.has_timestamps() {
            budget.sample_us = budget.sample_us.max(SUBMIT_SAMPLE_US);
        }
        let mut watch = Watch { bench: &mut self.bench, kernels: &numbers };
        let started = Instant::now();
        let outcome = contest(&mut watch, numbers.len(), &budget)?;
        let seconds = started.elapsed().as_secs_f64();
        let step = if effects { 3 } else { 1 };
        let profile = |(at, (kernel, entry))| self.report(kernel, entry, at * step, &outcome, effects, seconds);
        let profiles = kernels.iter().zip(&entries).enumerate().map(profile).collect::<Result<_>>()?;
        let ratio = |at: usize| outcome.ratio(0, at * step);
        Ok(KernelContest { profiles, ratios: (0..kernels.len()).map(ratio).collect() })
    }

    /// Sizes of a kernel's buffers, checked before anything is made of that size.
    fn buffers(&self, kernel: &LoneKernel, module: &LoneModule) -> Result<Vec<BoundBuffer>> {
        let mut sizes: Vec<([u32; 2], u64)> = Vec::new();
        for binding in &kernel.bindings {
            if sizes.iter().any(|(at, _)| *at == binding.at()) {
                let [group, binding] = binding.at();
                return Err(Error::setting("--bind", format!("{group}:{binding} is bound twice")));
            }
            let size = match binding.known_bytes()? {
                Some(size) => size,
                None => binding.bytes(self.options.seed)?.len() as u64,
            };
            sizes.push((binding.at(), size));
        }
        module.check_bound(&sizes)?;
        module.check_limits(&self.bench.limits(), kernel.workgroups, &sizes)?;
        let buffer = |b: &crate::gpu::LoneBinding| {
            let at = [b.group, b.binding];
            let size_bytes = sizes.iter().find(|(place, _)| *place == at).map_or(0, |(_, size)| *size);
            BoundBuffer {
                binding: format!("{}:{}", b.group, b.binding),
                name: b.name.clone(),
                kind: if b.uniform { "uniform" } else { "storage" }.to_owned(),
                size_bytes,
                read: b.read,
                written: b.written,
            }
        };
        Ok(module.bindings.iter().map(buffer).collect())
    }

    fn copies(&self, buffers: &[BoundBuffer]) -> usize {
        let bytes: u64 = buffers.iter().map(|buffer| buffer.size_bytes).sum();
        if self.options.cold { COLD_BYTES.div_ceil(bytes.max(1)).clamp(2, COLD_COPIES) as usize } else { 1 }
    }

    fn bind(&mut self, kernel: &LoneKernel, module: &LoneModule, copies: usize) -> Result<usize> {
        self.buffers(kernel, module)?;
        let used = |b: &&Binding| !module.unused.contains(&b.at());
        let data = |b: &Binding| Ok(BoundData { at: b.at(), bytes: b.bytes(self.options.seed)? });
        let data = kernel.bindings.iter().filter(used).map(data).collect::<Result<_>>()?;
        self.bench.bind(data, copies)
    }

    fn report(
        &self,
        kernel: &LoneKernel,
        Entry { module, buffers, copies }: &Entry,
        contestant: usize,
        outcome: &Outcome,
        effects: bool,
        seconds: f64,
    ) -> Result<KernelProfile> {
        let samples = outcome.samples_us.get(contestant).map_or(&[][..], Vec::as_slice);
        let [device, driver] = self.bench.device();
        let unusable = || {
            let problem =
                format!("none of its {} timestamps can be used: measure with --no-timestamps", outcome.discarded);
            Error::Device { name: device.clone(), problem }
        };
        let us = Statistics::of(samples).ok_or_else(unusable)?;
        let counted: u64 = buffers.iter().map(BoundBuffer::moved_bytes).sum();
        let bytes = kernel.bytes.unwrap_or(counted as f64);
        let limits = self.bench.limits();
        let with_over_without = |at: usize| {
            // The build with a check is the first or the other, by what is profiled.
            let other = contestant + at;
            let profiled_has = if at == 1 { self.options.checks.bounds } else { self.options.checks.loops };
            let [without, with] = if profiled_has { [other, contestant] } else { [contestant, other] };
            outcome.ratio(without, with)
        };
        let runtime_checks = effects
            .then(|| Some(CheckEffects { bounds_checks: with_over_without(1)?, loop_bounding: with_over_without(2)? }));
        let shape = Shape {
            workgroups: kernel.workgroups,
            workgroup_size: module.workgroup_size,
            workgroup_memory_bytes: module.workgroup_bytes,
            buffers,
            has_loops: module.has_loops,
            device: &device,
        };
        let (invocations, hints) = (shape.invocations(), hints(&shape, &limits));
        Ok(KernelProfile {
            kernel: kernel.name.clone(),
            entry: module.entry.clone(),
            constants: kernel.constants.iter().cloned().collect(),
            device,
            driver,
            us,
            interval: super::contest::half_width(samples),
            timed_by: if self.bench.has_timestamps() { TimedBy::Timestamps } else { TimedBy::Submits },
            empty_submit_us: outcome.idle_us,
            runs_per_sample: outcome.runs_per_sample.get(contestant).copied().unwrap_or(1),
            warm_up_runs: outcome.warm_up_runs,
            discarded_timestamps: outcome.discarded,
            stopped: outcome.stopped,
            seconds,
            cold_copies: (*copies > 1).then_some(*copies),
            checked: self.options.checks == Checks::ALL,
            flops: kernel.flops,
            gflops: kernel.flops.map(|flops| flops / us.median / 1e3),
            bytes: (bytes > 0.0).then_some(bytes),
            bytes_given: kernel.bytes.is_some(),
            gbps: (bytes > 0.0).then_some(bytes / us.median / 1e3),
            workgroups: kernel.workgroups,
            workgroup_size: module.workgroup_size,
            invocations,
            workgroup_memory_bytes: module.workgroup_bytes,
            limits,
            hints,
            buffers: buffers.clone(),
            runtime_checks: runtime_checks.flatten(),
        })
    }
}

/// The build that is profiled, the one that differs in bounds checks, and the one that differs in loop bounding.
fn builds(checks: Checks) -> [Checks; 3] {
    [checks, Checks { bounds: !checks.bounds, ..checks }, Checks { loops: !checks.loops, ..checks }]
}
