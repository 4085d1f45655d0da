//! Kernels for software drivers that run eight invocations in step: what one of them loads, all use.

use super::{POSITIONS, Product, STORE, STORE_POOLED, WeightSums};
use crate::graph::{Op, Signature};
use crate::kernel::{Binding, Shader, Target, Variant, linear_grid};
use crate::op::{SumRows, activation, sum_rows};
use crate::tensor::TensorType;

/// Snippet of kernels that read pairs of words.
pub(in crate::op) const PAIRS: &str = include_str!("../../../shaders/pairs.wgsl");
const EVEN: &str = include_str!("../../../shaders/lanes_even.wgsl");
const RAGGED: &str = include_str!("../../../shaders/lanes_ragged.wgsl");
const PRODUCT: &str = include_str!("../../../shaders/conv_lanes.wgsl");
const WEIGHT_GRAD: &str = include_str!("../../../shaders/conv2d_weight_grad_lanes.wgsl");

/// Operations per microsecond that the cost model holds against other kernels; 32 x 32 tiles come to about half of it on two
/// cores.
const FLOPS_PER_US: f64 = 20e3;
/// Positions summed by one run of a weight gradient: enough to pay for the sum over the runs, few enough for exactness.
const RUN_POSITIONS: usize = 2048;
/// Subgroups that keep all cores of a processor busy, more or less evenly.
const BUSY_SUBGROUPS: usize = 32;

/// Rows and columns of a subgroup's tile of sums.
const TILE: usize = 32;

/// Whether kernels that read words in pairs can run and pay: a software driver loads lane by lane.
pub(in crate::op) fn reads_pairs(target: &Target) -> bool {
    target.is_software() && target.int64
}

/// Whether kernels that share loaded pairs over eight lanes can run and pay.
fn shares_lanes(target: &Target) -> bool {
    reads_pairs(target) && target.subgroup_size == 8
}

/// Convolutions and dense layers.
pub(super) fn product(product: &Product, target: &Target) -> Option<Variant> {
    let (in_c, out_c) = (product.x[3], product.y[3]);
    let fours = if product.transposed { in_c % 4 == 0 } else { out_c % 4 == 0 };
    if !shares_lanes(target) || !fours || !product.has_phases() {
        return None;
    }
    let files: &[&str] = match (in_c % 4, product.pooled) {
        (0, false) => &[activation::SNIPPET, PAIRS, EVEN, POSITIONS, STORE, PRODUCT],
        (0, true) => &[activation::SNIPPET, PAIRS, EVEN, POSITIONS, STORE_POOLED, PRODUCT],
        (_, false) => &[activation::SNIPPET, PAIRS, RAGGED, POSITIONS, STORE, PRODUCT],
        (_, true) => &[activation::SNIPPET, PAIRS, RAGGED, POSITIONS, STORE_POOLED, PRODUCT],
    };
    let shader = Shader { name: "conv_lanes", files };
    let [phases, positions] = product.phases();
    let subgroups = phases * positions.div_ceil(TILE) * out_c.div_ceil(TILE);
    let launch = product.phased_launch(shader, linear_grid(subgroups, 1));
    let full = (positions.next_multiple_of(TILE) * out_c.next_multiple_of(TILE)) as f64 / (positions * out_c) as f64;
    Some(Variant::single("lanes", product.flops() * full / FLOPS_PER_US, launch))
}

/// Gradients with respect to a kernel or to the weights of a dense layer.
pub(super) fn weight_grad(sums: &WeightSums, target: &Target) -> Option<Variant> {
    let (in_c, out_c) = (sums.x[3], sums.dy[3]);
    if !shares_lanes(target) || !out_c.is_multiple_of(4) {
        return None;
    }
    let shader = match in_c % 4 {
        0 => Shader { name: "conv2d_weight_grad_lanes", files: &[PAIRS, EVEN, WEIGHT_GRAD] },
        _ => Shader { name: "conv2d_weight_grad_lanes", files: &[PAIRS, RAGGED, WEIGHT_GRAD] },
    };
    let row_quads = sums.window.taps() * in_c.div_ceil(4);
    let blocks = row_quads.div_ceil(TILE / 4) * out_c.div_ceil(TILE);
    let positions = sums.positions();
    let runs = BUSY_SUBGROUPS.div_ceil(blocks).min(positions.div_ceil(64)).max(positions.div_ceil(RUN_POSITIONS));
    let padded = (row_quads.next_multiple_of(TILE / 4) * 4 * out_c.next_multiple_of(TILE)) as f64;
    let estimate_us = 2.0 * positions as f64 * padded / FLOPS_PER_US;
    let grid = |runs: usize| linear_grid(blocks * runs, 1);
    let mut variant = WeightSums { biased: false, ..*sums }.split("lanes", shader, runs, grid, estimate_us);
    sum_rows::in_quads(&mut variant.launches[1..], sums.weights(), &[1]);
    if sums.biased {
        add_bias(&mut variant, sums, target);
    }
    Some(variant)
}

/// The bias's gradient, by launches of its own: one more row of sums would cost more than reading the gradient again.
fn add_bias(variant: &mut Variant, sums: &WeightSums, target: &Target) {
    let [inputs, outputs] = [&sums.dy[..], &sums.dy[3..]].map(|extents| [TensorType::f32(extents)]);
    let of_rows = SumRows.variants(&Signature { inputs: &inputs, outputs: &outputs }, target);
    let Some(of_rows) = of_rows.into_iter().min_by(|a, b| a.estimate_us.total_cmp(&b.estimate_us)) else { return };
    let scratch = variant.scratch_bytes.len();
    for mut launch in of_rows.launches {
        for binding in &mut launch.bindings {
            *binding = match *binding {
                Binding::Input(_) => Binding::Input(1),
                Binding::Output(_) => Binding::Output(1),
                Binding::Scratch(i) => Binding::Scratch(scratch + i),
            };
        }
        variant.launches.push(launch);
    }
    variant.scratch_bytes.extend(of_rows.scratch_bytes);
    variant.estimate_us += of_rows.estimate_us;
}
