//! Convolutions of 3x3 taps at stride one by minimal filtering, Winograd's F(2x2, 3x3) (Lavin and Gray, “Fast algorithms for
//! convolutional neural networks”, 2016), for GPUs: kernel and pictures are transformed, multiplied at sixteen points, and the
//! sums transformed back. 16 products where the definition has 36, and more traffic.

use super::tiled::{TILE, flops_per_us};
use super::{POSITIONS, Product, STORE, STORE_POOLED};
use crate::kernel::{Binding, Constant, Launch, Precision, Products, Shader, Target, Variant, linear_grid};
use crate::op::{activation, matmul_kernels};

/// Products per tile of 2x2 outputs, input and output channel.
const POINTS: usize = 16;
const KERNEL: &str = include_str!("../../../shaders/winograd_kernel.wgsl");
const INPUT: &str = include_str!("../../../shaders/winograd_input.wgsl");
const OUTPUT: &str = include_str!("../../../shaders/winograd_output.wgsl");

/// The scratch buffers: kernel, pictures and sums at the sixteen points.
const TRANSFORMED_KERNEL: Binding = Binding::Scratch(0);
const TRANSFORMED_INPUT: Binding = Binding::Scratch(1);
const SUMS: Binding = Binding::Scratch(2);

/// Convolutions, in single precision.
pub(super) fn product(product: &Product, target: &Target) -> Option<Variant> {
    if !product.window.suits_filtering() || target.precision != Precision::F32 {
        return None;
    }
    let [batch, in_h, in_w, inputs] = product.x;
    let [_, out_h, out_w, outputs] = product.y;
    let [tiles_h, tiles_w] = [out_h, out_w].map(|extent| extent.div_ceil(2));
    let tiles = batch * tiles_h * tiles_w;
    // The taps of a transposed convolution are those of a convolution turned round.
    let before = product.window.padding.map(|padding| {
        let padding = u32::try_from(padding).unwrap_or(u32::MAX);
        if product.transposed { 2u32.wrapping_sub(padding) } else { padding }
    });
    let kernel = Launch {
        shader: Shader { name: "winograd_kernel", files: &[KERNEL] },
        constants: vec![("TRANSPOSED", Constant::Bool(product.transposed))],
        parameters: vec![("inputs", inputs.into()), ("outputs", outputs.into())],
        bindings: vec![Binding::Input(1), TRANSFORMED_KERNEL],
        workgroups: linear_grid(inputs * outputs, 64),
    };
    let input = Launch {
        shader: Shader { name: "winograd_input", files: &[INPUT] },
        constants: Vec::new(),
        parameters: vec![
            ("batch", batch.into()),
            ("in_h", in_h.into()),
            ("in_w", in_w.into()),
            ("channels", inputs.into()),
            ("tiles_h", tiles_h.into()),
            ("tiles_w", tiles_w.into()),
            ("before_h", before[0].into()),
            ("before_w", before[1].into()),
        ],
        bindings: vec![Binding::Input(0), TRANSFORMED_INPUT],
        workgroups: linear_grid(tiles * inputs, 64),
    };
    let products =
        matmul_kernels::several(POINTS, [tiles, inputs, outputs], TRANSFORMED_INPUT, TRANSFORMED_KERNEL, SUMS);
    let files: &[&str] = match product.pooled {
        false => &[activation::SNIPPET, POSITIONS, STORE, OUTPUT],
        true => &[activation::SNIPPET, POSITIONS, STORE_POOLED, OUTPUT],
    };
    let workgroups = linear_grid(tiles * outputs.div_ceil(4), 64);
    let mut output = product.phased_launch(Shader { name: "winograd_output", files }, workgroups);
    output.bindings[0] = SUMS;
    let padded = (POINTS * tiles.next_multiple_of(TILE) * outputs.next_multiple_of(TILE)) as f64;
    Some(Variant {
        name: "winograd",
        launches: vec![kernel, input, products, output],
        scratch_bytes: [inputs * outputs, tiles * inputs, tiles * outputs].map(|plane| 4 * POINTS * plane).to_vec(),
        estimate_us: UNTRIED * 2.0 * padded * inputs as f64 / flops_per_us(target),
        products: Products::Filtered,
    })
}

/// What the saving of products is held to be worth: nothing. No GPU has run these kernels, and on software drivers loads
/// and stores, of which they have more, decide; so it is for measurements (`degrain tune`) to take them.
const UNTRIED: f64 = 2.5;
