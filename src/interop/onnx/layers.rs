//! Each layer as ONNX nodes.

use super::builder::{Builder, Layout, Value};
use super::messages::AttributeProto;
use crate::error::{Error, Result};
use crate::interop::axes::transpose;
use crate::model::layer::{BatchNorm, Pool2d};
use crate::model::{Activation, Layer, Parameter, ResolvedLayer};
use crate::op::Axis;
use std::collections::BTreeMap;

/// From (kh, kw, in, out) to ONNX's (out, in, kh, kw), and from (kh, kw, out, in) of a transposed convolution to its
/// (in, out, kh, kw).
const KERNEL_AXES: [usize; 4] = [3, 2, 0, 1];

/// Adds layers to a graph; the weights are under their full names.
pub(super) struct Layers<'a> {
    pub(super) builder: Builder,
    pub(super) weights: &'a BTreeMap<String, Vec<f32>>,
}

impl Layers<'_> {
    /// Adds `layers` on `x`.
    pub(super) fn add(&mut self, layers: &[ResolvedLayer], mut x: Value) -> Result<Value> {
        for layer in layers {
            x = self.layer(layer, x)?;
        }
        Ok(x)
    }

    fn layer(&mut self, resolved: &ResolvedLayer, x: Value) -> Result<Value> {
        let name = resolved.full_name();
        match &resolved.layer {
            Layer::Conv2d(layer) => {
                let axis = |n| layer.padding.window(n, layer.kernel, layer.stride);
                let attributes = self.window(resolved, layer.kernel, layer.stride, axis)?;
                let y = self.convolution("Conv", resolved, x, attributes)?;
                Ok(self.activation(layer.activation, y))
            }
            Layer::ConvTranspose2d(layer) => {
                let axis = |n| layer.padding.transposed_window(n, layer.kernel, layer.stride);
                let mut attributes = self.window(resolved, layer.kernel, layer.stride, axis)?;
                attributes.push(output_padding(resolved, layer.kernel, layer.stride, axis)?);
                let y = self.convolution("ConvTranspose", resolved, x, attributes)?;
                Ok(self.activation(layer.activation, y))
            }
            Layer::MaxPool2d(layer) => self.pool("MaxPool", resolved, layer, x),
            Layer::AvgPool2d(layer) => self.pool("AveragePool", resolved, layer, x),
            Layer::Upsample2d(layer) => {
                let x = self.builder.in_layout(x, Layout::Nchw);
                let factor = layer.factor as f32;
                let scales = format!("{name}.scales");
                self.builder.floats(&scales, &[4], &[1.0, 1.0, factor, factor]);
                // Pixel y of the output is pixel floor(y / factor) of the input.
                let attributes = vec![
                    AttributeProto::text("mode", "nearest"),
                    AttributeProto::text("coordinate_transformation_mode", "asymmetric"),
                    AttributeProto::text("nearest_mode", "floor"),
                ];
                Ok(self.builder.node("Resize", &name, &[&x.name, "", &scales], attributes, Layout::Nchw))
            }
            Layer::BatchNorm(layer) => self.batch_norm(resolved, layer, x),
            Layer::Dropout(_) => Ok(x),
            Layer::Flatten {} => {
                let x = if x.layout == Layout::Rows { x } else { self.builder.in_layout(x, Layout::Nhwc) };
                let attributes = vec![AttributeProto::int("axis", 1)];
                Ok(self.builder.node("Flatten", &name, &[&x.name], attributes, Layout::Rows))
            }
            Layer::Reshape(_) => Ok(self.pictures(&name, x, &resolved.output)),
            Layer::Dense(layer) => {
                let y = self.dense(resolved, x, resolved.tied.as_ref())?;
                Ok(self.activation(layer.activation, y))
            }
            // The first two parameters are the mean's; the variance is for training alone.
            Layer::GaussianCode {} => self.dense(resolved, x, None),
        }
    }

    /// Rows, or pictures of another shape, as pictures (N, height, width, channels) of this shape.
    pub(super) fn pictures(&mut self, name: &str, x: Value, shape: &[usize]) -> Value {
        let x = if x.layout == Layout::Rows { x } else { self.builder.in_layout(x, Layout::Nhwc) };
        let dims = format!("{name}.shape");
        // Zero stands for the size that the input has there.
        self.builder.integers(&dims, &[&[0], shape].concat());
        self.builder.node("Reshape", name, &[&x.name, &dims], Vec::new(), Layout::Nhwc)
    }

    fn convolution(
        &mut self,
        op_type: &str,
        resolved: &ResolvedLayer,
        x: Value,
        attributes: Vec<AttributeProto>,
    ) -> Result<Value> {
        let x = self.builder.in_layout(x, Layout::Nchw);
        let [kernel, bias] = &resolved.parameters[..] else { return Err(damaged(resolved)) };
        let values = transpose(self.values(kernel)?, &kernel.shape, &KERNEL_AXES);
        let dims = KERNEL_AXES.map(|axis| kernel.shape[axis]);
        let weight = self.builder.floats(&kernel.name, &dims, &values);
        let bias = self.stored(bias)?;
        Ok(self.builder.node(op_type, &resolved.full_name(), &[&x.name, weight, bias], attributes, Layout::Nchw))
    }

    fn pool(&mut self, op_type: &str, resolved: &ResolvedLayer, layer: &Pool2d, x: Value) -> Result<Value> {
        let x = self.builder.in_layout(x, Layout::Nchw);
        let axis = |n| layer.padding.window(n, layer.size, layer.stride);
        let mut attributes = self.window(resolved, layer.size, layer.stride, axis)?;
        if op_type == "AveragePool" {
            attributes.push(AttributeProto::int("count_include_pad", 0));
        }
        Ok(self.builder.node(op_type, &resolved.full_name(), &[&x.name], attributes, Layout::Nchw))
    }

    /// Kernel, stride and padding of a window over the layer's input.
    fn window(
        &self,
        resolved: &ResolvedLayer,
        kernel: usize,
        stride: usize,
        axis: impl Fn(usize) -> Option<Axis>,
    ) -> Result<Vec<AttributeProto>> {
        let [y, x] = windows(resolved, axis)?;
        Ok(vec![
            AttributeProto::ints("kernel_shape", [kernel; 2]),
            AttributeProto::ints("strides", [stride; 2]),
            AttributeProto::ints("pads", [y.before, x.before, y.after, x.after]),
        ])
    }

    fn batch_norm(&mut self, resolved: &ResolvedLayer, layer: &BatchNorm, x: Value) -> Result<Value> {
        let x = if x.layout == Layout::Rows { x } else { self.builder.in_layout(x, Layout::Nchw) };
        let features = resolved.input.last().copied().unwrap_or(1);
        let mut inputs = vec![x.name.as_str()];
        for tensor in resolved.parameters.iter().chain(&resolved.statistics) {
            let values = self.values(tensor)?;
            // One for the whole layer counts for each of its features.
            let repeated = values.repeat(if values.len() == 1 { features } else { 1 });
            inputs.push(self.builder.floats(&tensor.name, &[features], &repeated));
        }
        let attributes = vec![AttributeProto::float("epsilon", layer.epsilon)];
        Ok(self.builder.node("BatchNormalization", &resolved.full_name(), &inputs, attributes, x.layout))
    }

    /// `x` times the kernel plus the bias; a tied kernel is another layer's, transposed.
    fn dense(&mut self, resolved: &ResolvedLayer, x: Value, tied: Option<&Parameter>) -> Result<Value> {
        let mut tensors = tied.into_iter().chain(&resolved.parameters);
        let (Some(kernel), Some(bias)) = (tensors.next(), tensors.next()) else { return Err(damaged(resolved)) };
        let (weight, bias) = (self.stored(kernel)?, self.stored(bias)?);
        let attributes = vec![AttributeProto::int("transB", i64::from(tied.is_some()))];
        Ok(self.builder.node("Gemm", &resolved.full_name(), &[&x.name, weight, bias], attributes, Layout::Rows))
    }

    /// The activation of `x`.
    pub(super) fn activation(&mut self, kind: Activation, x: Value) -> Value {
        let (op_type, coefficient) = match kind {
            Activation::Linear => return x,
            Activation::Relu => ("Relu", None),
            Activation::Elu { alpha } => ("Elu", Some(alpha)),
            Activation::Sigmoid => ("Sigmoid", None),
            Activation::Tanh => ("Tanh", None),
            Activation::LeakyRelu { slope } => ("LeakyRelu", Some(slope)),
            Activation::Softplus => ("Softplus", None),
        };
        let attributes = coefficient.map(|coefficient| AttributeProto::float("alpha", coefficient));
        let name = format!("{}.{}", x.name, op_type.to_lowercase());
        self.builder.node(op_type, &name, &[&x.name], attributes.into_iter().collect(), x.layout)
    }

    /// A tensor as it is, in the graph; returns its name.
    fn stored<'t>(&mut self, tensor: &'t Parameter) -> Result<&'t str> {
        let values = self.values(tensor)?;
        Ok(self.builder.floats(&tensor.name, &tensor.shape, values))
    }
}

impl<'a> Layers<'a> {
    fn values(&self, tensor: &Parameter) -> Result<&'a [f32]> {
        let values = self.weights.get(&tensor.name);
        values.map(Vec::as_slice).ok_or_else(|| Error::shape("export", format!("a tensor {}", tensor.name), "none"))
    }
}

/// The windows along height and width of the layer's input.
fn windows(resolved: &ResolvedLayer, axis: impl Fn(usize) -> Option<Axis>) -> Result<[Axis; 2]> {
    match resolved.input[..] {
        [height, width, _] => {
            Ok([axis(height).ok_or_else(|| damaged(resolved))?, axis(width).ok_or_else(|| damaged(resolved))?])
        }
        _ => Err(damaged(resolved)),
    }
}

/// What a transposed convolution has beyond the reach of its last kernel: the bias alone.
fn output_padding(
    resolved: &ResolvedLayer,
    kernel: usize,
    stride: usize,
    axis: impl Fn(usize) -> Option<Axis>,
) -> Result<AttributeProto> {
    let beyond = windows(resolved, axis)?.into_iter().zip(&resolved.input).map(|(axis, inputs)| {
        let reach = (inputs - 1) * stride + kernel - axis.before - axis.after;
        axis.output - reach
    });
    Ok(AttributeProto::ints("output_padding", beyond))
}

/// An architecture changed by hand into one that [`crate::model::Architecture::resolve`] would not have made.
fn damaged(resolved: &ResolvedLayer) -> Error {
    Error::setting(resolved.full_name(), "its shapes do not fit its kind of layer")
}
