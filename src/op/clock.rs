//! The counters that advance on the device, so that a replayed step differs from the last one.

use super::{Case, Values, expect_inputs, expect_same};
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorType};

/// Advances the clock `u32[4]`: the step (low word, high word), the first row of the batch in the epoch's order,
/// and a word that is not used. The row starts again from zero when `rows` are done.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// Rows that this step took.
    pub batch: u32,
    /// Rows in an epoch.
    pub rows: u32,
}

impl Tick {
    /// Type of a clock.
    pub fn clock() -> TensorType {
        TensorType::u32([4])
    }

    /// The words of a clock ahead of this step, counted from 0, whose batch begins at `row`.
    pub fn at(step: u64, row: u32) -> [u32; 4] {
        [step as u32, (step >> 32) as u32, row, 0]
    }

    fn advance(&self, clock: &[u32], next: &mut [u32]) {
        let step = (u64::from(clock[1]) << 32 | u64::from(clock[0])).wrapping_add(1);
        let row = clock[2] + self.batch;
        next.copy_from_slice(&[step as u32, (step >> 32) as u32, if row < self.rows { row } else { 0 }, clock[3]]);
    }
}

impl Op for Tick {
    fn name(&self) -> &'static str {
        "tick"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_same(self.name(), &Self::clock(), &inputs[0])?;
        Ok(vec![Self::clock()])
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn variants(&self, _: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let launch = Launch {
            shader: Shader { name: "tick", files: &[include_str!("../../shaders/tick.wgsl")] },
            constants: Vec::new(),
            parameters: vec![("batch", self.batch.into()), ("rows", self.rows.into())],
            bindings: vec![Binding::Output(0)],
            workgroups: [1, 1, 1],
        };
        vec![Variant::single("plain", 1.0, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        self.advance(inputs[0].u32(), outputs[0].u32_mut());
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let mut clock = [0; 4];
        clock.copy_from_slice(call.outputs[0]);
        self.advance(&clock, call.outputs[0]);
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::Exact]
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |label: &str, clock: [u32; 4]| {
        let inputs = vec![(Tick::clock(), Values::Words(clock.to_vec()))];
        Case::new(label, Tick { batch: 32, rows: 100 }, inputs)
    };
    vec![
        case("first", [0, 0, 0, 0]),
        case("short last batch", [3, 0, 96, 7]),
        case("exact end", [3, 0, 68, 0]),
        case("carry", [u32::MAX, 5, 32, 0]),
    ]
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let rows = draw.from(1..1000);
    let batch = draw.from(1..=rows);
    let clock = vec![draw.from(0..=u32::MAX), draw.from(0..=u32::MAX), draw.from(0..rows), draw.from(0..=u32::MAX)];
    Ok(Case::new(format!("{clock:?}"), Tick { batch, rows }, vec![(Tick::clock(), Values::Words(clock))]))
}
