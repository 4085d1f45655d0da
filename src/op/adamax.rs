//! Adamax.

use super::Case;
use super::adam::{
    BIAS_CORRECTION, FLUSHED, MOMENTS, MOMENTS_IN_PLACE, MOMENTS_QUADS, corrections, each_moment, infer_moments,
    moments_cases, moments_variants, step,
};
use super::conv_kernels::PAIRS;
use super::several::{self, Rule};
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Constant, Shader, Target, Variant};
use crate::tensor::{Array, TensorType};

/// Where epsilon stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdamaxConvention {
    /// Keras: `u = max(b2 u, |g|)`, `theta -= lr / (1 - b1^t) * m / (u + eps)`.
    Keras,
    /// PyTorch: `u = max(b2 u, |g| + eps)`, `theta -= lr / (1 - b1^t) * m / u`.
    Torch,
}

/// One step of Adamax (Kingma and Ba 2015), in place.
///
/// Inputs: parameter, gradient, m, u (all one shape), clock (t is its step plus one), learning rate (scalar).
/// Outputs: the new parameter, m and u.
#[derive(Clone, Copy, Debug)]
pub struct Adamax {
    /// Decay of m.
    pub beta1: f32,
    /// Decay of u.
    pub beta2: f32,
    /// Keeps the quotient finite.
    pub epsilon: f32,
    /// Where epsilon stands.
    pub convention: AdamaxConvention,
}

impl Op for Adamax {
    fn name(&self) -> &'static str {
        "adamax"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        infer_moments(self.name(), inputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        MOMENTS_IN_PLACE
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        const RULE: &str = include_str!("../../shaders/adamax.wgsl");
        const QUADS: &[&str] = &[FLUSHED, BIAS_CORRECTION, PAIRS, MOMENTS_QUADS, RULE];
        let shader = Shader { name: "adamax", files: &[FLUSHED, BIAS_CORRECTION, MOMENTS, RULE] };
        let quads = Shader { name: "adamax_quads", files: QUADS };
        let keras = vec![("KERAS", Constant::Bool(self.convention == AdamaxConvention::Keras))];
        let betas = [self.beta1, self.beta2];
        moments_variants([shader, quads], keras, betas, self.epsilon, signature, target)
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (b1, b2, eps) = (f64::from(self.beta1), f64::from(self.beta2), f64::from(self.epsilon));
        let rate = inputs[5].f64()[0] / (1.0 - b1.powf(step(inputs[4].u32()) as f64));
        for i in 0..inputs[0].len() {
            let g = inputs[1].f64()[i];
            let m = b1 * inputs[2].f64()[i] + (1.0 - b1) * g;
            let decayed = b2 * inputs[3].f64()[i];
            let (u, quotient) = match self.convention {
                AdamaxConvention::Keras => (decayed.max(g.abs()), m / (decayed.max(g.abs()) + eps)),
                AdamaxConvention::Torch => (decayed.max(g.abs() + eps), m / decayed.max(g.abs() + eps)),
            };
            outputs[0].f64_mut()[i] = inputs[0].f64()[i] - rate * quotient;
            outputs[1].f64_mut()[i] = m;
            outputs[2].f64_mut()[i] = u;
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let Self { beta1, beta2, epsilon, convention } = *self;
        let (c1, _) = corrections(beta1, beta2, call.inputs[4]);
        let rate = call.input(5)[0] / c1;
        let keras = convention == AdamaxConvention::Keras;
        let (inside, beside) = if keras { (0.0, epsilon) } else { (epsilon, 0.0) };
        each_moment(
            call,
            #[inline(always)]
            move |parameter, g, m, u| {
                *m = beta1 * *m + (1.0 - beta1) * g;
                *u = (beta2 * *u).max(g.abs() + inside);
                *parameter -= rate * *m / (*u + beside);
            },
        );
        true
    }
}

impl Rule for Adamax {
    const NAME: &'static str = "adamax_several";

    fn kernel(&self) -> Shader {
        let files = &[
            FLUSHED,
            BIAS_CORRECTION,
            include_str!("../../shaders/optimizer_several.wgsl"),
            several::SHARE,
            include_str!("../../shaders/adamax.wgsl"),
        ];
        Shader { name: "adamax_several", files }
    }
}

pub(super) fn cases() -> Vec<Case> {
    // The usual epsilon is too small to be seen in a single step, so a large one comes as well.
    let settings = [(AdamaxConvention::Keras, 1e-8), (AdamaxConvention::Torch, 1e-8)];
    let large = settings.map(|(convention, _)| (convention, 0.01));
    let of = |(convention, epsilon)| {
        let op = Adamax { beta1: 0.9, beta2: 0.999, epsilon, convention };
        moments_cases(move |label, inputs| Case::new(format!("{convention:?} epsilon {epsilon} {label}"), op, inputs))
    };
    settings.into_iter().chain(large).flat_map(of).collect()
}

pub(super) fn several_cases() -> Vec<Case> {
    let of = |convention| {
        let rule = Adamax { beta1: 0.9, beta2: 0.999, epsilon: 0.01, convention };
        several::cases(rule, &moments_cases(|label, inputs| Case::new(format!("{convention:?} {label}"), rule, inputs)))
    };
    [AdamaxConvention::Keras, AdamaxConvention::Torch].into_iter().flat_map(of).collect()
}

fn random_rule(draw: &mut super::Draw) -> Adamax {
    let convention = draw.one_of(&[AdamaxConvention::Keras, AdamaxConvention::Torch]);
    Adamax { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, convention }
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let op = random_rule(draw);
    Ok(Case::new(format!("{:?}", op.convention), op, draw.moments()))
}

pub(super) fn random_several(draw: &mut super::Draw) -> Result<Case> {
    let rule = random_rule(draw);
    several::random(draw, rule, |draw| Ok(Case::new("one", rule, draw.moments())))
}
