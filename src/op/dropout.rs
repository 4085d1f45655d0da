//! Dropout: values set to zero at random, the others scaled up, drawn anew for each step.

use super::noise::{PHILOX, infer_keyed, keyed_launch, rows_and_clock, words};
use super::{Case, Tick, Values, expect_inputs};
use crate::cpu::noise::Stream;
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Shader, Target, Variant};
use crate::tensor::{Array, TensorId, TensorType};
use rayon::prelude::*;

/// `y = x / (1 - rate)`, or zero with the chance `rate` (Srivastava et al. 2014, scaled in training). An element is
/// dropped where the upper 24 bits of its random word are below `rate 2^24`. The gradient is the same op on dy.
///
/// Inputs: x (B, …), rows `u32[B]` (the data set's row of each sample), clock.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Chance of a zero, at least 0 and below 1.
    pub rate: f32,
    /// First word of the key.
    pub seed: u32,
    /// Second word of the key: one number per use.
    pub stream: u32,
}

impl Dropout {
    fn threshold(&self) -> u32 {
        (self.rate * 16_777_216.0) as u32
    }

    fn keeps(&self, bits: u32) -> bool {
        bits >> 8 >= self.threshold()
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 3..=3)?;
        if !(0.0..1.0).contains(&self.rate) {
            return Err(Error::shape(self.name(), "a rate of at least 0 and below 1", self.rate.to_string()));
        }
        infer_keyed(self.name(), inputs)
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; 3]) };
        Ok(vec![Some(graph.apply_one(*self, &[dy, node.inputs[1], node.inputs[2]])?), None, None])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let shader = Shader { name: "dropout", files: &[PHILOX, include_str!("../../shaders/dropout.wgsl")] };
        let parameters = vec![("threshold", self.threshold().into()), ("scale", (1.0 / (1.0 - self.rate)).into())];
        vec![keyed_launch(shader, self.seed, self.stream, parameters, signature)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (x, rows, clock) = (inputs[0].f64(), inputs[1].u32(), inputs[2].u32());
        let elements = (x.len() / rows.len().max(1)).max(1);
        let samples = outputs[0].f64_mut().chunks_mut(elements).zip(x.chunks(elements));
        for ((y, x), &row) in samples.zip(rows) {
            for (e, (y, x)) in y.iter_mut().zip(x).enumerate() {
                let bits = words(self.seed, self.stream, clock, row, e / 4)[e % 4];
                *y = if self.keeps(bits) { x / (1.0 - f64::from(self.rate)) } else { 0.0 };
            }
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (x, rows, clock) = (call.input(0), call.inputs[1], call.inputs[2]);
        let elements = (x.len() / rows.len().max(1)).max(1);
        let scale = 1.0 / (1.0 - self.rate);
        let samples = call.output(0).par_chunks_mut(elements).zip(x.par_chunks(elements)).zip(rows);
        samples.with_min_len(4096 / elements).for_each(|((y, x), &row)| {
            Stream::new([self.seed, self.stream], clock, row).each(elements, |first, words| {
                for ((y, x), &bits) in y[first..].iter_mut().zip(&x[first..]).zip(words) {
                    *y = if self.keeps(bits) { x * scale } else { 0.0 };
                }
            });
        });
        true
    }
}

pub(super) fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 4] = [&[1, 1], &[3, 5], &[2, 8, 8, 3], &[7, 131]];
    let mut cases: Vec<Case> = shapes
        .into_iter()
        .zip([0.5, 0.0, 0.25, 0.9])
        .map(|(dims, rate)| case(dims, Dropout { rate, seed: 7, stream: 257 }).with_gradients([0]))
        .collect();
    cases.push(at_the_threshold());
    cases.push(case(&[4_194_305, 1], Dropout { rate: 0.3, seed: 7, stream: 1 }).large());
    cases
}

fn case(dims: &[usize], op: Dropout) -> Case {
    let mut inputs = vec![(TensorType::f32(dims), Values::Uniform(-1.0, 1.0))];
    inputs.extend(rows_and_clock(dims[0]));
    Case::new(format!("{} of {dims:?}", op.rate), op, inputs)
}

/// The first word is at the threshold itself, which keeps its element.
fn at_the_threshold() -> Case {
    let (op, row, clock) = (Dropout { rate: 0.0, seed: 7, stream: 257 }, 5, vec![0xFFFF_FFFF, 3, 0, 0]);
    let first = words(op.seed, op.stream, &clock, row, 0)[0];
    let op = Dropout { rate: (first >> 8) as f32 / 16_777_216.0, ..op };
    let inputs = vec![
        (TensorType::f32([1, 5]), Values::Uniform(0.5, 1.0)),
        (TensorType::u32([1]), Values::Words(vec![row])),
        (Tick::clock(), Values::Words(clock)),
    ];
    Case::new("at the threshold", op, inputs)
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let op = Dropout { rate: draw.from(0.0..0.95), seed: draw.from(0..=u32::MAX), stream: 1 };
    Ok(draw.small(case(&dims, op), [0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::philox4x32;

    /// The share of zeros over many words is the rate, within five standard errors.
    #[test]
    fn drops_its_share() {
        let op = Dropout { rate: 0.3, seed: 1, stream: 2 };
        let n = 400_000u32;
        let kept = (0..n / 4).flat_map(|i| philox4x32([i, 0, 0, 0], [1, 2])).filter(|&bits| op.keeps(bits)).count();
        let share = kept as f64 / f64::from(n);
        assert!((share - 0.7).abs() <= 5.0 * (0.21 / f64::from(n)).sqrt(), "{share}");
    }
}
