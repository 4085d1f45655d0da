//! The launches of a step: what they are, how long they take, and what holds them back.

use super::ceilings::Ceilings;
use super::statistics::Statistics;
use crate::graph::Signature;
use crate::kernel::Cost;
use crate::plan::Plan;
use crate::session::Timeline;
use serde::{Deserialize, Serialize};

/// What holds a launch back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Arithmetic: at the peak it would take longer than the traffic, and longer than launching.
    Compute,
    /// Traffic between memory and cores.
    Memory,
    /// The launch itself costs more than its arithmetic and its traffic at their peaks.
    Launch,
}

impl Bound {
    /// The word used in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
            Self::Launch => "launch",
        }
    }
}

/// The launches of one kernel in one op of the step. Times are in microseconds of one step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LaunchProfile {
    /// Layer, op and kernel: unique within a step.
    pub name: String,
    /// Layer or phase.
    pub layer: String,
    /// The op.
    pub op: String,
    /// The op's variant; empty on the CPU executor.
    pub variant: String,
    /// The kernel; empty on the CPU executor.
    pub kernel: String,
    /// Launches in one step.
    pub calls: usize,
    /// Median time of all calls together.
    pub us: f64,
    /// The 95th percentile.
    pub p95_us: f64,
    /// Median absolute deviation.
    pub mad_us: f64,
    /// Part of the sum of all launches, from 0 to 1.
    pub share: f64,
    /// Floating-point operations. Those of an op with several kernels are shared out by time.
    pub flops: f64,
    /// Bytes that must move, each tensor of the op counted once; shared out in the same way.
    pub bytes: f64,
    /// 10^9 operations per second.
    pub gflops: f64,
    /// 10^9 bytes per second. More than the peak where caches serve what the previous launch left there.
    pub gbps: f64,
    /// Operations per byte.
    pub intensity: f64,
    /// What holds it back.
    pub bound: Bound,
    /// The time that arithmetic or traffic would need at the peak, whichever is longer, as a part of the time taken.
    pub fraction_of_peak: f64,
}

/// What a step would take if each of its launches ran at the peak that bounds it, in microseconds, by what that is.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Floor {
    /// Launches bound by arithmetic.
    pub compute_us: f64,
    /// Launches bound by traffic, each tensor of an op counted once.
    pub memory_us: f64,
    /// Launches that take less than launching does.
    pub launch_us: f64,
}

impl Floor {
    /// Of these launches.
    pub(super) fn of(launches: &[LaunchProfile], ceilings: &Ceilings) -> Self {
        let mut floor = Self::default();
        for launch in launches {
            match launch.bound {
                Bound::Compute => floor.compute_us += launch.flops / ceilings.gflops / 1e3,
                Bound::Memory => floor.memory_us += launch.bytes / ceilings.gbps / 1e3,
                Bound::Launch => floor.launch_us += launch.calls as f64 * ceilings.launch_us,
            }
        }
        floor
    }

    /// All of them.
    pub fn us(&self) -> f64 {
        self.compute_us + self.memory_us + self.launch_us
    }
}

/// What a launch is, in the order of [`Timeline::launches`].
#[derive(Clone, PartialEq, Debug)]
pub struct Place {
    /// Number of the plan's step.
    pub step: usize,
    /// Layer or phase.
    pub layer: String,
    /// The op.
    pub op: &'static str,
    /// The op's variant; empty on the CPU executor.
    pub variant: &'static str,
    /// The kernel; empty on the CPU executor.
    pub kernel: &'static str,
}

impl Place {
    /// Of every launch of a plan; on the CPU executor of every op that is no view.
    pub(super) fn of_plan(plan: &Plan) -> Vec<Self> {
        let mut places = Vec::new();
        for (number, step) in plan.steps().iter().enumerate().filter(|(_, step)| step.op.has_launches()) {
            let place =
                |variant, kernel| Self { step: number, layer: step.label.clone(), op: step.op.name(), variant, kernel };
            match &step.variant {
                Some(variant) => {
                    places.extend(variant.launches.iter().map(|launch| place(variant.name, launch.shader.name)));
                }
                None => places.push(place("", "")),
            }
        }
        places
    }

    /// `encoder.dense_1 matmul [tiled] matmul_tiled`.
    pub fn name(&self) -> String {
        let mut name = format!("{} {}", self.layer, self.op);
        if !self.variant.is_empty() {
            name += &format!(" [{}]", self.variant);
        }
        if !self.kernel.is_empty() && self.kernel != self.op {
            name += &format!(" {}", self.kernel);
        }
        name
    }
}

/// One row for every kernel of every op, the longest first.
pub(super) fn summarise(
    plan: &Plan,
    places: &[Place],
    timelines: &[Timeline],
    ceilings: &Ceilings,
) -> Vec<LaunchProfile> {
    // Launches of the same kernel in the same op are one row.
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (i, place) in places.iter().enumerate() {
        let same = |group: &&mut Vec<usize>| group.first().is_some_and(|&first| places[first] == *place);
        match groups.iter_mut().find(same) {
            Some(group) => group.push(i),
            None => groups.push(vec![i]),
        }
    }
    let times = groups.iter().map(|group| {
        let of_replay = |timeline: &Timeline| -> Option<f64> {
            group.iter().map(|&i| timeline.launches.get(i).copied().flatten().map(|[b, e]| (e - b) / 1e3)).sum()
        };
        Statistics::of(&timelines.iter().filter_map(of_replay).collect::<Vec<_>>())
    });
    let rows: Vec<(&Place, usize, Statistics)> = groups
        .iter()
        .zip(times)
        .filter_map(|(group, time)| Some((places.get(*group.first()?)?, group.len(), time?)))
        .collect();
    let total: f64 = rows.iter().map(|row| row.2.median).sum();
    let of_step = |step: usize| rows.iter().filter(|row| row.0.step == step).map(|row| row.2.median).sum::<f64>();
    let mut profiles: Vec<LaunchProfile> = rows
        .iter()
        .map(|(place, calls, time)| {
            let step = &plan.steps()[place.step];
            let (inputs, outputs) = plan.types(step);
            let cost = step.op.cost(&Signature { inputs: &inputs, outputs: &outputs });
            let part = ratio(time.median, of_step(place.step));
            let cost = Cost { flops: part * cost.flops, bytes: part * cost.bytes };
            profile(place, *calls, time, ratio(time.median, total), cost, ceilings)
        })
        .collect();
    number_equal_names(&mut profiles);
    profiles.sort_by(|a, b| b.us.total_cmp(&a.us));
    profiles
}

fn profile(
    place: &Place,
    calls: usize,
    time: &Statistics,
    share: f64,
    cost: Cost,
    ceilings: &Ceilings,
) -> LaunchProfile {
    let compute_us = cost.flops / ceilings.gflops / 1e3;
    let memory_us = cost.bytes / ceilings.gbps / 1e3;
    let ideal_us = compute_us.max(memory_us);
    let bound = match () {
        () if ideal_us < calls as f64 * ceilings.launch_us => Bound::Launch,
        () if compute_us > memory_us => Bound::Compute,
        () => Bound::Memory,
    };
    LaunchProfile {
        name: place.name(),
        layer: place.layer.clone(),
        op: place.op.to_owned(),
        variant: place.variant.to_owned(),
        kernel: place.kernel.to_owned(),
        calls,
        us: time.median,
        p95_us: time.p95,
        mad_us: time.mad,
        share,
        flops: cost.flops,
        bytes: cost.bytes,
        gflops: ratio(cost.flops, time.median * 1e3),
        gbps: ratio(cost.bytes, time.median * 1e3),
        intensity: ratio(cost.flops, cost.bytes),
        bound,
        fraction_of_peak: ratio(ideal_us, time.median),
    }
}

/// 0 where there is nothing to divide by.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// Ops of one layer and kind get numbers, so that names are unique.
fn number_equal_names(profiles: &mut [LaunchProfile]) {
    let names: Vec<String> = profiles.iter().map(|profile| profile.name.clone()).collect();
    for (i, profile) in profiles.iter_mut().enumerate() {
        let before = names[..i].iter().filter(|name| **name == profile.name).count();
        if before > 0 {
            profile.name += &format!(" #{}", before + 1);
        }
    }
}
