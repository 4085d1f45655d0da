//! RMSProp.

use super::adam::FLUSHED;
use super::several::{self, GROUP_ELEMENTS, Rule};
use super::{Case, Values, conv2d::reals, expect_f32, expect_inputs, expect_same};
use crate::cpu::vector::{flushed, wide};
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Constant, Launch, Shader, Target, Variant, linear_grid};
use crate::tensor::{Array, TensorType};

/// Where epsilon stands, and where s begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RmsPropConvention {
    /// Keras 3: `theta -= lr g / sqrt(s + eps)`, s from 0.
    Keras,
    /// PyTorch: `theta -= lr g / (sqrt(s) + eps)`, s from 0.
    Torch,
    /// TensorFlow 1: as Keras, but s from 1.
    Tf1,
}

impl RmsPropConvention {
    /// What s is before the first step.
    pub fn initial(self) -> f32 {
        if self == Self::Tf1 { 1.0 } else { 0.0 }
    }

    /// Whether epsilon stands under the root.
    fn inside(self) -> bool {
        self != Self::Torch
    }
}

/// One step of RMSProp (Tieleman and Hinton 2012), in place: `s = rho s + (1 - rho) g^2`, then as the convention says.
///
/// Inputs: parameter, gradient, s (all one shape), learning rate (scalar). Outputs: the new parameter and s.
#[derive(Clone, Copy, Debug)]
pub struct RmsProp {
    /// Decay of s.
    pub rho: f32,
    /// Keeps the quotient finite.
    pub epsilon: f32,
    /// Where epsilon stands.
    pub convention: RmsPropConvention,
}

impl Op for RmsProp {
    fn name(&self) -> &'static str {
        "rmsprop"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 4..=4)?;
        expect_f32(self.name(), &inputs[0])?;
        inputs[1..3].iter().try_for_each(|ty| expect_same(self.name(), &inputs[0], ty))?;
        expect_same(self.name(), &TensorType::f32([]), &inputs[3])?;
        Ok(vec![inputs[0].clone(), inputs[0].clone()])
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0), (1, 2)]
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let elements = signature.inputs[0].shape.len();
        let launch = Launch {
            shader: Shader {
                name: "rmsprop",
                files: &[
                    FLUSHED,
                    include_str!("../../shaders/optimizer_one_moment.wgsl"),
                    include_str!("../../shaders/rmsprop.wgsl"),
                ],
            },
            constants: vec![("INSIDE", Constant::Bool(self.convention.inside()))],
            parameters: vec![
                ("elements", elements.into()),
                ("decay", self.rho.into()),
                ("epsilon", self.epsilon.into()),
            ],
            bindings: vec![Binding::Input(1), Binding::Output(0), Binding::Output(1), Binding::Input(3)],
            workgroups: linear_grid(elements, GROUP_ELEMENTS),
        };
        vec![Variant::single("plain", elements as f64, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (rho, eps) = (f64::from(self.rho), f64::from(self.epsilon));
        let lr = inputs[3].f64()[0];
        for i in 0..inputs[0].len() {
            let g = inputs[1].f64()[i];
            let s = rho * inputs[2].f64()[i] + (1.0 - rho) * g * g;
            let root = match self.convention {
                RmsPropConvention::Keras | RmsPropConvention::Tf1 => (s + eps).sqrt(),
                RmsPropConvention::Torch => s.sqrt() + eps,
            };
            outputs[0].f64_mut()[i] = inputs[0].f64()[i] - lr * g / root;
            outputs[1].f64_mut()[i] = s;
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let Self { rho, epsilon, convention } = *self;
        let (gradient, rate) = (call.input(1), call.input(3)[0]);
        let (inside, beside) = if convention.inside() { (epsilon, 0.0) } else { (0.0, epsilon) };
        let [parameter, s] = &mut *call.outputs else { return false };
        let (parameter, s) = (bytemuck::cast_slice_mut::<u32, f32>(parameter), bytemuck::cast_slice_mut::<u32, f32>(s));
        wide(
            #[inline(always)]
            || {
                for ((parameter, s), g) in parameter.iter_mut().zip(s).zip(gradient) {
                    *s = flushed(rho * *s + (1.0 - rho) * g * g);
                    *parameter -= rate * g / ((*s + inside).sqrt() + beside);
                }
            },
        );
        true
    }
}

impl Rule for RmsProp {
    const NAME: &'static str = "rmsprop_several";

    fn kernel(&self) -> Shader {
        let files = &[
            FLUSHED,
            include_str!("../../shaders/optimizer_one_moment_several.wgsl"),
            several::SHARE,
            include_str!("../../shaders/rmsprop.wgsl"),
        ];
        Shader { name: "rmsprop_several", files }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let conventions =
        [(RmsPropConvention::Keras, 1e-7), (RmsPropConvention::Torch, 1e-8), (RmsPropConvention::Tf1, 1e-10)];
    // An epsilon that is felt: wherever it stands, it must not be lost.
    let settings = conventions.into_iter().chain(conventions.map(|(convention, _)| (convention, 0.3)));
    settings.flat_map(|(convention, epsilon)| cases_of(RmsProp { rho: 0.9, epsilon, convention })).collect()
}

fn cases_of(op: RmsProp) -> [Case; 5] {
    let shapes: [&[usize]; 5] = [&[1], &[63], &[3, 3, 7, 5], &[1025], &[512]];
    shapes.map(|dims| {
        let inputs = vec![
            reals(dims, -1.0, 1.0),
            reals(dims, -0.1, 0.1),
            reals(dims, 1e-4, 1.0),
            (TensorType::f32([]), Values::Exact(vec![f64::from(0.002f32)])),
        ];
        Case::new(format!("{:?} eps {} {dims:?}", op.convention, op.epsilon), op, inputs)
    })
}

pub(super) fn several_cases() -> Vec<Case> {
    let of = |convention| {
        let rule = RmsProp { rho: 0.9, epsilon: 0.3, convention };
        several::cases(rule, &cases_of(rule))
    };
    [RmsPropConvention::Keras, RmsPropConvention::Torch].into_iter().flat_map(of).collect()
}

fn random_rule(draw: &mut super::Draw) -> RmsProp {
    let convention = draw.one_of(&[RmsPropConvention::Keras, RmsPropConvention::Torch, RmsPropConvention::Tf1]);
    RmsProp { rho: draw.from(0.5..0.999), epsilon: 1e-7, convention }
}

fn random_of(draw: &mut super::Draw, op: RmsProp) -> Case {
    let dims = draw.dims();
    let inputs =
        vec![reals(&dims[..], -1.0, 1.0), reals(&dims[..], -0.1, 0.1), reals(&dims[..], 1e-4, 1.0), draw.rate()];
    Case::new(format!("{:?} {dims:?}", op.convention), op, inputs)
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let op = random_rule(draw);
    Ok(random_of(draw, op))
}

pub(super) fn random_several(draw: &mut super::Draw) -> Result<Case> {
    let rule = random_rule(draw);
    several::random(draw, rule, |draw| Ok(random_of(draw, rule)))
}
