//! Adam, and what the adaptive optimisers share.

use super::conv_kernels::{PAIRS, reads_pairs};
use super::several::{self, GROUP_ELEMENTS, Rule};
use super::{Case, Tick, Values, conv2d::reals, expect_f32, expect_inputs, expect_same};
use crate::cpu::vector::{flushed, wide};
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Constant, Launch, Shader, Target, Variant, linear_grid};
use crate::tensor::{Array, TensorType};
use rayon::prelude::*;

/// Where epsilon stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdamConvention {
    /// Keras and TensorFlow 1: `theta -= lr sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)`.
    Keras,
    /// PyTorch: `theta -= lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)`.
    Torch,
}

/// One step of Adam (Kingma and Ba 2015), in place.
///
/// Inputs: parameter, gradient, m, v (all one shape), clock (t is its step plus one), learning rate (scalar).
/// Outputs: the new parameter, m and v.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// Decay of m.
    pub beta1: f32,
    /// Decay of v.
    pub beta2: f32,
    /// Added to the root.
    pub epsilon: f32,
    /// Where epsilon stands.
    pub convention: AdamConvention,
}

impl Op for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        infer_moments(self.name(), inputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        MOMENTS_IN_PLACE
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        const RULE: &str = include_str!("../../shaders/adam.wgsl");
        const QUADS: &[&str] = &[FLUSHED, BIAS_CORRECTION, PAIRS, MOMENTS_QUADS, RULE];
        let shader = Shader { name: "adam", files: &[FLUSHED, BIAS_CORRECTION, MOMENTS, RULE] };
        let quads = Shader { name: "adam_quads", files: QUADS };
        let keras = vec![("KERAS", Constant::Bool(self.convention == AdamConvention::Keras))];
        let betas = [self.beta1, self.beta2];
        moments_variants([shader, quads], keras, betas, self.epsilon, signature, target)
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (b1, b2, eps) = (f64::from(self.beta1), f64::from(self.beta2), f64::from(self.epsilon));
        let t = step(inputs[4].u32()) as f64;
        let lr = inputs[5].f64()[0];
        for i in 0..inputs[0].len() {
            let g = inputs[1].f64()[i];
            let m = b1 * inputs[2].f64()[i] + (1.0 - b1) * g;
            let v = b2 * inputs[3].f64()[i] + (1.0 - b2) * g * g;
            let rate = lr / (1.0 - b1.powf(t));
            let change = match self.convention {
                AdamConvention::Keras => rate * (1.0 - b2.powf(t)).sqrt() * m / (v.sqrt() + eps),
                AdamConvention::Torch => rate * m / ((v / (1.0 - b2.powf(t))).sqrt() + eps),
            };
            outputs[0].f64_mut()[i] = inputs[0].f64()[i] - change;
            outputs[1].f64_mut()[i] = m;
            outputs[2].f64_mut()[i] = v;
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let Self { beta1, beta2, epsilon, convention } = *self;
        let (c1, c2) = corrections(beta1, beta2, call.inputs[4]);
        let rate = call.input(5)[0] / c1;
        let root = c2.sqrt();
        each_moment(
            call,
            #[inline(always)]
            move |parameter, g, m, v| {
                *m = beta1 * *m + (1.0 - beta1) * g;
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                *parameter -= match convention {
                    AdamConvention::Keras => rate * root * *m / (v.sqrt() + epsilon),
                    AdamConvention::Torch => rate * *m / (v.sqrt() / root + epsilon),
                };
            },
        );
        true
    }
}

impl Rule for Adam {
    const NAME: &'static str = "adam_several";

    fn kernel(&self) -> Shader {
        let files = &[
            FLUSHED,
            BIAS_CORRECTION,
            include_str!("../../shaders/optimizer_several.wgsl"),
            several::SHARE,
            include_str!("../../shaders/adam.wgsl"),
        ];
        Shader { name: "adam_several", files }
    }
}

/// Parameter, m and the second moment are replaced.
pub(super) const MOMENTS_IN_PLACE: &[(usize, usize)] = &[(0, 0), (1, 2), (2, 3)];

/// The number of this update, from one.
pub(super) fn step(clock: &[u32]) -> u64 {
    (u64::from(clock[1]) << 32 | u64::from(clock[0])) + 1
}

/// `1 - beta^t` for both betas.
pub(super) fn corrections(beta1: f32, beta2: f32, clock: &[u32]) -> (f32, f32) {
    let t = step(clock) as f64;
    let correction = |beta: f32| -(t * f64::from(beta).ln()).exp_m1() as f32;
    (correction(beta1), correction(beta2))
}

/// Types of an optimiser with two moments.
pub(super) fn infer_moments(op: &str, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
    expect_inputs(op, inputs, 6..=6)?;
    expect_f32(op, &inputs[0])?;
    inputs[1..4].iter().try_for_each(|ty| expect_same(op, &inputs[0], ty))?;
    expect_same(op, &Tick::clock(), &inputs[4])?;
    expect_same(op, &TensorType::f32([]), &inputs[5])?;
    Ok(vec![inputs[0].clone(), inputs[0].clone(), inputs[0].clone()])
}

/// Files of the kernels of optimisers with two moments, before that of the rule.
pub(super) const FLUSHED: &str = include_str!("../../shaders/flushed.wgsl");
pub(super) const BIAS_CORRECTION: &str = include_str!("../../shaders/bias_correction.wgsl");
pub(super) const MOMENTS: &str = include_str!("../../shaders/optimizer.wgsl");
pub(super) const MOMENTS_QUADS: &str = include_str!("../../shaders/optimizer_quads.wgsl");

/// The kernels of an optimiser with two moments, element by element and four at a time. Their last binding is the last
/// input: Nadam's weights, or the learning rate again where a rule has none.
pub(super) fn moments_variants(
    [shader, quads]: [Shader; 2],
    constants: Vec<(&'static str, Constant)>,
    [beta1, beta2]: [f32; 2],
    epsilon: f32,
    signature: &Signature<'_>,
    target: &Target,
) -> Vec<Variant> {
    let elements = signature.inputs[0].shape.len();
    let logarithm = |beta: f32| f64::from(beta).ln() as f32;
    let launch = Launch {
        shader,
        constants,
        parameters: vec![
            ("elements", elements.into()),
            ("beta1", beta1.into()),
            ("beta2", beta2.into()),
            ("log_beta1", logarithm(beta1).into()),
            ("log_beta2", logarithm(beta2).into()),
            ("epsilon", epsilon.into()),
        ],
        bindings: vec![
            Binding::Input(1),
            Binding::Output(0),
            Binding::Output(1),
            Binding::Output(2),
            Binding::Input(4),
            Binding::Input(5),
            Binding::Input(signature.inputs.len() - 1),
        ],
        workgroups: linear_grid(elements, GROUP_ELEMENTS),
    };
    let mut variants = vec![Variant::single("plain", elements as f64, launch.clone())];
    if reads_pairs(target) && elements.is_multiple_of(4) {
        variants.push(Variant::single("quads", elements as f64 / 2.0, Launch { shader: quads, ..launch }));
    }
    variants
}

/// Runs `update(parameter, gradient, m, second moment)` over all elements.
///
/// Moments of parameters whose gradient is zero from some step on (pixels that are always black, dead units) decay until they
/// are subnormal and stay there, where each operation takes a processor a hundred times as long: they become zero instead.
pub(super) fn each_moment(call: &mut CpuCall<'_>, update: impl Fn(&mut f32, f32, &mut f32, &mut f32) + Sync + Copy) {
    const CHUNK: usize = 16_384;
    let gradient = call.input(1);
    let [parameter, m, v] = &mut *call.outputs else { return };
    let chunks = bytemuck::cast_slice_mut::<u32, f32>(parameter)
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(bytemuck::cast_slice_mut::<u32, f32>(m).par_chunks_mut(CHUNK))
        .zip(bytemuck::cast_slice_mut::<u32, f32>(v).par_chunks_mut(CHUNK));
    chunks.for_each(|(((parameter, gradient), m), v)| {
        wide(
            #[inline(always)]
            || {
                for (((parameter, &g), m), v) in parameter.iter_mut().zip(gradient).zip(m).zip(v) {
                    update(parameter, g, m, v);
                    (*m, *v) = (flushed(*m), flushed(*v));
                }
            },
        );
    });
}

/// Inputs of an optimiser: moments as they are after some steps, at several points in time.
pub(super) fn moments_cases(case: impl Fn(String, Vec<(TensorType, Values)>) -> Case) -> Vec<Case> {
    let clocks =
        [[0, 0, 0, 0], [1, 0, 64, 0], [49, 0, 0, 0], [700, 0, 0, 0], [100_000, 0, 0, 0], [5, 1, 0, 0], [3, 0, 0, 0]];
    let shapes: [&[usize]; 7] = [&[1], &[511], &[512], &[3, 3, 7, 5], &[513], &[1025], &[260]];
    std::iter::zip(clocks, shapes)
        .map(|(clock, dims)| {
            let inputs = vec![
                reals(dims, -1.0, 1.0),
                reals(dims, -0.1, 0.1),
                reals(dims, -0.05, 0.05),
                reals(dims, 1e-4, 0.1),
                (Tick::clock(), Values::Words(clock.to_vec())),
                (TensorType::f32([]), Values::Exact(vec![f64::from(0.002f32)])),
            ];
            case(format!("{dims:?} at {clock:?}"), inputs)
        })
        .collect()
}

pub(super) fn cases() -> Vec<Case> {
    // The usual epsilon is too small to be seen in a single step, so a large one comes as well.
    let settings = [(AdamConvention::Keras, 1e-7), (AdamConvention::Torch, 1e-8)];
    let large = settings.map(|(convention, _)| (convention, 0.01));
    let of = |(convention, epsilon)| {
        let op = Adam { beta1: 0.9, beta2: 0.999, epsilon, convention };
        moments_cases(move |label, inputs| Case::new(format!("{convention:?} epsilon {epsilon} {label}"), op, inputs))
    };
    settings.into_iter().chain(large).flat_map(of).collect()
}

pub(super) fn several_cases() -> Vec<Case> {
    let of = |convention| {
        let rule = Adam { beta1: 0.9, beta2: 0.999, epsilon: 0.01, convention };
        several::cases(rule, &moments_cases(|label, inputs| Case::new(format!("{convention:?} {label}"), rule, inputs)))
    };
    [AdamConvention::Keras, AdamConvention::Torch].into_iter().flat_map(of).collect()
}

fn random_rule(draw: &mut super::Draw) -> Adam {
    let convention = draw.one_of(&[AdamConvention::Keras, AdamConvention::Torch]);
    Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, convention }
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let op = random_rule(draw);
    Ok(Case::new(format!("{:?}", op.convention), op, draw.moments()))
}

pub(super) fn random_several(draw: &mut super::Draw) -> Result<Case> {
    let rule = random_rule(draw);
    several::random(draw, rule, |draw| Ok(Case::new("one", rule, draw.moments())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Adamax, AdamaxConvention, Nadam, RmsProp, RmsPropConvention, Sgd, SgdConvention};

    /// The moments after a step of gradients zero from moments that are the smallest normal number and not a number.
    fn decayed(op: &dyn Op, moments: usize, last: &[&[f32]]) -> Vec<Vec<f32>> {
        let words = |values: &[f32]| -> Vec<u32> { values.iter().map(|value| value.to_bits()).collect() };
        let (gradient, clock) = (words(&[0.0; 2]), vec![3, 0, 0, 0]);
        let last: Vec<Vec<u32>> = last.iter().map(|values| words(values)).collect();
        let mut inputs: Vec<&[u32]> = vec![&[], &gradient];
        inputs.extend(vec![&[][..]; moments]);
        // All but SGD and RMSProp read the clock.
        if moments == 2 {
            inputs.push(&clock);
        }
        inputs.extend(last.iter().map(Vec::as_slice));
        let mut outputs = vec![words(&[f32::MIN_POSITIVE, f32::NAN]); 1 + moments];
        let mut slices: Vec<&mut [u32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let signature = Signature { inputs: &[], outputs: &[] };
        assert!(op.compute(&signature, &mut CpuCall { inputs: &inputs, outputs: &mut slices }));
        let reals = |words: &Vec<u32>| words.iter().map(|&bits| f32::from_bits(bits)).collect();
        outputs[1..].iter().map(reals).collect()
    }

    #[test]
    fn moments_that_die_away_become_zero_and_never_subnormal() {
        let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-7);
        let rate: &[f32] = &[0.001];
        let sgd = Sgd { momentum: 0.9, nesterov: false, convention: SgdConvention::Torch };
        let rmsprop = RmsProp { rho: 0.9, epsilon, convention: RmsPropConvention::Torch };
        let all: [(&dyn Op, usize, &[&[f32]]); 5] = [
            (&Adam { beta1, beta2, epsilon, convention: AdamConvention::Torch }, 2, &[rate]),
            (&Adamax { beta1, beta2, epsilon, convention: AdamaxConvention::Keras }, 2, &[rate]),
            (&Nadam { beta1, beta2, epsilon }, 2, &[rate, &[0.9, 0.1]]),
            (&sgd, 1, &[rate]),
            (&rmsprop, 1, &[rate]),
        ];
        for (op, moments, last) in all {
            for moment in decayed(op, moments, last) {
                assert_eq!(moment[0], 0.0, "{}", op.name());
                // Adamax's maximum passes over what is not a number, as the reference does.
                assert!(moment[1].is_nan() || op.name() == "adamax", "{}", op.name());
            }
        }
    }
}
