//! A constant tensor: the gradient of a loss with respect to itself.

use super::Case;
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, Shape, TensorType};

/// Every element is `value`.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Shape of the output.
    pub shape: Shape,
    /// The constant.
    pub value: f32,
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        super::expect_inputs(self.name(), inputs, 0..=0)?;
        Ok(vec![TensorType::f32(self.shape.clone())])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let shader = Shader { name: "fill", files: &[include_str!("../../shaders/fill.wgsl")] };
        let elements = signature.outputs[0].shape.len();
        let launch = Launch {
            shader,
            constants: Vec::new(),
            parameters: vec![("elements", elements.into()), ("value", self.value.into())],
            bindings: vec![Binding::Output(0)],
            workgroups: linear_grid(elements, 64),
        };
        vec![Variant::single("plain", elements as f64, launch)]
    }

    fn reference(&self, _: &Signature<'_>, _: &[&Array], outputs: &mut [Array]) {
        outputs[0].f64_mut().fill(f64::from(self.value));
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        call.output(0).fill(self.value);
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::Exact]
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |shape: Shape| Case::new(format!("{shape}"), Fill { shape, value: -2.5 }, Vec::new());
    vec![case([].into()), case([65].into()), case([3, 7].into()), case([4_194_305].into()).large()]
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let shape: Shape = draw.dims().into();
    Ok(Case::new(format!("{shape}"), Fill { shape, value: draw.from(-1e3..1e3) }, Vec::new()))
}
