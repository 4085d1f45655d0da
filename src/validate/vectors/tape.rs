//! The graph of one case with the values of all that it reads.

use super::Problem;
use crate::graph::Graph;
use crate::op::{Tick, Window};
use crate::tensor::{Array, Class, Shape, TensorId, TensorType};

/// A graph under construction. Names of tensors hold their type: cases of one session share buffers of equal names.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub(super) graph: Graph,
    /// Inputs of the op in the order of its ports, with the names that cases give them.
    inputs: Vec<(&'static str, TensorId)>,
    values: Vec<(String, Array)>,
}

impl Tape {
    /// Adds an input of the op.
    pub(super) fn add_input(&mut self, name: &'static str, shape: Shape, values: Vec<f64>) -> Result<(), Problem> {
        let id = self.tensor(name, TensorType::f32(shape), Array::F64(values))?;
        self.inputs.push((name, id));
        Ok(())
    }

    /// A tensor with these values, which an op may replace in place.
    pub(super) fn tensor(&mut self, name: &str, ty: TensorType, values: Array) -> Result<TensorId, Problem> {
        let name = format!("{name} {ty}");
        let id = self.graph.persistent(Class::State, &name, ty)?;
        self.values.push((name, values));
        Ok(id)
    }

    /// The clock of an optimiser at its update number `t`, from one.
    pub(super) fn clock(&mut self, t: u64) -> Result<TensorId, Problem> {
        let step = t.saturating_sub(1);
        self.tensor("clock", Tick::clock(), Array::U32(vec![step as u32, (step >> 32) as u32, 0, 0]))
    }

    /// A scalar.
    pub(super) fn scalar(&mut self, name: &str, value: f64) -> Result<TensorId, Problem> {
        self.tensor(name, TensorType::f32([]), Array::F64(vec![value]))
    }

    /// The tensor of an input.
    pub(super) fn input(&self, name: &str) -> Result<TensorId, Problem> {
        let found = self.inputs.iter().find(|(input, _)| *input == name).map(|&(_, id)| id);
        found.ok_or_else(|| Problem::Wrong(format!("input `{name}` is missing")))
    }

    /// All inputs that the case has, in the order of the op's ports.
    pub(super) fn inputs(&self) -> Vec<TensorId> {
        self.inputs.iter().map(|&(_, id)| id).collect()
    }

    /// Extents of an input with four axes.
    pub(super) fn extents(&self, name: &str) -> Result<[usize; 4], Problem> {
        let shape = &self.graph.ty(self.input(name)?).shape;
        shape.nhwc().ok_or_else(|| Problem::Wrong(format!("{name}: wanted four axes, got the shape {shape}")))
    }

    /// Height and width of an input picture.
    pub(super) fn size(&self, name: &str) -> Result<[usize; 2], Problem> {
        self.extents(name).map(|[_, height, width, _]| [height, width])
    }

    /// The window of the kernel in `weight`, not padded.
    pub(super) fn kernel_window(&self, stride: [usize; 2], dilation: [usize; 2]) -> Result<Window, Problem> {
        let [height, width, ..] = self.extents("weight")?;
        Ok(Window { kernel: [height, width], stride, dilation, padding: [0; 2] })
    }

    /// Names in the store and values of all that the graph reads.
    pub(super) fn values(&self) -> &[(String, Array)] {
        &self.values
    }
}
