//! Batch normalisation (Ioffe and Szegedy 2015) with given statistics, its gradient, and what training records.

use super::conv2d::reals;
use super::moments::{SHAPES, by_element_and_by_quad, chunk_len, infer_channels};
use super::sum_rows::{matrix, split_rows};
use super::{
    Activate, Activation, AllReduce, Case, MergeMoments, Moments, MovingAverage, Scale, activation, conv_kernels,
    expect_inputs, expect_same,
};
use crate::cpu::reduce::{LIGHT, RUN};
use crate::cpu::scratch;
use crate::cpu::vector::wide;
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Cost, Launch, Products, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};
use rayon::prelude::*;
use std::sync::Arc;

/// `y = f(weight[c] (x - mean[c]) / sqrt(variance[c] + epsilon) + bias[c])`, c the last axis.
///
/// Inputs: x of any rank from 1, weight, bias, mean, variance (C each). With running statistics this is inference; with
/// those of the batch, from [`Moments`], it is training, see [`BatchNormTraining`]. All inputs have a gradient.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    /// Added to the variance: 1e-3 in Keras, 1e-5 in PyTorch.
    pub epsilon: f32,
    /// f.
    pub activation: Activation,
}

/// The gradients of [`BatchNorm`] without its activation, with respect to all its inputs.
///
/// Inputs: x, dy, weight, mean, variance. Outputs: dx, dweight, dbias, dmean, dvariance, where, with
/// `r = 1 / sqrt(variance + epsilon)` and sums over all axes but the last, `dx = dy weight r`,
/// `dweight = sum dy (x - mean) r`, `dbias = sum dy`, `dmean = -weight r dbias`, `dvariance = -weight r^2 dweight / 2`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormBackward {
    /// As in [`BatchNorm`].
    pub epsilon: f32,
}

/// Batch normalisation in training: normalises with the batch's statistics and moves the running ones.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BatchNormTraining {
    /// The weight of the old running value: 0.99 in Keras, 0.9 in PyTorch (whose own `momentum` is one minus it).
    pub momentum: f32,
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether the running variance is the unbiased one, as in PyTorch; Keras keeps the biased one. The batch itself is
    /// normalised with the biased one either way.
    pub unbiased: bool,
    /// Whose statistics they are, where several ranks train together.
    pub statistics: BatchStatistics,
}

/// Whose rows the statistics of a batch are of, in training by several ranks ([`crate::exchange`]).
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum BatchStatistics {
    /// There is one rank: its rows.
    #[default]
    Alone,
    /// Each rank normalises by its own rows, and the running statistics move by the mean over the ranks, weighted by rows,
    /// so that they stay the same on all.
    Own {
        /// The share of this rank's rows in all.
        share: f32,
    },
    /// The rows of all ranks, as if they were one batch.
    All {
        /// The share of this rank's rows in all.
        share: f32,
    },
}

impl BatchNormTraining {
    /// Records x, weight, bias, running mean, running variance -> y, new running mean, new running variance; the
    /// running statistics are replaced in place.
    ///
    /// # Errors
    /// If the shapes do not fit, or if an unbiased variance is wanted of one row.
    pub fn record(&self, graph: &mut Graph, inputs: [TensorId; 5]) -> Result<[TensorId; 3]> {
        let [x, weight, bias, running_mean, running_variance] = inputs;
        let [mean, variance] = match self.statistics {
            BatchStatistics::All { share } => MergeMoments { share }.record(graph, x)?,
            BatchStatistics::Alone | BatchStatistics::Own { .. } => {
                let statistics = graph.apply(Moments, &[x])?;
                [statistics[0], statistics[1]]
            }
        };
        let normalise = BatchNorm { epsilon: self.epsilon, activation: Activation::Linear };
        let y = graph.apply_one(normalise, &[x, weight, bias, mean, variance])?;
        let [rows, _] = matrix(graph.ty(x));
        let rows = match self.statistics {
            BatchStatistics::All { share } => (rows as f32 / share).round() as usize,
            BatchStatistics::Alone | BatchStatistics::Own { .. } => rows,
        };
        if self.unbiased && rows < 2 {
            return Err(Error::shape(
                "batch_norm",
                "at least two rows for an unbiased variance",
                graph.ty(x).to_string(),
            ));
        }
        let correction = if self.unbiased { rows as f32 / (rows - 1) as f32 } else { 1.0 };
        let mut average = |scale, running, mut value| {
            if let BatchStatistics::Own { share } = self.statistics {
                let part = graph.apply_one(Scale { factor: share }, &[value])?;
                value = graph.apply_one(AllReduce, &[part])?;
            }
            graph.apply_one(MovingAverage { momentum: self.momentum, scale }, &[running, value])
        };
        Ok([y, average(1.0, running_mean, mean)?, average(correction, running_variance, variance)?])
    }
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 5..=5)?;
        let channels = infer_channels(self.name(), &inputs[0])?;
        inputs[1..].iter().try_for_each(|ty| expect_same(self.name(), &channels, ty))?;
        Ok(vec![inputs[0].clone()])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; 5]) };
        let dy = self.activation.record_backward(graph, dy, node.outputs[0])?;
        let inputs = [node.inputs[0], dy, node.inputs[1], node.inputs[3], node.inputs[4]];
        let gradients = graph.apply(BatchNormBackward { epsilon: self.epsilon }, &inputs)?;
        Ok(gradients.into_iter().map(Some).collect())
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        const FILES: &[&str] = &[activation::SNIPPET, include_str!("../../shaders/batch_norm.wgsl")];
        const QUADS: &[&str] =
            &[activation::SNIPPET, conv_kernels::PAIRS, include_str!("../../shaders/batch_norm_quads.wgsl")];
        let [rows, columns] = matrix(&signature.inputs[0]);
        let elements = rows * columns;
        let launch = |shader, items| Launch {
            shader,
            constants: self.activation.constants().into(),
            parameters: vec![
                ("elements", elements.into()),
                ("columns", columns.into()),
                ("epsilon", self.epsilon.into()),
            ],
            bindings: (0..5).map(Binding::Input).chain([Binding::Output(0)]).collect(),
            workgroups: linear_grid(items, 64),
        };
        let plain = Shader { name: "batch_norm", files: FILES };
        let quads = Shader { name: "batch_norm_quads", files: QUADS };
        by_element_and_by_quad(launch, plain, quads, [rows, columns], target)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [_, columns] = matrix(&signature.inputs[0]);
        let [x, weight, bias, mean, variance] = inputs else { return };
        for (i, (y, x)) in outputs[0].f64_mut().iter_mut().zip(x.f64()).enumerate() {
            let c = i % columns;
            let deviation = (variance.f64()[c] + f64::from(self.epsilon)).sqrt();
            let z = weight.f64()[c] * (x - mean.f64()[c]) / deviation + bias.f64()[c];
            *y = self.activation.reference(z);
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let [_, columns] = matrix(&signature.inputs[0]);
        let (x, bias, mean) = (call.input(0), call.input(2), call.input(3));
        let (weight, variance) = (call.input(1), call.input(4));
        scratch::with(|scratch| {
            let scale = scales(weight, variance, self.epsilon, scratch.floats.first(columns));
            let chunk = chunk_len(columns);
            let pairs = call.output(0).par_chunks_mut(chunk).zip(x.par_chunks(chunk));
            pairs.with_min_len(LIGHT).for_each(|(y, x)| {
                wide(
                    #[inline(always)]
                    || {
                        for (y, x) in y.chunks_exact_mut(columns).zip(x.chunks_exact(columns)) {
                            for ((((y, x), scale), mean), bias) in y.iter_mut().zip(x).zip(scale).zip(mean).zip(bias) {
                                *y = scale * (x - mean) + bias;
                            }
                        }
                    },
                );
                self.activation.apply_all(y);
            });
        });
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        Cost { flops: 4.0 * signature.inputs[0].shape.len() as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![self.activation.sum_tolerance(ROUNDINGS)]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let [_, columns] = matrix(&signature.inputs[0]);
        let mut outputs = vec![Array::zeros(&signature.outputs[0])];
        let (weight, bias, mean, variance) = (inputs[1].f64(), inputs[2].f64(), inputs[3].f64(), inputs[4].f64());
        for (i, (y, x)) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()).enumerate() {
            let c = i % columns;
            let normal = (x - mean[c]) / (variance[c] + f64::from(self.epsilon)).sqrt();
            *y = self.activation.steepest() * ((weight[c] * normal).abs() + bias[c].abs());
        }
        outputs
    }

    fn fuse(&self, next: &dyn Op) -> Option<Arc<dyn Op>> {
        let activation = next.downcast_ref::<Activate>().filter(|_| self.activation == Activation::Linear)?.kind;
        Some(Arc::new(Self { activation, ..*self }))
    }
}

/// Roundings on the way of one term: difference, sum with epsilon, two products, the last sum, and four for a
/// reciprocal root that WGSL allows two units in the last place.
const ROUNDINGS: usize = 9;

/// weight / sqrt(variance + epsilon).
fn scales<'a>(weight: &[f32], variance: &[f32], epsilon: f32, scales: &'a mut [f32]) -> &'a [f32] {
    for ((scale, weight), variance) in scales.iter_mut().zip(weight).zip(variance) {
        *scale = weight / (variance + epsilon).sqrt();
    }
    scales
}

impl Op for BatchNormBackward {
    fn name(&self) -> &'static str {
        "batch_norm_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 5..=5)?;
        let channels = infer_channels(self.name(), &inputs[0])?;
        expect_same(self.name(), &inputs[0], &inputs[1])?;
        inputs[2..].iter().try_for_each(|ty| expect_same(self.name(), &channels, ty))?;
        Ok(vec![inputs[0].clone(), channels.clone(), channels.clone(), channels.clone(), channels])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let [_, columns] = matrix(&signature.inputs[0]);
        let mut variants = vec![self.variant(signature, false)];
        if conv_kernels::reads_pairs(target) && columns.is_multiple_of(4) {
            variants.push(self.variant(signature, true));
        }
        variants
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        self.gradients(signature, inputs, outputs, |term| term);
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let [rows, columns] = matrix(&signature.inputs[0]);
        let (_, run_rows) = split_rows(rows);
        let (x, dy, weight, mean) = (call.input(0), call.input(1), call.input(2), call.input(3));
        let variance = call.input(4);
        scratch::with(|scratch| {
            let floats = scratch.floats.first(columns * (1 + 2 * rows.div_ceil(run_rows)));
            let (scale, sums) = floats.split_at_mut(columns);
            let scale = scales(weight, variance, self.epsilon, scale);
            let chunk = chunk_len(columns);
            let pairs = call.output(0).par_chunks_mut(chunk).zip(dy.par_chunks(chunk));
            pairs.with_min_len(LIGHT).for_each(|(dx, dy)| {
                wide(
                    #[inline(always)]
                    || {
                        for (dx, dy) in dx.chunks_exact_mut(columns).zip(dy.chunks_exact(columns)) {
                            for ((dx, dy), scale) in dx.iter_mut().zip(dy).zip(scale) {
                                *dx = dy * scale;
                            }
                        }
                    },
                );
            });
            let run = run_rows * columns;
            let runs = sums.par_chunks_mut(2 * columns).zip(x.par_chunks(run).zip(dy.par_chunks(run)));
            runs.with_min_len((LIGHT * RUN).div_ceil(run)).for_each(|(sums, (x, dy))| {
                sums.fill(0.0);
                let (of_dy, of_product) = sums.split_at_mut(columns);
                wide(
                    #[inline(always)]
                    || {
                        for (x, dy) in x.chunks_exact(columns).zip(dy.chunks_exact(columns)) {
                            let sums = of_dy.iter_mut().zip(of_product.iter_mut());
                            for (((of_dy, of_product), mean), (x, dy)) in sums.zip(mean).zip(x.iter().zip(dy)) {
                                *of_dy += dy;
                                *of_product += dy * (x - mean);
                            }
                        }
                    },
                );
            });
            for c in 0..columns {
                let sum =
                    |k: usize| sums[k * columns + c..].iter().step_by(2 * columns).map(|&s| f64::from(s)).sum::<f64>();
                let root = 1.0 / (f64::from(variance[c]) + f64::from(self.epsilon)).sqrt();
                let (w, dbias, dweight) = (f64::from(weight[c]), sum(0), sum(1) * root);
                let values = [dweight, dbias, -w * root * dbias, -0.5 * w * root * root * dweight];
                for (o, value) in values.into_iter().enumerate() {
                    call.output(1 + o)[c] = value as f32;
                }
            }
        });
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        Cost { flops: 5.0 * signature.inputs[0].shape.len() as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let [rows, _] = matrix(&signature.inputs[0]);
        let sum = Activation::Linear.sum_tolerance(rows + ROUNDINGS);
        vec![Tolerance::ELEMENTWISE, sum, sum, sum, sum]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let mut outputs: Vec<Array> = signature.outputs.iter().map(Array::zeros).collect();
        self.gradients(signature, inputs, &mut outputs, f64::abs);
        outputs.iter().map(Array::abs).collect()
    }
}

impl BatchNormBackward {
    /// The formulas, with `term` applied to each term of both sums.
    fn gradients(
        &self,
        signature: &Signature<'_>,
        inputs: &[&Array],
        outputs: &mut [Array],
        term: impl Fn(f64) -> f64,
    ) {
        let [_, columns] = matrix(&signature.inputs[0]);
        let ([x, dy, weight, mean, variance], [dx, dweight, dbias, dmean, dvariance]) = (inputs, outputs) else {
            return;
        };
        for c in 0..columns {
            let (w, mean) = (weight.f64()[c], mean.f64()[c]);
            let r = 1.0 / (variance.f64()[c] + f64::from(self.epsilon)).sqrt();
            let (mut of_weight, mut of_bias) = (0.0, 0.0);
            for i in (c..x.len()).step_by(columns) {
                dx.f64_mut()[i] = dy.f64()[i] * w * r;
                of_weight += term(dy.f64()[i] * (x.f64()[i] - mean) * r);
                of_bias += term(dy.f64()[i]);
            }
            dweight.f64_mut()[c] = of_weight;
            dbias.f64_mut()[c] = of_bias;
            dmean.f64_mut()[c] = -w * r * of_bias;
            dvariance.f64_mut()[c] = -w * r * r * of_weight / 2.0;
        }
    }

    /// Sums over runs of rows, then over the runs, in a fixed order; then dx.
    fn variant(&self, signature: &Signature<'_>, quads: bool) -> Variant {
        const SUMS: &[&str] = &[include_str!("../../shaders/batch_norm_sums.wgsl")];
        const SUMS_QUADS: &[&str] = &[conv_kernels::PAIRS, include_str!("../../shaders/batch_norm_sums_quads.wgsl")];
        const TOTALS: &[&str] = &[include_str!("../../shaders/batch_norm_totals.wgsl")];
        const DX: &[&str] = &[include_str!("../../shaders/batch_norm_dx.wgsl")];
        const DX_QUADS: &[&str] = &[conv_kernels::PAIRS, include_str!("../../shaders/batch_norm_dx_quads.wgsl")];
        let [rows, columns] = matrix(&signature.inputs[0]);
        let (runs, run_rows) = split_rows(rows);
        let launch = |shader, parameters, bindings, items| Launch {
            shader,
            constants: Vec::new(),
            parameters,
            bindings,
            workgroups: linear_grid(items, 64),
        };
        let (x, dy, weight, mean, variance) =
            (Binding::Input(0), Binding::Input(1), Binding::Input(2), Binding::Input(3), Binding::Input(4));
        let planes = [Binding::Scratch(0), Binding::Scratch(1)];
        let (name, sums, gradient, width) = if quads {
            let sums = Shader { name: "batch_norm_sums_quads", files: SUMS_QUADS };
            ("quads", sums, Shader { name: "batch_norm_dx_quads", files: DX_QUADS }, 4)
        } else {
            let sums = Shader { name: "batch_norm_sums", files: SUMS };
            ("three-stage", sums, Shader { name: "batch_norm_dx", files: DX }, 1)
        };
        let of_runs = vec![
            ("rows", rows.into()),
            ("columns", columns.into()),
            ("runs", runs.into()),
            ("run_rows", run_rows.into()),
        ];
        let of_columns = vec![("columns", columns.into()), ("runs", runs.into()), ("epsilon", self.epsilon.into())];
        let of_elements =
            vec![("elements", (rows * columns).into()), ("columns", columns.into()), ("epsilon", self.epsilon.into())];
        let totals = [planes[0], planes[1], weight, variance].into_iter().chain((1..5).map(Binding::Output)).collect();
        let launches = vec![
            launch(sums, of_runs, vec![x, dy, mean, planes[0], planes[1]], runs * columns / width),
            launch(Shader { name: "batch_norm_totals", files: TOTALS }, of_columns, totals, columns),
            launch(gradient, of_elements, vec![dy, weight, variance, Binding::Output(0)], rows * columns / width),
        ];
        let estimate_us = (rows * columns) as f64 / width as f64;
        Variant { name, launches, scratch_bytes: vec![4 * runs * columns; 2], estimate_us, products: Products::F32 }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let kinds = [Activation::Linear, Activation::Relu, Activation::LeakyRelu { slope: 0.2 }, Activation::Sigmoid];
    let case = |(i, dims): (usize, &[usize])| {
        let c = dims[dims.len() - 1];
        let op = BatchNorm { epsilon: [1e-3, 1e-5][i % 2], activation: kinds[i % kinds.len()] };
        let inputs = vec![
            reals(dims, -2.0, 2.0),
            reals([c], -1.5, 1.5),
            reals([c], -1.0, 1.0),
            reals([c], -0.5, 0.5),
            reals([c], 0.05, 2.0),
        ];
        let case = Case::new(format!("{dims:?} {} eps {}", op.activation, op.epsilon), op, inputs);
        if dims.iter().product::<usize>() < 1000 { case.with_gradients(0..5) } else { case }
    };
    SHAPES.into_iter().enumerate().map(case).collect()
}

pub(super) fn backward_cases() -> Vec<Case> {
    let case = |dims: &[usize]| {
        let c = dims[dims.len() - 1];
        let inputs = vec![
            reals(dims, -2.0, 2.0),
            reals(dims, -1.0, 1.0),
            reals([c], -1.5, 1.5),
            reals([c], -0.5, 0.5),
            reals([c], 0.05, 2.0),
        ];
        Case::new(format!("{dims:?}"), BatchNormBackward { epsilon: 1e-3 }, inputs)
    };
    SHAPES.map(case).into()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let op = BatchNorm { epsilon: draw.one_of(&[1e-3, 1e-5]), activation: draw.activation() };
    let c = dims[dims.len() - 1];
    let inputs = vec![
        reals(&dims[..], -2.0, 2.0),
        reals([c], -1.5, 1.5),
        reals([c], -1.0, 1.0),
        reals([c], -0.5, 0.5),
        reals([c], 0.05, 2.0),
    ];
    Ok(draw.small(Case::new(format!("{dims:?} {op:?}"), op, inputs), 0..5))
}

pub(super) fn random_backward(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let c = dims[dims.len() - 1];
    let inputs = vec![
        reals(&dims[..], -2.0, 2.0),
        reals(&dims[..], -1.0, 1.0),
        reals([c], -1.5, 1.5),
        reals([c], -0.5, 0.5),
        reals([c], 0.05, 2.0),
    ];
    Ok(Case::new(format!("{dims:?}"), BatchNormBackward { epsilon: 1e-3 }, inputs))
}

#[cfg(test)]
#[path = "batch_norm_tests.rs"]
mod tests;
