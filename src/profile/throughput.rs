//! How many steps a device does in a second when nothing else is asked of it.

use super::statistics::Statistics;
use crate::error::{Error, Result};
use crate::session::{ProgramId, Session};
use std::time::{Duration, Instant};

/// Steps in a row that are waited for together.
const WINDOW: Duration = Duration::from_millis(200);

/// Microseconds of a step of a recorded program, one sample for each window of steps in a row: as many as take 0.2 seconds, one
/// at least. Measures for about `budget`, five windows at least. Run the program a few times before: drivers compile at first.
///
/// # Errors
/// If the device is lost.
pub fn step_times(session: &mut Session, program: ProgramId, budget: Duration) -> Result<Statistics> {
    let mut window = |steps: usize| -> Result<f64> {
        let begin = Instant::now();
        session.run(program, steps)?;
        session.wait()?;
        Ok(begin.elapsed().as_secs_f64() / steps as f64)
    };
    let step = window(1)?;
    let steps = (WINDOW.as_secs_f64() / step.max(1e-9)).clamp(1.0, 1e5) as usize;
    // The time of one step in a row of many is not that of one alone.
    let step = window(steps)?;
    let steps = (WINDOW.as_secs_f64() / step.max(1e-9)).clamp(1.0, 1e5) as usize;
    let start = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < 5 || start.elapsed() < budget {
        samples.push(1e6 * window(steps)?);
    }
    let device = session.device().to_owned();
    Statistics::of(&samples).ok_or_else(|| Error::Device { name: device, problem: "gave no times".to_owned() })
}
