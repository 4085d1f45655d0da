//! Gradient clipping by the norm of all gradients together.

use super::{Case, Values, conv2d::reals, expect_f32, expect_inputs, expect_same};
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Variant, linear_grid};
use crate::tensor::{Array, TensorType};

/// `y = x limit / max(limit, norm)` (Pascanu et al. 2013, as TensorFlow's `clip_by_global_norm`).
///
/// Inputs: x, and the squared norm (scalar) of everything that is scaled together.
#[derive(Clone, Copy, Debug)]
pub struct ClipNorm {
    /// The largest norm that stays.
    pub limit: f32,
}

impl Op for ClipNorm {
    fn name(&self) -> &'static str {
        "clip_norm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_f32(self.name(), &inputs[0])?;
        expect_same(self.name(), &TensorType::f32([]), &inputs[1])?;
        Ok(vec![inputs[0].clone()])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let elements = signature.inputs[0].shape.len();
        let launch = Launch {
            shader: Shader { name: "clip_norm", files: &[include_str!("../../shaders/clip_norm.wgsl")] },
            constants: Vec::new(),
            parameters: vec![("elements", elements.into()), ("limit", self.limit.into())],
            bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Output(0)],
            workgroups: linear_grid(elements, 64),
        };
        vec![Variant::single("plain", elements as f64, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let limit = f64::from(self.limit);
        let norm = inputs[1].f64()[0].sqrt();
        for (y, x) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()) {
            *y = x * limit / limit.max(norm);
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (x, norm) = (call.input(0), call.input(1)[0].sqrt());
        let scale = self.limit / self.limit.max(norm);
        call.output(0).iter_mut().zip(x).for_each(|(y, x)| *y = x * scale);
        true
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |label: &str, dims: &[usize], limit: f32, square: f64| {
        let square = (TensorType::f32([]), Values::Exact(vec![square]));
        Case::new(label, ClipNorm { limit }, vec![reals(dims, -1.0, 1.0), square])
    };
    vec![
        case("above", &[65], 0.5, 9.0),
        case("below", &[3, 5, 7], 2.0, 1.0),
        case("at the limit", &[1], 2.0, 4.0),
        case("none", &[7], 2.0, 0.0),
        case("large", &[4_194_305], 0.5, 9.0).large(),
    ]
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let inputs = vec![reals(&dims[..], -1.0, 1.0), (TensorType::f32([]), Values::Uniform(0.0, 4.0))];
    Ok(Case::new(format!("{dims:?}"), ClipNorm { limit: draw.from(0.1..2.0) }, inputs))
}
