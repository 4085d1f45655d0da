//! What a device can do at most, measured on it: arithmetic, traffic, launches.

mod host;
mod matrix;

use super::kept::KeptFile;
use crate::error::{Error, Result};
use crate::graph::{Graph, Op, Signature};
use crate::kernel::{Binding, Constant, Launch, Shader, Target, Variant, Word, linear_grid};
use crate::op::Tick;
use crate::session::{Clock, ProgramId, Session};
use crate::tensor::{Array, Class, TensorType};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Of the kernels here: cached figures of others are measured again.
const VERSION: u32 = 2;
/// A measurement shorter than this is repeated with more work.
const LONG_ENOUGH_NS: f64 = 2e6;
/// Ops of the plan that measures what a launch costs.
const LAUNCHES: usize = 64;

/// Peaks of one device. The best of several runs counts: other work on the machine only ever makes them slower.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ceilings {
    /// Device and driver.
    pub device: String,
    /// Multiply-adds in single precision, in 10^9 operations per second; a multiply-add is two.
    pub gflops: f64,
    /// Copying between arrays that no cache holds, in 10^9 bytes per second, those read and those written counted.
    pub gbps: f64,
    /// What a launch costs in a row of dependent ones that do nothing, in microseconds.
    pub launch_us: f64,
    /// Multiply-adds in half precision, where kernels may use it.
    pub f16_gflops: Option<f64>,
    /// Products of half-precision matrices with single-precision sums, where the device has units for them that give the
    /// right result.
    pub matrix_gflops: Option<f64>,
    /// How long all of it took, in seconds.
    pub seconds: f64,
    version: u32,
}

impl Ceilings {
    /// Measures them on the session's device, in under two seconds. What the session held is forgotten.
    ///
    /// # Errors
    /// If the device has no room for a few arrays, or is lost.
    pub fn measure(session: &mut Session) -> Result<Self> {
        let start = Instant::now();
        let [gflops, gbps] = match session.target().copied() {
            None => [host::fma_gflops(), host::copy_gbps()],
            Some(target) => [fma_gflops(session, FMA)?, copy_gbps(session, &target)?],
        };
        let f16_gflops = match session.target() {
            Some(target) if target.f16 => Some(fma_gflops(session, FMA_F16)?),
            _ => None,
        };
        let matrix_gflops = matrix::gflops(session);
        let launch_us = launch_us(session)?;
        session.clear()?;
        let (device, seconds) = (session.device().to_owned(), start.elapsed().as_secs_f64());
        Ok(Self { device, gflops, gbps, launch_us, f16_gflops, matrix_gflops, seconds, version: VERSION })
    }

    /// Those that were measured before on this device and driver, else as [`Ceilings::measure`]. They are kept beside the
    /// decoded pictures, in `$DEGRAIN_CACHE`, else `$XDG_CACHE_HOME/degrain`, else `~/.cache/degrain`. The processor's arithmetic
    /// and copies are measured again, which takes a tenth of a second, and the better figures kept: where other work or machines
    /// share the processor, the first ones may come from minutes at half its speed.
    ///
    /// # Errors
    /// As [`Ceilings::measure`]. A cache that cannot be read or written is not an error.
    pub fn cached(session: &mut Session) -> Result<Self> {
        let usable = |known: &Self| known.device == session.device() && known.version == VERSION && known.gflops > 0.0;
        match kept_file(session).read().filter(usable) {
            Some(mut known) => {
                if session.target().is_none() {
                    known.raise([host::fma_gflops(), host::copy_gbps()], session);
                }
                Ok(known)
            }
            None => Self::measure_and_keep(session),
        }
    }

    fn raise(&mut self, [gflops, gbps]: [f64; 2], session: &Session) {
        if gflops > self.gflops || gbps > self.gbps {
            self.gflops = self.gflops.max(gflops);
            self.gbps = self.gbps.max(gbps);
            let _ = kept_file(session).write(self);
        }
    }

    /// As [`Ceilings::measure`], and keeps them for [`Ceilings::cached`].
    ///
    /// # Errors
    /// As [`Ceilings::measure`].
    pub fn measure_and_keep(session: &mut Session) -> Result<Self> {
        let measured = Self::measure(session)?;
        // Without it they are measured again next time.
        let _ = kept_file(session).write(&measured);
        Ok(measured)
    }
}

/// One file for each device, driver and number of threads.
fn kept_file(session: &Session) -> KeptFile {
    KeptFile::new("peaks", &format!("{} {}", session.device(), rayon::current_num_threads()))
}

const FMA: Shader = Shader { name: "fma", files: &[include_str!("ceilings/fma.wgsl")] };
const FMA_F16: Shader = Shader { name: "fma_f16", files: &[include_str!("ceilings/fma_f16.wgsl")] };
/// Copies of elements of 4, 8 and 16 bytes: GPUs like wide ones, drivers that run on the processor narrow ones.
const COPIES: [(usize, Shader); 3] = [
    (4, copy(&["alias Element = f32;", include_str!("ceilings/copy.wgsl")])),
    (8, copy(&["alias Element = vec2<f32>;", include_str!("ceilings/copy.wgsl")])),
    (16, copy(&["alias Element = vec4<f32>;", include_str!("ceilings/copy.wgsl")])),
];

const fn copy(files: &'static [&'static str]) -> Shader {
    Shader { name: "copy", files }
}

/// A kernel that is there to be timed: no reference, no gradient.
#[derive(Clone, Debug)]
struct Meter {
    shader: Shader,
    constants: Vec<(&'static str, Constant)>,
    parameters: Vec<(&'static str, Word)>,
    output: TensorType,
    workgroups: [u32; 3],
}

impl Op for Meter {
    fn name(&self) -> &'static str {
        self.shader.name
    }

    fn infer(&self, _: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![self.output.clone()])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let inputs = (0..signature.inputs.len()).map(Binding::Input);
        let launch = Launch {
            shader: self.shader,
            constants: self.constants.clone(),
            parameters: self.parameters.clone(),
            bindings: inputs.chain([Binding::Output(0)]).collect(),
            workgroups: self.workgroups,
        };
        vec![Variant::single("plain", 1.0, launch)]
    }

    fn reference(&self, _: &Signature<'_>, _: &[&Array], _: &mut [Array]) {}
}

/// The best rate over the ways to write it: more or fewer chains, fused or not.
fn fma_gflops(session: &mut Session, shader: Shader) -> Result<f64> {
    const ROUNDS: u32 = 64;
    let mut best = 0.0_f64;
    for (chains, fused) in [(8, true), (4, true), (8, false), (4, false)] {
        let mut groups = 64_u32;
        loop {
            let meter = Meter {
                shader,
                constants: vec![
                    ("CHAINS", Constant::U32(chains)),
                    ("ROUNDS", Constant::U32(ROUNDS)),
                    ("FUSED", Constant::Bool(fused)),
                ],
                parameters: vec![("factor", 0.75_f32.into()), ("addend", 0.25_f32.into())],
                output: TensorType::f32([groups as usize * 64]),
                workgroups: [groups, 1, 1],
            };
            let ns = shortest_ns(session, meter, None)?;
            best = best.max(f64::from(groups) * 64.0 * f64::from(ROUNDS * chains) * 8.0 / ns);
            if ns >= LONG_ENOUGH_NS || groups >= 1 << 15 {
                break;
            }
            groups *= 8;
        }
    }
    Ok(best)
}

fn copy_gbps(session: &mut Session, target: &Target) -> Result<f64> {
    let most = if target.is_software() { 32 << 20 } else { 256 << 20 };
    let bytes = target.max_binding_bytes.min(most) as usize;
    let ty = TensorType::f32([bytes / 4]);
    let mut best = 0.0_f64;
    for (size, shader) in COPIES {
        let elements = bytes / size;
        let meter = Meter {
            shader,
            constants: Vec::new(),
            parameters: vec![("elements", elements.into())],
            output: ty.clone(),
            workgroups: linear_grid(elements, 512),
        };
        best = best.max(2.0 * bytes as f64 / shortest_ns(session, meter, Some(ty.clone()))?);
    }
    Ok(best)
}

/// The best of three launches, after one that does not count.
fn shortest_ns(session: &mut Session, meter: Meter, input: Option<TensorType>) -> Result<f64> {
    session.clear()?;
    let mut graph = Graph::new();
    let name = |i: usize| format!("peaks.{i}");
    let inputs: Vec<_> =
        input.into_iter().map(|ty| graph.persistent(Class::Input, &name(0), ty)).collect::<Result<_>>()?;
    let y = graph.apply_one(meter, &inputs)?;
    graph.keep(y, &name(1))?;
    let program = session.record(&graph)?;
    shortest_replay(session, program)
}

fn shortest_replay(session: &mut Session, program: ProgramId) -> Result<f64> {
    session.run(program, 1)?;
    let clock = if session.has_clock(Clock::Device) { Clock::Device } else { Clock::Host };
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let timeline = session.run_timed(program, clock)?;
        if let Some(&Some([begin, end])) = timeline.launches.first().filter(|_| timeline.launches.len() == 1) {
            best = best.min((end - begin).max(1.0));
        }
    }
    let problem = "its timestamps make no sense".to_owned();
    let wrong = || Error::Device { name: session.device().to_owned(), problem };
    if best.is_finite() { Ok(best) } else { Err(wrong()) }
}

/// A row of ops on one word, each after the other: the whole replay, by the host's clock.
fn launch_us(session: &mut Session) -> Result<f64> {
    session.clear()?;
    let mut graph = Graph::new();
    let mut clock = graph.persistent(Class::State, "peaks.clock", Tick::clock())?;
    for _ in 0..LAUNCHES {
        clock = graph.apply_one(Tick { batch: 1, rows: 1 }, &[clock])?;
    }
    let program = session.record(&graph)?;
    session.run(program, 3)?;
    session.wait()?;
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let begin = Instant::now();
        session.run(program, 4)?;
        session.wait()?;
        best = best.min(begin.elapsed().as_secs_f64() * 1e6 / (4 * LAUNCHES) as f64);
    }
    Ok(best)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::gpu::reflect;

    #[test]
    fn the_kernels_are_valid() {
        for shader in [FMA, FMA_F16].into_iter().chain(COPIES.map(|copy| copy.1)) {
            let layout = reflect(shader, &shader.files.join("\n")).unwrap();
            assert_eq!(layout.workgroup_size, [64, 1, 1], "{}", shader.name);
        }
    }

    #[test]
    fn the_processor_has_peaks() {
        let ceilings = Ceilings::measure(&mut Session::cpu()).unwrap();
        // A core that does less than one multiply-add in ten nanoseconds, or moves a byte in ten, is none of today's.
        assert!(ceilings.gflops > 0.2 && ceilings.gbps > 0.1 && ceilings.launch_us > 0.0, "{ceilings:?}");
        assert_eq!(ceilings.f16_gflops, None);
    }
}
