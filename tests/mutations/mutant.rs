//! An op whose shaders are broken on purpose.

use degrain::error::Result;
use degrain::graph::{CpuCall, Graph, Node, Op, Signature};
use degrain::kernel::{Cost, Shader, Target, Tolerance, Variant};
use degrain::op::Case;
use degrain::tensor::{Array, TensorId, TensorType};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Files of a shader, joined in order.
type Files = &'static [&'static str];

/// One text of a shader file in place of another. It lives as long as the test: shaders hold static texts.
#[derive(Debug)]
pub(crate) struct Mutation {
    original: String,
    broken: &'static str,
    replaced: Mutex<HashMap<Files, Files>>,
}

impl Mutation {
    /// `broken` wherever a shader is made of `original`.
    pub(crate) fn new(original: String, broken: String) -> Self {
        Self { original, broken: broken.leak(), replaced: Mutex::default() }
    }

    /// Whether a kernel is made of the file that is broken.
    fn concerns(&self, variant: &Variant) -> bool {
        variant.launches.iter().any(|launch| launch.shader.files.contains(&self.original.as_str()))
    }

    fn apply(&self, shader: Shader) -> Shader {
        let mut replaced = self.replaced.lock().unwrap();
        let files = replaced.entry(shader.files).or_insert_with(|| {
            let swap = |&file: &&'static str| if file == self.original { self.broken } else { file };
            shader.files.iter().map(swap).collect::<Vec<_>>().leak()
        });
        Shader { files, ..shader }
    }
}

/// An op of which only the kernels made of the broken file are left.
#[derive(Debug)]
pub(crate) struct Mutant {
    op: Arc<dyn Op>,
    mutation: Arc<Mutation>,
}

impl Mutant {
    /// The case with its op replaced.
    pub(crate) fn of(case: &Case, mutation: &Arc<Mutation>) -> Case {
        Case { op: Arc::new(Self { op: case.op.clone(), mutation: mutation.clone() }), ..case.clone() }
    }
}

impl Op for Mutant {
    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let mut variants = self.op.variants(signature, target);
        variants.retain(|variant| self.mutation.concerns(variant));
        for launch in variants.iter_mut().flat_map(|variant| &mut variant.launches) {
            launch.shader = self.mutation.apply(launch.shader);
        }
        variants
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
