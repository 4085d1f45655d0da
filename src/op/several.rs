//! Several tensors updated by one optimiser in one launch. Small networks have many small tensors, and a launch each costs
//! more than their arithmetic.

use super::{Case, Values};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Launch, Products, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorType};

/// Most tensors of one launch: with two moments they take 24 storage buffers of the 31 that Metal has.
pub const SEVERAL: usize = 6;
/// Elements that one workgroup of an optimiser's kernel takes.
pub(super) const GROUP_ELEMENTS: usize = 512;

/// An optimiser's op on one tensor. Its inputs are the parameter, the gradient, the moments, then what all tensors share;
/// its outputs parameter and moments, in place. Its kernel binds gradient, parameter, moments, then what is shared.
pub trait Rule: Op + Copy + 'static {
    /// Name of the op on several tensors.
    const NAME: &'static str;

    /// The kernel for [`SEVERAL`] tensors: bindings as those of the kernel for one, with gradient, parameter and moments of
    /// each tensor, and `elements_0`, `elements_1`, … in place of `elements`.
    fn kernel(&self) -> Shader;
}

/// A rule on one to [`SEVERAL`] tensors.
///
/// Inputs: those of the rule that are not shared for each tensor, tensor by tensor, then those that are. Outputs: those of the
/// rule, tensor by tensor. The result is the rule's on each tensor, to the bit.
#[derive(Clone, Copy, Debug)]
pub struct Several<R> {
    /// The update of one tensor.
    pub rule: R,
    /// How many there are.
    pub tensors: usize,
}

/// How inputs and outputs fall to tensors.
#[derive(Clone, Copy)]
struct Parts {
    tensors: usize,
    /// Inputs of each tensor: parameter, gradient, moments.
    own: usize,
    /// Outputs of each tensor: parameter, moments.
    outputs: usize,
}

impl Parts {
    /// Parts of a signature that was inferred.
    fn of(tensors: usize, signature: &Signature<'_>) -> Self {
        let outputs = signature.outputs.len() / tensors.max(1);
        Self { tensors, own: outputs + 1, outputs }
    }

    /// The rule's inputs for tensor `k`.
    fn inputs<T: Clone>(&self, all: &[T], k: usize) -> Vec<T> {
        let shared = &all[self.tensors * self.own..];
        [&all[k * self.own..(k + 1) * self.own], shared].concat()
    }

    /// A binding of the rule's launch as one of the whole, for tensor `k`.
    fn binding(&self, binding: Binding, k: usize) -> Binding {
        match binding {
            Binding::Input(i) if i < self.own => Binding::Input(k * self.own + i),
            Binding::Input(i) => Binding::Input((self.tensors - 1) * self.own + i),
            Binding::Output(o) => Binding::Output(k * self.outputs + o),
            Binding::Scratch(s) => Binding::Scratch(s),
        }
    }
}

/// Estimated microseconds of the launches of one variant.
///
/// A software driver runs all cases of a `switch` under masks, so that there every element of the kernel for six tensors costs
/// the loads and stores of six: on llvmpipe (Mesa 22.3, 2 cores Zen 3) 0.04 us each, and training in that kernel alone gave
/// 657, 749, 695 images/s of `mnist-dae` (271,834 parameters) and 63, 62, 78 of `lfw-conv` (421,955) where one launch per
/// tensor gave 828, 910, 795 and 88, 90, 63 in turn. Only small tensors go together there.
fn estimate_us(target: &Target, together: bool, launches: usize, elements: &[usize]) -> f64 {
    let (launch, element) = match (target.is_software(), together) {
        (true, true) => (10.0, 0.045),
        (true, false) => (10.0, 0.005),
        (false, _) => (1.0, 1e-4),
    };
    launches as f64 * launch + elements.iter().sum::<usize>() as f64 * element
}

impl<R: Rule> Several<R> {
    /// One launch for all tensors, made from that of the rule for each.
    fn together(&self, parts: Parts, target: &Target, launches: &[Launch], elements: &[usize]) -> Option<Variant> {
        const ELEMENTS: [&str; SEVERAL] =
            ["elements_0", "elements_1", "elements_2", "elements_3", "elements_4", "elements_5"];
        let first = launches.first()?;
        let is_own = |binding: &Binding| !matches!(binding, Binding::Input(i) if *i >= parts.own);
        let (own, shared): (Vec<Binding>, Vec<Binding>) = first.bindings.iter().partition(|binding| is_own(binding));
        let mut scratch_bytes = Vec::new();
        let mut bindings = Vec::new();
        for k in 0..SEVERAL {
            for &binding in &own {
                bindings.push(match binding {
                    _ if k < self.tensors => parts.binding(binding, k),
                    Binding::Input(_) => parts.binding(binding, 0),
                    // What is written may be bound once only: a buffer of nothing stands for a tensor that is not there.
                    _ => {
                        scratch_bytes.push(4);
                        Binding::Scratch(scratch_bytes.len() - 1)
                    }
                });
            }
        }
        bindings.extend(shared.into_iter().map(|binding| parts.binding(binding, 0)));
        let mut parameters = Vec::new();
        parameters.extend((0..SEVERAL).map(|k| (ELEMENTS[k], elements.get(k).copied().unwrap_or(0).into())));
        parameters.extend(first.parameters.iter().filter(|(name, _)| *name != "elements").copied());
        let groups = elements.iter().map(|n| n.div_ceil(GROUP_ELEMENTS)).sum();
        let launch = Launch {
            shader: self.rule.kernel(),
            constants: first.constants.clone(),
            parameters,
            bindings,
            workgroups: linear_grid(groups, 1),
        };
        let estimate_us = estimate_us(target, true, 1, elements);
        Some(Variant { scratch_bytes, ..Variant::single("together", estimate_us, launch) })
    }
}

impl<R: Rule> Op for Several<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let wrong =
            || Error::shape(self.name(), "1 to 6 tensors, each with what the rule takes", inputs.len().to_string());
        if !(1..=SEVERAL).contains(&self.tensors) || inputs.is_empty() {
            return Err(wrong());
        }
        // The rule alone knows how many inputs it takes of each tensor: of the possible numbers one fits.
        let fits = |own: usize| -> Option<Vec<TensorType>> {
            inputs.get(self.tensors * own..)?;
            let parts = Parts { tensors: self.tensors, own, outputs: own - 1 };
            let outputs = (0..self.tensors).map(|k| self.rule.infer(&parts.inputs(inputs, k)));
            let outputs: Vec<Vec<TensorType>> = outputs.collect::<Result<_>>().ok()?;
            outputs.iter().all(|outputs| outputs.len() == parts.outputs).then(|| outputs.concat())
        };
        (2..=4).find_map(fits).ok_or_else(wrong)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        const ONE: [(usize, usize); SEVERAL] = in_place(1);
        const TWO: [(usize, usize); 2 * SEVERAL] = in_place(2);
        const THREE: [(usize, usize); 3 * SEVERAL] = in_place(3);
        let n = self.tensors.min(SEVERAL);
        match self.rule.in_place().len() {
            1 => &ONE[..n],
            2 => &TWO[..2 * n],
            _ => &THREE[..3 * n],
        }
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let parts = Parts::of(self.tensors, signature);
        // Of each tensor the first kernel, which the one for several is made like, and the cheapest.
        let (mut first, mut launches) = (Vec::new(), Vec::new());
        let mut elements = Vec::new();
        for k in 0..self.tensors {
            let inputs = parts.inputs(signature.inputs, k);
            let outputs = &signature.outputs[k * parts.outputs..(k + 1) * parts.outputs];
            let variants = self.rule.variants(&Signature { inputs: &inputs, outputs }, target);
            first.extend(variants.first().into_iter().flat_map(|variant| variant.launches.clone()));
            let best = variants.into_iter().min_by(|a, b| a.estimate_us.total_cmp(&b.estimate_us));
            launches.extend(best.into_iter().flat_map(|variant| variant.launches));
            elements.push(inputs[0].shape.len());
        }
        let together = self.together(parts, target, &first, &elements);
        for (k, launch) in launches.iter_mut().enumerate() {
            launch.bindings.iter_mut().for_each(|binding| *binding = parts.binding(*binding, k));
        }
        let estimate_us = estimate_us(target, false, launches.len(), &elements);
        let single =
            Variant { name: "one by one", launches, scratch_bytes: Vec::new(), estimate_us, products: Products::F32 };
        let fits = |variant: &Variant| {
            variant.launches.iter().all(|launch| launch.bindings.len() <= target.max_storage_buffers as usize)
        };
        [Some(single), together.filter(fits)].into_iter().flatten().collect()
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let parts = Parts::of(self.tensors, signature);
        for (k, outputs) in outputs.chunks_mut(parts.outputs).enumerate() {
            let types = parts.inputs(signature.inputs, k);
            let output_types = &signature.outputs[k * parts.outputs..(k + 1) * parts.outputs];
            let signature = Signature { inputs: &types, outputs: output_types };
            self.rule.reference(&signature, &parts.inputs(inputs, k), outputs);
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        // On the stack: a step allocates nothing.
        const MOST: usize = 8;
        let parts = Parts::of(self.tensors, signature);
        let shared = &call.inputs[self.tensors * parts.own..];
        if parts.own + shared.len() > MOST || parts.outputs > MOST {
            return false;
        }
        call.outputs.chunks_mut(parts.outputs).enumerate().all(|(k, words)| {
            let own = k * parts.own..(k + 1) * parts.own;
            let mut inputs: [&[u32]; MOST] = [&[]; MOST];
            inputs[..parts.own].copy_from_slice(&call.inputs[own.clone()]);
            inputs[parts.own..parts.own + shared.len()].copy_from_slice(shared);
            let mut outputs: [&mut [u32]; MOST] = std::array::from_fn(|_| -> &mut [u32] { &mut [] });
            outputs.iter_mut().zip(words).for_each(|(output, words)| *output = words);
            // Types of a tensor's own inputs: those of what all share say nothing that a rule asks for.
            let outputs_of = k * parts.outputs..(k + 1) * parts.outputs;
            let signature = Signature { inputs: &signature.inputs[own], outputs: &signature.outputs[outputs_of] };
            let inputs = &inputs[..parts.own + shared.len()];
            self.rule.compute(&signature, &mut CpuCall { inputs, outputs: &mut outputs[..parts.outputs] })
        })
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let parts = Parts::of(self.tensors, signature);
        let tolerance = |k: usize| {
            let inputs = parts.inputs(signature.inputs, k);
            let outputs = &signature.outputs[k * parts.outputs..(k + 1) * parts.outputs];
            self.rule.tolerance(&Signature { inputs: &inputs, outputs })
        };
        (0..self.tensors).flat_map(tolerance).collect()
    }
}

/// Parameter and moments of each tensor replace the inputs that they come from, which the gradient stands among.
const fn in_place<const N: usize>(outputs: usize) -> [(usize, usize); N] {
    let mut pairs = [(0, 0); N];
    let mut i = 0;
    while i < N {
        let (tensor, output) = (i / outputs, i % outputs);
        pairs[i] = (i, tensor * (outputs + 1) + if output == 0 { 0 } else { output + 1 });
        i += 1;
    }
    pairs
}

/// Cases of a rule on several tensors from its cases on one: neighbours of one op, each with the shared inputs of the first.
pub(super) fn cases<R: Rule>(rule: R, of_one: &[Case]) -> Vec<Case> {
    let shared = |case: &Case| case.inputs.len() - case.output_types().map_or(0, |types| types.len() + 1);
    let mut cases = Vec::new();
    for (tensors, first) in [(1, 0), (2, 1), (5, 0), (SEVERAL, 0)] {
        let members: Vec<&Case> = of_one.iter().cycle().skip(first).take(tensors).collect();
        let Some(head) = members.first() else { continue };
        let own = |case: &&Case| case.inputs[..case.inputs.len() - shared(case)].to_vec();
        let mut inputs: Vec<(TensorType, Values)> = members.iter().flat_map(own).collect();
        inputs.extend_from_slice(&head.inputs[head.inputs.len() - shared(head)..]);
        cases.push(Case::new(format!("{tensors} from {}", head.label), Several { rule, tensors }, inputs));
    }
    cases
}

/// A random case from random ones of the rule on one tensor.
pub(super) fn random<R: Rule>(
    draw: &mut super::Draw,
    rule: R,
    of_one: impl Fn(&mut super::Draw) -> Result<Case>,
) -> Result<Case> {
    let tensors = draw.from(1..=SEVERAL);
    let members: Vec<Case> = (0..tensors).map(|_| of_one(draw)).collect::<Result<_>>()?;
    let mut inputs = Vec::new();
    for member in &members {
        let own = member.output_types()?.len() + 1;
        inputs.extend_from_slice(&member.inputs[..own]);
    }
    if let Some(member) = members.first() {
        inputs.extend_from_slice(&member.inputs[member.output_types()?.len() + 1..]);
    }
    Ok(Case::new(format!("{tensors} tensors"), Several { rule, tensors }, inputs))
}
