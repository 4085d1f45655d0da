//! Kernels for GPUs: implicit matrix products, tile by tile in workgroup memory.

use super::{POSITIONS, Product, STORE, STORE_POOLED, WeightSums};
use crate::kernel::{Binding, Shader, Target, Variant, linear_grid};
use crate::op::activation;

const TILED: &str = include_str!("../../../shaders/conv_tiled.wgsl");
const TILED_GRAD: &str = include_str!("../../../shaders/conv2d_weight_grad_tiled.wgsl");
const LOAD: &str = include_str!("../../../shaders/conv_load.wgsl");
/// Names of the two kernels.
const PRODUCT: &str = "conv_tiled";
const WEIGHT_GRAD: &str = "conv2d_weight_grad_tiled";
/// Rows and columns of a tile.
pub(super) const TILE: usize = 64;
/// Workgroups that keep a large GPU busy.
const BUSY_WORKGROUPS: usize = 256;

/// Operations per microsecond on this kind of machine; a software driver spills every register at each barrier.
pub(super) fn flops_per_us(target: &Target) -> f64 {
    if target.is_software() { 0.3e3 } else { 2e6 }
}

/// Convolutions.
pub(super) fn product(product: &Product, target: &Target) -> Option<Variant> {
    if !product.has_phases() {
        return None;
    }
    let files: &[&str] = match product.pooled {
        false => &[activation::SNIPPET, POSITIONS, LOAD, STORE, TILED],
        true => &[activation::SNIPPET, POSITIONS, LOAD, STORE_POOLED, TILED],
    };
    let shader = Shader { name: PRODUCT, files };
    let ([phases, positions], channels) = (product.phases(), product.y[3]);
    let workgroups = linear_grid(phases * positions.div_ceil(TILE) * channels.div_ceil(TILE), 1);
    let padded = (positions.next_multiple_of(TILE) * channels.next_multiple_of(TILE)) as f64;
    let estimate_us = product.flops() * padded / (positions * channels) as f64 / flops_per_us(target);
    Some(Variant::single("tiled", estimate_us, product.phased_launch(shader, workgroups)))
}

/// Gradients with respect to a kernel.
pub(super) fn weight_grad(sums: &WeightSums, target: &Target) -> Variant {
    const FILES: &[&str] = &[include_str!("../../../shaders/weight_grad_load.wgsl"), TILED_GRAD];
    let shader = Shader { name: WEIGHT_GRAD, files: FILES };
    let (rows, channels) = (sums.window.taps() * sums.x[3], sums.dy[3]);
    let blocks = rows.div_ceil(TILE) * channels.div_ceil(TILE);
    // At least four slices of 16 positions to a run, so that the sum over the runs stays the smaller part.
    let runs = BUSY_WORKGROUPS.div_ceil(blocks).min(sums.positions().div_ceil(64));
    let padded = (rows.next_multiple_of(TILE) * channels.next_multiple_of(TILE)) as f64;
    let estimate_us = 2.0 * sums.positions() as f64 * padded / flops_per_us(target);
    sums.split("tiled", shader, runs, |runs| linear_grid(blocks * runs, 1), estimate_us)
}

/// The same variant, reading the gradient of a max-pooling, an operand of its first launch, from the pooled gradient and the
/// places of the maxima. `renamed` gives the place among the inputs of what the variant knows by another; the pooled gradient
/// takes the place of its spread, the maxima's places are input `argmax`. None for other kernels.
pub(in crate::op) fn unpooled(
    mut variant: Variant,
    renamed: impl Fn(usize) -> usize,
    argmax: usize,
) -> Option<Variant> {
    const PRODUCT_FILES: &[&str] =
        &[activation::SNIPPET, POSITIONS, include_str!("../../../shaders/conv_load_unpooled.wgsl"), STORE, TILED];
    const GRAD_FILES: &[&str] = &[include_str!("../../../shaders/weight_grad_load_unpooled.wgsl"), TILED_GRAD];
    let launch = variant.launches.first_mut()?;
    launch.shader.files = match launch.shader.name {
        PRODUCT => PRODUCT_FILES,
        WEIGHT_GRAD => GRAD_FILES,
        _ => return None,
    };
    for binding in &mut launch.bindings {
        if let Binding::Input(i) = binding {
            *i = renamed(*i);
        }
    }
    launch.bindings.push(Binding::Input(argmax));
    Some(variant)
}
