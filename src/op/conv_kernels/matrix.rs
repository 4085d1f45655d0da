//! Kernels for matrix units: implicit matrix products in half precision.

use super::{Product, WeightSums};
use crate::kernel::{Constant, MatrixUnits, Products, Shader, Target, Variant, linear_grid};
use crate::op::activation;
use crate::op::half_products::HALF;

const POSITIONS: &str = include_str!("../../../shaders/conv_positions.wgsl");
const PRODUCT: &str = include_str!("../../../shaders/conv_matrix.wgsl");
const WEIGHT_GRAD: &str = include_str!("../../../shaders/conv2d_weight_grad_matrix.wgsl");
const TILE: &str = include_str!("../../../shaders/matrix_product.wgsl");
const MATRIX_8: &str = include_str!("../../../shaders/matrix_8.wgsl");
const MATRIX_16: &str = include_str!("../../../shaders/matrix_16.wgsl");

/// Operations per microsecond that both kernels are taken to come to. It was measured nowhere: it need only be more than
/// what other kernels have.
const FLOPS_PER_US: f64 = 20e6;
/// Workgroups that keep a large GPU busy.
const BUSY_WORKGROUPS: usize = 256;

/// The units of a target with room for a tile.
fn units(target: &Target) -> Option<MatrixUnits> {
    let units = target.matrix_units?;
    let tile = tile(units);
    // The sums, two slices of half a tile's depth with the padding of their rows, and the places of the rows.
    let bytes = 4 * tile * tile + 2 * (tile * (tile / 2 + 8) + tile / 2 * (tile + 8)) + 16 * tile;
    let fits =
        target.f16 && bytes <= target.workgroup_memory_bytes as usize && 4 * units.lanes <= target.max_invocations;
    // Slices are dealt to invocations in whole rows.
    (fits && matches!(units.size, 8 | 16) && matches!(units.lanes, 16 | 32 | 64)).then_some(units)
}

/// Rows and columns of a tile.
fn tile(units: MatrixUnits) -> usize {
    4 * units.size as usize
}

/// A kernel whose tiles are dealt over `workgroups`.
fn variant(mut variant: Variant, units: MatrixUnits) -> Variant {
    variant.launches[0].constants.push(("LANES", Constant::U32(units.lanes)));
    Variant { products: Products::MatrixUnits, ..variant }
}

/// Convolutions and dense layers.
pub(super) fn product(product: &Product, target: &Target) -> Option<Variant> {
    let units = units(target).filter(|_| product.has_phases())?;
    const FILES_8: &[&str] = &[MATRIX_8, HALF, activation::SNIPPET, POSITIONS, TILE, PRODUCT];
    const FILES_16: &[&str] = &[MATRIX_16, HALF, activation::SNIPPET, POSITIONS, TILE, PRODUCT];
    let shader = Shader { name: "conv_matrix", files: if units.size == 8 { FILES_8 } else { FILES_16 } };
    let ([phases, positions], channels, tile) = (product.phases(), product.y[3], tile(units));
    let workgroups = linear_grid(phases * positions.div_ceil(tile) * channels.div_ceil(tile), 1);
    let padded = (positions.next_multiple_of(tile) * channels.next_multiple_of(tile)) as f64;
    let estimate_us = product.flops() * padded / (positions * channels) as f64 / FLOPS_PER_US;
    Some(variant(Variant::single("matrix", estimate_us, product.phased_launch(shader, workgroups)), units))
}

/// Gradients with respect to a kernel or to the weights of a dense layer.
pub(super) fn weight_grad(sums: &WeightSums, target: &Target) -> Option<Variant> {
    let units = units(target)?;
    const FILES_8: &[&str] = &[MATRIX_8, HALF, TILE, WEIGHT_GRAD];
    const FILES_16: &[&str] = &[MATRIX_16, HALF, TILE, WEIGHT_GRAD];
    let shader = Shader { name: "conv2d_weight_grad_matrix", files: if units.size == 8 { FILES_8 } else { FILES_16 } };
    let (rows, channels, tile) = (sums.window.taps() * sums.x[3], sums.dy[3], tile(units));
    let blocks = rows.div_ceil(tile) * channels.div_ceil(tile);
    // At least four slices to a run, so that the sum over the runs stays the smaller part.
    let runs = BUSY_WORKGROUPS.div_ceil(blocks).min(sums.positions().div_ceil(2 * tile));
    let padded = (rows.next_multiple_of(tile) * channels.next_multiple_of(tile)) as f64;
    let estimate_us = 2.0 * sums.positions() as f64 * padded / FLOPS_PER_US;
    let grid = |runs: usize| linear_grid(blocks * runs, 1);
    Some(variant(sums.split("matrix", shader, runs, grid, estimate_us), units))
}
