//! The oracle: a plan in `f64`, through every op's reference.

use crate::error::{Error, Result};
use crate::graph::Signature;
use crate::plan::Plan;
use crate::tensor::{Array, Class};
use std::collections::HashMap;

/// Runs plans op by op through their references. Reals are stored in `f64` from step to step.
#[derive(Default)]
pub struct Oracle {
    store: HashMap<String, Array>,
}

impl Oracle {
    /// With an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the tensor of this name.
    pub fn write(&mut self, name: &str, array: Array) {
        self.store.insert(name.to_owned(), array);
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// If nothing wrote it.
    pub fn read(&self, name: &str) -> Result<&Array> {
        self.store.get(name).ok_or_else(|| Error::shape("oracle", "a tensor that was written", name))
    }

    /// Runs the plan once; tensors of the store that were never written are zero.
    ///
    /// # Errors
    /// If a written tensor has not the length that the plan wants.
    pub fn run(&mut self, plan: &Plan) -> Result<()> {
        self.run_with(plan, |_, _| {})
    }

    /// As [`Oracle::run`], and shows each step's number and outputs.
    ///
    /// # Errors
    /// As [`Oracle::run`].
    pub fn run_with(&mut self, plan: &Plan, mut show: impl FnMut(usize, &[Array])) -> Result<()> {
        let mut values: Vec<Option<Array>> = vec![None; plan.tensors().len()];
        for (number, step) in plan.steps().iter().enumerate() {
            let (input_types, output_types) = plan.types(step);
            for (&id, ty) in step.inputs.iter().zip(&input_types) {
                if values[id.index()].is_some() {
                    continue;
                }
                let info = &plan.tensors()[id.index()];
                let array = self.store.get(&info.name).cloned().unwrap_or_else(|| Array::zeros(ty));
                if array.len() != ty.shape.len() {
                    return Err(Error::shape(&info.name, ty.to_string(), format!("{} elements", array.len())));
                }
                values[id.index()] = Some(array);
            }
            let inputs: Vec<&Array> = step.inputs.iter().filter_map(|id| values[id.index()].as_ref()).collect();
            let mut outputs: Vec<Array> = output_types.iter().map(Array::zeros).collect();
            step.op.reference(&Signature { inputs: &input_types, outputs: &output_types }, &inputs, &mut outputs);
            show(number, &outputs);
            for (&id, array) in step.outputs.iter().zip(outputs) {
                let info = &plan.tensors()[id.index()];
                if info.class != Class::Temporary {
                    self.store.insert(info.name.clone(), array.clone());
                }
                values[id.index()] = Some(array);
            }
        }
        Ok(())
    }
}
