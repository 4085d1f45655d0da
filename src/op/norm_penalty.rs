//! L1 and L2 penalties of a tensor, and their gradient.

use super::{Activation, Case, Values, conv2d::reals, expect_f32, expect_inputs, expect_same};
use crate::cpu::reduce::{map_pairs, sum_pairs};
use crate::error::Result;
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Launch, Products, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};

/// `y = l1 sum |x| + l2 sum x^2 / 2`, a scalar: weight decay, activity penalties, squared norms (l2 of 2).
#[derive(Clone, Copy, Debug)]
pub struct NormPenalty {
    /// Factor of the sum of absolute values.
    pub l1: f32,
    /// Factor of half the sum of squares.
    pub l2: f32,
}

/// `dx = dy (l1 sign(x) + l2 x)`, where sign(0) = 0, from inputs x and the scalar dy.
#[derive(Clone, Copy, Debug)]
pub struct NormPenaltyBackward {
    /// As in [`NormPenalty`].
    pub l1: f32,
    /// As in [`NormPenalty`].
    pub l2: f32,
}

impl Op for NormPenalty {
    fn name(&self) -> &'static str {
        "norm_penalty"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
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
        let op = NormPenaltyBackward { l1: self.l1, l2: self.l2 };
        Ok(vec![Some(graph.apply_one(op, &[node.inputs[0], dy])?)])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let elements = signature.inputs[0].shape.len();
        let runs = elements.div_ceil(256).clamp(1, 1024);
        let partial = Launch {
            shader: Shader { name: "norm_penalty", files: &[include_str!("../../shaders/norm_penalty.wgsl")] },
            constants: Vec::new(),
            parameters: vec![
                ("elements", elements.into()),
                ("runs", runs.into()),
                ("run_elements", elements.div_ceil(runs).into()),
                ("l1", self.l1.into()),
                ("half_l2", (0.5 * self.l2).into()),
            ],
            bindings: vec![Binding::Input(0), Binding::Scratch(0)],
            workgroups: linear_grid(runs, 64),
        };
        let total = Launch {
            shader: Shader { name: "mean", files: &[include_str!("../../shaders/mean.wgsl")] },
            constants: Vec::new(),
            parameters: vec![("runs", runs.into()), ("scale", 1.0f32.into())],
            bindings: vec![Binding::Scratch(0), Binding::Output(0)],
            workgroups: [1, 1, 1],
        };
        vec![Variant {
            name: "two-stage",
            launches: vec![partial, total],
            scratch_bytes: vec![4 * runs],
            estimate_us: elements as f64,
            products: Products::F32,
        }]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let absolute: f64 = inputs[0].f64().iter().map(|x| x.abs()).sum();
        let squares: f64 = inputs[0].f64().iter().map(|x| x * x).sum();
        outputs[0].f64_mut()[0] = f64::from(self.l1) * absolute + f64::from(self.l2) * squares / 2.0;
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (l1, half_l2) = (self.l1, 0.5 * self.l2);
        let x = call.input(0);
        let sum = sum_pairs(
            x,
            x,
            #[inline(always)]
            |x, _| (l1 + half_l2 * x.abs()) * x.abs(),
        );
        call.output(0)[0] = sum as f32;
        true
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        vec![Activation::Linear.sum_tolerance(signature.inputs[0].shape.len())]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let mut outputs = vec![Array::zeros(&signature.outputs[0])];
        let of = Self { l1: self.l1.abs(), l2: self.l2.abs() };
        of.reference(signature, inputs, &mut outputs);
        outputs
    }
}

impl Op for NormPenaltyBackward {
    fn name(&self) -> &'static str {
        "norm_penalty_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_f32(self.name(), &inputs[0])?;
        expect_same(self.name(), &TensorType::f32([]), &inputs[1])?;
        Ok(vec![inputs[0].clone()])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let elements = signature.inputs[0].shape.len();
        let launch = Launch {
            shader: Shader {
                name: "norm_penalty_backward",
                files: &[include_str!("../../shaders/norm_penalty_backward.wgsl")],
            },
            constants: Vec::new(),
            parameters: vec![("elements", elements.into()), ("l1", self.l1.into()), ("l2", self.l2.into())],
            bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Output(0)],
            workgroups: linear_grid(elements, 64),
        };
        vec![Variant::single("plain", elements as f64, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let dy = inputs[1].f64()[0];
        for (dx, &x) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()) {
            let sign = if x == 0.0 { 0.0 } else { x.signum() };
            *dx = dy * (f64::from(self.l1) * sign + f64::from(self.l2) * x);
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (x, dy) = (call.input(0), call.input(1)[0]);
        let Self { l1, l2 } = *self;
        map_pairs(
            x,
            x,
            call.output(0),
            #[inline(always)]
            move |x, _| {
                let sign = if x == 0.0 { 0.0 } else { x.signum() };
                dy * (l1 * sign + l2 * x)
            },
        );
        true
    }
}

/// Both penalties, and each alone.
const FACTORS: [(f32, f32); 3] = [(0.3, 0.2), (1e-3, 0.0), (0.0, 2.0)];

pub(super) fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 4] = [&[1], &[257], &[3, 5, 7, 2], &[40, 7_001]];
    let all = FACTORS.into_iter().flat_map(|factors| shapes.map(|dims| (factors, dims)));
    all.map(|((l1, l2), dims)| {
        let case = Case::new(format!("{l1} {l2} {dims:?}"), NormPenalty { l1, l2 }, vec![reals(dims, -1.0, 1.0)]);
        if dims.iter().product::<usize>() < 1000 { case.with_gradients([0]) } else { case }
    })
    .collect()
}

pub(super) fn backward_cases() -> Vec<Case> {
    let shapes: [&[usize]; 3] = [&[1], &[65], &[3, 5, 7, 2]];
    let all = FACTORS.into_iter().flat_map(|factors| shapes.map(|dims| (factors, dims)));
    let mut cases: Vec<Case> = all
        .map(|((l1, l2), dims)| {
            let inputs = vec![reals(dims, -1.0, 1.0), reals([], 0.5, 2.0)];
            Case::new(format!("{l1} {l2} {dims:?}"), NormPenaltyBackward { l1, l2 }, inputs)
        })
        .collect();
    let zeros = (TensorType::f32([4]), Values::Exact(vec![0.0, -0.0, 1e-30, -1e-30]));
    cases.push(Case::new("zeros", NormPenaltyBackward { l1: 0.5, l2: 0.0 }, vec![zeros, reals([], 0.5, 2.0)]));
    let inputs = vec![reals([4_194_305], -1.0, 1.0), reals([], 0.5, 2.0)];
    cases.push(Case::new("large", NormPenaltyBackward { l1: 0.1, l2: 0.1 }, inputs).large());
    cases
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let op = NormPenalty { l1: draw.from(0.0..1.0), l2: draw.from(0.0..1.0) };
    Ok(draw.small(Case::new(format!("{dims:?}"), op, vec![reals(&dims[..], -1.0, 1.0)]), [0]))
}

pub(super) fn random_backward(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let op = NormPenaltyBackward { l1: draw.from(0.0..1.0), l2: draw.from(0.0..1.0) };
    Ok(Case::new(format!("{dims:?}"), op, vec![reals(&dims[..], -1.0, 1.0), reals([], 0.5, 2.0)]))
}
