//! Stochastic gradient descent, with or without momentum.

use super::adam::FLUSHED;
use super::several::{self, GROUP_ELEMENTS, Rule, SEVERAL};
use super::{Case, Values, conv2d::reals, expect_f32, expect_inputs, expect_same};
use crate::cpu::vector::{flushed, wide};
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Constant, Launch, Shader, Target, Variant, linear_grid};
use crate::tensor::{Array, TensorType};

/// Whether the learning rate is inside the momentum. The two differ only where the rate changes from step to step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SgdConvention {
    /// Keras: `m = mu m - lr g`, `theta += m`; Nesterov: `theta += mu m - lr g`.
    Keras,
    /// PyTorch without dampening, and TensorFlow 1: `m = mu m + g`, `theta -= lr m`; Nesterov: `theta -= lr (g + mu m)`.
    Torch,
}

/// One step of gradient descent, in place; without momentum `theta -= lr g`.
///
/// Inputs: parameter, gradient, then m where there is momentum (all one shape; zero before the first step), learning
/// rate (scalar). Outputs: the new parameter, and m where there is momentum.
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    /// mu; 0 for none.
    pub momentum: f32,
    /// Whether the step looks ahead by the momentum (Nesterov 1983).
    pub nesterov: bool,
    /// Whether the learning rate is inside the momentum.
    pub convention: SgdConvention,
}

impl Sgd {
    /// Whether there is an m.
    pub fn has_momentum(&self) -> bool {
        self.momentum != 0.0
    }

    /// The formula: the change of a parameter and its new m.
    fn change(&self, lr: f64, g: f64, m: f64) -> (f64, f64) {
        let mu = f64::from(self.momentum);
        let new = match self.convention {
            SgdConvention::Keras => mu * m - lr * g,
            SgdConvention::Torch => mu * m + g,
        };
        let change = match (self.convention, self.nesterov) {
            (SgdConvention::Keras, false) => new,
            (SgdConvention::Keras, true) => mu * new - lr * g,
            (SgdConvention::Torch, false) => -lr * new,
            (SgdConvention::Torch, true) => -lr * (g + mu * new),
        };
        (change, new)
    }
}

impl Op for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let tensors = if self.has_momentum() { 3 } else { 2 };
        expect_inputs(self.name(), inputs, tensors + 1..=tensors + 1)?;
        expect_f32(self.name(), &inputs[0])?;
        inputs[1..tensors].iter().try_for_each(|ty| expect_same(self.name(), &inputs[0], ty))?;
        expect_same(self.name(), &TensorType::f32([]), &inputs[tensors])?;
        Ok(vec![inputs[0].clone(); tensors - 1])
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        if self.has_momentum() { &[(0, 0), (1, 2)] } else { &[(0, 0)] }
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let elements = signature.inputs[0].shape.len();
        let mut launch = Launch {
            shader: Shader { name: "sgd", files: &[include_str!("../../shaders/sgd.wgsl")] },
            constants: Vec::new(),
            parameters: vec![("elements", elements.into())],
            bindings: vec![Binding::Input(1), Binding::Output(0), Binding::Input(signature.inputs.len() - 1)],
            workgroups: linear_grid(elements, 64),
        };
        if self.has_momentum() {
            let files = &[
                FLUSHED,
                include_str!("../../shaders/optimizer_one_moment.wgsl"),
                include_str!("../../shaders/sgd_momentum.wgsl"),
            ];
            launch.shader = Shader { name: "sgd_momentum", files };
            launch.workgroups = linear_grid(elements, GROUP_ELEMENTS);
            launch.constants = vec![
                ("KERAS", Constant::Bool(self.convention == SgdConvention::Keras)),
                ("NESTEROV", Constant::Bool(self.nesterov)),
            ];
            launch.parameters.extend([("decay", self.momentum.into()), ("epsilon", 0.0.into())]);
            launch.bindings.insert(2, Binding::Output(1));
        }
        vec![Variant::single("plain", elements as f64, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let Some((rate, tensors)) = inputs.split_last() else { return };
        let lr = rate.f64()[0];
        for i in 0..inputs[0].len() {
            let m = tensors.get(2).map_or(0.0, |m| m.f64()[i]);
            let (change, m) = self.change(lr, tensors[1].f64()[i], m);
            outputs[0].f64_mut()[i] = tensors[0].f64()[i] + change;
            if let Some(output) = outputs.get_mut(1) {
                output.f64_mut()[i] = m;
            }
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (gradient, rate) = (call.input(1), call.input(call.inputs.len() - 1)[0]);
        let parameter = |words| bytemuck::cast_slice_mut::<u32, f32>(words);
        match &mut *call.outputs {
            [theta] => wide(
                #[inline(always)]
                || {
                    parameter(theta).iter_mut().zip(gradient).for_each(|(theta, g)| *theta -= rate * g);
                },
            ),
            [theta, m] => wide(
                #[inline(always)]
                || {
                    // In Keras's form the rate is inside m, in PyTorch's it stands before it.
                    let keras = self.convention == SgdConvention::Keras;
                    let (inner, outer) = if keras { (-rate, 1.0) } else { (1.0, -rate) };
                    let ahead = if self.nesterov { self.momentum } else { 1.0 };
                    let now = if self.nesterov { inner } else { 0.0 };
                    for ((theta, m), &g) in parameter(theta).iter_mut().zip(parameter(m)).zip(gradient) {
                        *m = flushed(self.momentum * *m + inner * g);
                        *theta += outer * (ahead * *m + now * g);
                    }
                },
            ),
            _ => return false,
        }
        true
    }
}

impl Rule for Sgd {
    const NAME: &'static str = "sgd_several";

    fn kernel(&self) -> Shader {
        if !self.has_momentum() {
            return Shader {
                name: "sgd_several",
                files: &[include_str!("../../shaders/sgd_several.wgsl"), several::SHARE],
            };
        }
        let files = &[
            FLUSHED,
            include_str!("../../shaders/optimizer_one_moment_several.wgsl"),
            several::SHARE,
            include_str!("../../shaders/sgd_momentum.wgsl"),
        ];
        Shader { name: "sgd_momentum_several", files }
    }
}

/// Without momentum, and with it in all conventions.
fn settings() -> impl Iterator<Item = Sgd> {
    let plain = Sgd { momentum: 0.0, nesterov: false, convention: SgdConvention::Keras };
    let with = |convention| [false, true].map(|nesterov| Sgd { momentum: 0.9, nesterov, convention });
    std::iter::once(plain).chain([SgdConvention::Keras, SgdConvention::Torch].into_iter().flat_map(with))
}

fn cases_of(op: Sgd) -> [Case; 5] {
    let shapes: [&[usize]; 5] = [&[1], &[63], &[3, 3, 7, 5], &[1025], &[512]];
    shapes.map(|dims| {
        let mut inputs = vec![reals(dims, -1.0, 1.0); if op.has_momentum() { 3 } else { 2 }];
        inputs.push((TensorType::f32([]), Values::Exact(vec![f64::from(0.1f32)])));
        Case::new(format!("{op:?} {dims:?}"), op, inputs)
    })
}

pub(super) fn cases() -> Vec<Case> {
    settings().flat_map(cases_of).collect()
}

pub(super) fn several_cases() -> Vec<Case> {
    let most = settings().take(1).filter_map(|rule| several::case(rule, &cases_of(rule), SEVERAL, 0));
    settings().flat_map(|rule| several::cases(rule, &cases_of(rule))).chain(most).collect()
}

fn random_rule(draw: &mut super::Draw) -> Sgd {
    let convention = draw.one_of(&[SgdConvention::Keras, SgdConvention::Torch]);
    let op = Sgd { momentum: draw.one_of(&[0.0, 0.5, 0.9]), nesterov: false, convention };
    Sgd { nesterov: op.has_momentum() && draw.flag(), ..op }
}

fn random_of(draw: &mut super::Draw, op: Sgd) -> Case {
    let dims = draw.dims();
    let mut inputs = vec![reals(&dims[..], -1.0, 1.0); if op.has_momentum() { 3 } else { 2 }];
    inputs.push(draw.rate());
    Case::new(format!("{op:?} {dims:?}"), op, inputs)
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let op = random_rule(draw);
    Ok(random_of(draw, op))
}

pub(super) fn random_several(draw: &mut super::Draw) -> Result<Case> {
    let rule = random_rule(draw);
    several::random(draw, rule, |draw| Ok(random_of(draw, rule)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps by hand, from theta 0 and m 0 at g 1, mu 0.5, with the rate going from 1 to 0.1.
    #[test]
    fn conventions_differ_where_the_rate_changes() {
        let two_steps = |convention, nesterov| {
            let op = Sgd { momentum: 0.5, nesterov, convention };
            let (first, m) = op.change(1.0, 1.0, 0.0);
            first + op.change(0.1, 1.0, m).0
        };
        let near = |got: f64, wanted: f64| assert!((got - wanted).abs() < 1e-12, "{got}, wanted {wanted}");
        near(two_steps(SgdConvention::Keras, false), -1.0 - 0.6);
        near(two_steps(SgdConvention::Torch, false), -1.0 - 0.15);
        near(two_steps(SgdConvention::Keras, true), -1.5 - 0.4);
        near(two_steps(SgdConvention::Torch, true), -1.5 - 0.175);
    }
}
