//! Where ranks exchange: ops without kernels, between whose inputs and outputs the session sums over all ranks. On one rank
//! they change nothing.

use super::moments::infer_channels;
use super::{Moments, MomentsBackward, Scale, expect_f32, expect_inputs, expect_same};
use crate::error::Result;
use crate::graph::{Graph, Node, Op, Reduction, Signature};
use crate::kernel::{Cost, Target, Variant};
use crate::tensor::{Array, TensorId, TensorType};

/// The sum of the input over all ranks, in its place: `y = sum over r of x_r`. What reads x reads it before.
///
/// Each rank has a loss of its own, and what is made small is their sum. The gradient of x is that of y, summed likewise.
#[derive(Clone, Copy, Debug)]
pub struct AllReduce;

/// Mean and variance of each channel over the rows of all ranks, from those over each rank's own rows, in their place
/// (Chan, Golub and LeVeque 1979): `M = sum of s_r m_r`, `V = sum of s_r (v_r + (m_r - M)^2)`.
///
/// Inputs: mean and variance of [`Moments`] (C each), and its x. Outputs: M and V. The gradient goes to x alone:
/// `dx = s (dM + 2 dV (x - M)) / rows`, dM and dV summed over the ranks.
#[derive(Clone, Copy, Debug)]
pub struct MergeMoments {
    /// s, the share of this rank's rows in all.
    pub share: f32,
}

impl MergeMoments {
    /// Records the statistics of x over all ranks.
    ///
    /// # Errors
    /// If x has no axis.
    pub fn record(self, graph: &mut Graph, x: TensorId) -> Result<[TensorId; 2]> {
        let own = graph.apply(Moments, &[x])?;
        let merged = graph.apply(self, &[own[0], own[1], x])?;
        Ok([merged[0], merged[1]])
    }
}

impl Op for AllReduce {
    fn name(&self) -> &'static str {
        "all_reduce"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
        Ok(inputs.to_vec())
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }

    fn reduction(&self) -> Option<Reduction> {
        Some(Reduction::Sum)
    }

    fn backward(
        &self,
        graph: &mut Graph,
        _: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![upstream[0].map(|dy| summed(graph, dy)).transpose()?])
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

impl Op for MergeMoments {
    fn name(&self) -> &'static str {
        "merge_moments"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 3..=3)?;
        let channels = infer_channels(self.name(), &inputs[2])?;
        inputs[..2].iter().try_for_each(|ty| expect_same(self.name(), &channels, ty))?;
        Ok(inputs[..2].to_vec())
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0), (1, 1)]
    }

    fn reduction(&self) -> Option<Reduction> {
        Some(Reduction::Moments { share: self.share })
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let mut own = |dy: Option<TensorId>| -> Result<TensorId> {
            let all = match dy {
                Some(dy) => summed(graph, dy)?,
                None => {
                    let shape = graph.ty(node.outputs[0]).shape.clone();
                    graph.apply_one(super::Fill { shape, value: 0.0 }, &[])?
                }
            };
            graph.apply_one(Scale { factor: self.share }, &[all])
        };
        let (dmean, dvariance) = (own(upstream[0])?, own(upstream[1])?);
        let inputs = [node.inputs[2], node.outputs[0], dmean, dvariance];
        Ok(vec![None, None, Some(graph.apply_one(MomentsBackward, &inputs)?)])
    }

    fn variants(&self, _: &Signature<'_>, _: &Target) -> Vec<Variant> {
        Vec::new()
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        for (output, input) in outputs.iter_mut().zip(inputs) {
            *output = (*input).clone();
        }
    }

    fn cost(&self, _: &Signature<'_>) -> Cost {
        Cost::default()
    }
}

/// The sum over all ranks, of a copy: others may read the tensor itself.
fn summed(graph: &mut Graph, of: TensorId) -> Result<TensorId> {
    let copy = graph.apply_one(Scale { factor: 1.0 }, &[of])?;
    graph.apply_one(AllReduce, &[copy])
}
