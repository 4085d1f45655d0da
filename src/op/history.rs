//! Keeps a scalar of each step on the device until the host asks for it.

use super::{Case, Tick, Values, expect_f32, expect_inputs, expect_same};
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorType};

/// `history[step mod N] = value`, from inputs value (scalar), history (N) and clock.
#[derive(Clone, Copy, Debug)]
pub struct Record;

impl Op for Record {
    fn name(&self) -> &'static str {
        "record"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 3..=3)?;
        expect_same(self.name(), &TensorType::f32([]), &inputs[0])?;
        expect_f32(self.name(), &inputs[1])?;
        expect_same(self.name(), &Tick::clock(), &inputs[2])?;
        Ok(vec![inputs[1].clone()])
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 1)]
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let launch = Launch {
            shader: Shader { name: "record", files: &[include_str!("../../shaders/record.wgsl")] },
            constants: Vec::new(),
            parameters: vec![("capacity", signature.outputs[0].shape.len().into())],
            bindings: vec![Binding::Input(0), Binding::Output(0), Binding::Input(2)],
            workgroups: [1, 1, 1],
        };
        vec![Variant::single("plain", 1.0, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        outputs[0] = inputs[1].clone();
        let at = inputs[2].u32()[0] as usize % outputs[0].len();
        outputs[0].f64_mut()[at] = inputs[0].f64()[0];
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let at = call.inputs[2][0] as usize % signature.outputs[0].shape.len();
        call.outputs[0][at] = call.inputs[0][0];
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::Exact]
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |step: u32, capacity: usize| {
        let inputs = vec![
            (TensorType::f32([]), Values::Uniform(0.0, 1.0)),
            (TensorType::f32([capacity]), Values::Uniform(1.0, 2.0)),
            (Tick::clock(), Values::Words(vec![step, 0, 0, 0])),
        ];
        Case::new(format!("step {step} of {capacity}"), Record, inputs)
    };
    vec![case(0, 1), case(3, 8), case(8, 8), case(u32::MAX, 7)]
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let capacity = draw.extent();
    let inputs = vec![
        (TensorType::f32([]), Values::Uniform(0.0, 1.0)),
        (TensorType::f32([capacity]), Values::Uniform(1.0, 2.0)),
        (Tick::clock(), Values::Words(vec![draw.from(0..=u32::MAX), 0, 0, 0])),
    ];
    Ok(Case::new(format!("of {capacity}"), Record, inputs))
}
