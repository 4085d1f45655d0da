//! One number of a table for each step: learning rates that the host wrote ahead.

use super::{Case, Tick, Values, expect_f32, expect_inputs, expect_same};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorType};

/// `y = table[step mod N]`, from inputs table (N) and clock.
#[derive(Clone, Copy, Debug)]
pub struct Lookup;

impl Op for Lookup {
    fn name(&self) -> &'static str {
        "lookup"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_f32(self.name(), &inputs[0])?;
        expect_same(self.name(), &Tick::clock(), &inputs[1])?;
        if inputs[0].shape.is_empty() {
            return Err(Error::shape(self.name(), "a table of at least one number", inputs[0].to_string()));
        }
        Ok(vec![TensorType::f32([])])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let launch = Launch {
            shader: Shader { name: "lookup", files: &[include_str!("../../shaders/lookup.wgsl")] },
            constants: Vec::new(),
            parameters: vec![("capacity", signature.inputs[0].shape.len().into())],
            bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Output(0)],
            workgroups: [1, 1, 1],
        };
        vec![Variant::single("plain", 1.0, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        outputs[0].f64_mut()[0] = inputs[0].f64()[inputs[1].u32()[0] as usize % inputs[0].len()];
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        call.outputs[0][0] = call.inputs[0][call.inputs[1][0] as usize % signature.inputs[0].shape.len()];
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::Exact]
    }
}

fn case(step: u32, capacity: usize) -> Case {
    let clock = (Tick::clock(), Values::Words(vec![step, 0, 0, 0]));
    let inputs = vec![(TensorType::f32([capacity]), Values::Uniform(0.0, 1.0)), clock];
    Case::new(format!("step {step} of {capacity}"), Lookup, inputs)
}

pub(super) fn cases() -> Vec<Case> {
    vec![case(0, 1), case(3, 8), case(8, 8), case(u32::MAX, 7)]
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let capacity = draw.extent();
    Ok(case(draw.from(0..=u32::MAX), capacity))
}
