//! Samples of a diagonal Gaussian whose mean and variance are learnt (Kingma and Welling 2014).

use super::noise::{PHILOX, infer_keyed, keyed_launch, rows_and_clock, words};
use super::{Case, Values, expect_inputs, expect_same, normal_from_bits};
use crate::cpu::noise::Stream;
use crate::cpu::vector::{exp, wide};
use crate::error::Result;
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Shader, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorId, TensorType};

/// `z = mean + exp(log_variance / 2) n` with n standard normal, drawn anew for each step.
///
/// Inputs: mean, log_variance (B, …), rows `u32[B]` (the data set's row of each sample), clock.
#[derive(Clone, Copy, Debug)]
pub struct Reparameterise {
    /// First word of the key.
    pub seed: u32,
    /// Second word of the key: one number per use.
    pub stream: u32,
}

/// The gradient of [`Reparameterise`] with respect to the logarithm: `dz n exp(log_variance / 2) / 2`, with the same n.
///
/// Inputs: dz, log_variance, rows, clock.
#[derive(Clone, Copy, Debug)]
pub struct ReparameteriseBackward {
    /// As in [`Reparameterise`].
    pub seed: u32,
    /// As in [`Reparameterise`].
    pub stream: u32,
}

/// The normals of all elements, in f32.
fn normals(seed: u32, stream: u32, rows: &[u32], clock: &[u32], elements: usize) -> Vec<f32> {
    let of_row = |&row: &u32| {
        let quads = (0..elements.div_ceil(4)).flat_map(move |quad| words(seed, stream, clock, row, quad));
        quads.take(elements).map(normal_from_bits)
    };
    rows.iter().flat_map(of_row).collect()
}

/// The same on the CPU executor, written to `n`.
fn draw(seed: u32, stream: u32, rows: &[u32], clock: &[u32], n: &mut [f32]) {
    let elements = (n.len() / rows.len().max(1)).max(1);
    for (n, &row) in n.chunks_mut(elements).zip(rows) {
        Stream::new([seed, stream], clock, row).with_normals(
            n,
            #[inline(always)]
            |_, normal| normal,
        );
    }
}

fn infer(op: &str, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
    expect_inputs(op, inputs, 4..=4)?;
    expect_same(op, &inputs[0], &inputs[1])?;
    infer_keyed(op, inputs)
}

impl Op for Reparameterise {
    fn name(&self) -> &'static str {
        "reparameterise"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        infer(self.name(), inputs)
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        needed: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dz) = upstream[0] else { return Ok(vec![None; 4]) };
        let op = ReparameteriseBackward { seed: self.seed, stream: self.stream };
        let inputs = [dz, node.inputs[1], node.inputs[2], node.inputs[3]];
        let logarithm = if needed[1] { Some(graph.apply_one(op, &inputs)?) } else { None };
        Ok(vec![Some(dz), logarithm, None, None])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let files = &[PHILOX, include_str!("../../shaders/reparameterise.wgsl")];
        vec![keyed_launch(Shader { name: "reparameterise", files }, self.seed, self.stream, Vec::new(), signature)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (mean, logarithm, rows) = (inputs[0].f64(), inputs[1].f64(), inputs[2].u32());
        let n = normals(self.seed, self.stream, rows, inputs[3].u32(), mean.len() / rows.len().max(1));
        for (i, z) in outputs[0].f64_mut().iter_mut().enumerate() {
            *z = mean[i] + (logarithm[i] / 2.0).exp() * f64::from(n[i]);
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (mean, logarithm, rows) = (call.input(0), call.input(1), call.inputs[2]);
        draw(self.seed, self.stream, rows, call.inputs[3], call.output(0));
        wide(
            #[inline(always)]
            || {
                for ((z, mean), logarithm) in call.output(0).iter_mut().zip(mean).zip(logarithm) {
                    *z = mean + exp(0.5 * logarithm) * *z;
                }
            },
        );
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::TRANSCENDENTAL]
    }
}

impl Op for ReparameteriseBackward {
    fn name(&self) -> &'static str {
        "reparameterise_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        infer(self.name(), inputs)
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let files = &[PHILOX, include_str!("../../shaders/reparameterise_backward.wgsl")];
        let shader = Shader { name: "reparameterise_backward", files };
        vec![keyed_launch(shader, self.seed, self.stream, Vec::new(), signature)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (dz, logarithm, rows) = (inputs[0].f64(), inputs[1].f64(), inputs[2].u32());
        let n = normals(self.seed, self.stream, rows, inputs[3].u32(), dz.len() / rows.len().max(1));
        for (i, d) in outputs[0].f64_mut().iter_mut().enumerate() {
            *d = dz[i] * f64::from(n[i]) * (logarithm[i] / 2.0).exp() / 2.0;
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (dz, logarithm, rows) = (call.input(0), call.input(1), call.inputs[2]);
        draw(self.seed, self.stream, rows, call.inputs[3], call.output(0));
        wide(
            #[inline(always)]
            || {
                for ((d, dz), logarithm) in call.output(0).iter_mut().zip(dz).zip(logarithm) {
                    *d = 0.5 * dz * *d * exp(0.5 * logarithm);
                }
            },
        );
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::TRANSCENDENTAL]
    }
}

/// Two tensors of one shape, rows and clock.
fn inputs(dims: &[usize]) -> Vec<(TensorType, Values)> {
    let ty = TensorType::f32(dims);
    let mut inputs = vec![(ty.clone(), Values::Uniform(-1.0, 1.0)), (ty, Values::Uniform(-3.0, 2.0))];
    inputs.extend(rows_and_clock(dims[0]));
    inputs
}

const SHAPES: [&[usize]; 4] = [&[1, 1], &[3, 5], &[2, 4, 3], &[7, 131]];

pub(super) fn cases() -> Vec<Case> {
    let op = Reparameterise { seed: 7, stream: 513 };
    let small = SHAPES.map(|dims| Case::new(format!("{dims:?}"), op, inputs(dims)).with_gradients([0, 1]));
    small.into_iter().chain([Case::new("large", op, inputs(&[4_194_305, 1])).large()]).collect()
}

pub(super) fn backward_cases() -> Vec<Case> {
    let op = ReparameteriseBackward { seed: 7, stream: 513 };
    let small = SHAPES.map(|dims| Case::new(format!("{dims:?}"), op, inputs(dims)));
    small.into_iter().chain([Case::new("large", op, inputs(&[4_194_305, 1])).large()]).collect()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let op = Reparameterise { seed: draw.from(0..=u32::MAX), stream: 3 };
    Ok(draw.small(Case::new(format!("{dims:?}"), op, inputs(&dims)), [0, 1]))
}

pub(super) fn random_backward(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let op = ReparameteriseBackward { seed: draw.from(0..=u32::MAX), stream: 3 };
    Ok(Case::new(format!("{dims:?}"), op, inputs(&dims)))
}
