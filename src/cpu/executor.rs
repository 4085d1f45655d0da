//! The fast CPU executor: the same plan as a GPU runs, op by op, in `f32`.

use crate::error::{Error, Result};
use crate::graph::{CpuCall, Op, Signature};
use crate::plan::{Plan, Storage};
use crate::session::{Backend, ProgramId};
use crate::tensor::{Array, TensorType};
use std::collections::HashMap;
use std::sync::Arc;

/// Buffers and recorded plans in host memory.
#[derive(Default)]
pub struct CpuProgram {
    buffers: Vec<Vec<u32>>,
    by_name: HashMap<String, usize>,
    /// Buffers that temporaries of all plans share, the largest first.
    shared: Vec<usize>,
    plans: Vec<Vec<CpuStep>>,
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

impl Backend for CpuProgram {
    fn allocate(&mut self, name: &str, ty: &TensorType) -> Result<()> {
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.to_owned(), self.buffers.len());
            self.buffers.push(vec![0; ty.words()]);
        }
        Ok(())
    }

    fn write(&mut self, name: &str, words: &[u32]) -> Result<()> {
        let buffer = self.named(name)?;
        self.buffers[buffer].copy_from_slice(words);
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
        for step in plan.steps().iter().filter(|step| !step.op.is_view()) {
            let place = |id| match plan.storage(id) {
                Some(Storage::Slot(slot)) => Ok(buffer_of_slot[*slot]),
                Some(Storage::Store(name)) => self.named(name),
                None => Err(Error::shape("plan", "a buffer for every tensor", step.op.name())),
            };
            let (input_types, output_types) = plan.types(step);
            let replaced = |i: usize| step.op.in_place().iter().any(|pair| pair.1 == i);
            let inputs = step.inputs.iter().enumerate();
            steps.push(CpuStep {
                op: step.op.clone(),
                inputs: inputs
                    .map(|(i, &id)| if replaced(i) { Ok(None) } else { place(id).map(Some) })
                    .collect::<Result<_>>()?,
                outputs: step.outputs.iter().map(|&id| place(id)).collect::<Result<_>>()?,
                input_types,
                output_types,
            });
        }
        self.plans.push(steps);
        Ok(ProgramId(self.plans.len() - 1))
    }

    fn replay(&mut self, program: ProgramId, times: usize) -> Result<()> {
        for _ in 0..times {
            for step in &self.plans[program.0] {
                Self::run_step(&mut self.buffers, step);
            }
        }
        Ok(())
    }

    fn allocated_bytes(&self) -> usize {
        self.buffers.iter().map(|words| 4 * words.len()).sum()
    }
}
