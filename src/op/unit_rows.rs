//! Rows of one unit vector: what a product with a Jacobian takes to give one of its rows.

use super::{Case, expect_inputs};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorType};

/// `y[r, c]` is 1 where c is `unit`, else 0.
#[derive(Clone, Copy, Debug)]
pub struct UnitRows {
    /// Rows of the output.
    pub rows: usize,
    /// Columns of the output.
    pub columns: usize,
    /// The column of ones.
    pub unit: usize,
}

impl Op for UnitRows {
    fn name(&self) -> &'static str {
        "unit_rows"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 0..=0)?;
        if self.rows == 0 || self.unit >= self.columns {
            let got = format!("unit {} of {}x{}", self.unit, self.rows, self.columns);
            return Err(Error::shape(self.name(), "at least one row and a unit among its columns", got));
        }
        Ok(vec![TensorType::f32([self.rows, self.columns])])
    }

    fn variants(&self, _: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let elements = self.rows * self.columns;
        let launch = Launch {
            shader: Shader { name: "unit_rows", files: &[include_str!("../../shaders/unit_rows.wgsl")] },
            constants: Vec::new(),
            parameters: vec![
                ("elements", elements.into()),
                ("columns", self.columns.into()),
                ("unit", self.unit.into()),
            ],
            bindings: vec![Binding::Output(0)],
            workgroups: linear_grid(elements, 64),
        };
        vec![Variant::single("plain", elements as f64, launch)]
    }

    fn reference(&self, _: &Signature<'_>, _: &[&Array], outputs: &mut [Array]) {
        for row in outputs[0].f64_mut().chunks_exact_mut(self.columns) {
            row.fill(0.0);
            row[self.unit] = 1.0;
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        for row in call.output(0).chunks_exact_mut(self.columns) {
            row.fill(0.0);
            row[self.unit] = 1.0;
        }
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::Exact]
    }
}

fn case(rows: usize, columns: usize, unit: usize) -> Case {
    Case::new(format!("{unit} of {rows}x{columns}"), UnitRows { rows, columns, unit }, Vec::new())
}

pub(super) fn cases() -> Vec<Case> {
    vec![case(1, 1, 0), case(3, 5, 4), case(65, 2, 0), case(1025, 4096, 7).large()]
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let (rows, columns) = (draw.extent(), draw.channels());
    Ok(case(rows, columns, draw.from(0..columns)))
}
