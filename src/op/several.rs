//! Several tensors updated by one optimiser in one launch. Small networks have many small tensors, and a launch each costs
//! more than their arithmetic.

use super::{Case, Values};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Constant, Launch, Products, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorType};

/// Most tensors of one op. How many share a launch is a matter of the storage buffers that a device binds: with two moments
/// one of WebGPU's default 8, seven of Metal's 31.
pub const SEVERAL: usize = 32;
/// Elements that one workgroup of an optimiser's kernel takes.
pub(super) const GROUP_ELEMENTS: usize = 512;

/// What the kernels for several tensors share, joined behind the file that declares them.
pub(super) const SHARE: &str = include_str!("../../shaders/tensor_share.wgsl");

/// Of items that bind `own` storage buffers each, beside `shared` ones, how many a launch takes: launches are as few as the
/// target's buffers allow, and as even as can be, for fewer kernels. None where not even one item fits.
pub(super) fn per_launch(target: &Target, items: usize, own: usize, shared: usize) -> Option<usize> {
    let fit = (target.max_storage_buffers as usize).saturating_sub(shared) / own.max(1);
    (fit > 0).then(|| items.div_ceil(items.div_ceil(fit)))
}

/// An optimiser's op on one tensor. Its inputs are the parameter, the gradient, the moments, then what all tensors share;
/// its outputs parameter and moments, in place. Its kernel binds gradient, parameter, moments, then what is shared.
pub trait Rule: Op + Copy + 'static {
    /// Name of the op on several tensors.
    const NAME: &'static str;

    /// The kernel for as many tensors as its constant `TENSORS` says: bindings as those of the kernel for one, with gradient,
    /// parameter and moments of each tensor, and `elements_0`, `elements_1`, … in place of `elements`.
    fn kernel(&self) -> Shader;
}

const ELEMENTS: [&str; SEVERAL] = [
    "elements_0",
    "elements_1",
    "elements_2",
    "elements_3",
    "elements_4",
    "elements_5",
    "elements_6",
    "elements_7",
    "elements_8",
    "elements_9",
    "elements_10",
    "elements_11",
    "elements_12",
    "elements_13",
    "elements_14",
    "elements_15",
    "elements_16",
    "elements_17",
    "elements_18",
    "elements_19",
    "elements_20",
    "elements_21",
    "elements_22",
    "elements_23",
    "elements_24",
    "elements_25",
    "elements_26",
    "elements_27",
    "elements_28",
    "elements_29",
    "elements_30",
    "elements_31",
];

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

/// Estimated microseconds of launches of some elements, each of as many tensors as `together`.
///
/// A software driver runs all cases of a `switch` under masks, so that there every element of a kernel for six tensors costs
/// the loads and stores of six: on llvmpipe (Mesa 22.3, 2 cores Zen 3) 0.04 us each, and training in that kernel alone gave
/// 657, 749, 695 images/s of `mnist-dae` (271,834 parameters) and 63, 62, 78 of `lfw-conv` (421,955) where one launch per
/// tensor gave 828, 910, 795 and 88, 90, 63 in turn. Only small tensors go together there.
fn estimate_us(target: &Target, together: usize, launches: usize, elements: &[usize]) -> f64 {
    let (launch, element) = if target.is_software() { (10.0, 0.0075 * together as f64) } else { (1.0, 1e-4) };
    launches as f64 * launch + elements.iter().sum::<usize>() as f64 * element
}

impl<R: Rule> Several<R> {
    /// As few launches as the target's storage buffers allow, made from that of the rule for each tensor; none where it
    /// binds too few for two.
    fn together(&self, parts: Parts, target: &Target, launches: &[Launch], elements: &[usize]) -> Option<Variant> {
        let first = launches.first()?;
        let is_own = |binding: &Binding| !matches!(binding, Binding::Input(i) if *i >= parts.own);
        let (own, shared): (Vec<Binding>, Vec<Binding>) = first.bindings.iter().partition(|binding| is_own(binding));
        let most = per_launch(target, self.tensors, own.len(), shared.len())?;
        if most < 2.min(self.tensors) {
            return None;
        }
        let group = |(group, elements): (usize, &[usize])| {
            let tensors = group * most..group * most + elements.len();
            let own = |k: usize| own.iter().map(move |&binding| parts.binding(binding, k));
            let shared = shared.iter().map(|&binding| parts.binding(binding, 0));
            let mut parameters: Vec<_> = ELEMENTS.into_iter().zip(elements.iter().map(|&n| n.into())).collect();
            parameters.extend(first.parameters.iter().filter(|(name, _)| *name != "elements").copied());
            let mut constants = vec![("TENSORS", Constant::from(elements.len()))];
            constants.extend_from_slice(&first.constants);
            Launch {
                shader: self.rule.kernel(),
                constants,
                parameters,
                bindings: tensors.flat_map(own).chain(shared).collect(),
                workgroups: linear_grid(elements.iter().map(|n| n.div_ceil(GROUP_ELEMENTS)).sum(), 1),
            }
        };
        let launches: Vec<Launch> = elements.chunks(most).enumerate().map(group).collect();
        let estimate_us = estimate_us(target, most, launches.len(), elements);
        Some(Variant { name: "together", launches, scratch_bytes: Vec::new(), estimate_us, products: Products::F32 })
    }
}

impl<R: Rule> Op for Several<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let wrong =
            || Error::shape(self.name(), "1 to 32 tensors, each with what the rule takes", inputs.len().to_string());
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
        let estimate_us = estimate_us(target, 1, launches.len(), &elements);
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

/// A case of a rule on several tensors from its cases on one: neighbours of one op from `first` on, each with the shared
/// inputs of the first.
pub(super) fn case<R: Rule>(rule: R, of_one: &[Case], tensors: usize, first: usize) -> Option<Case> {
    let shared = |case: &Case| case.inputs.len() - case.output_types().map_or(0, |types| types.len() + 1);
    let members: Vec<&Case> = of_one.iter().cycle().skip(first).take(tensors).collect();
    let head = members.first()?;
    let own = |case: &&Case| case.inputs[..case.inputs.len() - shared(case)].to_vec();
    let mut inputs: Vec<(TensorType, Values)> = members.iter().flat_map(own).collect();
    inputs.extend_from_slice(&head.inputs[head.inputs.len() - shared(head)..]);
    Some(Case::new(format!("{tensors} from {}", head.label), Several { rule, tensors }, inputs))
}

/// Cases of a rule on a few tensors: drivers take seconds to compile kernels for many.
pub(super) fn cases<R: Rule>(rule: R, of_one: &[Case]) -> Vec<Case> {
    [(1, 0), (2, 1), (7, 0)].into_iter().filter_map(|(tensors, first)| case(rule, of_one, tensors, first)).collect()
}

/// A random case from random ones of the rule on one tensor.
pub(super) fn random<R: Rule>(
    draw: &mut super::Draw,
    rule: R,
    of_one: impl Fn(&mut super::Draw) -> Result<Case>,
) -> Result<Case> {
    let tensors = draw.from(1..=8);
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::op::{Adam, AdamConvention, Sgd, SgdConvention, Tick};

    const ADAM: Adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, convention: AdamConvention::Keras };
    const SGD: Sgd = Sgd { momentum: 0.0, nesterov: false, convention: SgdConvention::Keras };

    /// Tensors in each launch of the kernel for several, on a GPU that binds this many storage buffers.
    fn together<R: Rule>(
        rule: R,
        moments: usize,
        shared: &[TensorType],
        tensors: usize,
        buffers: u32,
    ) -> Option<Vec<usize>> {
        let own = (0..tensors).flat_map(|k| vec![TensorType::f32([100 + 600 * k]); 2 + moments]);
        let inputs: Vec<TensorType> = own.chain(shared.iter().cloned()).collect();
        let op = Several { rule, tensors };
        let outputs = op.infer(&inputs).unwrap();
        let target = Target { max_storage_buffers: buffers, ..Target::DEFAULT_LIMITS };
        let signature = Signature { inputs: &inputs, outputs: &outputs };
        let variant = op.variants(&signature, &target).into_iter().find(|variant| variant.name == "together")?;
        assert!(variant.launches.iter().all(|launch| launch.bindings.len() <= buffers as usize));
        let elements =
            |launch: &Launch| launch.parameters.iter().filter(|(name, _)| name.starts_with("elements_")).count();
        Some(variant.launches.iter().map(elements).collect())
    }

    #[test]
    fn a_launch_takes_as_many_tensors_as_its_device_has_bindings_for() {
        let adam = |tensors, buffers| together(ADAM, 2, &[Tick::clock(), TensorType::f32([])], tensors, buffers);
        let sgd = |tensors, buffers| together(SGD, 0, &[TensorType::f32([])], tensors, buffers);
        assert_eq!(adam(20, 1000), Some(vec![20]));
        assert_eq!(adam(20, 31), Some(vec![7, 7, 6]));
        assert_eq!(adam(8, 31), Some(vec![4, 4]));
        assert_eq!(adam(1, 8), Some(vec![1]));
        assert_eq!(adam(2, 8), None);
        assert_eq!(sgd(SEVERAL, 8), Some(vec![3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2]));
    }
}
