//! Mean and variance of each channel, and their gradient: the statistics of batch normalisation.

use super::sum_rows::{matrix, split_rows};
use super::{Activation, Case, Fill, Values, conv_kernels, conv2d::reals, expect_f32, expect_inputs, expect_same};
use crate::cpu::reduce::{LIGHT, RUN};
use crate::cpu::scratch;
use crate::cpu::vector::wide;
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Cost, Launch, Products, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};
use rayon::prelude::*;

/// Over all axes but the last: `mean[c] = sum of x[…, c] / N` and `variance[c] = sum of (x[…, c] - mean[c])^2 / N`, the
/// biased variance.
///
/// Input: x of any rank from 1. Outputs: mean and variance, both (C).
#[derive(Clone, Copy, Debug)]
pub struct Moments;

/// `dx = (dmean[c] + 2 dvariance[c] (x - mean[c])) / N`.
///
/// Inputs: x, mean, dmean, dvariance. Output: dx.
#[derive(Clone, Copy, Debug)]
pub struct MomentsBackward;

impl Op for Moments {
    fn name(&self) -> &'static str {
        "moments"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        let channels = infer_channels(self.name(), &inputs[0])?;
        Ok(vec![channels.clone(), channels])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let shape = graph.ty(node.outputs[0]).shape.clone();
        let mut given = |u: Option<TensorId>| match u {
            Some(id) => Ok(id),
            None => graph.apply_one(Fill { shape: shape.clone(), value: 0.0 }, &[]),
        };
        let (dmean, dvariance) = (given(upstream[0])?, given(upstream[1])?);
        let inputs = [node.inputs[0], node.outputs[0], dmean, dvariance];
        Ok(vec![Some(graph.apply_one(MomentsBackward, &inputs)?)])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        const FILES: &[&str] = &[include_str!("../../shaders/moments.wgsl")];
        const QUADS: &[&str] = &[conv_kernels::PAIRS, include_str!("../../shaders/moments_quads.wgsl")];
        const TOTAL: &[&str] = &[include_str!("../../shaders/moments_total.wgsl")];
        let [rows, columns] = matrix(&signature.inputs[0]);
        let (runs, run_rows) = split_rows(rows);
        let launch = |shader, parameters, bindings, items| Launch {
            shader,
            constants: Vec::new(),
            parameters,
            bindings,
            workgroups: linear_grid(items, 64),
        };
        let parameters = vec![
            ("rows", rows.into()),
            ("columns", columns.into()),
            ("runs", runs.into()),
            ("run_rows", run_rows.into()),
        ];
        let planes = [Binding::Scratch(0), Binding::Scratch(1)];
        let partial =
            |shader, items| launch(shader, parameters.clone(), vec![Binding::Input(0), planes[0], planes[1]], items);
        let total = launch(
            Shader { name: "moments_total", files: TOTAL },
            parameters.clone(),
            vec![Binding::Input(0), planes[0], planes[1], Binding::Output(0), Binding::Output(1)],
            columns,
        );
        let variant = |name, first, estimate_us| Variant {
            name,
            launches: vec![first, total.clone()],
            scratch_bytes: vec![4 * runs * columns; 2],
            estimate_us,
            products: Products::F32,
        };
        let plain = partial(Shader { name: "moments", files: FILES }, runs * columns);
        let mut variants = vec![variant("two-stage", plain, 2.0)];
        if conv_kernels::reads_pairs(target) && columns.is_multiple_of(4) {
            let quads = partial(Shader { name: "moments_quads", files: QUADS }, runs * columns / 4);
            variants.push(variant("quads", quads, 1.0));
        }
        variants
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [rows, columns] = matrix(&signature.inputs[0]);
        let x = inputs[0].f64();
        let [mean, variance] = outputs else { return };
        for c in 0..columns {
            let column = || x.iter().skip(c).step_by(columns);
            let m = column().sum::<f64>() / rows as f64;
            mean.f64_mut()[c] = m;
            variance.f64_mut()[c] = column().map(|x| (x - m) * (x - m)).sum::<f64>() / rows as f64;
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let [rows, columns] = matrix(&signature.inputs[0]);
        let (_, run_rows) = split_rows(rows);
        let x = call.input(0);
        // Distances from the first row in double precision: one pass, and nothing cancels that single precision held.
        let shift = &x[..columns];
        scratch::with(|scratch| {
            let sums = scratch.doubles.first(2 * columns * rows.div_ceil(run_rows));
            let runs = sums.par_chunks_mut(2 * columns).zip(x.par_chunks(run_rows * columns));
            runs.with_min_len((LIGHT * RUN).div_ceil(run_rows * columns)).for_each(|(sums, run)| {
                sums.fill(0.0);
                let (sum, square) = sums.split_at_mut(columns);
                wide(
                    #[inline(always)]
                    || {
                        for row in run.chunks_exact(columns) {
                            for ((sum, square), (x, shift)) in
                                sum.iter_mut().zip(square.iter_mut()).zip(row.iter().zip(shift))
                            {
                                let d = f64::from(*x) - f64::from(*shift);
                                *sum += d;
                                *square += d * d;
                            }
                        }
                    },
                );
            });
            for c in 0..columns {
                let sum = |k: usize| sums[k * columns + c..].iter().step_by(2 * columns).sum::<f64>() / rows as f64;
                let (mean, square) = (sum(0), sum(1));
                call.output(0)[c] = (f64::from(shift[c]) + mean) as f32;
                call.output(1)[c] = (square - mean * mean).max(0.0) as f32;
            }
        });
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        Cost { flops: 4.0 * signature.inputs[0].shape.len() as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        // One sum of as many terms as there are rows; the terms of the variance are rounded three times each.
        let [rows, _] = matrix(&signature.inputs[0]);
        vec![Activation::Linear.sum_tolerance(rows), Activation::Linear.sum_tolerance(rows + 3)]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let mut outputs: Vec<Array> = signature.outputs.iter().map(Array::zeros).collect();
        self.reference(signature, inputs, &mut outputs);
        let mut absolute = outputs.clone();
        self.reference(signature, &[&inputs[0].abs()], &mut absolute);
        // The terms of the variance are squares; those of the mean have signs.
        vec![absolute.swap_remove(0), outputs.swap_remove(1)]
    }
}

impl Op for MomentsBackward {
    fn name(&self) -> &'static str {
        "moments_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 4..=4)?;
        let channels = infer_channels(self.name(), &inputs[0])?;
        inputs[1..].iter().try_for_each(|ty| expect_same(self.name(), &channels, ty))?;
        Ok(vec![inputs[0].clone()])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        const FILES: &[&str] = &[include_str!("../../shaders/moments_backward.wgsl")];
        const QUADS: &[&str] = &[conv_kernels::PAIRS, include_str!("../../shaders/moments_backward_quads.wgsl")];
        let [rows, columns] = matrix(&signature.inputs[0]);
        let elements = rows * columns;
        let launch = |shader, items| Launch {
            shader,
            constants: Vec::new(),
            parameters: vec![
                ("elements", elements.into()),
                ("columns", columns.into()),
                ("scale", (1.0 / rows as f32).into()),
            ],
            bindings: (0..4).map(Binding::Input).chain([Binding::Output(0)]).collect(),
            workgroups: linear_grid(items, 64),
        };
        let plain = Shader { name: "moments_backward", files: FILES };
        let quads = Shader { name: "moments_backward_quads", files: QUADS };
        by_element_and_by_quad(launch, plain, quads, [rows, columns], target)
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [rows, columns] = matrix(&signature.inputs[0]);
        let [x, mean, dmean, dvariance] = inputs else { return };
        for (i, (dx, x)) in outputs[0].f64_mut().iter_mut().zip(x.f64()).enumerate() {
            let c = i % columns;
            *dx = (dmean.f64()[c] + 2.0 * dvariance.f64()[c] * (x - mean.f64()[c])) / rows as f64;
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let [rows, columns] = matrix(&signature.inputs[0]);
        let (x, mean, dmean, dvariance) = (call.input(0), call.input(1), call.input(2), call.input(3));
        let scale = 1.0 / rows as f32;
        let chunk = chunk_len(columns);
        let pairs = call.output(0).par_chunks_mut(chunk).zip(x.par_chunks(chunk));
        pairs.with_min_len(LIGHT).for_each(|(dx, x)| {
            wide(
                #[inline(always)]
                || {
                    for (dx, x) in dx.chunks_exact_mut(columns).zip(x.chunks_exact(columns)) {
                        let channels = mean.iter().zip(dmean).zip(dvariance);
                        for ((dx, x), ((mean, dmean), dvariance)) in dx.iter_mut().zip(x).zip(channels) {
                            *dx = (dmean + 2.0 * dvariance * (x - mean)) * scale;
                        }
                    }
                },
            );
        });
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        Cost { flops: 4.0 * signature.inputs[0].shape.len() as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        // Two terms that may cancel, each rounded up to four times.
        vec![Activation::Linear.sum_tolerance(4)]
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let [rows, columns] = matrix(&signature.inputs[0]);
        let mut outputs = vec![Array::zeros(&signature.outputs[0])];
        let (x, mean, dmean, dvariance) = (inputs[0].f64(), inputs[1].f64(), inputs[2].f64(), inputs[3].f64());
        for (i, (dx, x)) in outputs[0].f64_mut().iter_mut().zip(x).enumerate() {
            let c = i % columns;
            *dx = (dmean[c].abs() + 2.0 * (dvariance[c] * (x - mean[c])).abs()) / rows as f64;
        }
        outputs
    }
}

/// Elements of a part of whole rows that one thread takes at a time.
pub(super) fn chunk_len(columns: usize) -> usize {
    columns * (4096 / columns.max(1)).max(1)
}

/// The type of one value per channel of x.
pub(super) fn infer_channels(op: &str, x: &TensorType) -> Result<TensorType> {
    expect_f32(op, x)?;
    if x.shape.is_empty() || x.shape.rank() == 0 {
        return Err(Error::shape(op, "x with at least one row of channels", x.to_string()));
    }
    Ok(TensorType::f32([x.shape.last()]))
}

/// Rows around the run length and past the number of runs, one row, one channel, channels in fours and not.
pub(super) const SHAPES: [&[usize]; 13] = [
    &[1],
    &[130],
    &[1, 4],
    &[2, 3],
    &[64, 3],
    &[65, 5],
    &[9, 4],
    &[2, 5, 7, 3],
    &[4096, 2],
    &[17_000, 3],
    &[16_500, 4],
    &[3, 9, 9, 36],
    &[300, 68],
];

/// A kernel that takes an element at a time and, where it can run and pays, one that takes four of a row. `launch` is
/// given the shader and its number of items.
pub(super) fn by_element_and_by_quad(
    launch: impl Fn(Shader, usize) -> Launch,
    plain: Shader,
    quads: Shader,
    [rows, columns]: [usize; 2],
    target: &Target,
) -> Vec<Variant> {
    let elements = rows * columns;
    let mut variants = vec![Variant::single("plain", elements as f64, launch(plain, elements))];
    if conv_kernels::reads_pairs(target) && columns.is_multiple_of(4) {
        variants.push(Variant::single("quads", elements as f64 / 2.0, launch(quads, elements / 4)));
    }
    variants
}

pub(super) fn cases() -> Vec<Case> {
    let case = |label: &str, dims: &[usize], values: Values| {
        let case = Case::new(format!("{label}{dims:?}"), Moments, vec![(TensorType::f32(dims), values)]);
        if dims.iter().product::<usize>() < 1000 { case.with_gradients([0]) } else { case }
    };
    let mut cases: Vec<Case> = SHAPES.map(|dims| case("", dims, Values::Uniform(-1.0, 2.0))).into();
    // Far from zero, where the mean of the squares minus the square of the mean has no digit left.
    let far = |dims: &[usize]| {
        let x = (TensorType::f32(dims), Values::Uniform(4096.0, 4097.0));
        Case::new(format!("far from zero, {dims:?}"), Moments, vec![x])
    };
    cases.extend([far(&[65, 5]), far(&[17_000, 3]), far(&[300, 8])]);
    let constant = (TensorType::f32([70, 3]), Values::Exact(vec![0.1f32.into(); 210]));
    cases.push(Case::new("constant", Moments, vec![constant]));
    cases
}

pub(super) fn backward_cases() -> Vec<Case> {
    SHAPES
        .map(|dims| {
            let channels = dims[dims.len() - 1];
            let inputs = vec![
                reals(dims, -1.0, 1.0),
                reals([channels], -0.5, 0.5),
                reals([channels], -1.0, 1.0),
                reals([channels], -1.0, 1.0),
            ];
            Case::new(format!("{dims:?}"), MomentsBackward, inputs)
        })
        .into()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    Ok(draw.small(Case::new(format!("{dims:?}"), Moments, vec![reals(dims, -1.0, 2.0)]), [0]))
}

pub(super) fn random_backward(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let c = dims[dims.len() - 1];
    let inputs = vec![reals(&dims[..], -1.0, 1.0), reals([c], -0.5, 0.5), reals([c], -1.0, 1.0), reals([c], -1.0, 1.0)];
    Ok(Case::new(format!("{dims:?}"), MomentsBackward, inputs))
}
