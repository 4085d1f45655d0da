//! From a tape to a schedule: which ops run, fused where a rule allows, in which buffers. Pure data.

mod fusion;
mod rounds;
mod tuning;

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Op, Signature, TensorInfo};
use crate::kernel::{Cost, MAX_WORKGROUPS, Target, Variant};
use crate::tensor::{Class, TensorId, TensorType};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use fusion::Tape;
pub use fusion::{FUSIONS, Fusion};
pub use tuning::{Choice, Reason, Timed, Tuning};

/// Where a tensor's words are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Storage {
    /// In the session's store, under this name.
    Store(String),
    /// In the plan's shared buffer of this number.
    Slot(usize),
}

/// One op of a plan.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is computed.
    pub op: Arc<dyn Op>,
    /// Tensors read.
    pub inputs: Vec<TensorId>,
    /// Tensors written.
    pub outputs: Vec<TensorId>,
    /// Layer or phase.
    pub label: String,
    /// The kernel chosen for the target; none on the CPU executor and for views.
    pub variant: Option<Variant>,
    /// Why that one; none where there is none.
    pub choice: Option<Choice>,
    /// Slots of the variant's scratch buffers.
    pub scratch: Vec<usize>,
}

/// Choices when planning.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions<'a> {
    /// The device, or none for the CPU executor.
    pub target: Option<&'a Target>,
    /// Whether ops may be fused.
    pub fuse: bool,
    /// The kernel to take wherever an op has one of this name, in place of the cheapest.
    pub variant: Option<&'a str>,
}

/// An ordered list of ops with a buffer for every tensor.
#[derive(Clone, Debug)]
pub struct Plan {
    steps: Vec<Step>,
    tensors: Vec<TensorInfo>,
    storage: Vec<Option<Storage>>,
    slot_bytes: Vec<usize>,
    /// Sum of all temporaries, were each given a buffer of its own.
    unshared_bytes: usize,
}

impl Plan {
    /// Orders the ops of `graph` that something persistent depends on, fuses them, picks a kernel for each and
    /// gives every temporary a shared buffer.
    ///
    /// # Errors
    /// If a launch would exceed the target's limits.
    pub fn new(graph: &Graph, options: PlanOptions<'_>) -> Result<Self> {
        let mut tape = Tape::new(graph);
        if options.fuse {
            tape.fuse(options.target);
        }
        let Tape { nodes, tensors, .. } = tape;
        let mut steps = Vec::with_capacity(nodes.len());
        for node in nodes {
            let chosen = options.target.map(|t| choose(&node, &tensors, t, options.variant)).transpose()?.flatten();
            let (variant, choice) = chosen.unzip();
            let Node { op, inputs, outputs, label } = node;
            steps.push(Step { op, inputs, outputs, label, variant, choice, scratch: Vec::new() });
        }
        let steps = rounds::arrange(steps, tensors.len());
        let mut plan =
            Self { storage: vec![None; tensors.len()], steps, tensors, slot_bytes: Vec::new(), unshared_bytes: 0 };
        plan.assign_storage();
        Ok(plan)
    }

    /// The same plan with the kernels that were measured to be the fastest, where there are measurements of an op.
    #[must_use]
    pub fn tuned(mut self, target: &Target, tuning: &Tuning) -> Self {
        for i in 0..self.steps.len() {
            let step = &self.steps[i];
            let (inputs, outputs) = self.types(step);
            let signature = Signature { inputs: &inputs, outputs: &outputs };
            let (Some(_), Some(timed)) = (&step.variant, tuning.of(step.op.as_ref(), &signature)) else { continue };
            let variants = variants(step.op.as_ref(), &signature, target);
            // Kernels that there are no more, and those that are new, do not count.
            let fastest = timed.iter().find_map(|timed| variants.iter().find(|v| v.name == timed.variant));
            if let Some(variant) = fastest.cloned() {
                let among = timed.to_vec();
                let choice = Choice { variant: variant.name.to_owned(), reason: Reason::Measured, among };
                (self.steps[i].variant, self.steps[i].choice) = (Some(variant), Some(choice));
            }
        }
        self.assign_storage();
        self
    }

    /// The ops, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Where ranks exchange: steps that are reductions, those of one exchange together.
    pub fn exchanges(&self) -> Vec<Range<usize>> {
        rounds::exchanges(&self.steps)
    }

    /// The tensors, by [`TensorId::index`].
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Where a tensor is; none if the plan does not touch it.
    pub fn storage(&self, id: TensorId) -> Option<&Storage> {
        self.storage[id.index()].as_ref()
    }

    /// Sizes of the shared buffers.
    pub fn slot_bytes(&self) -> &[usize] {
        &self.slot_bytes
    }

    /// Bytes of all shared buffers.
    pub fn temporary_bytes(&self) -> usize {
        self.slot_bytes.iter().sum()
    }

    /// Bytes of the tensors in the store that this plan touches.
    pub fn persistent_bytes(&self) -> usize {
        self.persistent().iter().map(|info| info.ty.size_bytes()).sum()
    }

    /// Bytes that plans hold together which are recorded in one session: the store's tensors, each once, but for those
    /// that `left_out` names, shared buffers, and a parameter block of at most 256 bytes for each launch.
    pub fn bytes_together(plans: &[Self], left_out: impl Fn(&str) -> bool) -> usize {
        let stored: HashMap<&str, usize> = plans
            .iter()
            .flat_map(Self::persistent)
            .filter(|info| !left_out(&info.name))
            .map(|info| (info.name.as_str(), info.ty.size_bytes().max(4)))
            .collect();
        // A session lets the largest slots of all plans share a buffer, then the second largest, and so on.
        let mut shared: Vec<usize> = Vec::new();
        for plan in plans {
            let mut slots = plan.slot_bytes.clone();
            slots.sort_by_key(|&bytes| std::cmp::Reverse(bytes));
            shared.resize(shared.len().max(slots.len()), 0);
            for (most, bytes) in shared.iter_mut().zip(slots) {
                *most = bytes.max(*most);
            }
        }
        let variants = plans.iter().flat_map(|plan| &plan.steps).filter_map(|step| step.variant.as_ref());
        let launches: usize = variants.map(|variant| variant.launches.len()).sum();
        stored.values().sum::<usize>() + shared.iter().sum::<usize>() + 256 * launches
    }

    /// The tensors in the store that this plan touches, each once.
    pub fn persistent(&self) -> Vec<&TensorInfo> {
        let mut seen = std::collections::HashSet::new();
        self.tensors
            .iter()
            .zip(&self.storage)
            .filter(|(info, storage)| storage.is_some() && info.class.is_persistent() && seen.insert(&info.name))
            .map(|(info, _)| info)
            .collect()
    }

    /// The same plan with every one-dimensional grid laid out in two rows, as [`crate::kernel::linear_grid`] lays out
    /// those past 65,535 workgroups. The built-in kernels must not notice; validation asks them.
    #[must_use]
    pub fn refolded(&self) -> Self {
        let mut plan = self.clone();
        for launch in plan.steps.iter_mut().filter_map(|step| step.variant.as_mut()).flat_map(|v| &mut v.launches) {
            if let [x, 1, 1] = launch.workgroups
                && x > 1
            {
                launch.workgroups = [x.div_ceil(2), 2, 1];
            }
        }
        plan
    }

    /// Types of the tensors that a step reads and writes.
    pub fn types(&self, step: &Step) -> (Vec<TensorType>, Vec<TensorType>) {
        let of = |ids: &[TensorId]| ids.iter().map(|&i| self.tensors[i.index()].ty.clone()).collect();
        (of(&step.inputs), of(&step.outputs))
    }

    /// Arithmetic and traffic of the whole plan.
    pub fn cost(&self) -> Cost {
        self.steps.iter().fold(Cost::default(), |sum, step| {
            let (inputs, outputs) = self.types(step);
            let cost = step.op.cost(&Signature { inputs: &inputs, outputs: &outputs });
            Cost { flops: sum.flops + cost.flops, bytes: sum.bytes + cost.bytes }
        })
    }

    fn assign_storage(&mut self) {
        let root = roots(&self.steps, self.tensors.len());
        let mut intervals = self.intervals(&root);
        self.unshared_bytes = intervals.iter().map(|i| i.bytes).sum();
        self.slot_bytes = color(&mut intervals);
        let mut slot_of = vec![None; self.tensors.len()];
        for interval in &intervals {
            match interval.holds {
                Holds::Tensor(r) => slot_of[r] = Some(interval.slot),
                Holds::Scratch { step, number } => self.steps[step].scratch[number] = interval.slot,
            }
        }
        for id in self.steps.iter().flat_map(|s| s.inputs.iter().chain(&s.outputs)) {
            let r = root[id.index()];
            self.storage[id.index()] = Some(match slot_of[r] {
                Some(slot) => Storage::Slot(slot),
                None => Storage::Store(self.tensors[r].name.clone()),
            });
        }
    }

    /// When each temporary and each scratch buffer is in use.
    fn intervals(&mut self, root: &[usize]) -> Vec<Interval> {
        let mut of_root: Vec<Option<usize>> = vec![None; self.tensors.len()];
        let mut intervals: Vec<Interval> = Vec::new();
        for (now, step) in self.steps.iter_mut().enumerate() {
            for id in step.inputs.iter().chain(&step.outputs) {
                let r = root[id.index()];
                let info = &self.tensors[r];
                match of_root[r] {
                    Some(i) => intervals[i].last = now,
                    None if info.class == Class::Temporary => {
                        of_root[r] = Some(intervals.len());
                        intervals.push(Interval::new(Holds::Tensor(r), info.ty.size_bytes(), now));
                    }
                    None => {}
                }
            }
            let scratch = step.variant.as_ref().map_or(&[][..], |v| &v.scratch_bytes);
            step.scratch = vec![0; scratch.len()];
            for (number, &bytes) in scratch.iter().enumerate() {
                intervals.push(Interval::new(Holds::Scratch { step: now, number }, bytes, now));
            }
        }
        intervals
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            let place = |id: &TensorId| {
                let info = &self.tensors[id.index()];
                match self.storage(*id) {
                    Some(Storage::Slot(slot)) => format!("{}@{slot}", info.ty),
                    _ => format!("{}:{}", info.ty, info.name),
                }
            };
            let inputs: Vec<String> = step.inputs.iter().map(place).collect();
            let outputs: Vec<String> = step.outputs.iter().map(place).collect();
            let kernel = step.variant.as_ref().map_or(String::new(), |v| format!(" [{}]", v.name));
            let (name, label) = (step.op.name(), &step.label);
            writeln!(f, "{i:3} {label} {name}{kernel}: {} -> {}", inputs.join(", "), outputs.join(", "))?;
        }
        let mb = |bytes: usize| bytes as f64 / 1e6;
        write!(
            f,
            "{} ops; temporaries in {} slots: {:.1} MB -> {:.1} MB",
            self.steps.len(),
            self.slot_bytes.len(),
            mb(self.unshared_bytes),
            mb(self.temporary_bytes())
        )
    }
}

/// The cheapest kernel for this node on the target, or the one of this name.
fn choose(
    node: &Node,
    tensors: &[TensorInfo],
    target: &Target,
    name: Option<&str>,
) -> Result<Option<(Variant, Choice)>> {
    if !node.op.has_launches() {
        return Ok(None);
    }
    let of = |ids: &[TensorId]| -> Vec<TensorType> { ids.iter().map(|i| tensors[i.index()].ty.clone()).collect() };
    let (inputs, outputs) = (of(&node.inputs), of(&node.outputs));
    for ty in inputs.iter().chain(&outputs) {
        if ty.size_bytes() as u64 > target.max_binding_bytes {
            let limit = format!("tensors of at most {} bytes on this device", target.max_binding_bytes);
            let got = format!("{ty} in {} ({} bytes): use a smaller batch", node.label, ty.size_bytes());
            return Err(Error::shape(node.op.name(), limit, got));
        }
    }
    let mut variants = variants(node.op.as_ref(), &Signature { inputs: &inputs, outputs: &outputs }, target);
    let among: Vec<Timed> = variants.iter().map(|v| Timed { variant: v.name.to_owned(), us: v.estimate_us }).collect();
    let mut reason = if variants.len() == 1 { Reason::Only } else { Reason::Estimated };
    if let Some(at) = name.and_then(|name| variants.iter().position(|v| v.name == name)) {
        variants = vec![variants.swap_remove(at)];
        reason = Reason::Asked;
    }
    let best = variants.into_iter().min_by(|a, b| a.estimate_us.total_cmp(&b.estimate_us));
    let best = best.map(|variant| {
        let choice = Choice { variant: variant.name.to_owned(), reason, among };
        Some((variant, choice))
    });
    best.ok_or_else(|| {
        let inputs = inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Error::NoKernel { op: node.op.name().to_owned(), inputs }
    })
}

/// The kernels of an op that keep within the target's bindings and within the counts of workgroups that every device takes.
fn variants(op: &dyn Op, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
    let mut variants = op.variants(signature, target);
    variants.retain(|variant| {
        let counts = variant.launches.iter().flat_map(|launch| launch.workgroups);
        counts.into_iter().all(|count| count <= MAX_WORKGROUPS)
            && variant.scratch_bytes.iter().all(|&bytes| bytes as u64 <= target.max_binding_bytes)
    });
    variants
}

/// For each tensor the one whose buffer it is in: itself, or the input that it views or replaces.
fn roots(steps: &[Step], tensors: usize) -> Vec<usize> {
    let mut root: Vec<usize> = (0..tensors).collect();
    for step in steps {
        for &(output, input) in step.op.in_place() {
            root[step.outputs[output].index()] = root[step.inputs[input].index()];
        }
        if step.op.is_view() {
            root[step.outputs[0].index()] = root[step.inputs[0].index()];
        }
    }
    root
}

/// What a shared buffer holds for a while.
enum Holds {
    Tensor(usize),
    Scratch { step: usize, number: usize },
}

/// The steps from the first to the last use of some buffer, both included.
struct Interval {
    holds: Holds,
    bytes: usize,
    first: usize,
    last: usize,
    slot: usize,
}

impl Interval {
    fn new(holds: Holds, bytes: usize, now: usize) -> Self {
        Self { holds, bytes, first: now, last: now, slot: 0 }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Gives intervals that never overlap the same slot, the largest first, and returns the slots' sizes. Whole
/// buffers are shared, not ranges of one arena: a dispatch cannot read and write ranges of one buffer in wgpu.
fn color(intervals: &mut [Interval]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..intervals.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(intervals[i].bytes));
    let mut sizes = Vec::new();
    let mut members: Vec<Vec<usize>> = Vec::new();
    for i in order {
        let free = members.iter().position(|slot| slot.iter().all(|&j| !intervals[i].overlaps(&intervals[j])));
        let slot = free.unwrap_or_else(|| {
            members.push(Vec::new());
            sizes.push(intervals[i].bytes);
            members.len() - 1
        });
        members[slot].push(i);
        intervals[i].slot = slot;
    }
    sizes
}
