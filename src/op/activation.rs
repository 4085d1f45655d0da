//! Activations: `y = f(x)` and `dx = dy f'(x)`, the derivative taken from `y`.

mod fast;
mod text;

use super::{ActivateCurvature, Case, Values, conv_kernels, expect_f32, expect_inputs, expect_same};
use crate::cpu::reduce::{LIGHT, RUN};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Constant, Launch, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Source of the snippet that kernels with an activation as epilogue are joined with.
pub(super) const SNIPPET: &str = include_str!("../../shaders/activation.wgsl");

/// A function applied to each element. All are monotonic, so that the output tells which branch was taken.
///
/// As a text (in preset files): `linear`, `relu`, `elu` (alpha 1), `elu:ALPHA`, `leaky_relu:SLOPE`, `sigmoid`, `tanh`,
/// `softplus`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Activation {
    /// `x`.
    #[default]
    Linear,
    /// `max(x, 0)`.
    Relu,
    /// `x` above zero, `alpha (exp(x) - 1)` below; see [`Activation::ELU`].
    Elu {
        /// Minus the limit on the left; finite and not negative.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x` above zero, `slope x` below.
    LeakyRelu {
        /// Slope on the left; finite and not negative.
        slope: f32,
    },
    /// `ln(1 + exp(x))`.
    Softplus,
}

impl Activation {
    /// The ELU of alpha 1, the usual one.
    pub const ELU: Self = Self::Elu { alpha: 1.0 };

    /// Every activation but the identity, those with a coefficient at two values.
    pub const NONLINEAR: [Self; 8] = [
        Self::Relu,
        Self::ELU,
        Self::Sigmoid,
        Self::Tanh,
        Self::LeakyRelu { slope: 0.01 },
        Self::Softplus,
        Self::Elu { alpha: 2.5 },
        Self::LeakyRelu { slope: 1.5 },
    ];

    /// Number of this activation in the shaders.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Linear => 0,
            Self::Relu => 1,
            Self::Elu { .. } => 2,
            Self::Sigmoid => 3,
            Self::Tanh => 4,
            Self::LeakyRelu { .. } => 5,
            Self::Softplus => 6,
        }
    }

    /// Number and coefficient of this activation in the shaders.
    pub(super) fn constants(self) -> [(&'static str, Constant); 2] {
        let coefficient = self.coefficient().unwrap_or(1.0);
        [("ACTIVATION", Constant::U32(self.number())), ("COEFFICIENT", Constant::F32(coefficient))]
    }

    /// Alpha or slope.
    pub(super) fn coefficient(self) -> Option<f32> {
        match self {
            Self::Elu { alpha: c } | Self::LeakyRelu { slope: c } => Some(c),
            _ => None,
        }
    }

    /// Whether the coefficient, if any, keeps the function monotonic.
    fn check(self, op: &str) -> Result<()> {
        match self.coefficient() {
            Some(c) if !c.is_finite() || c < 0.0 => {
                Err(Error::shape(op, "a finite coefficient of at least 0", format!("{self}")))
            }
            _ => Ok(()),
        }
    }

    /// The formula.
    pub fn reference(self, x: f64) -> f64 {
        match self {
            Self::Linear => x,
            Self::Relu => x.max(0.0),
            Self::Elu { .. } | Self::LeakyRelu { .. } if x > 0.0 => x,
            Self::Elu { alpha } => f64::from(alpha) * x.exp_m1(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::LeakyRelu { slope } => f64::from(slope) * x,
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }

    /// Derivative at `x`, given `y = f(x)`; at the kink of a ReLU, leaky ReLU or ELU the one from the left.
    pub(super) fn slope(self, y: f64) -> f64 {
        match self {
            Self::Linear => 1.0,
            Self::Relu => f64::from(u8::from(y > 0.0)),
            Self::Elu { .. } | Self::LeakyRelu { .. } if y > 0.0 => 1.0,
            Self::Elu { alpha } => y + f64::from(alpha),
            Self::Sigmoid => y * (1.0 - y),
            Self::Tanh => 1.0 - y * y,
            Self::LeakyRelu { slope } => f64::from(slope),
            Self::Softplus => -(-y).exp_m1(),
        }
    }

    /// The largest slope anywhere: how much an error before the activation may grow.
    pub(super) fn steepest(self) -> f64 {
        f64::from(self.coefficient().unwrap_or(1.0)).max(1.0)
    }

    /// Replaces `gradient` with the gradient before the activation, given its output `y`.
    pub(super) fn record_backward(self, graph: &mut Graph, dy: TensorId, y: TensorId) -> Result<TensorId> {
        if self == Self::Linear { Ok(dy) } else { graph.apply_one(ActivateBackward { kind: self }, &[dy, y]) }
    }

    /// How exact a sum of this many products is, with this activation as its epilogue.
    pub(super) fn sum_tolerance(self, terms: usize) -> Tolerance {
        let (rtol, atol) = match self.tolerance() {
            Tolerance::Close { rtol, atol } => (rtol, atol),
            _ => (0.0, 0.0),
        };
        Tolerance::Sum { terms, rtol, atol }
    }

    /// How exact this is element by element.
    pub(super) fn tolerance(self) -> Tolerance {
        match self {
            Self::Linear | Self::Relu => Tolerance::Exact,
            // One product: half a unit in the last place, or a subnormal flushed to zero.
            Self::LeakyRelu { .. } => {
                Tolerance::Close { rtol: f64::from(f32::EPSILON), atol: f64::from(f32::MIN_POSITIVE) }
            }
            _ => Tolerance::TRANSCENDENTAL,
        }
    }
}

/// `y = f(x)`.
#[derive(Clone, Copy, Debug)]
pub struct Activate {
    /// f.
    pub kind: Activation,
}

/// `dx = dy f'(x)`, from inputs `dy` and `y = f(x)`.
#[derive(Clone, Copy, Debug)]
pub struct ActivateBackward {
    /// f.
    pub kind: Activation,
}

impl Op for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
        self.kind.check(self.name())?;
        Ok(vec![inputs[0].clone()])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _needed: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None]) };
        Ok(vec![Some(self.kind.record_backward(graph, dy, node.outputs[0])?)])
    }

    fn variants(&self, signature: &Signature<'_>, _target: &Target) -> Vec<Variant> {
        let files = &[SNIPPET, include_str!("../../shaders/activate.wgsl")];
        let shader = Shader { name: "activate", files };
        vec![elementwise(shader, self.kind.constants().into(), signature)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        for (y, &x) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()) {
            *y = self.kind.reference(x);
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (x, kind) = (call.input(0), self.kind);
        let pairs = call.output(0).par_chunks_mut(RUN).zip(x.par_chunks(RUN));
        pairs.with_min_len(LIGHT).for_each(|(y, x)| {
            y.copy_from_slice(x);
            kind.apply_all(y);
        });
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![self.kind.tolerance()]
    }
}

impl Op for ActivateBackward {
    fn name(&self) -> &'static str {
        "activate_backward"
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        needed: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(u) = upstream[0] else { return Ok(vec![None; 2]) };
        let (dy, y) = (node.inputs[0], node.inputs[1]);
        let curvature = ActivateCurvature { kind: self.kind };
        Ok(vec![
            needed[0].then(|| graph.apply_one(*self, &[u, y])).transpose()?,
            needed[1].then(|| graph.apply_one(curvature, &[u, dy, y])).transpose()?,
        ])
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_f32(self.name(), &inputs[0])?;
        expect_same(self.name(), &inputs[0], &inputs[1])?;
        self.kind.check(self.name())?;
        Ok(vec![inputs[0].clone()])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let files = &[SNIPPET, include_str!("../../shaders/activate_backward.wgsl")];
        let shader = Shader { name: "activate_backward", files };
        let plain = elementwise(shader, self.kind.constants().into(), signature);
        let elements = signature.outputs[0].shape.len();
        if !conv_kernels::reads_pairs(target) || !elements.is_multiple_of(4) {
            return vec![plain];
        }
        const QUADS: &[&str] =
            &[SNIPPET, conv_kernels::PAIRS, include_str!("../../shaders/activate_backward_quads.wgsl")];
        let mut launch = plain.launches[0].clone();
        launch.shader = Shader { name: "activate_backward_quads", files: QUADS };
        launch.workgroups = linear_grid(elements / 4, 64);
        let quads = Variant::single("quads", plain.estimate_us / 2.0, launch);
        vec![plain, quads]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (dy, y) = (inputs[0].f64(), inputs[1].f64());
        for (dx, (&dy, &y)) in outputs[0].f64_mut().iter_mut().zip(dy.iter().zip(y)) {
            *dx = dy * self.kind.slope(y);
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (dy, y) = (call.input(0), call.input(1));
        let kind = self.kind;
        let triples = call.output(0).par_chunks_mut(RUN).zip(dy.par_chunks(RUN).zip(y.par_chunks(RUN)));
        triples.with_min_len(LIGHT).for_each(|(dx, (dy, y))| {
            dx.copy_from_slice(dy);
            kind.scale_by_slope(dx, y);
        });
        true
    }
}

/// A launch of one invocation per element over all inputs and outputs in order, with `elements` as its block.
pub(super) fn elementwise(
    shader: Shader,
    constants: Vec<(&'static str, Constant)>,
    signature: &Signature<'_>,
) -> Variant {
    let elements = signature.outputs[0].shape.len();
    let inputs = (0..signature.inputs.len()).map(Binding::Input);
    let bindings = inputs.chain((0..signature.outputs.len()).map(Binding::Output)).collect();
    let parameters = vec![("elements", elements.into())];
    let workgroups = linear_grid(elements, 64);
    Variant::single("plain", elements as f64, Launch { shader, constants, parameters, bindings, workgroups })
}

/// Lengths around the workgroup size, and one of several axes.
const SHAPES: [&[usize]; 7] = [&[1], &[63], &[64], &[65], &[256], &[260], &[3, 5, 7, 11]];

pub(super) fn cases() -> Vec<Case> {
    let all = Activation::NONLINEAR.iter().flat_map(|&kind| SHAPES.map(|dims| (kind, dims)));
    let mut cases: Vec<Case> = all
        .map(|(kind, dims)| {
            let inputs = vec![(TensorType::f32(dims), Values::Uniform(-4.0, 4.0))];
            Case::new(format!("{kind:?} {dims:?}"), Activate { kind }, inputs).with_gradients([0])
        })
        .collect();
    let extremes = vec![0.0, -0.0, 1e-7, -1e-7, 100.0, -100.0, 1e30, -1e30];
    cases.extend(Activation::NONLINEAR.map(|kind| {
        let inputs = vec![(TensorType::f32([8]), Values::Exact(extremes.clone()))];
        Case::new(format!("{kind:?} extremes"), Activate { kind }, inputs)
    }));
    // Past 65,535 workgroups for the kernel that takes four elements as well.
    let inputs = vec![(TensorType::f32([16_777_220]), Values::Uniform(-4.0, 4.0))];
    cases.push(Case::new("large", Activate { kind: Activation::Relu }, inputs).large());
    cases
}

pub(super) fn backward_cases() -> Vec<Case> {
    let all = Activation::NONLINEAR.iter().flat_map(|&kind| SHAPES.map(|dims| (kind, dims)));
    let ranges = all.map(|(kind, dims)| {
        let ty = TensorType::f32(dims);
        let inputs = vec![(ty.clone(), Values::Uniform(-2.0, 2.0)), (ty, Values::Uniform(-0.9, 0.9))];
        Case::new(format!("{kind:?} {dims:?}"), ActivateBackward { kind }, inputs).with_gradients([0, 1])
    });
    // At the kink, on both sides of it, and far out, where softplus changes its formula.
    let outputs = vec![0.0, -0.0, 1e-7, -1e-7, 0.4, 0.6, 3.0, 30.0];
    let edges = Activation::NONLINEAR.iter().map(|&kind| {
        let ty = TensorType::f32([outputs.len()]);
        let inputs = vec![(ty.clone(), Values::Uniform(0.5, 2.0)), (ty, Values::Exact(outputs.clone()))];
        Case::new(format!("{kind:?} edges"), ActivateBackward { kind }, inputs)
    });
    ranges.chain(edges).collect()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let (kind, dims) = (draw.one_of(&Activation::NONLINEAR), draw.dims());
    let case = Case::new(format!("{kind:?} {dims:?}"), Activate { kind }, vec![super::conv2d::reals(dims, -4.0, 4.0)]);
    Ok(draw.small(case, [0]))
}

pub(super) fn random_backward(draw: &mut super::Draw) -> Result<Case> {
    let (kind, dims) = (draw.one_of(&Activation::NONLINEAR), draw.dims());
    let inputs = [(-2.0, 2.0), (-0.9, 0.9)].map(|(lo, hi)| super::conv2d::reals(&dims[..], lo, hi)).into();
    Ok(Case::new(format!("{kind:?} {dims:?}"), ActivateBackward { kind }, inputs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ln(1 + e^x) and its derivative far from zero, where the plain formula overflows or loses every digit.
    #[test]
    fn softplus_is_stable() {
        let mut y = [-80.0, -30.0, 0.0, 30.0, 1e30];
        Activation::Softplus.apply_all(&mut y);
        for (got, wanted) in y.into_iter().zip([1.804_851_4e-35, 9.357_623e-14, std::f32::consts::LN_2, 30.0, 1e30]) {
            assert!((got - wanted).abs() <= 1e-6 * wanted, "{got:e}, wanted {wanted:e}");
        }
        assert!((Activation::Softplus.slope(1e-14) - 1e-14).abs() < 1e-28);
    }
}
