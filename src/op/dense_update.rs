//! The gradients of dense layers and the update of their weights by them as one op: no gradient is written.

use super::adam::{BIAS_CORRECTION, FLUSHED};
use super::conv2d::reals;
use super::several::{Rule, per_launch};
use super::{Adam, AdamConvention, Adamax, AdamaxConvention, Case, Draw, Nadam, Several, Tick, Values, WeightBiasGrad};
use crate::error::{Error, Result};
use crate::graph::{Op, Signature};
use crate::kernel::{
    Binding, Constant, Cost, Launch, Precision, Products, Shader, Target, Tolerance, Variant, Word, linear_grid,
};
use crate::tensor::{Array, TensorType};

/// Most layers of one op. How many share a launch is a matter of the storage buffers that a device binds: three of Metal's 31.
pub const LAYERS_TOGETHER: usize = 16;

/// An optimiser with two moments.
#[derive(Clone, Copy, Debug)]
pub enum MomentsRule {
    /// [`Adam`].
    Adam(Adam),
    /// [`Adamax`].
    Adamax(Adamax),
    /// [`Nadam`].
    Nadam(Nadam),
}

impl MomentsRule {
    fn op(&self) -> &dyn Op {
        match self {
            Self::Adam(rule) => rule,
            Self::Adamax(rule) => rule,
            Self::Nadam(rule) => rule,
        }
    }

    /// Inputs that all tensors share: clock, learning rate, and what Nadam has besides.
    fn shared(&self) -> usize {
        2 + usize::from(matches!(self, Self::Nadam(_)))
    }

    fn shader(&self) -> Shader {
        const LAYERS: &str = include_str!("../../shaders/dense_update.wgsl");
        const ADAM: &[&str] = &[FLUSHED, BIAS_CORRECTION, LAYERS, include_str!("../../shaders/adam.wgsl")];
        const ADAMAX: &[&str] = &[FLUSHED, BIAS_CORRECTION, LAYERS, include_str!("../../shaders/adamax.wgsl")];
        const NADAM: &[&str] = &[FLUSHED, BIAS_CORRECTION, LAYERS, include_str!("../../shaders/nadam.wgsl")];
        match self {
            Self::Adam(_) => Shader { name: "dense_update_adam", files: ADAM },
            Self::Adamax(_) => Shader { name: "dense_update_adamax", files: ADAMAX },
            Self::Nadam(_) => Shader { name: "dense_update_nadam", files: NADAM },
        }
    }
}

/// One step of an optimiser on the weights and biases of one to [`LAYERS_TOGETHER`] dense layers, by the gradients `x^T dz`
/// and the sum of dz's rows, in place.
///
/// Inputs: of each layer x (N, I), dz (N, O), w (I, O) and its moments, b (O) and its moments; then what the rule shares among
/// all. Outputs: of each layer the new w and its moments, the new b and its moments.
#[derive(Clone, Copy, Debug)]
pub struct DenseUpdate {
    /// The optimiser.
    pub rule: MomentsRule,
    /// How many layers there are.
    pub layers: usize,
}

/// Inputs and outputs of each layer.
const INPUTS: usize = 8;
const OUTPUTS: usize = 6;
/// Names of their extents.
const EXTENTS: [[&str; 2]; LAYERS_TOGETHER] = [
    ["inputs_0", "outputs_0"],
    ["inputs_1", "outputs_1"],
    ["inputs_2", "outputs_2"],
    ["inputs_3", "outputs_3"],
    ["inputs_4", "outputs_4"],
    ["inputs_5", "outputs_5"],
    ["inputs_6", "outputs_6"],
    ["inputs_7", "outputs_7"],
    ["inputs_8", "outputs_8"],
    ["inputs_9", "outputs_9"],
    ["inputs_10", "outputs_10"],
    ["inputs_11", "outputs_11"],
    ["inputs_12", "outputs_12"],
    ["inputs_13", "outputs_13"],
    ["inputs_14", "outputs_14"],
    ["inputs_15", "outputs_15"],
];
const GRADIENT: WeightBiasGrad = WeightBiasGrad { window: None };
/// Inputs and outputs of one workgroup.
const TILE: usize = 32;
/// Workgroup memory, in bytes, and invocations of a workgroup.
const WORKGROUP: (u32, u32) = (8 << 10, 256);

impl DenseUpdate {
    /// The rule's inputs for weights (0) or bias (1) of a layer, given their gradient.
    fn of_rule<'a, T>(&self, inputs: &[&'a T], gradient: &'a T, layer: usize, part: usize) -> Vec<&'a T> {
        let own = &inputs[layer * INPUTS + 2 + 3 * part..][..3];
        let shared = inputs[self.layers * INPUTS..].iter().copied();
        [own[0], gradient, own[1], own[2]].into_iter().chain(shared).collect()
    }

    /// The rule's outputs for one tensor, from the gradient.
    fn updated(
        &self,
        signature: &Signature<'_>,
        inputs: &[&Array],
        gradient: &Array,
        at: (usize, usize),
    ) -> Vec<Array> {
        let (layer, part) = at;
        let types: Vec<&TensorType> = signature.inputs.iter().collect();
        let of_gradient = &signature.inputs[layer * INPUTS + 2 + 3 * part];
        let types: Vec<TensorType> = self.of_rule(&types, of_gradient, layer, part).into_iter().cloned().collect();
        let outputs = &signature.outputs[layer * OUTPUTS + 3 * part..][..3];
        let mut results: Vec<Array> = outputs.iter().map(Array::zeros).collect();
        let inputs = self.of_rule(inputs, gradient, layer, part);
        self.rule.op().reference(&Signature { inputs: &types, outputs }, &inputs, &mut results);
        results
    }

    /// x and dz of a layer, and the types of its gradients.
    fn gradient_types(signature: &Signature<'_>, layer: usize) -> [TensorType; 2] {
        [0, 1].map(|part| signature.inputs[layer * INPUTS + 2 + 3 * part].clone())
    }

    /// Rows of the batch.
    fn rows(signature: &Signature<'_>) -> usize {
        signature.inputs[0].shape.matrix().map_or(0, |[rows, _]| rows)
    }

    /// Inputs and outputs of each layer.
    fn extents(&self, signature: &Signature<'_>) -> Vec<[usize; 2]> {
        let layers = signature.inputs.chunks_exact(INPUTS).take(self.layers);
        layers.map(|layer| layer[2].shape.matrix().unwrap_or_default()).collect()
    }
}

impl Op for DenseUpdate {
    fn name(&self) -> &'static str {
        "dense_update"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        if !(1..=LAYERS_TOGETHER).contains(&self.layers) {
            return Err(Error::shape(self.name(), "1 to 16 layers", self.layers.to_string()));
        }
        let wanted = self.layers * INPUTS + self.rule.shared();
        super::expect_inputs(self.name(), inputs, wanted..=wanted)?;
        let all: Vec<&TensorType> = inputs.iter().collect();
        let mut outputs = Vec::new();
        for (l, layer) in inputs.chunks_exact(INPUTS).take(self.layers).enumerate() {
            // All layers see one batch.
            let rows = [&inputs[0], &layer[0]].map(|x| x.shape.dims().first().copied());
            if rows[0] != rows[1] {
                return Err(Error::shape(self.name(), format!("{:?} rows", rows[0]), layer[0].to_string()));
            }
            for (part, gradient) in GRADIENT.infer(&layer[..2])?.iter().enumerate() {
                let of_rule: Vec<TensorType> = self.of_rule(&all, gradient, l, part).into_iter().cloned().collect();
                outputs.extend(self.rule.op().infer(&of_rule)?);
            }
        }
        Ok(outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        const PAIRS: [(usize, usize); LAYERS_TOGETHER * OUTPUTS] = in_place();
        &PAIRS[..self.layers.min(LAYERS_TOGETHER) * OUTPUTS]
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let fits = target.precision == Precision::F32
            && target.workgroup_memory_bytes >= WORKGROUP.0
            && target.max_invocations >= WORKGROUP.1;
        self.layers(signature, target).filter(|_| fits).into_iter().collect()
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        for layer in 0..self.layers {
            let types = Self::gradient_types(signature, layer);
            let mut gradients = types.each_ref().map(Array::zeros);
            let of = layer * INPUTS..layer * INPUTS + 2;
            let of_gradient = Signature { inputs: &signature.inputs[of.clone()], outputs: &types };
            GRADIENT.reference(&of_gradient, &inputs[of], &mut gradients);
            for (part, gradient) in gradients.iter().enumerate() {
                let updated = self.updated(signature, inputs, gradient, (layer, part));
                outputs[layer * OUTPUTS + 3 * part..].iter_mut().zip(updated).for_each(|(to, from)| *to = from);
            }
        }
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let weights: usize = self.extents(signature).iter().map(|[i, o]| i * o).sum();
        Cost { flops: 2.0 * (weights * Self::rows(signature)) as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let Tolerance::Close { rtol, atol } = Tolerance::ELEMENTWISE else { return Vec::new() };
        let terms = Self::rows(signature);
        vec![Tolerance::Sum { terms, rtol, atol }; signature.outputs.len()]
    }

    /// What the rule makes of gradients that are as far off as their sums may be.
    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let unit = 4.0 * (Self::rows(signature) as f64).sqrt() * 2f64.powi(-24);
        let mut magnitudes = Vec::new();
        for layer in 0..self.layers {
            let types = Self::gradient_types(signature, layer);
            let mut gradients = types.each_ref().map(Array::zeros);
            let of = layer * INPUTS..layer * INPUTS + 2;
            let of_gradient = Signature { inputs: &signature.inputs[of.clone()], outputs: &types };
            GRADIENT.reference(&of_gradient, &inputs[of.clone()], &mut gradients);
            let sizes = GRADIENT.magnitude(&of_gradient, &inputs[of]);
            for (part, (gradient, size)) in gradients.iter().zip(&sizes).enumerate() {
                let off = |sign: f64| {
                    let pairs = gradient.f64().iter().zip(size.f64());
                    let gradient = Array::F64(pairs.map(|(g, size)| g + sign * unit * size).collect());
                    self.updated(signature, inputs, &gradient, (layer, part))
                };
                let [below, at, above] = [-1.0, 0.0, 1.0].map(off);
                for ((below, at), above) in below.iter().zip(&at).zip(&above) {
                    let triples = below.f64().iter().zip(at.f64()).zip(above.f64());
                    let furthest =
                        |((below, at), above): ((&f64, &f64), &f64)| (at - below).abs().max((above - at).abs()) / unit;
                    magnitudes.push(Array::F64(triples.map(furthest).collect()));
                }
            }
        }
        magnitudes
    }
}

impl DenseUpdate {
    /// As few launches as the target's storage buffers allow; none where it binds too few for one layer.
    fn layers(&self, signature: &Signature<'_>, target: &Target) -> Option<Variant> {
        const SHARED: usize = 3;
        let types: Vec<&TensorType> = signature.inputs.iter().collect();
        let of_rule = self.of_rule(&types, &signature.inputs[2], 0, 0);
        let of_rule: Vec<TensorType> = of_rule.into_iter().cloned().collect();
        let one = Signature { inputs: &of_rule, outputs: &signature.outputs[..3] };
        // Constants and parameters are those of the rule's own kernel.
        let alone = self.rule.op().variants(&one, target).into_iter().next()?.launches.into_iter().next()?;
        let most = per_launch(target, self.layers, 2 + OUTPUTS, SHARED)?;
        let shared = self.layers * INPUTS;
        let shared = [shared, shared + 1, signature.inputs.len() - 1].map(Binding::Input);
        let group = |(group, extents): (usize, &[[usize; 2]])| {
            let own = |layer: usize| {
                let read = [0, 1].map(|i| Binding::Input(layer * INPUTS + i));
                read.into_iter().chain((0..OUTPUTS).map(move |o| Binding::Output(layer * OUTPUTS + o)))
            };
            let mut parameters: Vec<(&'static str, Word)> = vec![("rows", Self::rows(signature).into())];
            for (names, [inputs, outputs]) in EXTENTS.iter().zip(extents) {
                parameters.extend([(names[0], (*inputs).into()), (names[1], (*outputs).into())]);
            }
            parameters.extend(alone.parameters.iter().filter(|(name, _)| *name != "elements").copied());
            let mut constants = vec![("LAYERS", Constant::from(extents.len()))];
            constants.extend_from_slice(&alone.constants);
            let tiles = |[inputs, outputs]: &[usize; 2]| (inputs + 1).div_ceil(TILE) * outputs.div_ceil(TILE);
            let layers = group * most..group * most + extents.len();
            Launch {
                shader: self.rule.shader(),
                constants,
                parameters,
                bindings: layers.flat_map(own).chain(shared).collect(),
                workgroups: linear_grid(extents.iter().map(tiles).sum(), 1),
            }
        };
        let launches = self.extents(signature).chunks(most).enumerate().map(group).collect();
        let estimate_us = self.cost(signature).flops / if target.is_software() { 0.3e3 } else { 2e6 };
        Some(Variant { name: "layers", launches, scratch_bytes: Vec::new(), estimate_us, products: Products::F32 })
    }
}

/// Weights, bias and their moments replace the inputs that they come from, which x and dz stand before.
const fn in_place<const N: usize>() -> [(usize, usize); N] {
    let mut pairs = [(0, 0); N];
    let mut i = 0;
    while i < N {
        pairs[i] = (i, i / OUTPUTS * INPUTS + 2 + i % OUTPUTS);
        i += 1;
    }
    pairs
}

/// The update of several tensors as that of layers, where it is one by a rule with two moments.
pub(crate) fn moments_rule(op: &dyn Op) -> Option<(MomentsRule, usize)> {
    fn of<R: Rule>(op: &dyn Op, rule: fn(R) -> MomentsRule) -> Option<(MomentsRule, usize)> {
        let several = (op as &dyn std::any::Any).downcast_ref::<Several<R>>()?;
        Some((rule(several.rule), several.tensors))
    }
    of(op, MomentsRule::Adam).or_else(|| of(op, MomentsRule::Adamax)).or_else(|| of(op, MomentsRule::Nadam))
}

/// The rules in all conventions, with an epsilon that is felt.
fn rules() -> [MomentsRule; 5] {
    let (beta1, beta2, epsilon) = (0.9, 0.999, 0.01);
    let adam = |convention| MomentsRule::Adam(Adam { beta1, beta2, epsilon, convention });
    let adamax = |convention| MomentsRule::Adamax(Adamax { beta1, beta2, epsilon, convention });
    [
        adam(AdamConvention::Keras),
        adam(AdamConvention::Torch),
        adamax(AdamaxConvention::Keras),
        adamax(AdamaxConvention::Torch),
        MomentsRule::Nadam(Nadam { beta1, beta2, epsilon }),
    ]
}

/// Layers of these inputs and outputs, with moments as they are after some steps.
fn case(rule: MomentsRule, rows: usize, extents: &[[usize; 2]], step: u32) -> Case {
    let mut inputs = Vec::new();
    for &[i, o] in extents {
        inputs.extend([reals([rows, i], -1.0, 1.0), reals([rows, o], -0.1, 0.1)]);
        let tensor = |dims: &[usize]| [reals(dims, -1.0, 1.0), reals(dims, -0.05, 0.05), reals(dims, 1e-4, 0.1)];
        inputs.extend(tensor(&[i, o]));
        inputs.extend(tensor(&[o]));
    }
    inputs.push((Tick::clock(), Values::Words(vec![step, 0, 0, 0])));
    inputs.push((TensorType::f32([]), Values::Exact(vec![f64::from(0.002f32)])));
    if rule.shared() == 3 {
        inputs.push((TensorType::f32([2]), Values::Exact(vec![0.75, 0.25])));
    }
    let label = format!("{rows} rows {extents:?} {rule:?}");
    Case::new(label, DenseUpdate { rule, layers: extents.len() }, inputs)
}

/// Extents around the tile, one layer to seven.
pub(super) fn cases() -> Vec<Case> {
    let shapes: [(usize, &[[usize; 2]]); 9] = [
        (1, &[[1, 1]]),
        (31, &[[31, 33], [33, 2]]),
        (32, &[[32, 32], [32, 64], [64, 31]]),
        (33, &[[63, 5], [5, 63]]),
        (65, &[[3, 70], [70, 7], [7, 36]]),
        (3, &[[100, 12], [12, 1], [1, 100]]),
        (64, &[[64, 96]]),
        (6, &[[9, 33], [33, 40], [40, 7], [7, 1], [1, 32]]),
        (2, &[[3, 2]; 7]),
    ];
    let rules = rules();
    let of = |(i, (rows, extents)): (usize, (usize, &[[usize; 2]]))| {
        [0, 2].map(|next| case(rules[(i + next) % rules.len()], rows, extents, 700 * i as u32))
    };
    shapes.into_iter().enumerate().flat_map(of).collect()
}

pub(super) fn random(draw: &mut Draw) -> Result<Case> {
    let layers = draw.from(1..=5);
    let extents: Vec<[usize; 2]> = (0..layers).map(|_| [draw.channels(), draw.channels()]).collect();
    let rule = draw.one_of(&rules());
    let step = draw.from(0..10_000);
    Ok(case(rule, draw.extent(), &extents, step))
}
