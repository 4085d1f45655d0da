//! Kernels for GPUs: implicit matrix products, tile by tile in workgroup memory.

use super::{POSITIONS, Product, STORE, STORE_POOLED, WeightSums};
use crate::kernel::{Shader, Target, Variant, linear_grid};
use crate::op::activation;

/// Rows and columns of a tile.
const TILE: usize = 64;
/// Workgroups that keep a large GPU busy.
const BUSY_WORKGROUPS: usize = 256;

/// Operations per microsecond on this kind of machine; a software driver spills every register at each barrier.
fn flops_per_us(target: &Target) -> f64 {
    if target.is_software() { 0.3e3 } else { 2e6 }
}

/// Convolutions.
pub(super) fn product(product: &Product, target: &Target) -> Option<Variant> {
    if !product.has_phases() {
        return None;
    }
    const TILED: &str = include_str!("../../../shaders/conv_tiled.wgsl");
    let files: &[&str] = match product.pooled {
        false => &[activation::SNIPPET, POSITIONS, STORE, TILED],
        true => &[activation::SNIPPET, POSITIONS, STORE_POOLED, TILED],
    };
    let shader = Shader { name: "conv_tiled", files };
    let ([phases, positions], channels) = (product.phases(), product.y[3]);
    let workgroups = linear_grid(phases * positions.div_ceil(TILE) * channels.div_ceil(TILE), 1);
    let padded = (positions.next_multiple_of(TILE) * channels.next_multiple_of(TILE)) as f64;
    let estimate_us = product.flops() * padded / (positions * channels) as f64 / flops_per_us(target);
    Some(Variant::single("tiled", estimate_us, product.phased_launch(shader, workgroups)))
}

/// Gradients with respect to a kernel.
pub(super) fn weight_grad(sums: &WeightSums, target: &Target) -> Variant {
    const FILES: &[&str] = &[include_str!("../../../shaders/conv2d_weight_grad_tiled.wgsl")];
    let shader = Shader { name: "conv2d_weight_grad_tiled", files: FILES };
    let (rows, channels) = (sums.window.taps() * sums.x[3], sums.dy[3]);
    let blocks = rows.div_ceil(TILE) * channels.div_ceil(TILE);
    // At least four slices of 16 positions to a run, so that the sum over the runs stays the smaller part.
    let runs = BUSY_WORKGROUPS.div_ceil(blocks).min(sums.positions().div_ceil(64));
    let padded = (rows.next_multiple_of(TILE) * channels.next_multiple_of(TILE)) as f64;
    let estimate_us = 2.0 * sums.positions() as f64 * padded / flops_per_us(target);
    sums.split("tiled", shader, runs, |runs| linear_grid(blocks * runs, 1), estimate_us)
}
