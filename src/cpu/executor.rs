//! The fast CPU executor: the same plan as a GPU runs, op by op, in `f32`.

use crate::error::{Error, Result};
use crate::graph::{CpuCall, Op, Signature};
use crate::plan::{Plan, Storage};
use crate::session::{Backend, Clock, ProgramId, Timeline};
use crate::tensor::{Array, TensorType};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

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
    /// The steps; none for a view, which does nothing.
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
        let mut taken: Vec<Vec<u32>> = step.outputs.iter().map(|&b| std::mem::take(&mut buffers[b])).collect();
        {
            let input = |(i, buffer): (usize, &Option<usize>)| -> &[u32] {
                buffer.map_or(&[], |b| &buffers[b][..step.input_types[i].words()])
            };
            let inputs: Vec<&[u32]> = step.inputs.iter().enumerate().map(input).collect();
            let outputs = taken.iter_mut().zip(&step.output_types);
            let mut outputs: Vec<&mut [u32]> = outputs.map(|(words, ty)| &mut words[..ty.words()]).collect();
            let signature = Signature { inputs: &step.input_types, outputs: &step.output_types };
            let mut call = CpuCall { inputs: &inputs, outputs: &mut outputs };
            if !step.op.compute(&signature, &mut call) {
                run_reference(step, &signature, &mut call);
            }
        }
        for (&b, words) in step.outputs.iter().zip(taken) {
            buffers[b] = words;
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

impl Backend for CpuProgram {
    fn allocate(&mut self, name: &str, ty: &TensorType) -> Result<()> {
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.to_owned(), self.buffers.len());
            self.buffers.push(vec![0; ty.words()]);
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
                self.buffers[buffer].resize(words, 0);
            }
            buffer_of_slot[slot] = buffer;
        }
        let mut steps = Vec::new();
        for step in plan.steps() {
            if step.op.is_view() {
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
        for _ in 0..times {
            for step in self.plans[program.0].steps.iter().flatten() {
                Self::run_step(&mut self.buffers, step);
            }
        }
        Ok(())
    }

    fn allocated_bytes(&self) -> usize {
        self.buffers.iter().map(|words| 4 * words.len()).sum()
    }

    fn replay_step(&mut self, program: ProgramId, step: usize) -> Result<()> {
        if let Some(step) = &self.plans[program.0].steps[step] {
            Self::run_step(&mut self.buffers, step);
        }
        Ok(())
    }

    fn has_clock(&self, clock: Clock) -> bool {
        clock == Clock::Host
    }

    fn replay_timed(&mut self, program: ProgramId, clock: Clock) -> Result<Timeline> {
        if !self.has_clock(clock) {
            let problem = "has no clock but the host's".to_owned();
            return Err(Error::Device { name: "CPU executor".to_owned(), problem });
        }
        let start = Instant::now();
        let now = || start.elapsed().as_nanos() as f64;
        let mut launches = Vec::new();
        for step in self.plans[program.0].steps.iter().flatten() {
            let begin = now();
            Self::run_step(&mut self.buffers, step);
            launches.push(Some([begin, now()]));
        }
        Ok(Timeline { launches, total_ns: now(), ..Timeline::default() })
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
