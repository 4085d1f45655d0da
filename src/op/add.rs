//! `y = a + b`, element by element: gradients of a tensor that two ops read.

use super::{Case, Values, activation::elementwise, conv_kernels, expect_f32, expect_inputs, expect_same};
use crate::error::Result;
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Shader, Target, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};

/// `y = a + b`.
#[derive(Clone, Copy, Debug)]
pub struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_f32(self.name(), &inputs[0])?;
        expect_same(self.name(), &inputs[0], &inputs[1])?;
        Ok(vec![inputs[0].clone()])
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![upstream[0], upstream[0]])
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let shader = Shader { name: "add", files: &[include_str!("../../shaders/add.wgsl")] };
        let plain = elementwise(shader, Vec::new(), signature);
        let elements = signature.outputs[0].shape.len();
        if !conv_kernels::reads_pairs(target) || !elements.is_multiple_of(4) {
            return vec![plain];
        }
        const QUADS: &[&str] = &[conv_kernels::PAIRS, include_str!("../../shaders/add_quads.wgsl")];
        let mut launch = plain.launches[0].clone();
        launch.shader = Shader { name: "add_quads", files: QUADS };
        launch.workgroups = linear_grid(elements / 4, 64);
        vec![plain.clone(), Variant::single("quads", plain.estimate_us / 2.0, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        for (y, (a, b)) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64().iter().zip(inputs[1].f64())) {
            *y = a + b;
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (a, b) = (call.input(0), call.input(1));
        crate::cpu::reduce::map_pairs(
            a,
            b,
            call.output(0),
            #[inline(always)]
            move |a, b| a + b,
        );
        true
    }
}

pub(super) fn cases() -> Vec<Case> {
    [vec![1], vec![65], vec![3, 4, 5], vec![260]]
        .map(|dims| {
            let input = || (TensorType::f32(dims.clone()), Values::Uniform(-2.0, 2.0));
            Case::new(format!("{dims:?}"), Add, vec![input(), input()]).with_gradients([0, 1])
        })
        .into_iter()
        .chain([large()])
        .collect()
}

/// Past 65,535 workgroups.
fn large() -> Case {
    let input = || (TensorType::f32([4_194_305]), Values::Uniform(-2.0, 2.0));
    Case::new("large", Add, vec![input(), input()]).large()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let ty = TensorType::f32(draw.dims());
    let inputs = vec![(ty.clone(), Values::Uniform(-2.0, 2.0)), (ty.clone(), Values::Uniform(-2.0, 2.0))];
    Ok(draw.small(Case::new(ty.to_string(), Add, inputs), [0, 1]))
}
