//! Sums over all axes but the last: the gradient of a bias.

use super::{Activation, BroadcastRows, Case, conv_kernels, conv2d::reals, expect_f32, expect_inputs};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Launch, Products, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};

/// `y[c] = sum over all other axes of x[…, c]`.
#[derive(Clone, Copy, Debug)]
pub struct SumRows;

/// Rows and columns of the input, seen as a matrix.
pub(super) fn matrix(ty: &TensorType) -> [usize; 2] {
    let columns = ty.shape.last();
    [ty.shape.len() / columns.max(1), columns]
}

/// Number of runs that a sum over rows is split into, and rows of each; none is empty.
pub(super) fn split_rows(rows: usize) -> (usize, usize) {
    let run_rows = rows.div_ceil(rows.div_ceil(64).clamp(1, 256)).max(1);
    (rows.div_ceil(run_rows).max(1), run_rows)
}

/// Turns launches of the plain kernel, each of `runs` runs, into those of the kernel for columns in fours, which software
/// drivers run in half the time.
pub(super) fn in_quads(launches: &mut [Launch], columns: usize, runs: &[usize]) {
    const FILES: &[&str] = &[conv_kernels::PAIRS, include_str!("../../shaders/sum_rows_quads.wgsl")];
    for (launch, runs) in launches.iter_mut().zip(runs) {
        launch.shader = Shader { name: "sum_rows_quads", files: FILES };
        launch.workgroups = linear_grid(runs * columns / 4, 64);
    }
}

impl Op for SumRows {
    fn name(&self) -> &'static str {
        "sum_rows"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_f32(self.name(), &inputs[0])?;
        if inputs[0].shape.is_empty() || inputs[0].shape.rank() == 0 {
            return Err(Error::shape(self.name(), "at least one row", inputs[0].to_string()));
        }
        Ok(vec![TensorType::f32([inputs[0].shape.last()])])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let shape = graph.ty(node.inputs[0]).shape.clone();
        Ok(vec![upstream[0].map(|dy| graph.apply_one(BroadcastRows { shape }, &[dy])).transpose()?])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        // Two stages: partial sums over runs of rows, then over the runs, both in a fixed order.
        let [rows, columns] = matrix(&signature.inputs[0]);
        let runs = rows.div_ceil(64).clamp(1, 256);
        let shader = Shader { name: "sum_rows", files: &[include_str!("../../shaders/sum_rows.wgsl")] };
        let stage = |rows: usize, runs: usize, from: Binding, to: Binding| Launch {
            shader,
            constants: Vec::new(),
            parameters: vec![
                ("rows", rows.into()),
                ("columns", columns.into()),
                ("runs", runs.into()),
                ("run_rows", rows.div_ceil(runs).into()),
            ],
            bindings: vec![from, to],
            workgroups: linear_grid(runs * columns, 64),
        };
        let plain = if runs == 1 {
            Variant::single("one-stage", 2.0, stage(rows, 1, Binding::Input(0), Binding::Output(0)))
        } else {
            let launches = vec![
                stage(rows, runs, Binding::Input(0), Binding::Scratch(0)),
                stage(runs, 1, Binding::Scratch(0), Binding::Output(0)),
            ];
            Variant {
                name: "two-stage",
                launches,
                scratch_bytes: vec![4 * runs * columns],
                estimate_us: 2.0,
                products: Products::F32,
            }
        };
        if !conv_kernels::reads_pairs(target) || !columns.is_multiple_of(4) {
            return vec![plain];
        }
        let mut quads = Variant { name: "quads", estimate_us: 1.0, ..plain.clone() };
        in_quads(&mut quads.launches, columns, &[runs, 1]);
        vec![plain, quads]
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [_, columns] = matrix(&signature.inputs[0]);
        let y = outputs[0].f64_mut();
        y.fill(0.0);
        for row in inputs[0].f64().chunks_exact(columns) {
            y.iter_mut().zip(row).for_each(|(y, x)| *y += x);
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let [_, columns] = matrix(&signature.inputs[0]);
        let x = call.input(0);
        crate::cpu::reduce::sum_rows(x, columns, call.output(0));
        true
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let [rows, _] = matrix(&signature.inputs[0]);
        vec![Activation::Linear.sum_tolerance(rows)]
    }
}

pub(super) fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 10] = [
        &[1, 1],
        &[64, 3],
        &[65, 5],
        &[1, 130],
        &[9, 4],
        &[2, 5, 7, 3],
        &[4096, 2],
        &[17_000, 3],
        &[3, 9, 9, 36],
        &[300, 68],
    ];
    let mut cases: Vec<Case> =
        shapes.map(|dims| Case::new(format!("{dims:?}"), SumRows, vec![reals(dims, -1.0, 1.0)])).into();
    cases.iter_mut().take(6).for_each(|case| case.gradients = vec![0]);
    // Past 65,535 workgroups.
    cases.push(Case::new("large", SumRows, vec![reals([2, 4_194_305], -1.0, 1.0)]).large());
    cases
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let mut dims = vec![draw.extent() * draw.extent()];
    dims.extend(draw.dims());
    Ok(Case::new(format!("{dims:?}"), SumRows, vec![reals(dims, -1.0, 1.0)]))
}
