//! `y = factor x`, element by element: weights of the terms of a loss.

use super::{Case, Values, expect_f32, expect_inputs};
use crate::error::Result;
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};

/// `y = factor x`.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The factor.
    pub factor: f32,
}

impl Op for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
        Ok(vec![inputs[0].clone()])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        _: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![upstream[0].map(|dy| graph.apply_one(*self, &[dy])).transpose()?])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let elements = signature.inputs[0].shape.len();
        let launch = Launch {
            shader: Shader { name: "scale", files: &[include_str!("../../shaders/scale.wgsl")] },
            constants: Vec::new(),
            parameters: vec![("elements", elements.into()), ("factor", self.factor.into())],
            bindings: vec![Binding::Input(0), Binding::Output(0)],
            workgroups: linear_grid(elements, 64),
        };
        vec![Variant::single("plain", elements as f64, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        for (y, x) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()) {
            *y = f64::from(self.factor) * x;
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let x = call.input(0);
        call.output(0).iter_mut().zip(x).for_each(|(y, x)| *y = self.factor * x);
        true
    }
}

fn case(dims: Vec<usize>, factor: f32) -> Case {
    let label = format!("{factor} of {dims:?}");
    Case::new(label, Scale { factor }, vec![(TensorType::f32(dims), Values::Uniform(-2.0, 2.0))])
}

pub(super) fn cases() -> Vec<Case> {
    let small = [(vec![], 784.0), (vec![65], -0.25), (vec![3, 4, 5], 1e-3)];
    let small = small.map(|(dims, factor)| case(dims, factor).with_gradients([0]));
    small.into_iter().chain([case(vec![4_194_305], 0.5).large()]).collect()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let (dims, factor) = (draw.dims(), draw.from(-2.0..2.0));
    Ok(draw.small(case(dims, factor), [0]))
}
