//! A store of named tensors and the plans that share it, on one device: write, step, read.

mod reductions;

use crate::cpu::CpuProgram;
use crate::error::{Error, Result};
use crate::exchange::Ranks;
use crate::gpu::{Gpu, StagedRead};
use crate::graph::Graph;
use crate::kernel::{Precision, Products, Target};
use crate::memory::available_bytes;
use crate::plan::{Plan, PlanOptions, Storage, Tuning};
use crate::tensor::{Array, DType, TensorType};
use reductions::Reductions;
use std::collections::HashMap;
use std::ops::Range;

/// A recorded plan of one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramId(pub(crate) usize);

/// Which clock measures the launches of a replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// The device's, by timestamps around each launch.
    Device,
    /// The host's. On a GPU each launch is a submit of its own, whose latency is in the time.
    Host,
}

/// One replay of a recorded plan, launch by launch, in nanoseconds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Timeline {
    /// Begin and end of each launch, in the plan's order, from the begin of the first; none where the device's clock gave
    /// what cannot be: an end before the begin, or longer ago than the whole replay took.
    pub launches: Vec<Option<[f64; 2]>>,
    /// Time in which the host recorded commands.
    pub encode_ns: f64,
    /// Time in which the host handed them to the driver.
    pub submit_ns: f64,
    /// Time on the host from the first command until the device was done.
    pub total_ns: f64,
}

/// Words on their way from a device.
#[derive(Debug)]
pub enum PendingRead {
    /// They are here.
    Words(Vec<u32>),
    /// A GPU copies them.
    Staged(StagedRead),
}

/// What a device does for a session. Tensors are 32-bit words under a name.
pub trait Backend: Send {
    /// Makes a zeroed buffer, unless there is one of this name.
    ///
    /// # Errors
    /// If the device has no room.
    fn allocate(&mut self, name: &str, ty: &TensorType) -> Result<()>;

    /// Overwrites the words of a buffer from word `first` on.
    ///
    /// # Errors
    /// If there is no such buffer, or the device is lost.
    fn write(&mut self, name: &str, first: usize, words: &[u32]) -> Result<()>;

    /// Waits for the device and reads a buffer.
    ///
    /// # Errors
    /// If there is no such buffer, or the device is lost.
    fn read(&mut self, name: &str) -> Result<Vec<u32>>;

    /// Compiles the kernels of a plan that is recorded later.
    ///
    /// # Errors
    /// If a kernel does not compile or does not fit the device.
    fn prepare(&mut self, _plan: &Plan) -> Result<()> {
        Ok(())
    }

    /// Resolves a plan to buffers, pipelines and parameter blocks.
    ///
    /// # Errors
    /// If a kernel does not compile or does not fit the device.
    fn record(&mut self, plan: &Plan) -> Result<ProgramId>;

    /// Runs a recorded plan this many times. It may still be running on return.
    ///
    /// # Errors
    /// If the device is lost.
    fn replay(&mut self, program: ProgramId, times: usize) -> Result<()>;

    /// Submits of launches to the device so far; none on the CPU executor.
    fn submits(&self) -> u64 {
        0
    }

    /// Waits until everything submitted is done.
    ///
    /// # Errors
    /// If the device is lost.
    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    /// Bytes of all buffers.
    fn allocated_bytes(&self) -> usize;

    /// Most bytes that buffers can have, where the device or the system says so.
    fn memory_bytes(&self) -> Option<u64> {
        available_bytes()
    }

    /// From now on makes each new buffer this many words longer than its tensor, and binds them with it.
    fn set_guard_words(&mut self, _words: usize) {}

    /// Runs some steps of a recorded plan, once. They may still be running on return.
    ///
    /// # Errors
    /// If the device is lost.
    fn replay_steps(&mut self, program: ProgramId, steps: Range<usize>) -> Result<()>;

    /// Begins to read the first words of the buffers in which a recorded plan keeps tensors, as they are after all that was
    /// handed to the device.
    ///
    /// # Errors
    /// If there is no such buffer, or the device is lost.
    fn begin_read(&mut self, program: ProgramId, places: &[(Storage, usize)]) -> Result<PendingRead>;

    /// Waits for what was begun to be read: the words, one place after the other.
    ///
    /// # Errors
    /// If the device is lost.
    fn finish_read(&mut self, read: PendingRead) -> Result<Vec<u32>>;

    /// Whether there is such a clock.
    fn has_clock(&self, clock: Clock) -> bool;

    /// Runs a recorded plan once and waits, measuring every launch: on the CPU executor every op that is no view.
    ///
    /// # Errors
    /// If the device is lost or has no such clock.
    fn replay_timed(&mut self, program: ProgramId, clock: Clock) -> Result<Timeline>;

    /// All words of the buffer in which a recorded plan keeps a tensor: those of the tensor first, then whatever
    /// else the buffer holds, guard words among it.
    ///
    /// # Errors
    /// If there is no such buffer, or the device is lost.
    fn read_storage(&mut self, program: ProgramId, storage: &Storage) -> Result<Vec<u32>>;

    /// Words of the buffer in which a recorded plan keeps a tensor.
    ///
    /// # Errors
    /// If there is no such buffer.
    fn storage_words(&self, program: ProgramId, storage: &Storage) -> Result<usize>;

    /// Overwrites, from its start, the buffer in which a recorded plan keeps a tensor.
    ///
    /// # Errors
    /// If there is no such buffer, or the device is lost.
    fn write_storage(&mut self, program: ProgramId, storage: &Storage, words: &[u32]) -> Result<()>;

    /// Forgets all tensors and recorded plans; compiled kernels stay.
    ///
    /// # Errors
    /// If the device is lost.
    fn clear(&mut self) -> Result<()>;

    /// The same device opened once more, with its matrix units; none where it has none.
    fn with_matrix_units(&self) -> Option<Gpu> {
        None
    }
}

/// Tensors and recorded plans on one device.
pub struct Session {
    backend: Box<dyn Backend>,
    target: Option<Target>,
    types: HashMap<String, TensorType>,
    fuse: bool,
    variant: Option<String>,
    tuning: Tuning,
    device: String,
    memory_limit: Option<u64>,
    ranks: Ranks,
    bucket_words: Option<usize>,
    /// Of each recorded plan.
    reductions: Vec<Option<Reductions>>,
}

/// Words that a GPU computes the next of while the last are exchanged: 1 MiB. A CPU has nothing to spare meanwhile.
const BUCKET_WORDS: usize = 1 << 18;
/// Fewest words of a bucket that a rank gets from another: 16 KiB.
const PART_WORDS: usize = 1 << 12;

impl Session {
    /// On the CPU executor.
    pub fn cpu() -> Self {
        Self::new(Box::new(CpuProgram::new()), None, "CPU executor".to_owned())
    }

    /// On a GPU or a software driver.
    pub fn gpu(gpu: Gpu) -> Self {
        let (target, name) = (gpu.target(), gpu.description().to_owned());
        Self::new(Box::new(crate::gpu::GpuProgram::new(gpu)), Some(target), name)
    }

    fn new(backend: Box<dyn Backend>, target: Option<Target>, device: String) -> Self {
        let bucket_words = target.as_ref().filter(|target| !target.is_software()).map(|_| BUCKET_WORDS);
        Self {
            backend,
            target,
            types: HashMap::new(),
            fuse: true,
            variant: None,
            tuning: Tuning::default(),
            device,
            memory_limit: None,
            ranks: Ranks::alone(),
            bucket_words,
            reductions: Vec::new(),
        }
    }

    /// From now on trains together with other ranks: plans that are recorded from now on sum over all of them where they
    /// have reductions.
    pub fn set_ranks(&mut self, ranks: Ranks) {
        // A bucket costs two messages to every other rank: theirs should not be all latency.
        self.bucket_words = self.bucket_words.map(|words| words.max(ranks.count() * PART_WORDS));
        self.ranks = ranks;
    }

    /// Those that train together.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Exchanges tensors in buckets of about this many words, each as soon as its tensors are there, in plans that are
    /// recorded from now on; without, all at once. It changes no bit.
    pub fn set_bucket_words(&mut self, words: Option<usize>) {
        self.bucket_words = words;
    }

    /// Whether plans made from now on fuse ops; on by default.
    pub fn set_fuse(&mut self, fuse: bool) {
        self.fuse = fuse;
    }

    /// Takes the kernel of this name wherever an op has one, in place of the cheapest.
    pub fn set_variant(&mut self, name: Option<&str>) {
        self.variant = name.map(str::to_owned);
    }

    /// From now on takes the kernels that were measured to be the fastest, where an op was measured.
    pub fn set_tuning(&mut self, tuning: Tuning) {
        self.tuning = tuning;
    }

    /// From now on puts this many words behind each new buffer on a GPU, within reach of the kernels: validation
    /// sees there what is written past the end of a tensor.
    pub fn set_guard_words(&mut self, words: usize) {
        self.backend.set_guard_words(words);
    }

    /// What runs here, for people.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The GPU's limits; none on the CPU executor.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// A session on the same device with its matrix units, which are experimental in wgpu; none where it has none.
    pub fn with_matrix_units(&self) -> Option<Self> {
        self.backend.with_matrix_units().map(Self::gpu)
    }

    /// Makes plans of products in this precision from now on; a CPU executor stays at `f32`. On matrix units half precision
    /// is to be had by [`crate::validate::in_half_precision`], which tests them first.
    pub fn set_precision(&mut self, precision: Precision) {
        if let Some(target) = &mut self.target {
            target.precision = precision;
        }
    }

    /// What products are computed of: on matrix units, those for which there is such a kernel.
    pub fn products(&self) -> Products {
        match &self.target {
            Some(Target { precision: Precision::F16, matrix_units: Some(_), .. }) => Products::MatrixUnits,
            Some(Target { precision: Precision::F16, .. }) => Products::F16,
            _ => Products::F32,
        }
    }

    /// Most bytes that buffers on the device can have, where the device, the system or [`Session::limit_memory`] says so.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.backend.memory_bytes().into_iter().chain(self.memory_limit).min()
    }

    /// From now on counts with no more than this many bytes on the device, which others may use as well.
    pub fn limit_memory(&mut self, bytes: u64) {
        self.memory_limit = Some(bytes);
    }

    /// Bytes of all buffers on the device.
    pub fn allocated_bytes(&self) -> usize {
        self.backend.allocated_bytes()
    }

    /// The plan that [`Session::record`] would make.
    ///
    /// # Errors
    /// If the graph does not fit the device.
    pub fn plan(&self, graph: &Graph) -> Result<Plan> {
        let options = PlanOptions { target: self.target.as_ref(), fuse: self.fuse, variant: self.variant.as_deref() };
        let plan = Plan::new(graph, options)?;
        Ok(match self.target.as_ref().filter(|_| self.variant.is_none() && !self.tuning.is_empty()) {
            Some(target) => plan.tuned(target, &self.tuning),
            None => plan,
        })
    }

    /// Plans and records a graph; tensors of the store that are new start as zeros.
    ///
    /// # Errors
    /// If the graph does not fit the device, or a tensor is in the store with another type.
    pub fn record(&mut self, graph: &Graph) -> Result<ProgramId> {
        self.record_plan(&self.plan(graph)?)
    }

    /// Compiles the kernels that a graph needs, so that recording it, or another one of the same layers, does not wait for
    /// them. There are none on the CPU executor.
    ///
    /// # Errors
    /// If the graph does not fit the device.
    pub fn prepare(&mut self, graph: &Graph) -> Result<()> {
        let plan = self.plan(graph)?;
        self.backend.prepare(&plan)
    }

    /// As [`Session::record`], for a plan of [`Session::plan`].
    ///
    /// # Errors
    /// If a tensor is in the store with another type, or a kernel does not fit the device.
    pub fn record_plan(&mut self, plan: &Plan) -> Result<ProgramId> {
        for info in plan.persistent() {
            self.declare(&info.name, &info.ty)?;
        }
        let program = self.backend.record(plan)?;
        self.reductions.resize_with(program.0 + 1, || None);
        if !self.ranks.is_alone() {
            self.reductions[program.0] = Reductions::of(plan, self.bucket_words);
        }
        Ok(program)
    }

    fn declare(&mut self, name: &str, ty: &TensorType) -> Result<()> {
        match self.types.get(name) {
            Some(known) if known != ty => return Err(Error::shape(name, known.to_string(), ty.to_string())),
            Some(_) => return Ok(()),
            None => {}
        }
        self.backend.allocate(name, ty)?;
        self.types.insert(name.to_owned(), ty.clone());
        Ok(())
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.types.contains_key(name)
    }

    fn ty(&self, name: &str) -> Result<&TensorType> {
        self.types.get(name).ok_or_else(|| Error::shape("session", "a tensor that some plan uses", name))
    }

    /// Writes a tensor as the words that the device holds: `f32` bits, or packed bytes with padded rows.
    ///
    /// # Errors
    /// If there is no such tensor or the length differs.
    pub fn write_words(&mut self, name: &str, words: &[u32]) -> Result<()> {
        let ty = self.ty(name)?;
        if ty.words() != words.len() {
            return Err(Error::shape(name, format!("{} words ({ty})", ty.words()), format!("{}", words.len())));
        }
        self.backend.write(name, 0, words)
    }

    /// Writes a part of a tensor, as words, from word `first` on.
    ///
    /// # Errors
    /// If there is no such tensor or the part is not inside of it.
    pub fn write_part(&mut self, name: &str, first: usize, words: &[u32]) -> Result<()> {
        let ty = self.ty(name)?;
        if first.checked_add(words.len()).is_none_or(|end| end > ty.words()) {
            let got = format!("{} words from word {first} on", words.len());
            return Err(Error::shape(name, format!("a part of {} words ({ty})", ty.words()), got));
        }
        self.backend.write(name, first, words)
    }

    /// Writes a tensor as the reference has it; reals are rounded.
    ///
    /// # Errors
    /// If there is no such tensor or the length differs.
    pub fn write_array(&mut self, name: &str, array: &Array) -> Result<()> {
        let words = array.to_words(self.ty(name)?);
        self.write_words(name, &words)
    }

    /// Writes those of these tensors that some plan uses, by name, as [`Session::write_array`] does; the others are left.
    ///
    /// # Errors
    /// If a length differs or the device is lost.
    pub fn write_used(&mut self, values: &[(String, Array)]) -> Result<()> {
        values.iter().try_for_each(|(name, array)| match self.contains(name) {
            true => self.write_array(name, array),
            false => Ok(()),
        })
    }

    /// Writes a tensor of reals.
    ///
    /// # Errors
    /// If there is no such tensor of `f32` or the length differs.
    pub fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        if self.ty(name)?.dtype != DType::F32 {
            return Err(Error::shape(name, self.ty(name)?.to_string(), "f32"));
        }
        self.write_words(name, bytemuck::cast_slice(values))
    }

    /// Reads a tensor as words.
    ///
    /// # Errors
    /// If there is no such tensor or the device is lost.
    pub fn read_words(&mut self, name: &str) -> Result<Vec<u32>> {
        self.ty(name)?;
        self.backend.read(name)
    }

    /// Reads a tensor of reals.
    ///
    /// # Errors
    /// If there is no such tensor or the device is lost.
    pub fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        Ok(self.read_words(name)?.into_iter().map(f32::from_bits).collect())
    }

    /// Reads a tensor as the reference has it.
    ///
    /// # Errors
    /// If there is no such tensor or the device is lost.
    pub fn read_array(&mut self, name: &str) -> Result<Array> {
        let words = self.read_words(name)?;
        Ok(Array::from_words(&words, self.ty(name)?))
    }

    /// Runs a recorded plan this many times.
    ///
    /// # Errors
    /// If the device is lost, or another rank is gone.
    pub fn run(&mut self, program: ProgramId, times: usize) -> Result<()> {
        match self.reductions.get(program.0).and_then(Option::as_ref) {
            None => self.backend.replay(program, times),
            Some(reductions) => (0..times).try_for_each(|_| reductions.run(&mut *self.backend, program, &self.ranks)),
        }
    }

    /// Submits of launches to the device so far; none on the CPU executor.
    pub fn submits(&self) -> u64 {
        self.backend.submits()
    }

    /// Runs one step of a recorded plan alone.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn run_step(&mut self, program: ProgramId, step: usize) -> Result<()> {
        self.backend.replay_steps(program, step..step + 1)
    }

    /// Whether launches can be measured by this clock.
    pub fn has_clock(&self, clock: Clock) -> bool {
        self.backend.has_clock(clock)
    }

    /// Runs a recorded plan once and waits, measuring every launch: on the CPU executor every op that is no view.
    ///
    /// # Errors
    /// If the device is lost or has no such clock.
    pub fn run_timed(&mut self, program: ProgramId, clock: Clock) -> Result<Timeline> {
        self.backend.replay_timed(program, clock)
    }

    /// All words of the buffer in which a recorded plan keeps a tensor: those of the tensor first, then whatever
    /// else the buffer holds.
    ///
    /// # Errors
    /// If there is no such buffer, or the device is lost.
    pub fn read_storage(&mut self, program: ProgramId, storage: &Storage) -> Result<Vec<u32>> {
        self.backend.read_storage(program, storage)
    }

    /// Words of the buffer in which a recorded plan keeps a tensor.
    ///
    /// # Errors
    /// If there is no such buffer.
    pub fn storage_words(&self, program: ProgramId, storage: &Storage) -> Result<usize> {
        self.backend.storage_words(program, storage)
    }

    /// Overwrites, from its start, the buffer in which a recorded plan keeps a tensor.
    ///
    /// # Errors
    /// If there is no such buffer, or the device is lost.
    pub fn write_storage(&mut self, program: ProgramId, storage: &Storage, words: &[u32]) -> Result<()> {
        self.backend.write_storage(program, storage, words)
    }

    /// Forgets all tensors and recorded plans; the device and its compiled kernels stay.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn clear(&mut self) -> Result<()> {
        self.types.clear();
        self.reductions.clear();
        self.backend.clear()
    }

    /// Waits until everything submitted is done.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn wait(&mut self) -> Result<()> {
        self.backend.wait()
    }
}
