//! A recorded plan measured launch by launch, beside the same plan as it runs when nobody looks.

use super::ceilings::Ceilings;
use super::launches::{Floor, LaunchProfile, Place, summarise};
use super::statistics::Statistics;
use crate::error::{Error, Result};
use crate::graph::{Graph, input_name};
use crate::op::Case;
use crate::plan::{Choice, Plan, Storage};
use crate::session::{Clock, ProgramId, Session, Timeline};
use crate::tensor::Array;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How long to measure, and by which clock.
#[derive(Clone, Copy, Debug)]
pub struct StepOptions {
    /// Measuring ends once this has passed, but not before `min_replays`.
    pub budget: Duration,
    /// Fewest replays of each kind.
    pub min_replays: usize,
    /// Most replays of each kind.
    pub max_replays: usize,
    /// Whether to use the device's timestamps where it has them.
    pub timestamps: bool,
}

impl Default for StepOptions {
    /// Three seconds, 5 to 200 replays, timestamps.
    fn default() -> Self {
        Self { budget: Duration::from_secs(3), min_replays: 5, max_replays: 200, timestamps: true }
    }
}

/// What came out. Times are in microseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StepProfile {
    /// Device and driver.
    pub device: String,
    /// What measured the launches, for people.
    pub clock: String,
    /// Median time of a step that is not measured launch by launch: many in a row, as in training.
    pub step_us: f64,
    /// The launches, the longest first.
    pub launches: Vec<LaunchProfile>,
    /// What the device can do at most, as measured.
    pub peaks: Ceilings,
    /// What the step would take at these peaks.
    #[serde(default)]
    pub floor: Floor,
    /// Steps that are not measured launch by launch.
    pub step: Statistics,
    /// Measured steps, from the begin of the first launch to the end of the last: launches and gaps.
    pub profiled: Statistics,
    /// Sum of the launches, of the measured step whose length is the median.
    pub launches_us: f64,
    /// Time between launches, of the same step.
    pub gaps_us: f64,
    /// How many times as long a measured step takes: what launch boundaries cost.
    pub overhead: f64,
    /// Time in which the host records the commands of a measured step; none on the CPU executor.
    pub encode: Option<Statistics>,
    /// Time in which the host hands them to the driver; none on the CPU executor.
    pub submit: Option<Statistics>,
    /// Times of the device's clock that could not be, and were left out.
    pub discarded_timestamps: usize,
    /// Tensors and scratch buffers by size, the largest first.
    pub memory: Vec<TensorMemory>,
    /// Bytes of all buffers on the device.
    pub memory_bytes: usize,
    /// Which kernel each op takes and why, in the plan's order; empty on the CPU executor.
    #[serde(default)]
    pub kernels: Vec<KernelChoice>,
    /// The measured step whose length is the median.
    #[serde(skip)]
    pub timeline: Timeline,
    /// What each launch of the timeline is.
    #[serde(skip)]
    pub places: Vec<Place>,
}

/// The kernel of one op.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KernelChoice {
    /// Layer or phase, and op.
    pub op: String,
    /// The kernel, why it was taken, and from which.
    #[serde(flatten)]
    pub choice: Choice,
}

/// A tensor of the step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TensorMemory {
    /// Its name, or the layer that makes it.
    pub name: String,
    /// Element type and shape.
    pub tensor: String,
    /// Its size.
    pub bytes: usize,
    /// `parameter`, `state`, … for what outlives the step; `shared buffer N` for what is only there between its first and
    /// its last use.
    pub place: String,
}

/// Measures one replay after the other of a graph on the session's device. The first ones, in which drivers compile, do not
/// count. `values` are written into the store first, by name; those that the graph does not use are left.
///
/// ```
/// use degrain::graph::Graph;
/// use degrain::op::{Activate, Activation};
/// use degrain::profile::{Ceilings, StepOptions, profile_graph};
/// use degrain::session::Session;
/// use degrain::tensor::{Array, Class, TensorType};
///
/// let mut graph = Graph::new();
/// let x = graph.persistent(Class::Input, "x", TensorType::f32([1000]))?;
/// let y = graph.apply_one(Activate { kind: Activation::Tanh }, &[x])?;
/// graph.keep(y, "y")?;
/// let mut session = Session::cpu();
/// let ceilings = Ceilings::measure(&mut session)?;
/// let values = [("x".to_owned(), Array::F64(vec![0.5; 1000]))];
/// let profile = profile_graph(&mut session, &graph, &values, &ceilings, &StepOptions::default())?;
/// assert_eq!(profile.launches[0].op, "activate");
/// assert!(profile.launches[0].us > 0.0);
/// # Ok::<(), degrain::Error>(())
/// ```
///
/// # Errors
/// If the graph does not fit the device, a value has not its tensor's length, or the device is lost.
pub fn profile_graph(
    session: &mut Session,
    graph: &Graph,
    values: &[(String, Array)],
    ceilings: &Ceilings,
    options: &StepOptions,
) -> Result<StepProfile> {
    let plan = session.plan(graph)?;
    let program = session.record_plan(&plan)?;
    session.write_used(values)?;
    let clock = if options.timestamps && session.has_clock(Clock::Device) { Clock::Device } else { Clock::Host };
    let measured = measure(session, program, clock, options)?;
    report(session, &plan, measured, clock, ceilings)
}

/// As [`profile_graph`], for one op on the inputs of a case: in a bench of your own op.
///
/// # Errors
/// As [`profile_graph`], and if the case is not valid.
pub fn profile_case(
    session: &mut Session,
    case: &Case,
    ceilings: &Ceilings,
    options: &StepOptions,
) -> Result<StepProfile> {
    let (graph, ..) = Graph::of_op(case.op.clone(), &case.label, case.input_types())?;
    let values: Vec<_> = case.arrays().into_iter().enumerate().map(|(i, array)| (input_name(i), array)).collect();
    profile_graph(session, &graph, &values, ceilings, options)
}

/// All replays that count.
struct Measured {
    /// Microseconds of a step that nobody looks at.
    plain_us: Vec<f64>,
    timelines: Vec<Timeline>,
}

/// Plain and measured replays in turn, so that a machine that becomes slower slows both.
fn measure(session: &mut Session, program: ProgramId, clock: Clock, options: &StepOptions) -> Result<Measured> {
    // Warm-up: drivers compile at the first launch of a kernel, and the first times decide how much goes into a submit.
    session.run(program, 3)?;
    session.wait()?;
    let warm = session.run_timed(program, clock)?;
    let together = (20e6 / warm.total_ns.max(1.0)).clamp(1.0, 256.0) as usize;
    let mut measured = Measured { plain_us: Vec::new(), timelines: Vec::new() };
    let start = Instant::now();
    let wants = |done: usize| {
        done < options.min_replays.max(1) || done < options.max_replays && start.elapsed() < options.budget
    };
    while wants(measured.timelines.len()) {
        let begin = Instant::now();
        session.run(program, together)?;
        session.wait()?;
        measured.plain_us.push(begin.elapsed().as_secs_f64() * 1e6 / together as f64);
        measured.timelines.push(session.run_timed(program, clock)?);
    }
    Ok(measured)
}

fn report(
    session: &Session,
    plan: &Plan,
    measured: Measured,
    clock: Clock,
    ceilings: &Ceilings,
) -> Result<StepProfile> {
    let Measured { plain_us, timelines } = measured;
    let nothing = || Error::Device { name: session.device().to_owned(), problem: "gave no times".to_owned() };
    let spans: Vec<(f64, usize)> =
        timelines.iter().enumerate().filter_map(|(i, timeline)| Some((span_us(timeline)?, i))).collect();
    let profiled = Statistics::of(&spans.iter().map(|span| span.0).collect::<Vec<_>>()).ok_or_else(nothing)?;
    let step = Statistics::of(&plain_us).ok_or_else(nothing)?;
    let nearest =
        |a: &&(f64, usize), b: &&(f64, usize)| (a.0 - profiled.median).abs().total_cmp(&(b.0 - profiled.median).abs());
    let typical = spans.iter().min_by(nearest).map_or(0, |span| span.1);
    let timeline = timelines[typical].clone();
    let launches_us: f64 = timeline.launches.iter().flatten().map(|[begin, end]| (end - begin) / 1e3).sum();
    let gaps_us = span_us(&timeline).unwrap_or(launches_us) - launches_us;
    let places = Place::of_plan(plan);
    let host = |time: fn(&Timeline) -> f64| {
        let times: Vec<f64> = timelines.iter().map(|timeline| time(timeline) / 1e3).collect();
        Statistics::of(&times).filter(|statistics| statistics.median > 0.0)
    };
    let launches = summarise(plan, &places, &timelines, ceilings);
    Ok(StepProfile {
        device: session.device().to_owned(),
        clock: clock_text(session, clock).to_owned(),
        step_us: step.median,
        floor: Floor::of(&launches, ceilings),
        launches,
        peaks: ceilings.clone(),
        step,
        profiled,
        launches_us,
        gaps_us,
        overhead: profiled.median / step.median,
        encode: host(|timeline| timeline.encode_ns),
        submit: host(|timeline| timeline.submit_ns),
        discarded_timestamps: timelines.iter().flat_map(|t| &t.launches).filter(|launch| launch.is_none()).count(),
        memory: memory(plan),
        kernels: kernels(plan),
        memory_bytes: session.allocated_bytes(),
        timeline,
        places,
    })
}

fn clock_text(session: &Session, clock: Clock) -> &'static str {
    match (clock, session.target()) {
        (Clock::Device, _) => "timestamps of the device",
        (Clock::Host, None) => "clock of the host",
        (Clock::Host, Some(_)) => "clock of the host around submits of one launch each, their latency included",
    }
}

/// From the begin of the first launch to the end of the last.
fn span_us(timeline: &Timeline) -> Option<f64> {
    let times = || timeline.launches.iter().flatten();
    let begin = times().map(|launch| launch[0]).reduce(f64::min)?;
    let end = times().map(|launch| launch[1]).reduce(f64::max)?;
    Some((end - begin) / 1e3)
}

fn kernels(plan: &Plan) -> Vec<KernelChoice> {
    let of = |step: &crate::plan::Step| {
        let op = format!("{} {}", step.label, step.op.name());
        step.choice.clone().map(|choice| KernelChoice { op, choice })
    };
    plan.steps().iter().filter_map(of).collect()
}

/// What lies in memory, each buffer's tensors by themselves.
fn memory(plan: &Plan) -> Vec<TensorMemory> {
    let mut seen = vec![false; plan.tensors().len()];
    let mut rows = Vec::new();
    for step in plan.steps() {
        // A view or an output in place is the tensor that it is made from.
        let same = |o: usize| step.op.is_view() || step.op.in_place().iter().any(|pair| pair.0 == o);
        let made = step.outputs.iter().enumerate().map(|(o, &id)| (id, same(o)));
        for (id, same) in step.inputs.iter().map(|&id| (id, false)).chain(made) {
            if std::mem::replace(&mut seen[id.index()], true) || same {
                continue;
            }
            let info = &plan.tensors()[id.index()];
            let (name, place) = match plan.storage(id) {
                Some(Storage::Slot(slot)) => {
                    (format!("{} {}", step.label, step.op.name()), format!("shared buffer {slot}"))
                }
                _ => (info.name.clone(), format!("{:?}", info.class).to_lowercase()),
            };
            rows.push(TensorMemory { name, tensor: info.ty.to_string(), bytes: info.ty.size_bytes(), place });
        }
        for (&slot, &bytes) in step.scratch.iter().zip(step.variant.iter().flat_map(|v| &v.scratch_bytes)) {
            let name = format!("{} {}", step.label, step.op.name());
            rows.push(TensorMemory {
                name,
                tensor: "scratch".to_owned(),
                bytes,
                place: format!("shared buffer {slot}"),
            });
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    rows
}
