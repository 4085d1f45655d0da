//! The same elements under another shape; nothing moves.

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Op, Signature};
use crate::kernel::{Cost, Target, Variant};
use crate::tensor::{Array, Shape, TensorId, TensorType};

/// Input 0 under another shape of as many elements.
#[derive(Clone, Debug)]
pub struct Reshape {
    /// The new shape.
    pub shape: Shape,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        super::expect_inputs(self.name(), inputs, 1..=1)?;
        super::expect_f32(self.name(), &inputs[0])?;
        if inputs[0].shape.len() != self.shape.len() {
            return Err(Error::shape(self.name(), format!("{} elements", self.shape.len()), inputs[0].to_string()));
        }
        Ok(vec![TensorType::f32(self.shape.clone())])
    }

    fn is_view(&self) -> bool {
        true
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None]) };
        let shape = graph.ty(node.inputs[0]).shape.clone();
        Ok(vec![Some(graph.apply_one(Self { shape }, &[dy])?)])
    }

    fn variants(&self, _: &Signature<'_>, _: &Target) -> Vec<Variant> {
        Vec::new()
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        outputs[0] = inputs[0].clone();
    }

    fn cost(&self, _: &Signature<'_>) -> Cost {
        Cost::default()
    }
}
