//! Matrix product with optional transposes, bias and activation: dense layers and all their gradients.

use super::conv2d::{magnitude_before, reals};
use super::{Activate, Activation, Case, SumRows, expect_f32, expect_inputs, matmul_kernels};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Cost, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorId, TensorType};
use std::sync::Arc;

/// `y = f(op(a) op(b) + bias)`, op the transpose where asked for.
///
/// Inputs: a (M, K), b (K, N), each stored the other way round where transposed, and optionally bias (N).
#[derive(Clone, Copy, Debug, Default)]
pub struct Matmul {
    /// Whether a is stored (K, M).
    pub transpose_a: bool,
    /// Whether b is stored (N, K).
    pub transpose_b: bool,
    /// f.
    pub activation: Activation,
}

impl Matmul {
    /// M, K and N for these inputs.
    pub(crate) fn extents(&self, inputs: &[TensorType]) -> Option<[usize; 3]> {
        let (a, b) = (inputs.first()?.shape.matrix()?, inputs.get(1)?.shape.matrix()?);
        let [m, k] = if self.transpose_a { [a[1], a[0]] } else { a };
        let [k2, n] = if self.transpose_b { [b[1], b[0]] } else { b };
        (k == k2 && m * k * n > 0).then_some([m, k, n])
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=3)?;
        inputs.iter().try_for_each(|ty| expect_f32(self.name(), ty))?;
        let Some([m, _, n]) = self.extents(inputs) else {
            let wanted = match (self.transpose_a, self.transpose_b) {
                (false, false) => "(M, K) and (K, N)",
                (true, false) => "(K, M) and (K, N)",
                (false, true) => "(M, K) and (N, K)",
                (true, true) => "(K, M) and (N, K)",
            };
            return Err(Error::shape(self.name(), wanted, format!("{} and {}", inputs[0], inputs[1])));
        };
        if inputs.get(2).is_some_and(|bias| bias.shape.dims() != [n]) {
            return Err(Error::shape(self.name(), format!("bias f32[{n}]"), inputs[2].to_string()));
        }
        Ok(vec![TensorType::f32([m, n])])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        needed: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; node.inputs.len()]) };
        let dy = self.activation.record_backward(graph, dy, node.outputs[0])?;
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let mut product = |transpose_a, transpose_b, left, right| {
            let op = Self { transpose_a, transpose_b, activation: Activation::Linear };
            graph.apply_one(op, &[left, right])
        };
        // With A = op(a) and B = op(b): dA = dy B^T and dB = A^T dy, transposed back where stored transposed.
        let mut gradients = vec![None; node.inputs.len()];
        if needed[0] {
            gradients[0] = Some(match self.transpose_a {
                false => product(false, !self.transpose_b, dy, b)?,
                true => product(self.transpose_b, true, b, dy)?,
            });
        }
        if needed[1] {
            gradients[1] = Some(match self.transpose_b {
                false => product(!self.transpose_a, false, a, dy)?,
                true => product(true, self.transpose_a, dy, a)?,
            });
        }
        if needed.get(2) == Some(&true) {
            gradients[2] = Some(graph.apply_one(SumRows, &[dy])?);
        }
        Ok(gradients)
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        matmul_kernels::variants(self, signature, target)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let Some([m, k, n]) = self.extents(signature.inputs) else { return };
        let (a, b) = (inputs[0].f64(), inputs[1].f64());
        let y = outputs[0].f64_mut();
        for i in 0..m {
            for j in 0..n {
                let product = |l: usize| {
                    let left = if self.transpose_a { a[l * m + i] } else { a[i * k + l] };
                    left * if self.transpose_b { b[j * k + l] } else { b[l * n + j] }
                };
                let bias = inputs.get(2).map_or(0.0, |bias| bias.f64()[j]);
                y[i * n + j] = self.activation.reference((0..k).map(product).sum::<f64>() + bias);
            }
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        crate::cpu::matmul::run(self, signature, call);
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let [m, k, n] = self.extents(signature.inputs).unwrap_or([0; 3]);
        Cost { flops: 2.0 * (m * k) as f64 * n as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let [_, k, _] = self.extents(signature.inputs).unwrap_or([0; 3]);
        vec![self.activation.sum_tolerance(k + 1)]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        magnitude_before(self.activation, &Self { activation: Activation::Linear, ..*self }, signature, inputs)
    }

    fn fuse(&self, next: &dyn Op) -> Option<Arc<dyn Op>> {
        let activation = next.downcast_ref::<Activate>().filter(|_| self.activation == Activation::Linear)?.kind;
        Some(Arc::new(Self { activation, ..*self }))
    }
}

pub(super) fn cases() -> Vec<Case> {
    // One, tile - 1, tile, tile + 1 for tiles of 8, 32 and 64; long and thin; the models' own.
    let sizes = [
        [1, 1, 1],
        [7, 9, 8],
        [8, 8, 9],
        [31, 33, 32],
        [33, 17, 65],
        [63, 64, 65],
        [65, 3, 130],
        [1, 300, 5],
        [5, 1, 70],
        [64, 1024, 32],
        [50, 784, 30],
        [9, 301, 19],
        [100, 64, 260],
    ];
    let mut cases = Vec::new();
    for (i, [m, k, n]) in sizes.into_iter().enumerate() {
        for (transpose_a, transpose_b) in [(false, false), (true, false), (false, true), (true, true)] {
            let a = if transpose_a { [k, m] } else { [m, k] };
            let b = if transpose_b { [n, k] } else { [k, n] };
            let mut inputs = vec![reals(a, -1.0, 1.0), reals(b, -1.0, 1.0)];
            let mut op = Matmul { transpose_a, transpose_b, activation: Activation::Linear };
            let flags = format!("{}{}", if transpose_a { "T" } else { "N" }, if transpose_b { "T" } else { "N" });
            let small = m * k * n < 20_000;
            let mut push = |label: String, op: Matmul, inputs: &[_]| {
                let case = Case::new(label, op, inputs.to_vec());
                cases.push(if small { case.with_gradients(0..inputs.len()) } else { case });
            };
            push(format!("{m}x{k}x{n} {flags}"), op, &inputs);
            inputs.push(reals([n], -1.0, 1.0));
            op.activation = Activation::NONLINEAR[i % Activation::NONLINEAR.len()];
            push(format!("{m}x{k}x{n} {flags} bias {:?}", op.activation), op, &inputs);
        }
    }
    // Past the largest half, and among those that are 2^-24 apart.
    for (label, range) in [("huge", 2e5), ("tiny", 2e-5)] {
        let inputs = vec![reals([3, 5], -range, range), reals([5, 4], -range, range)];
        cases.push(Case::new(label, Matmul::default(), inputs));
    }
    // Past 65,535 workgroups of 64 rows.
    let inputs = vec![reals([4_194_305, 1], -1.0, 1.0), reals([1, 1], 0.5, 1.0)];
    cases.push(Case::new("large", Matmul::default(), inputs).large());
    cases
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let [m, k, n] = [(); 3].map(|()| draw.extent() * draw.channels());
    let op = Matmul { transpose_a: draw.flag(), transpose_b: draw.flag(), activation: draw.activation() };
    let a = if op.transpose_a { [k, m] } else { [m, k] };
    let b = if op.transpose_b { [n, k] } else { [k, n] };
    let mut inputs = vec![reals(a, -1.0, 1.0), reals(b, -1.0, 1.0)];
    if draw.flag() {
        inputs.push(reals([n], -1.0, 1.0));
    }
    let all = 0..inputs.len();
    Ok(draw.small(Case::new(format!("{m}x{k}x{n} {op:?}"), op, inputs), all))
}
