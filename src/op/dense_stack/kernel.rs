//! The launches of a stack.

use super::{DenseStack, MOST_LAYERS};
use crate::graph::Signature;
use crate::kernel::{Binding, Launch, Precision, Products, Shader, Target, Variant, Word, linear_grid};
use crate::op::{LossOp, activation};

/// Rows of the batch that one workgroup takes.
const TILE_ROWS: usize = 4;
/// Widest layer: what one reads of four rows fills the workgroup memory.
const WIDEST: usize = 1024;
/// Workgroup memory, in bytes, and invocations of a workgroup.
const WORKGROUP: (u32, u32) = (16 << 10, 256);
/// Bytes of weights per microsecond that one workgroup loads, and all together. Estimates: what 64 bytes per clock make.
const BYTES_PER_US: (f64, f64) = (1e5, 2e6);

/// Names of the parameters, by side or layer.
const WIDTHS: [&str; MOST_LAYERS + 1] = ["width_0", "width_1", "width_2", "width_3", "width_4", "width_5", "width_6"];
const KINDS: [&str; MOST_LAYERS] = ["kind_0", "kind_1", "kind_2", "kind_3", "kind_4", "kind_5"];
const COEFFICIENTS: [&str; MOST_LAYERS] =
    ["coefficient_0", "coefficient_1", "coefficient_2", "coefficient_3", "coefficient_4", "coefficient_5"];

/// One pass, then the sum over the workgroups' losses; none where the layers or the buffers are too many or too large, and
/// none in half precision, for which the layers have kernels of their own.
pub(super) fn variant(stack: &DenseStack, signature: &Signature<'_>, target: &Target) -> Option<Variant> {
    let (rows, widths) = (DenseStack::rows(signature), stack.widths(signature));
    let fits = widths.iter().all(|width| (1..=WIDEST).contains(width))
        && target.precision == Precision::F32
        && target.workgroup_memory_bytes >= WORKGROUP.0
        && target.max_invocations >= WORKGROUP.1;
    let tiles = rows.div_ceil(TILE_ROWS);
    let (bindings, scratch) = bindings(stack.layers());
    if !fits || bindings.len() > target.max_storage_buffers as usize {
        return None;
    }
    let elements = rows * widths[stack.layers()];
    let pass = Launch {
        shader: shader(stack.loss),
        constants: Vec::new(),
        parameters: parameters(stack, rows, &widths, (f64::from(stack.upstream) / elements as f64) as f32),
        bindings,
        workgroups: linear_grid(tiles, 1),
    };
    let total = Launch {
        shader: Shader { name: "mean", files: &[include_str!("../../../shaders/mean.wgsl")] },
        constants: Vec::new(),
        parameters: vec![("runs", tiles.into()), ("scale", (1.0 / elements as f32).into())],
        bindings: vec![Binding::Scratch(0), Binding::Output(0)],
        workgroups: [1, 1, 1],
    };
    let products: usize = widths.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let bytes = 4.0 * (2 * products - widths[0] * widths[1]) as f64;
    let mut scratch_bytes = vec![4 * tiles];
    scratch_bytes.resize(1 + scratch, 4);
    Some(Variant {
        name: "stack",
        launches: vec![pass, total],
        scratch_bytes,
        estimate_us: (bytes / BYTES_PER_US.0).max(bytes * tiles as f64 / BYTES_PER_US.1),
        products: Products::F32,
    })
}

fn shader(loss: LossOp) -> Shader {
    const STACK: &str = include_str!("../../../shaders/dense_stack.wgsl");
    const MSE: &[&str] = &[activation::SNIPPET, include_str!("../../../shaders/mse.wgsl"), STACK];
    const BCE: &[&str] = &[activation::SNIPPET, include_str!("../../../shaders/bce_logits.wgsl"), STACK];
    match loss {
        LossOp::Mse => Shader { name: "dense_stack_mse", files: MSE },
        LossOp::BceLogits => Shader { name: "dense_stack_bce", files: BCE },
    }
}

fn parameters(stack: &DenseStack, rows: usize, widths: &[usize], scale: f32) -> Vec<(&'static str, Word)> {
    let mut parameters = vec![("rows", rows.into()), ("layers", stack.layers().into()), ("scale", scale.into())];
    let width = |side: usize| widths.get(side).copied().unwrap_or(0).into();
    parameters.extend(WIDTHS.iter().enumerate().map(|(side, name)| (*name, width(side))));
    let of = |l: usize| stack.activations.get(l).copied().unwrap_or_default();
    parameters.extend(KINDS.iter().enumerate().map(|(l, name)| (*name, of(l).number().into())));
    let coefficient = |l: usize| of(l).coefficient().unwrap_or(1.0).into();
    parameters.extend(COEFFICIENTS.iter().enumerate().map(|(l, name)| (*name, coefficient(l))));
    parameters
}

/// The bindings of the pass, and how many scratch buffers stand for tensors that there are not: what is written may be bound
/// once only.
fn bindings(layers: usize) -> (Vec<Binding>, usize) {
    let mut bindings = vec![Binding::Input(0), Binding::Input(1), Binding::Scratch(0)];
    // In the place of a layer that there is not, the first.
    let layer = |l: usize| if l < layers { l } else { 0 };
    bindings.extend((0..MOST_LAYERS).map(|l| Binding::Input(2 + 2 * layer(l))));
    bindings.extend((0..MOST_LAYERS).map(|l| Binding::Input(3 + 2 * layer(l))));
    let mut scratch = 0;
    let mut output = |there: bool, o: usize| {
        scratch += usize::from(!there);
        if there { Binding::Output(o) } else { Binding::Scratch(scratch) }
    };
    bindings.extend((0..MOST_LAYERS - 1).map(|l| output(l + 1 < layers, 1 + l)));
    bindings.extend((0..MOST_LAYERS).map(|l| output(l < layers, layers + l)));
    (bindings, scratch)
}
