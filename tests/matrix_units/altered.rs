//! An op with other kernels than its own: broken ones, or ones that stand for what a device lacks.

use degrain::error::Result;
use degrain::graph::{CpuCall, Graph, Node, Op, Signature};
use degrain::kernel::{Cost, Target, Tolerance, Variant};
use degrain::op::Case;
use degrain::tensor::{Array, TensorId, TensorType};
use std::fmt::Debug;
use std::sync::Arc;

/// Says what becomes of an op's kernels.
pub(crate) trait Alter: Debug + Send + Sync + 'static {
    /// The kernels in place of those of `op`.
    fn variants(&self, op: &dyn Op, signature: &Signature<'_>, target: &Target) -> Vec<Variant>;
}

/// The case with the kernels of its op altered; all else is as it was.
pub(crate) fn altered(case: &Case, alter: impl Alter) -> Case {
    Case { op: Arc::new(Altered { op: case.op.clone(), alter }), ..case.clone() }
}

#[derive(Debug)]
struct Altered<A> {
    op: Arc<dyn Op>,
    alter: A,
}

impl<A: Alter> Op for Altered<A> {
    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        self.alter.variants(self.op.as_ref(), signature, target)
    }

    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        self.op.infer(inputs)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        self.op.in_place()
    }

    fn is_view(&self) -> bool {
        self.op.is_view()
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        needed: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        self.op.backward(graph, node, upstream, needed)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        self.op.reference(signature, inputs, outputs);
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        self.op.compute(signature, call)
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        self.op.cost(signature)
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        self.op.tolerance(signature)
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        self.op.magnitude(signature, inputs)
    }
}
