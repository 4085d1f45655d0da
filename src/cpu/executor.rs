//! The fast CPU executor: the same plan as a GPU runs, op by op, in `f32`.

use crate::error::{Error, Result};
use crate::graph::{CpuCall, Op, Signature};
use crate::op::SEVERAL;
use crate::plan::{Plan, Storage};
use crate::session::{Backend, Clock, PendingRead, ProgramId, Timeline};
use crate::tensor::{Array, TensorType};
use std::array::from_fn;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Inputs or outputs up to which an op's lists of them are on the stack, so that a step allocates nothing: of most ops, and of
/// an optimiser with all its tensors.
const FEW: usize = 16;
const MANY: usize = 4 * SEVERAL + 3;

/// Buffers and recorded plans in host memory.
#[derive(Default)]
pub struct CpuProgram {
    buffers: Vec<Vec<u32>>,
    by_name: HashMap<String, usize>,
    /// Buffers that temporaries of all plans share, the largest first.
    shared: Vec<usize>,
    plans: Vec<CpuPlan>,
}

/// A recorded plan.
struct CpuPlan {
    /// The steps; none for an op without launches.
    steps: Vec<Option<CpuStep>>,
    buffer_of_slot: Vec<usize>,
}

/// An op with its buffers resolved.
struct CpuStep {
    op: Arc<dyn Op>,
    input_types: Vec<TensorType>,
    output_types: Vec<TensorType>,
    /// Buffer of each input; none where an output replaces it.
    inputs: Vec<Option<usize>>,
    outputs: Vec<usize>,
}

impl CpuProgram {
    /// Without buffers or plans.
    pub fn new() -> Self {
        Self::default()
    }

    fn named(&self, name: &str) -> Result<usize> {
        let missing = || Error::shape("session", "a tensor that some plan uses", name);
        self.by_name.get(name).copied().ok_or_else(missing)
    }

    /// The buffer in which a recorded plan keeps a tensor.
    fn buffer_of(&self, program: ProgramId, storage: &Storage) -> Result<usize> {
        match storage {
            Storage::Slot(slot) => Ok(self.plans[program.0].buffer_of_slot[*slot]),
            Storage::Store(name) => self.named(name),
        }
    }

    fn run_step(buffers: &mut [Vec<u32>], step: &CpuStep) {
        let longer = step.inputs.len().max(step.outputs.len());
        if longer <= FEW {
            Self::run_on_stack::<FEW>(buffers, step);
        } else if longer <= MANY {
            Self::run_on_stack::<MANY>(buffers, step);
        } else {
            let mut taken = vec![Vec::new(); step.outputs.len()];
            let mut outputs: Vec<&mut [u32]> = taken.iter().map(|_| -> &mut [u32] { &mut [] }).collect();
            step.take_outputs(buffers, &mut taken);
            step.run(buffers, &mut taken, &mut vec![&[][..]; step.inputs.len()], &mut outputs);
            step.give_outputs(buffers, &mut taken);
        }
    }

    /// A step of at most `N` inputs and outputs, without an allocation.
    fn run_on_stack<const N: usize>(buffers: &mut [Vec<u32>], step: &CpuStep) {
        let mut taken: [Vec<u32>; N] = from_fn(|_| Vec::new());
        let mut outputs: [&mut [u32]; N] = from_fn(|_| -> &mut [u32] { &mut [] });
        step.take_outputs(buffers, &mut taken);
        step.run(buffers, &mut taken, &mut [&[][..]; N], &mut outputs);
        step.give_outputs(buffers, &mut taken);
    }

    /// Runs `work` on a thread of the pool, where kernels that share their work with other threads need not wait for one
    /// to take it up.
    fn in_pool<T: Send>(&mut self, work: impl FnOnce(&mut Self) -> T + Send) -> T {
        rayon::scope(|_| work(self))
    }
}

impl CpuStep {
    fn take_outputs(&self, buffers: &mut [Vec<u32>], taken: &mut [Vec<u32>]) {
        self.outputs.iter().zip(taken).for_each(|(&b, words)| std::mem::swap(&mut buffers[b], words));
    }

    fn give_outputs(&self, buffers: &mut [Vec<u32>], taken: &mut [Vec<u32>]) {
        self.take_outputs(buffers, taken);
    }

    /// Runs the op on the buffers of its inputs and on its outputs, which were taken out of them. `inputs` and `outputs`
    /// are room for as many slices as there are.
    fn run<'a>(
        &'a self,
        buffers: &'a [Vec<u32>],
        taken: &'a mut [Vec<u32>],
        inputs: &'a mut [&'a [u32]],
        outputs: &'a mut [&'a mut [u32]],
    ) {
        let (inputs, outputs) = (&mut inputs[..self.inputs.len()], &mut outputs[..self.outputs.len()]);
        for ((input, buffer), ty) in inputs.iter_mut().zip(&self.inputs).zip(&self.input_types) {
            *input = buffer.map_or(&[], |b| &buffers[b][..ty.words()]);
        }
        for ((output, words), ty) in outputs.iter_mut().zip(taken).zip(&self.output_types) {
            *output = &mut words[..ty.words()];
        }
        let signature = Signature { inputs: &self.input_types, outputs: &self.output_types };
        let mut call = CpuCall { inputs, outputs };
        if !self.op.compute(&signature, &mut call) {
            run_reference(self, &signature, &mut call);
        }
    }
}

/// The reference in place of a fast kernel.
fn run_reference(step: &CpuStep, signature: &Signature<'_>, call: &mut CpuCall<'_>) {
    let replaced = step.op.in_place();
    let inputs: Vec<Array> = (0..call.inputs.len())
        .map(|i| match replaced.iter().find(|pair| pair.1 == i) {
            Some(&(output, _)) => Array::from_words(call.outputs[output], &signature.inputs[i]),
            None => Array::from_words(call.inputs[i], &signature.inputs[i]),
        })
        .collect();
    let mut outputs: Vec<Array> = signature.outputs.iter().map(Array::zeros).collect();
    step.op.reference(signature, &inputs.iter().collect::<Vec<_>>(), &mut outputs);
    for ((words, array), ty) in call.outputs.iter_mut().zip(&outputs).zip(signature.outputs) {
        words.copy_from_slice(&array.to_words(ty));
    }
}

/// Whether the executor has a kernel of its own for an op on these inputs, or runs its reference.
pub(crate) fn has_kernel(op: &dyn Op, signature: &Signature<'_>, inputs: &[Vec<u32>]) -> bool {
    let replaced = |i: usize| op.in_place().iter().find(|pair| pair.1 == i);
    let mut outputs: Vec<Vec<u32>> = signature.outputs.iter().map(|ty| vec![0; ty.words()]).collect();
    for (i, words) in inputs.iter().enumerate() {
        if let Some(&(output, _)) = replaced(i) {
            outputs[output].clone_from(words);
        }
    }
    let input = |(i, words): (usize, &'_ Vec<u32>)| if replaced(i).is_some() { Vec::new() } else { words.clone() };
    let inputs: Vec<Vec<u32>> = inputs.iter().enumerate().map(input).collect();
    let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut outputs: Vec<&mut [u32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    op.compute(signature, &mut CpuCall { inputs: &inputs, outputs: &mut outputs })
}

/// A buffer of zeros, or an error where there is no room for it.
fn zeros(words: usize) -> Result<Vec<u32>> {
    // A vector of zeros comes from the system as it is; growing one would write them all. Only the latter may fail, so
    // the room is asked for first.
    let room = Vec::<u32>::new().try_reserve_exact(words);
    room.map_err(|_| Error::OutOfMemory { name: "CPU executor".to_owned() })?;
    Ok(vec![0; words])
}

impl Backend for CpuProgram {
    fn allocate(&mut self, name: &str, ty: &TensorType) -> Result<()> {
        if !self.by_name.contains_key(name) {
            let buffer = zeros(ty.words())?;
            self.by_name.insert(name.to_owned(), self.buffers.len());
            self.buffers.push(buffer);
        }
        Ok(())
    }

    fn write(&mut self, name: &str, first: usize, words: &[u32]) -> Result<()> {
        let buffer = self.named(name)?;
        self.buffers[buffer][first..first + words.len()].copy_from_slice(words);
        Ok(())
    }

    fn read(&mut self, name: &str) -> Result<Vec<u32>> {
        Ok(self.buffers[self.named(name)?].clone())
    }

    fn record(&mut self, plan: &Plan) -> Result<ProgramId> {
        let mut slots: Vec<usize> = (0..plan.slot_bytes().len()).collect();
        slots.sort_by_key(|&s| std::cmp::Reverse(plan.slot_bytes()[s]));
        let mut buffer_of_slot = vec![0; slots.len()];
        for (rank, &slot) in slots.iter().enumerate() {
            if rank == self.shared.len() {
                self.shared.push(self.buffers.len());
                self.buffers.push(Vec::new());
            }
            let buffer = self.shared[rank];
            let words = plan.slot_bytes()[slot].div_ceil(4);
            if self.buffers[buffer].len() < words {
                self.buffers[buffer] = zeros(words)?;
            }
            buffer_of_slot[slot] = buffer;
        }
        let mut steps = Vec::new();
        for step in plan.steps() {
            if !step.op.has_launches() {
                steps.push(None);
                continue;
            }
            let place = |id| match plan.storage(id) {
                Some(Storage::Slot(slot)) => Ok(buffer_of_slot[*slot]),
                Some(Storage::Store(name)) => self.named(name),
                None => Err(Error::shape("plan", "a buffer for every tensor", step.op.name())),
            };
            let (input_types, output_types) = plan.types(step);
            let replaced = |i: usize| step.op.in_place().iter().any(|pair| pair.1 == i);
            let inputs = step.inputs.iter().enumerate();
            steps.push(Some(CpuStep {
                op: step.op.clone(),
                inputs: inputs
                    .map(|(i, &id)| if replaced(i) { Ok(None) } else { place(id).map(Some) })
                    .collect::<Result<_>>()?,
                outputs: step.outputs.iter().map(|&id| place(id)).collect::<Result<_>>()?,
                input_types,
                output_types,
            }));
        }
        self.plans.push(CpuPlan { steps, buffer_of_slot });
        Ok(ProgramId(self.plans.len() - 1))
    }

    fn replay(&mut self, program: ProgramId, times: usize) -> Result<()> {
        self.in_pool(|executor| {
            for _ in 0..times {
                for step in executor.plans[program.0].steps.iter().flatten() {
                    Self::run_step(&mut executor.buffers, step);
                }
            }
        });
        Ok(())
    }

    fn allocated_bytes(&self) -> usize {
        self.buffers.iter().map(|words| 4 * words.len()).sum()
    }

    fn replay_steps(&mut self, program: ProgramId, steps: Range<usize>) -> Result<()> {
        self.in_pool(|executor| {
            for step in executor.plans[program.0].steps[steps].iter().flatten() {
                Self::run_step(&mut executor.buffers, step);
            }
        });
        Ok(())
    }

    fn begin_read(&mut self, program: ProgramId, places: &[(Storage, usize)]) -> Result<PendingRead> {
        let mut all = Vec::with_capacity(places.iter().map(|(_, words)| words).sum());
        for (storage, words) in places {
            all.extend_from_slice(&self.buffers[self.buffer_of(program, storage)?][..*words]);
        }
        Ok(PendingRead::Words(all))
    }

    fn finish_read(&mut self, read: PendingRead) -> Result<Vec<u32>> {
        match read {
            PendingRead::Words(words) => Ok(words),
            PendingRead::Staged(_) => Err(Error::shape("session", "a read of this device", "another device's")),
        }
    }

    fn has_clock(&self, clock: Clock) -> bool {
        clock == Clock::Host
    }

    fn replay_timed(&mut self, program: ProgramId, clock: Clock) -> Result<Timeline> {
        if !self.has_clock(clock) {
            let problem = "has no clock but the host's".to_owned();
            return Err(Error::Device { name: "CPU executor".to_owned(), problem });
        }
        let timeline = self.in_pool(|executor| {
            let start = Instant::now();
            let now = || start.elapsed().as_nanos() as f64;
            let mut launches = Vec::new();
            for step in executor.plans[program.0].steps.iter().flatten() {
                let begin = now();
                Self::run_step(&mut executor.buffers, step);
                launches.push(Some([begin, now()]));
            }
            Timeline { launches, total_ns: now(), ..Timeline::default() }
        });
        Ok(timeline)
    }

    fn read_storage(&mut self, program: ProgramId, storage: &Storage) -> Result<Vec<u32>> {
        Ok(self.buffers[self.buffer_of(program, storage)?].clone())
    }

    fn storage_words(&self, program: ProgramId, storage: &Storage) -> Result<usize> {
        Ok(self.buffers[self.buffer_of(program, storage)?].len())
    }

    fn write_storage(&mut self, program: ProgramId, storage: &Storage, words: &[u32]) -> Result<()> {
        let buffer = self.buffer_of(program, storage)?;
        self.buffers[buffer][..words.len()].copy_from_slice(words);
        Ok(())
    }

    fn clear(&mut self) -> Result<()> {
        *self = Self::default();
        Ok(())
    }
}
