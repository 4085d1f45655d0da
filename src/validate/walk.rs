//! A recorded plan, step by step, each step held against its op's reference on the inputs that the device had.

use super::compare::{Comparison, Mismatch, compare};
use crate::error::Result;
use crate::graph::Signature;
use crate::half::nearest_half;
use crate::kernel::{Products, Tolerance};
use crate::plan::{Plan, Step, Storage};
use crate::session::{ProgramId, Session};
use crate::tensor::{Array, TensorId, TensorType};

/// What stands behind every tensor until something writes there: a NaN as a real.
const GUARD: u32 = 0xFFA5_C3D2;
/// What outputs and scratch hold before each of the two runs: a NaN, then a small real. An element that keeps both
/// was never written, and one that depends on what was there before differs between the runs.
const FILLS: [u32; 2] = [0xFFE5_1F1E, 0x3DCC_CCCD];

/// Why a step failed.
#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    /// One line: which tensor, which element, both values.
    pub what: String,
    /// The first wrong element, if it is an element that failed.
    pub mismatch: Option<Mismatch>,
    /// What was launched, with constants, parameters and workgroup counts; empty on the CPU executor.
    pub launches: Vec<String>,
}

/// What became of one step.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// Position in [`Plan::steps`].
    pub step: usize,
    /// The op's name.
    pub op: &'static str,
    /// The kernel's name; on the CPU executor `cpu`, or `reference` where it runs the reference itself.
    pub variant: &'static str,
    /// Error of the element nearest to its bound, or furthest past it.
    pub worst: f64,
    /// That element's bound.
    pub tolerance: f64,
    /// `worst / tolerance`.
    pub ratio: f64,
    /// What failed, if anything did.
    pub failure: Option<Failure>,
}

/// What the reference gave for some inputs; kept, because several variants of one case ask for the same.
#[derive(Default)]
pub(super) struct References {
    of_step: Vec<Option<StepReference>>,
}

struct StepReference {
    /// What the kernel rounds; the reference has it rounded as well.
    products: Products,
    inputs: Vec<Vec<u32>>,
    outputs: Vec<Array>,
    magnitudes: Vec<Option<Array>>,
    tolerances: Vec<Tolerance>,
}

/// Words from the first fence to the end of its buffer, put behind each tensor of a session that a plan is walked on.
pub(super) const GUARD_WORDS: usize = 64;

/// Runs every step of a recorded plan once, in order, and holds each against its op's reference. The tensors of the
/// store must have been written. Call [`Session::set_guard_words`] before recording: without room behind the tensors
/// nothing can be seen there.
///
/// # Errors
/// If the device is lost.
pub fn walk(session: &mut Session, plan: &Plan, program: ProgramId) -> Result<Vec<Outcome>> {
    let options = Options { bounds: Bounds::OfTheOp, again: program };
    Ok(walk_with(session, plan, program, options, &mut References::default(), |_| true)?.outcomes)
}

/// As [`walk`], with references that were computed before, and until `go_on` says no.
pub(super) fn walk_with(
    session: &mut Session,
    plan: &Plan,
    program: ProgramId,
    options: Options,
    references: &mut References,
    mut go_on: impl FnMut(&Outcome) -> bool,
) -> Result<Walked> {
    let mut walker =
        Walker { session, plan, program, options, values: vec![None; plan.tensors().len()], references, failure: None };
    walker.references.of_step.resize_with(plan.steps().len(), || None);
    let mut outcomes = Vec::new();
    for (number, step) in plan.steps().iter().enumerate() {
        if !step.op.has_launches() {
            for (output, input) in step.outputs.iter().zip(&step.inputs) {
                walker.values[output.index()] = walker.values[input.index()].clone();
            }
            continue;
        }
        let comparison = walker.step(number, step)?;
        let variant = step.variant.as_ref();
        let failure = walker.failure.take().map(|(what, mismatch)| Failure {
            what,
            mismatch,
            launches: variant.map_or(Vec::new(), |v| v.launches.iter().map(ToString::to_string).collect()),
        });
        let variant = variant.map_or_else(|| walker.executor_kernel(step), |v| v.name);
        let op = step.op.name();
        let Comparison { worst, tolerance, ratio, .. } = comparison;
        let outcome = Outcome { step: number, op, variant, worst, tolerance, ratio, failure };
        let on = go_on(&outcome);
        outcomes.push(outcome);
        if !on {
            break;
        }
    }
    Ok(Walked { outcomes, values: walker.values })
}

/// How a walk goes about it.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub(super) bounds: Bounds,
    /// What the second run of each step is taken from: the program itself, or one of the same plan with other grids.
    pub(super) again: ProgramId,
}

/// How wide the absolute part of a tolerance is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Bounds {
    /// As the op states it, for values around one.
    OfTheOp,
    /// Narrowed to the largest expected element where that is less than one: the gradients of a whole network are so
    /// small that any value of theirs would pass else.
    OfTheValues,
}

impl Bounds {
    fn of(self, tolerance: Tolerance, expected: &Array) -> Tolerance {
        let largest = expected.f64().iter().filter(|e| e.is_finite()).fold(0.0f64, |m, e| m.max(e.abs()));
        let narrow = |atol: f64| match self {
            Self::OfTheOp => atol,
            // Numbers below the least normal one may count as zero on a device.
            Self::OfTheValues => (atol * largest.min(1.0)).max(f64::from(f32::MIN_POSITIVE)),
        };
        match tolerance {
            Tolerance::Exact => Tolerance::Exact,
            Tolerance::Close { rtol, atol } => Tolerance::Close { rtol, atol: narrow(atol) },
            Tolerance::Sum { terms, rtol, atol } if atol > 0.0 => Tolerance::Sum { terms, rtol, atol: narrow(atol) },
            plain => plain,
        }
    }
}

/// What a walk saw.
pub(super) struct Walked {
    pub(super) outcomes: Vec<Outcome>,
    /// Words of each tensor of the plan, as the device had it.
    pub(super) values: Vec<Option<Vec<u32>>>,
}

struct Walker<'a> {
    session: &'a mut Session,
    plan: &'a Plan,
    program: ProgramId,
    options: Options,
    /// Words of each tensor when it was first seen.
    values: Vec<Option<Vec<u32>>>,
    references: &'a mut References,
    /// The first thing that went wrong in the current step.
    failure: Option<(String, Option<Mismatch>)>,
}

impl Walker<'_> {
    fn step(&mut self, number: usize, step: &Step) -> Result<Comparison> {
        let (input_types, output_types) = self.plan.types(step);
        let signature = Signature { inputs: &input_types, outputs: &output_types };
        let inputs = self.inputs(step, &input_types)?;
        let first = self.run(self.program, number, step, &signature, &inputs, FILLS[0])?;
        let reference = self.reference(number, step, &signature, &inputs);
        let mut total = Comparison::empty();
        for (o, words) in first.iter().enumerate() {
            let got = Array::from_words(words, &output_types[o]);
            let expected = &reference.outputs[o];
            let tolerance = reference.products.tolerance(reference.tolerances[o]);
            let tolerance = self.options.bounds.of(tolerance, expected);
            let found = compare(expected, &got, tolerance, reference.magnitudes[o].as_ref());
            if let Some(failure) = &found.failure {
                let at = found.mismatch.as_ref().map_or(String::new(), |m| place(m.index, &output_types[o]));
                self.fail(format!("output {o}{at}, {failure}"), found.mismatch.clone());
            }
            if found.ratio > total.ratio || (total.ratio == 0.0 && found.tolerance > total.tolerance) {
                total = found;
            }
        }
        self.references.of_step[number] = Some(reference);
        // A wrong step is not run again: its failure is clear, and it may have spoiled what the second run reads.
        if self.failure.is_none() || first.iter().any(|words| words.contains(&FILLS[0])) {
            self.run_again(number, step, &signature, &inputs, &first)?;
        }
        for (&id, words) in step.outputs.iter().zip(first) {
            self.values[id.index()] = Some(words);
        }
        Ok(total)
    }

    /// The second run, on other leftovers: the same bits, and no element that keeps what was there before.
    fn run_again(
        &mut self,
        number: usize,
        step: &Step,
        signature: &Signature<'_>,
        inputs: &[Vec<u32>],
        first: &[Vec<u32>],
    ) -> Result<()> {
        for &(_, input) in step.op.in_place() {
            let fenced = self.fenced(step.inputs[input], inputs[input].clone())?;
            self.write(step.inputs[input], &fenced)?;
        }
        let second = self.run(self.options.again, number, step, signature, inputs, FILLS[1])?;
        for (o, (first, second)) in first.iter().zip(&second).enumerate() {
            let ty = &signature.outputs[o];
            let untouched = |(a, b): (&u32, &u32)| *a == FILLS[0] && *b == FILLS[1];
            if let Some(index) = first.iter().zip(second).position(untouched) {
                let at = place(index, ty);
                // It comes before what the comparison says: the value there is no result at all.
                self.failure = Some((format!("output {o}{at}, element {index} was never written"), None));
                return Ok(());
            }
            if let Some(index) = first.iter().zip(second).position(|(a, b)| a != b) {
                let value = |words: &[u32]| Array::from_words(&words[index..=index], &TensorType::f32([1])).f64()[0];
                let (a, b, at) = (value(first), value(second), place(index, ty));
                self.fail(format!("output {o}{at}, element {index} is {a:e} in one run and {b:e} in the next"), None);
            }
        }
        Ok(())
    }

    fn fail(&mut self, what: String, mismatch: Option<Mismatch>) {
        self.failure.get_or_insert((what, mismatch));
    }

    /// The words of all inputs as the device has them, which must be those that were there when each was made.
    fn inputs(&mut self, step: &Step, types: &[TensorType]) -> Result<Vec<Vec<u32>>> {
        let mut inputs = Vec::new();
        for (i, (&id, ty)) in step.inputs.iter().zip(types).enumerate() {
            let mut words = self.read(id)?;
            words.truncate(ty.words());
            if self.values[id.index()].as_ref().is_some_and(|made| *made != words) {
                let made = &self.plan.tensors()[id.index()].name;
                self.fail(
                    format!("input {i} ({made}) was overwritten between the step that made it and this one"),
                    None,
                );
            }
            self.values[id.index()].get_or_insert_with(|| words.clone());
            inputs.push(words);
        }
        Ok(inputs)
    }

    /// Poisons and fences, runs the step, looks at the fences and the inputs, and returns the outputs.
    fn run(
        &mut self,
        program: ProgramId,
        number: usize,
        step: &Step,
        signature: &Signature<'_>,
        inputs: &[Vec<u32>],
        fill: u32,
    ) -> Result<Vec<Vec<u32>>> {
        let replaced = |input: usize| step.op.in_place().iter().any(|pair| pair.1 == input);
        let replaces = |output: usize| step.op.in_place().iter().any(|pair| pair.0 == output);
        for (i, &id) in step.inputs.iter().enumerate() {
            let fenced = self.fenced(id, inputs[i].clone())?;
            if fenced.len() > inputs[i].len() {
                self.write(id, &fenced)?;
            }
        }
        for (o, &id) in step.outputs.iter().enumerate().filter(|&(o, _)| !replaces(o)) {
            let fenced = self.fenced(id, vec![fill; signature.outputs[o].words()])?;
            self.write(id, &fenced)?;
        }
        let scratch = scratch(step);
        for (storage, words) in &scratch {
            let all = self.session.storage_words(self.program, storage)?;
            self.session.write_storage(self.program, storage, &fence(vec![fill; *words], all))?;
        }
        self.session.run_step(program, number)?;
        let mut outputs = Vec::new();
        for (o, &id) in step.outputs.iter().enumerate() {
            let mut words = self.read(id)?;
            let own = signature.outputs[o].words();
            if words[own..].iter().any(|&word| word != GUARD) {
                self.fail(format!("written past the end of output {o}"), None);
            }
            words.truncate(own);
            outputs.push(words);
        }
        for (i, &id) in step.inputs.iter().enumerate().filter(|&(i, _)| !replaced(i)) {
            let words = self.read(id)?;
            if words[..inputs[i].len()] != inputs[i] {
                self.fail(format!("input {i} was changed"), None);
            } else if words[inputs[i].len()..].iter().any(|&word| word != GUARD) {
                self.fail(format!("written past the end of input {i}"), None);
            }
        }
        for (number, (storage, own)) in scratch.iter().enumerate() {
            let words = self.session.read_storage(self.program, storage)?;
            if words[*own..].iter().any(|&word| word != GUARD) {
                self.fail(format!("written past the end of scratch buffer {number}"), None);
            }
        }
        Ok(outputs)
    }

    fn reference(
        &mut self,
        number: usize,
        step: &Step,
        signature: &Signature<'_>,
        words: &[Vec<u32>],
    ) -> StepReference {
        let products = step.variant.as_ref().map_or(Products::F32, |variant| variant.products);
        if let Some(known) = self.references.of_step[number].take()
            && (known.products, &known.inputs[..]) == (products, words)
        {
            return known;
        }
        let mut inputs: Vec<Array> =
            words.iter().zip(signature.inputs).map(|(w, ty)| Array::from_words(w, ty)).collect();
        for &input in products.rounded_inputs() {
            inputs[input].f64_mut().iter_mut().for_each(|v| *v = nearest_half(*v));
        }
        let inputs: Vec<&Array> = inputs.iter().collect();
        let mut outputs: Vec<Array> = signature.outputs.iter().map(Array::zeros).collect();
        step.op.reference(signature, &inputs, &mut outputs);
        let mut tolerances = step.op.tolerance(signature);
        tolerances.resize(outputs.len(), Tolerance::Exact);
        let sums = tolerances.iter().any(|t| matches!(t, Tolerance::Sum { .. }));
        let filtered = match &step.variant {
            Some(_) => products == Products::Filtered,
            None => step.op.computes_filtered(signature),
        };
        let magnitudes = match (sums, filtered) {
            (false, _) => Vec::new(),
            (true, false) => step.op.magnitude(signature, &inputs),
            (true, true) => step.op.filtered_magnitude(signature, &inputs),
        };
        let mut magnitudes: Vec<Option<Array>> = magnitudes.into_iter().map(Some).collect();
        magnitudes.resize(outputs.len(), None);
        StepReference { products, inputs: words.to_vec(), outputs, magnitudes, tolerances }
    }

    /// What the CPU executor runs for a step.
    fn executor_kernel(&self, step: &Step) -> &'static str {
        let (input_types, output_types) = self.plan.types(step);
        let inputs: Vec<Vec<u32>> = step.inputs.iter().filter_map(|id| self.values[id.index()].clone()).collect();
        let signature = Signature { inputs: &input_types, outputs: &output_types };
        if crate::cpu::has_kernel(step.op.as_ref(), &signature, &inputs) { "cpu" } else { "reference" }
    }

    fn storage(&self, id: TensorId) -> Result<Storage> {
        let name = || self.plan.tensors()[id.index()].name.clone();
        self.plan.storage(id).cloned().ok_or_else(|| crate::error::Error::shape("walk", "a tensor of the plan", name()))
    }

    fn read(&mut self, id: TensorId) -> Result<Vec<u32>> {
        let storage = self.storage(id)?;
        self.session.read_storage(self.program, &storage)
    }

    fn write(&mut self, id: TensorId, words: &[u32]) -> Result<()> {
        let storage = self.storage(id)?;
        self.session.write_storage(self.program, &storage, words)
    }

    /// A tensor's words and the fence behind them, up to the end of its buffer.
    fn fenced(&mut self, id: TensorId, words: Vec<u32>) -> Result<Vec<u32>> {
        let storage = self.storage(id)?;
        Ok(fence(words, self.session.storage_words(self.program, &storage)?))
    }
}

fn fence(mut words: Vec<u32>, all: usize) -> Vec<u32> {
    let own = words.len();
    words.resize(all.max(own), GUARD);
    words
}

/// The scratch buffers of a step, and the words that it may use of each.
fn scratch(step: &Step) -> Vec<(Storage, usize)> {
    let bytes = step.variant.as_ref().map_or(&[][..], |v| &v.scratch_bytes);
    step.scratch.iter().zip(bytes).map(|(&slot, &bytes)| (Storage::Slot(slot), bytes.div_ceil(4))).collect()
}

/// ` at [b, h, w, c]` of an element, where the tensor has axes to speak of.
fn place(index: usize, ty: &TensorType) -> String {
    if ty.shape.rank() < 2 { String::new() } else { format!(" at {:?}", ty.shape.coordinates(index)) }
}
