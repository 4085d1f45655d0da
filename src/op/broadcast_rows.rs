//! One row repeated: the gradient of a sum over rows.

use super::{Case, SumRows, conv2d::reals, expect_f32, expect_inputs};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, Shape, TensorId, TensorType};

/// `y[…, c] = x[c]`, in the given shape, whose last extent is that of x.
#[derive(Clone, Debug)]
pub struct BroadcastRows {
    /// Shape of the output.
    pub shape: Shape,
}

impl Op for BroadcastRows {
    fn name(&self) -> &'static str {
        "broadcast_rows"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
        let columns = self.shape.last();
        if self.shape.rank() == 0 || self.shape.is_empty() || inputs[0].shape.dims() != [columns] {
            return Err(Error::shape(self.name(), format!("f32[{columns}]"), inputs[0].to_string()));
        }
        Ok(vec![TensorType::f32(self.shape.clone())])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        _: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![upstream[0].map(|dy| graph.apply_one(SumRows, &[dy])).transpose()?])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let elements = signature.outputs[0].shape.len();
        let launch = Launch {
            shader: Shader { name: "broadcast_rows", files: &[include_str!("../../shaders/broadcast_rows.wgsl")] },
            constants: Vec::new(),
            parameters: vec![("elements", elements.into()), ("columns", self.shape.last().into())],
            bindings: vec![Binding::Input(0), Binding::Output(0)],
            workgroups: linear_grid(elements, 64),
        };
        vec![Variant::single("plain", elements as f64, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        for row in outputs[0].f64_mut().chunks_mut(self.shape.last().max(1)) {
            row.copy_from_slice(inputs[0].f64());
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let x = call.input(0);
        call.output(0).chunks_exact_mut(x.len().max(1)).for_each(|row| row.copy_from_slice(x));
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::Exact]
    }
}

fn case(dims: &[usize]) -> Case {
    let columns = dims.last().copied().unwrap_or(1);
    Case::new(format!("{dims:?}"), BroadcastRows { shape: dims.into() }, vec![reals([columns], -1.0, 1.0)])
}

pub(super) fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 4] = [&[1], &[3, 5], &[2, 3, 4, 7], &[65, 1]];
    let small = shapes.map(|dims| case(dims).with_gradients([0]));
    small.into_iter().chain([case(&[1025, 4096]).large()]).collect()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    Ok(draw.small(case(&dims), [0]))
}
