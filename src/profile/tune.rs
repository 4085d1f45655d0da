//! The tuner: times the kernels of a plan's ops on the device, each against the others, and keeps what was found.

use super::kept::KeptFile;
use crate::error::Result;
use crate::graph::{Graph, Op, Signature, input_name};
use crate::kernel::Variant;
use crate::plan::{Timed, Tuning};
use crate::session::{ProgramId, Session};
use crate::tensor::{Array, DType, TensorId, TensorType};
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A kernel that is expected to take this many times as long as the best is not tried.
const HOPELESS: f64 = 8.0;
/// Rounds in which each kernel of an op runs once.
const ROUNDS: usize = 5;
/// Normalised mean squared error up to which a kernel's result counts as that of the CPU executor.
const SAME: f64 = 1e-8;

/// What the tuner did.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Tuned {
    /// What was measured now.
    pub tuning: Tuning,
    /// Ops with several kernels worth trying.
    pub ops: usize,
    /// Of those, how many were measured before the time was up.
    pub measured: usize,
    /// Of those, how many get another kernel than the cost model's.
    pub changed: usize,
    /// Kernels that were left out because their result is not that of the CPU executor: op and variant.
    pub refused: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// An op of the plan that may be computed in several ways.
struct Contest {
    key: String,
    op: Arc<dyn Op>,
    inputs: Vec<TensorType>,
    /// Names of the kernels, the cost model's choice first.
    variants: Vec<&'static str>,
    /// Estimated time of all its occurrences, in microseconds.
    weight_us: f64,
}

/// Measures the kernels of a graph's ops, those that take most time first, until `budget` is used up. What the session held is
/// forgotten; kernels that were compiled stay. On the CPU executor there is nothing to choose from.
///
/// A kernel counts only if its result on the op's own shapes is that of the CPU executor.
///
/// # Errors
/// If the graph does not fit the device, or the device is lost.
pub fn tune(session: &mut Session, graph: &Graph, budget: Duration) -> Result<Tuned> {
    let begin = Instant::now();
    let contests = contests(session, graph)?;
    let mut tuned = Tuned { ops: contests.len(), ..Tuned::default() };
    for contest in contests {
        if begin.elapsed() >= budget {
            break;
        }
        session.clear()?;
        let timed = contest.run(session, &mut tuned.refused)?;
        tuned.measured += 1;
        let fastest = timed.iter().min_by(|a, b| a.us.total_cmp(&b.us));
        tuned.changed += usize::from(fastest.is_some_and(|timed| timed.variant != contest.variants[0]));
        tuned.tuning.insert(contest.key, timed);
    }
    session.clear()?;
    tuned.seconds = begin.elapsed().as_secs_f64();
    Ok(tuned)
}

/// Every op with several kernels once, the longest first.
fn contests(session: &Session, graph: &Graph) -> Result<Vec<Contest>> {
    let Some(target) = session.target().copied() else { return Ok(Vec::new()) };
    let plan = session.plan(graph)?;
    let mut found: BTreeMap<String, Contest> = BTreeMap::new();
    for step in plan.steps().iter().filter(|step| step.variant.is_some()) {
        let (inputs, outputs) = plan.types(step);
        let signature = Signature { inputs: &inputs, outputs: &outputs };
        let mut variants: Vec<Variant> = step.op.variants(&signature, &target);
        variants.sort_by(|a, b| a.estimate_us.total_cmp(&b.estimate_us));
        let best = variants.first().map_or(0.0, |variant| variant.estimate_us);
        variants.retain(|variant| variant.estimate_us <= HOPELESS * best);
        if variants.len() < 2 {
            continue;
        }
        let key = Tuning::key(step.op.as_ref(), &signature);
        let contest = found.entry(key.clone()).or_insert_with(|| Contest {
            key,
            op: step.op.clone(),
            inputs,
            variants: variants.iter().map(|variant| variant.name).collect(),
            weight_us: 0.0,
        });
        contest.weight_us += best;
    }
    let mut contests: Vec<Contest> = found.into_values().collect();
    contests.sort_by(|a, b| b.weight_us.total_cmp(&a.weight_us));
    Ok(contests)
}

impl Contest {
    /// The op alone, on inputs of the store; its outputs are kept.
    fn graph(&self) -> Result<(Graph, Vec<String>)> {
        let (graph, _, outputs) = Graph::of_op(self.op.clone(), "", self.inputs.iter().cloned())?;
        let name = |id: &TensorId| graph.tensors()[id.index()].name.clone();
        let names = outputs.iter().map(name).collect();
        Ok((graph, names))
    }

    /// Positive, as second moments must be; words are zeros, which are valid rows, places and clocks.
    fn values(&self) -> Vec<(String, Array)> {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(crate::op::fnv1a(&self.key));
        let values = self.inputs.iter().enumerate().map(|(i, ty)| {
            let array = match ty.dtype {
                DType::F32 => {
                    Array::F64((0..ty.shape.len()).map(|_| f64::from(rng.random_range(0.01f32..1.0))).collect())
                }
                _ => Array::zeros(ty),
            };
            (input_name(i), array)
        });
        values.collect()
    }

    fn run(&self, session: &mut Session, refused: &mut Vec<String>) -> Result<Vec<Timed>> {
        let (graph, outputs) = self.graph()?;
        let values = self.values();
        let expected = results(&mut Session::cpu(), &graph, &values, &outputs, None)?.1;
        let mut programs: Vec<(&'static str, ProgramId, Vec<f64>)> = Vec::new();
        for &variant in &self.variants {
            let (program, got) = results(session, &graph, &values, &outputs, Some(variant))?;
            if expected.iter().zip(&got).all(|(expected, got)| is_same(expected, got)) {
                programs.push((variant, program, Vec::new()));
            } else {
                refused.push(format!("{} {variant}", self.op.name()));
            }
        }
        // In turn, so that what else the machine does falls on all of them. The first replays of a program are timed by
        // themselves inside the session and do not count.
        for round in 0..ROUNDS + 2 {
            for (_, program, times) in &mut programs {
                session.wait()?;
                let begin = Instant::now();
                session.run(*program, 1)?;
                session.wait()?;
                if round >= 2 {
                    times.push(begin.elapsed().as_secs_f64() * 1e6);
                }
            }
        }
        let median = |times: &[f64]| super::statistics::Statistics::of(times).map_or(f64::INFINITY, |s| s.median);
        Ok(programs.iter().map(|(name, _, times)| Timed { variant: (*name).to_owned(), us: median(times) }).collect())
    }
}

/// The recorded program of a kernel, and the reals that it gives after one run.
fn results(
    session: &mut Session,
    graph: &Graph,
    values: &[(String, Array)],
    outputs: &[String],
    variant: Option<&str>,
) -> Result<(ProgramId, Vec<Vec<f32>>)> {
    session.set_variant(variant);
    let program = session.record(graph);
    session.set_variant(None);
    let program = program?;
    session.write_used(values)?;
    session.run(program, 1)?;
    let got = outputs.iter().map(|name| session.read(name)).collect::<Result<_>>()?;
    Ok((program, got))
}

fn is_same(expected: &[f32], got: &[f32]) -> bool {
    let pairs = expected.iter().zip(got).map(|(e, g)| (f64::from(*e), f64::from(*g)));
    let (error, power) = pairs.fold((0.0, 0.0), |(error, power), (e, g)| (error + (e - g).powi(2), power + e * e));
    error <= SAME * power
}

/// What is kept for a device between runs.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Device and driver.
    device: String,
    /// Version of this crate: another may have other kernels.
    version: String,
    tuning: Tuning,
}

/// Where the measurements of a session's device are kept: beside the decoded pictures.
fn kept_file(session: &Session) -> KeptFile {
    KeptFile::new("tuning", session.device())
}

/// What was measured before on this device, driver and version; nothing where there is no such file or it is damaged.
pub fn kept_tuning(session: &Session) -> Tuning {
    if session.target().is_none() {
        return Tuning::default();
    }
    let fits = |kept: &Kept| kept.device == session.device() && kept.version == env!("CARGO_PKG_VERSION");
    kept_file(session).read().filter(fits).map_or_else(Tuning::default, |kept: Kept| kept.tuning)
}

/// Adds measurements to those that are kept for the session's device, and says where.
///
/// # Errors
/// If there is no cache folder, or it cannot be written.
pub fn keep_tuning(session: &Session, tuning: Tuning) -> Result<PathBuf> {
    let mut all = kept_tuning(session);
    all.extend(tuning);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    kept_file(session).write(&Kept { device: session.device().to_owned(), version, tuning: all })
}

/// Forgets what is kept for the session's device; `false` if there was nothing.
///
/// # Errors
/// If the file cannot be removed.
pub fn forget_tuning(session: &Session) -> Result<bool> {
    kept_file(session).remove()
}
