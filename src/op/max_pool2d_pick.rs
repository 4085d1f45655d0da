//! What a tensor has at the places that a max-pooling found: the gradient of max-pooling's gradient, for penalties of a
//! Jacobian.

use super::conv2d::{extents, reals};
use super::max_pool2d::samples;
use super::{Case, MaxPool2d, MaxPool2dBackward, Values, Window, expect_f32, expect_inputs};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};

/// `y = x[argmax]`, plane by plane.
///
/// Inputs: x (B, H, W, C), argmax `u32` (B, h, w, C) with `row * W + column` in the plane of x. Output: y (B, h, w, C).
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2dPick {
    /// Window of the pooling.
    pub window: Window,
}

impl Op for MaxPool2dPick {
    fn name(&self) -> &'static str {
        "max_pool2d_pick"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_f32(self.name(), &inputs[0])?;
        let wrong =
            || Error::shape(self.name(), "x of rank 4 and places in it", format!("{} and {}", inputs[0], inputs[1]));
        let (Some(x), Some(y)) = (inputs[0].shape.nhwc(), inputs[1].shape.nhwc()) else { return Err(wrong()) };
        if inputs[1] != TensorType::u32(y) || x[0] != y[0] || x[3] != y[3] {
            return Err(wrong());
        }
        Ok(vec![TensorType::f32(y)])
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None, None]) };
        let [_, height, width, _] = extents(graph.ty(node.inputs[0]));
        let op = MaxPool2dBackward { window: self.window, input: [height, width] };
        Ok(vec![Some(graph.apply_one(op, &[dy, node.inputs[1]])?), None])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let (x, y) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
        let elements: usize = y.iter().product();
        let launch = Launch {
            shader: Shader { name: "max_pool2d_pick", files: &[include_str!("../../shaders/max_pool2d_pick.wgsl")] },
            constants: Vec::new(),
            parameters: vec![
                ("batch", x[0].into()),
                ("plane", (x[1] * x[2]).into()),
                ("out_plane", (y[1] * y[2]).into()),
                ("channels", x[3].into()),
            ],
            bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Output(0)],
            workgroups: linear_grid(elements, 64),
        };
        vec![Variant::single("plain", elements as f64, launch)]
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let [_, height, width, channels] = extents(&signature.inputs[0]);
        let [_, out_h, out_w, _] = extents(&signature.outputs[0]);
        let (x, argmax) = (inputs[0].f64(), inputs[1].u32());
        for (i, y) in outputs[0].f64_mut().iter_mut().enumerate() {
            let sample = i / (out_h * out_w * channels);
            *y = x[(sample * height * width + argmax[i] as usize) * channels + i % channels];
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let [_, height, width, channels] = extents(&signature.inputs[0]);
        let [_, out_h, out_w, _] = extents(&signature.outputs[0]);
        let (x, argmax) = (call.input(0), call.inputs[1]);
        let (plane, out_plane) = ((height * width * channels).max(1), (out_h * out_w * channels).max(1));
        let samples = x.chunks_exact(plane).zip(argmax.chunks_exact(out_plane));
        for (y, (x, argmax)) in call.output(0).chunks_exact_mut(out_plane).zip(samples) {
            for (i, (y, &at)) in y.iter_mut().zip(argmax).enumerate() {
                *y = x[at as usize * channels + i % channels];
            }
        }
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::Exact]
    }
}

fn case(dims: [usize; 4], pool: MaxPool2d) -> Result<Case> {
    let ties = Case::new("x", pool, vec![(TensorType::f32(dims), Values::Integers(0, 3))]);
    let argmax = ties.expected(&ties.arrays())?[1].u32().to_vec();
    let shape = [dims[0], pool.output[0], pool.output[1], dims[3]];
    let inputs = vec![reals(dims, -1.0, 1.0), (TensorType::u32(shape), Values::Words(argmax))];
    Ok(Case::new(format!("{dims:?} {:?}", pool.window), MaxPool2dPick { window: pool.window }, inputs))
}

pub(super) fn cases() -> Vec<Case> {
    let each = |(dims, window, padding): ([usize; 4], Window, super::Padding)| {
        let case = case(dims, MaxPool2d::new(window, padding, [dims[1], dims[2]]).ok()?).ok()?;
        Some(if dims.iter().product::<usize>() < 1000 { case.with_gradients([0]) } else { case })
    };
    samples().into_iter().filter_map(each).collect()
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let (dims, window, padding) = draw.pooling();
    let case = case(dims, MaxPool2d::new(window, padding, [dims[1], dims[2]])?)?;
    Ok(draw.small(case, [0]))
}
