//! Moving averages: the running statistics of batch normalisation.

use super::{Case, Values, conv2d::reals, expect_f32, expect_inputs, expect_same};
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Variant, linear_grid};
use crate::tensor::{Array, TensorType};

/// `average = momentum * average + (1 - momentum) * scale * value`, in place.
///
/// Inputs: average, value (one shape). Output: the new average.
#[derive(Clone, Copy, Debug)]
pub struct MovingAverage {
    /// The weight of the old average.
    pub momentum: f32,
    /// Applied to the value first: `N / (N - 1)` makes an unbiased variance of a biased one.
    pub scale: f32,
}

impl Op for MovingAverage {
    fn name(&self) -> &'static str {
        "moving_average"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_f32(self.name(), &inputs[0])?;
        expect_same(self.name(), &inputs[0], &inputs[1])?;
        Ok(vec![inputs[0].clone()])
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let elements = signature.inputs[0].shape.len();
        let launch = Launch {
            shader: Shader { name: "moving_average", files: &[include_str!("../../shaders/moving_average.wgsl")] },
            constants: Vec::new(),
            parameters: vec![
                ("elements", elements.into()),
                ("momentum", self.momentum.into()),
                ("scale", self.scale.into()),
            ],
            bindings: vec![Binding::Input(1), Binding::Output(0)],
            workgroups: linear_grid(elements, 64),
        };
        vec![Variant::single("plain", elements as f64, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (momentum, scale) = (f64::from(self.momentum), f64::from(self.scale));
        let pairs = inputs[0].f64().iter().zip(inputs[1].f64());
        for (new, (old, value)) in outputs[0].f64_mut().iter_mut().zip(pairs) {
            *new = momentum * old + (1.0 - momentum) * scale * value;
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let Self { momentum, scale } = *self;
        let value = call.input(1);
        for (average, value) in call.output(0).iter_mut().zip(value) {
            *average = momentum * *average + (1.0 - momentum) * (scale * value);
        }
        true
    }
}

pub(super) fn cases() -> Vec<Case> {
    let settings = [(0.99, 1.0), (0.9, 64.0 / 63.0), (0.0, 1.0)];
    let shapes: [&[usize]; 3] = [&[1], &[65], &[3, 100]];
    let case = |(momentum, scale): (f32, f32), dims: &[usize]| {
        let inputs: Vec<(TensorType, Values)> = vec![reals(dims, -1.0, 1.0), reals(dims, -1.0, 1.0)];
        Case::new(format!("{momentum} {scale} {dims:?}"), MovingAverage { momentum, scale }, inputs)
    };
    settings.into_iter().flat_map(|setting| shapes.map(|dims| case(setting, dims))).collect()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let op = MovingAverage { momentum: draw.from(0.0..1.0), scale: draw.from(1.0..1.1) };
    let inputs = vec![reals(&dims[..], -1.0, 1.0), reals(&dims[..], -1.0, 1.0)];
    Ok(Case::new(format!("{dims:?}"), op, inputs))
}
