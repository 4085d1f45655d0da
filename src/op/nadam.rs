//! Nadam: Adam with Nesterov's momentum, whose weight follows a schedule.

use super::adam::{
    BIAS_CORRECTION, FLUSHED, MOMENTS, MOMENTS_IN_PLACE, MOMENTS_QUADS, corrections, each_moment, infer_moments,
    moments_cases, moments_variants, step,
};
use super::conv_kernels::PAIRS;
use super::several::{self, Rule};
use super::{Case, Tick, Values, expect_inputs, expect_same};
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Variant};
use crate::tensor::{Array, TensorType};

/// Advances the schedule of Nadam's momentum, once per training step, before the parameters are updated.
///
/// With `mu_t = beta1 (1 - 0.5 * 0.96^(psi t))` the product of all mu up to t becomes `P_t = P_(t-1) mu_t`. Inputs: the
/// product (scalar, 1 before the first step), clock (t is its step plus one). Outputs: the new product, and
/// `[mu_(t+1) / (1 - P_t mu_(t+1)), (1 - mu_t) / (1 - P_t)]`, the weights of m and of the gradient in [`Nadam`].
#[derive(Clone, Copy, Debug)]
pub struct NadamSchedule {
    /// Decay of m.
    pub beta1: f32,
    /// Speed of the schedule: 0.004 in PyTorch and in Keras up to 2.10, 1 in Keras 3.
    pub psi: f32,
}

/// One step of Nadam (Dozat 2016), in place: `theta -= lr * m_hat / (sqrt(v / (1 - b2^t)) + eps)` with
/// `m_hat = mu_(t+1) m / (1 - P_t mu_(t+1)) + (1 - mu_t) g / (1 - P_t)`, as PyTorch and Keras have it.
///
/// Inputs: parameter, gradient, m, v (all one shape), clock (t is its step plus one), learning rate (scalar), and the
/// two weights from [`NadamSchedule`]. Outputs: the new parameter, m and v.
#[derive(Clone, Copy, Debug)]
pub struct Nadam {
    /// Decay of m.
    pub beta1: f32,
    /// Decay of v.
    pub beta2: f32,
    /// Added to the root.
    pub epsilon: f32,
}

/// 0.96, on which the schedule of the momentum is built.
const SCHEDULE_BASE: f64 = 0.96;

impl NadamSchedule {
    /// The product after update `t`, and the weights of m and of the gradient.
    fn advance(&self, product: f64, t: f64) -> (f64, [f64; 2]) {
        let mu = |t: f64| f64::from(self.beta1) * (1.0 - 0.5 * SCHEDULE_BASE.powf(f64::from(self.psi) * t));
        let (now, next) = (mu(t), mu(t + 1.0));
        let product = product * now;
        (product, [next / (1.0 - product * next), (1.0 - now) / (1.0 - product)])
    }
}

impl Op for NadamSchedule {
    fn name(&self) -> &'static str {
        "nadam_schedule"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_same(self.name(), &TensorType::f32([]), &inputs[0])?;
        expect_same(self.name(), &Tick::clock(), &inputs[1])?;
        Ok(vec![TensorType::f32([]), TensorType::f32([2])])
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn variants(&self, _: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let rate = f64::from(self.psi) * SCHEDULE_BASE.ln();
        let launch = Launch {
            shader: Shader { name: "nadam_schedule", files: &[include_str!("../../shaders/nadam_schedule.wgsl")] },
            constants: Vec::new(),
            parameters: vec![("beta1", self.beta1.into()), ("rate", (rate as f32).into())],
            bindings: vec![Binding::Input(1), Binding::Output(0), Binding::Output(1)],
            workgroups: [1, 1, 1],
        };
        vec![Variant::single("plain", 1.0, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (product, weights) = self.advance(inputs[0].f64()[0], step(inputs[1].u32()) as f64);
        outputs[0].f64_mut()[0] = product;
        outputs[1].f64_mut().copy_from_slice(&weights);
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let t = step(call.inputs[1]) as f64;
        let (product, [of_m, of_gradient]) = self.advance(f64::from(call.output(0)[0]), t);
        call.output(0)[0] = product as f32;
        call.output(1).copy_from_slice(&[of_m as f32, of_gradient as f32]);
        true
    }
}

impl Op for Nadam {
    fn name(&self) -> &'static str {
        "nadam"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 7..=7)?;
        expect_same(self.name(), &TensorType::f32([2]), &inputs[6])?;
        infer_moments(self.name(), &inputs[..6])
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        MOMENTS_IN_PLACE
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        const RULE: &str = include_str!("../../shaders/nadam.wgsl");
        const QUADS: &[&str] = &[FLUSHED, BIAS_CORRECTION, PAIRS, MOMENTS_QUADS, RULE];
        let shader = Shader { name: "nadam", files: &[FLUSHED, BIAS_CORRECTION, MOMENTS, RULE] };
        let quads = Shader { name: "nadam_quads", files: QUADS };
        let betas = [self.beta1, self.beta2];
        moments_variants([shader, quads], Vec::new(), betas, self.epsilon, signature, target)
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (b1, b2, eps) = (f64::from(self.beta1), f64::from(self.beta2), f64::from(self.epsilon));
        let correction = 1.0 - b2.powf(step(inputs[4].u32()) as f64);
        let (lr, weights) = (inputs[5].f64()[0], inputs[6].f64());
        for i in 0..inputs[0].len() {
            let g = inputs[1].f64()[i];
            let m = b1 * inputs[2].f64()[i] + (1.0 - b1) * g;
            let v = b2 * inputs[3].f64()[i] + (1.0 - b2) * g * g;
            let m_hat = weights[0] * m + weights[1] * g;
            outputs[0].f64_mut()[i] = inputs[0].f64()[i] - lr * m_hat / ((v / correction).sqrt() + eps);
            outputs[1].f64_mut()[i] = m;
            outputs[2].f64_mut()[i] = v;
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let Self { beta1, beta2, epsilon } = *self;
        let (_, correction) = corrections(beta1, beta2, call.inputs[4]);
        let root = correction.sqrt();
        let (rate, of_m, of_gradient) = (call.input(5)[0], call.input(6)[0], call.input(6)[1]);
        each_moment(
            call,
            #[inline(always)]
            move |parameter, g, m, v| {
                *m = beta1 * *m + (1.0 - beta1) * g;
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                *parameter -= rate * (of_m * *m + of_gradient * g) / (v.sqrt() / root + epsilon);
            },
        );
        true
    }
}

impl Rule for Nadam {
    const NAME: &'static str = "nadam_several";

    fn kernel(&self) -> Shader {
        let files = &[
            FLUSHED,
            BIAS_CORRECTION,
            include_str!("../../shaders/optimizer_several.wgsl"),
            several::SHARE,
            include_str!("../../shaders/nadam.wgsl"),
        ];
        Shader { name: "nadam_several", files }
    }
}

fn weights(product: f64, step: f64) -> (TensorType, Values) {
    let weights = NadamSchedule { beta1: 0.9, psi: 0.004 }.advance(product, step).1;
    (TensorType::f32([2]), Values::Exact(weights.map(|w| f64::from(w as f32)).into()))
}

fn cases_of(op: Nadam) -> Vec<Case> {
    moments_cases(move |label, mut inputs| {
        inputs.push(weights(0.7, 3.0));
        Case::new(format!("epsilon {} {label}", op.epsilon), op, inputs)
    })
}

pub(super) fn cases() -> Vec<Case> {
    // The usual epsilon is too small to be seen in a single step, so a large one comes as well.
    [1e-7, 0.01].into_iter().flat_map(|epsilon| cases_of(Nadam { beta1: 0.9, beta2: 0.999, epsilon })).collect()
}

pub(super) fn several_cases() -> Vec<Case> {
    let rule = Nadam { beta1: 0.9, beta2: 0.999, epsilon: 0.01 };
    several::cases(rule, &cases_of(rule))
}

pub(super) fn schedule_cases() -> Vec<Case> {
    let steps = [([0, 0], 1.0), ([1, 0], 0.45), ([9, 0], 0.01), ([100_000, 0], 0.0), ([5, 1], 1e-30)];
    let case = |psi: f32, ([low, high], product): ([u32; 2], f64)| {
        let inputs = vec![
            (TensorType::f32([]), Values::Exact(vec![f64::from(product as f32)])),
            (Tick::clock(), Values::Words(vec![low, high, 0, 0])),
        ];
        Case::new(format!("psi {psi} at {low} {high}"), NadamSchedule { beta1: 0.9, psi }, inputs)
    };
    [0.004, 1.0].into_iter().flat_map(|psi| steps.map(|at| case(psi, at))).collect()
}

const RANDOM: Nadam = Nadam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let mut inputs = draw.moments();
    let step = f64::from(draw.from(1..1000u32));
    inputs.push(weights(draw.from(0.0..1.0), step));
    Ok(Case::new("moments", RANDOM, inputs))
}

pub(super) fn random_several(draw: &mut super::Draw) -> Result<Case> {
    several::random(draw, RANDOM, random)
}

pub(super) fn random_schedule(draw: &mut super::Draw) -> Result<Case> {
    let clock = vec![draw.from(0..10_000), 0, 0, 0];
    let inputs = vec![(TensorType::f32([]), Values::Uniform(0.0, 1.0)), (Tick::clock(), Values::Words(clock))];
    Ok(Case::new("schedule", NadamSchedule { beta1: 0.9, psi: draw.one_of(&[0.004, 1.0]) }, inputs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand from the formula: mu_1 = .9 (1 - .5 * .96) and mu_2 = .9 (1 - .5 * .96^2) for psi 1.
    #[test]
    fn the_schedule_starts_as_the_formula_says() {
        let (product, weights) = NadamSchedule { beta1: 0.9, psi: 1.0 }.advance(1.0, 1.0);
        let (first, second) = (0.9 * 0.52, 0.9 * 0.5392);
        let wanted = [second / (1.0 - first * second), 1.0];
        assert!((product - first).abs() < 1e-7, "{product}");
        assert!(weights.iter().zip(wanted).all(|(w, wanted)| (w - wanted).abs() < 1e-7), "{weights:?}");
    }
}
