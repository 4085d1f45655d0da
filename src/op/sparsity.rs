//! The sparsity penalty: the KL divergence of mean activations from a target, and its gradient.

use super::{Activation, Case, Values, conv2d::reals, expect_f32, expect_inputs, expect_same};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};

/// Activations are kept this far from 0 and 1, as far as f32 can say it; beyond it the penalty is flat.
const MARGIN: f32 = 1e-6;

/// `y = weight * sum over j of rho ln(rho / r_j) + (1 - rho) ln((1 - rho) / (1 - r_j))`, a scalar (Ng, “Sparse
/// autoencoder”, 2011), from r, the mean activation of each unit over the batch, which is clamped to
/// [1e-6, 1 - 1e-6].
#[derive(Clone, Copy, Debug)]
pub struct SparsityKl {
    /// The activation that is wanted, above 0 and below 1.
    pub target: f32,
    /// Factor of the sum.
    pub weight: f32,
}

/// `dr = dy weight ((1 - rho) / (1 - r) - rho / r)`, zero where r was clamped, from inputs r and the scalar dy.
#[derive(Clone, Copy, Debug)]
pub struct SparsityKlBackward {
    /// As in [`SparsityKl`].
    pub target: f32,
    /// As in [`SparsityKl`].
    pub weight: f32,
}

fn clamp(r: f64) -> f64 {
    r.clamp(f64::from(MARGIN), f64::from(1.0 - MARGIN))
}

impl SparsityKl {
    fn term(&self, r: f64) -> f64 {
        let (rho, r) = (f64::from(self.target), clamp(r));
        rho * (rho / r).ln() + (1.0 - rho) * ((1.0 - rho) / (1.0 - r)).ln()
    }
}

impl Op for SparsityKl {
    fn name(&self) -> &'static str {
        "sparsity_kl"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
        if !(self.target > 0.0 && self.target < 1.0) {
            return Err(Error::shape(self.name(), "a target above 0 and below 1", self.target.to_string()));
        }
        Ok(vec![TensorType::f32([])])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None]) };
        let op = SparsityKlBackward { target: self.target, weight: self.weight };
        Ok(vec![Some(graph.apply_one(op, &[node.inputs[0], dy])?)])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let units = signature.inputs[0].shape.len();
        let launch = Launch {
            shader: Shader { name: "sparsity_kl", files: &[include_str!("../../shaders/sparsity_kl.wgsl")] },
            constants: Vec::new(),
            parameters: vec![("units", units.into()), ("rho", self.target.into()), ("weight", self.weight.into())],
            bindings: vec![Binding::Input(0), Binding::Output(0)],
            workgroups: [1, 1, 1],
        };
        vec![Variant::single("plain", units as f64, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let sum: f64 = inputs[0].f64().iter().map(|&r| self.term(r)).sum();
        outputs[0].f64_mut()[0] = f64::from(self.weight) * sum;
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let sum: f64 = call.input(0).iter().map(|&r| self.term(f64::from(r))).sum();
        call.output(0)[0] = (f64::from(self.weight) * sum) as f32;
        true
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        vec![Activation::Sigmoid.sum_tolerance(signature.inputs[0].shape.len())]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        // The two logarithms of a term cancel where r is near the target.
        let rho = f64::from(self.target);
        let size = |r: f64| (rho * (rho / r).ln()).abs() + ((1.0 - rho) * ((1.0 - rho) / (1.0 - r)).ln()).abs();
        let mut outputs = vec![Array::zeros(&signature.outputs[0])];
        let sum: f64 = inputs[0].f64().iter().map(|&r| size(clamp(r)) + 1.0).sum();
        outputs[0].f64_mut()[0] = f64::from(self.weight).abs() * sum;
        outputs
    }
}

impl Op for SparsityKlBackward {
    fn name(&self) -> &'static str {
        "sparsity_kl_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_f32(self.name(), &inputs[0])?;
        expect_same(self.name(), &TensorType::f32([]), &inputs[1])?;
        Ok(vec![inputs[0].clone()])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let units = signature.inputs[0].shape.len();
        let files = &[include_str!("../../shaders/sparsity_kl_backward.wgsl")];
        let launch = Launch {
            shader: Shader { name: "sparsity_kl_backward", files },
            constants: Vec::new(),
            parameters: vec![("units", units.into()), ("rho", self.target.into()), ("weight", self.weight.into())],
            bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Output(0)],
            workgroups: linear_grid(units, 64),
        };
        vec![Variant::single("plain", units as f64, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (rho, scale) = (f64::from(self.target), inputs[1].f64()[0] * f64::from(self.weight));
        for (dr, &r) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()) {
            *dr = if clamp(r) == r { scale * ((1.0 - rho) / (1.0 - r) - rho / r) } else { 0.0 };
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (r, scale, rho) = (call.input(0), call.input(1)[0] * self.weight, self.target);
        for (dr, &r) in call.output(0).iter_mut().zip(r) {
            let inside = (MARGIN..=1.0 - MARGIN).contains(&r);
            *dr = if inside { scale * ((1.0 - rho) / (1.0 - r) - rho / r) } else { 0.0 };
        }
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Activation::Linear.sum_tolerance(8)]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        // Two quotients that cancel where r is near the target, and 1 - r rounded.
        let (rho, scale) = (f64::from(self.target), (inputs[1].f64()[0] * f64::from(self.weight)).abs());
        let mut outputs = vec![Array::zeros(&signature.outputs[0])];
        for (dr, &r) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()) {
            *dr = scale * ((1.0 - rho) / (1.0 - r).abs().max(1e-6) + rho / r.abs().max(1e-6));
        }
        outputs
    }
}

const UNITS: [usize; 4] = [1, 63, 65, 300];

/// The least and the greatest activation that is not clamped, and two that are.
fn margins() -> (TensorType, Values) {
    let (least, greatest) = (f64::from(MARGIN), f64::from(1.0 - MARGIN));
    (TensorType::f32([4]), Values::Exact(vec![0.0, least, greatest, 1.0]))
}

pub(super) fn cases() -> Vec<Case> {
    let case = |units| {
        let op = SparsityKl { target: 0.05, weight: 0.3 };
        Case::new(format!("{units}"), op, vec![reals([units], 0.01, 0.9)]).with_gradients([0])
    };
    let op = SparsityKl { target: 0.05, weight: 0.3 };
    let at_the_margins = Case::new("at the margins", op, vec![margins()]);
    UNITS.map(case).into_iter().chain([at_the_margins]).collect()
}

pub(super) fn backward_cases() -> Vec<Case> {
    let case = |units: usize| {
        let op = SparsityKlBackward { target: 0.05, weight: 0.3 };
        Case::new(format!("{units}"), op, vec![reals([units], 0.01, 0.9), reals([], 0.5, 2.0)])
    };
    let op = SparsityKlBackward { target: 0.05, weight: 0.3 };
    let at_the_margins = Case::new("at the margins", op, vec![margins(), reals([], 0.5, 2.0)]);
    UNITS.map(case).into_iter().chain([at_the_margins, case(4_194_305).large()]).collect()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let (units, op) = (draw.channels(), SparsityKl { target: draw.from(0.02..0.5), weight: 1.0 });
    Ok(draw.small(Case::new(format!("{units}"), op, vec![reals([units], 0.01, 0.9)]), [0]))
}

pub(super) fn random_backward(draw: &mut super::Draw) -> Result<Case> {
    let (units, op) = (draw.channels(), SparsityKlBackward { target: draw.from(0.02..0.5), weight: 1.0 });
    Ok(Case::new(format!("{units}"), op, vec![reals([units], 0.01, 0.9), reals([], 0.5, 2.0)]))
}
