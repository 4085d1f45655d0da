//! Kernels of sums of products under the precision that is asked for.

use crate::graph::Signature;
use crate::kernel::{Binding, Launch, Precision, Products, Shader, Target, Variant, linear_grid};

/// Snippet that rounds a number to half precision.
pub(super) const HALF: &str = include_str!("../../shaders/half.wgsl");

/// Of the kernels in `f32` and one on matrix units those that compute in the target's precision. In half precision that is
/// `matrix`, and `half`: the cheapest of the others, on operands that were rounded before.
pub(super) fn in_precision(
    single: Vec<Variant>,
    matrix: Option<Variant>,
    signature: &Signature<'_>,
    target: &Target,
) -> Vec<Variant> {
    if target.precision == Precision::F32 {
        return single;
    }
    let cheapest = single.into_iter().min_by(|a, b| a.estimate_us.total_cmp(&b.estimate_us));
    let half = cheapest.map(|variant| on_rounded(variant, signature, target));
    matrix.into_iter().chain(half).collect()
}

/// A kernel in `f32`, after launches that round both its operands into scratch buffers.
fn on_rounded(mut variant: Variant, signature: &Signature<'_>, target: &Target) -> Variant {
    const FILES: &[&str] = &[HALF, include_str!("../../shaders/round_half.wgsl")];
    // A launch more, and each element read and written.
    let [launch_us, bytes_per_us] = if target.is_software() { [50.0, 1e3] } else { [3.0, 500e3] };
    let mut rounding = Vec::new();
    for (&input, ty) in Products::F16.rounded_inputs().iter().zip(signature.inputs) {
        let (elements, scratch) = (ty.shape.len(), variant.scratch_bytes.len());
        rounding.push(Launch {
            shader: Shader { name: "round_half", files: FILES },
            constants: Vec::new(),
            parameters: vec![("elements", elements.into())],
            bindings: vec![Binding::Input(input), Binding::Scratch(scratch)],
            workgroups: linear_grid(elements, 64),
        });
        for binding in variant.launches.iter_mut().flat_map(|launch| &mut launch.bindings) {
            if *binding == Binding::Input(input) {
                *binding = Binding::Scratch(scratch);
            }
        }
        variant.scratch_bytes.push(ty.size_bytes());
        variant.estimate_us += launch_us + 2.0 * ty.size_bytes() as f64 / bytes_per_us;
    }
    rounding.append(&mut variant.launches);
    Variant { name: "half", launches: rounding, products: Products::F16, ..variant }
}
