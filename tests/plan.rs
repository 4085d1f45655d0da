//! Plans: buffers that live at the same time are never shared, dead ops are dropped, fusion keeps the result.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::cpu::Oracle;
use degrain::graph::{Graph, Op, Signature};
use degrain::kernel::{Binding, Launch, MAX_WORKGROUPS, Shader, Target, TargetKind, Variant};
use degrain::op::{Activate, Activation, Add, Matmul, Reshape};
use degrain::plan::{Plan, PlanOptions, Storage};
use degrain::tensor::{Array, Class, TensorId, TensorType};
use std::collections::HashMap;

const PLAIN: PlanOptions<'_> = PlanOptions { target: None, fuse: false, variant: None };

/// A chain with a branch that comes back at the end, a view and an op that nothing needs.
fn graph() -> Graph {
    let mut graph = Graph::new();
    let x = graph.persistent(Class::Input, "x", TensorType::f32([4, 4])).unwrap();
    let w = graph.persistent(Class::Parameter, "w", TensorType::f32([4, 4])).unwrap();
    let early = graph.apply_one(Matmul::default(), &[x, w]).unwrap();
    let mut y = early;
    for kind in [Activation::Tanh, Activation::ELU, Activation::Sigmoid] {
        let z = graph.apply_one(Matmul::default(), &[y, w]).unwrap();
        y = graph.apply_one(Activate { kind }, &[z]).unwrap();
    }
    graph.apply_one(Add, &[x, x]).unwrap();
    let flat = graph.apply_one(Reshape { shape: [16].into() }, &[y]).unwrap();
    let back = graph.apply_one(Reshape { shape: [4, 4].into() }, &[flat]).unwrap();
    let sum = graph.apply_one(Add, &[back, early]).unwrap();
    graph.keep(sum, "sum").unwrap();
    graph
}

/// Runs the schedule on slots alone: a tensor whose slot was overwritten before its last use shows.
fn assert_no_live_tensor_is_overwritten(plan: &Plan) {
    let mut holds: HashMap<usize, TensorId> = HashMap::new();
    let mut view_of: HashMap<TensorId, TensorId> = HashMap::new();
    for step in plan.steps() {
        let root = |id: TensorId| *view_of.get(&id).unwrap_or(&id);
        for &input in &step.inputs {
            if let Some(Storage::Slot(slot)) = plan.storage(input) {
                assert_eq!(holds.get(slot), Some(&root(input)), "{plan}\nslot {slot} was overwritten");
            }
        }
        if step.op.is_view() {
            let origin = root(step.inputs[0]);
            view_of.insert(step.outputs[0], origin);
            continue;
        }
        let inputs: Vec<&Storage> = step.inputs.iter().filter_map(|&i| plan.storage(i)).collect();
        for &output in &step.outputs {
            if let Some(Storage::Slot(slot)) = plan.storage(output) {
                assert!(!inputs.contains(&&Storage::Slot(*slot)), "{plan}\na step reads and writes slot {slot}");
                holds.insert(*slot, output);
            }
        }
        let mut scratch = step.scratch.clone();
        scratch.dedup();
        assert_eq!(scratch.len(), step.scratch.len());
    }
}

#[test]
fn slots_are_shared_but_never_while_both_are_needed() {
    let plan = Plan::new(&graph(), PLAIN).unwrap();
    assert_no_live_tensor_is_overwritten(&plan);
    assert_eq!(plan.slot_bytes().len(), 3, "{plan}");
    let text = plan.to_string();
    assert!(text.contains("MB -> ") && text.contains("matmul"), "{text}");
}

#[test]
fn what_nothing_needs_is_dropped() {
    let plan = Plan::new(&graph(), PLAIN).unwrap();
    assert_eq!(plan.steps().iter().filter(|s| s.op.name() == "add").count(), 1, "{plan}");
}

#[test]
fn activations_become_epilogues_and_the_result_stays() {
    let fused = Plan::new(&graph(), PlanOptions { fuse: true, ..PLAIN }).unwrap();
    assert_eq!(fused.steps().iter().filter(|s| s.op.name() == "activate").count(), 0, "{fused}");
    assert_no_live_tensor_is_overwritten(&fused);
    let values = |n: usize| Array::F64((0..n).map(|i| (i as f64 * 0.37).sin()).collect());
    let run = |plan: &Plan| {
        let mut oracle = Oracle::new();
        oracle.write("x", values(16));
        oracle.write("w", values(16));
        oracle.run(plan).unwrap();
        oracle.read("sum").unwrap().clone()
    };
    assert_eq!(run(&fused), run(&Plan::new(&graph(), PLAIN).unwrap()));
}

#[test]
fn a_tensor_that_is_read_twice_is_not_fused_away() {
    let mut graph = Graph::new();
    let x = graph.persistent(Class::Input, "x", TensorType::f32([2, 2])).unwrap();
    let z = graph.apply_one(Matmul::default(), &[x, x]).unwrap();
    let y = graph.apply_one(Activate { kind: Activation::Tanh }, &[z]).unwrap();
    let sum = graph.apply_one(Add, &[y, z]).unwrap();
    graph.keep(sum, "sum").unwrap();
    let plan = Plan::new(&graph, PlanOptions { fuse: true, ..PLAIN }).unwrap();
    assert_eq!(plan.steps().len(), 3, "{plan}");
}

#[test]
fn scratch_buffers_and_limits_come_from_the_target() {
    for kind in [TargetKind::Gpu, TargetKind::SoftwareDriver] {
        let target = Target { kind, ..Target::DEFAULT_LIMITS };
        let plan = Plan::new(&graph(), PlanOptions { target: Some(&target), fuse: true, variant: None }).unwrap();
        assert_no_live_tensor_is_overwritten(&plan);
        assert!(plan.steps().iter().all(|s| s.op.is_view() || s.variant.is_some()));
    }
    let small = Target { max_binding_bytes: 60, ..Target::DEFAULT_LIMITS };
    let error = Plan::new(&graph(), PlanOptions { target: Some(&small), fuse: true, variant: None }).unwrap_err();
    assert!(error.to_string().contains("at most 60 bytes"), "{error}");
}

/// An op with two kernels: one with this grid and this scratch buffer, and a dearer one that every device takes.
#[derive(Debug)]
struct Wide {
    workgroups: [u32; 3],
    scratch_bytes: usize,
}

impl Op for Wide {
    fn name(&self) -> &'static str {
        "wide"
    }

    fn infer(&self, inputs: &[TensorType]) -> degrain::Result<Vec<TensorType>> {
        Ok(inputs.to_vec())
    }

    fn variants(&self, _: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let launch = |workgroups| Launch {
            shader: Shader { name: "wide", files: &[""] },
            constants: Vec::new(),
            parameters: Vec::new(),
            bindings: vec![Binding::Input(0), Binding::Output(0)],
            workgroups,
        };
        let mut wide = Variant::single("wide", 1.0, launch(self.workgroups));
        wide.scratch_bytes = vec![self.scratch_bytes];
        vec![wide, Variant::single("narrow", 2.0, launch([1, 1, 1]))]
    }

    fn reference(&self, _: &Signature<'_>, _: &[&Array], _: &mut [Array]) {}
}

#[test]
fn kernels_past_the_limits_of_every_device_are_not_taken() {
    let target = Target { max_binding_bytes: 1 << 20, ..Target::DEFAULT_LIMITS };
    let chosen = |workgroups, scratch_bytes| {
        let mut graph = Graph::new();
        let x = graph.persistent(Class::Input, "x", TensorType::f32([4])).unwrap();
        let y = graph.apply_one(Wide { workgroups, scratch_bytes }, &[x]).unwrap();
        graph.keep(y, "y").unwrap();
        let plan = Plan::new(&graph, PlanOptions { target: Some(&target), fuse: true, variant: None }).unwrap();
        plan.steps().iter().find_map(|step| step.variant.as_ref()).unwrap().name
    };
    assert_eq!(chosen([MAX_WORKGROUPS, MAX_WORKGROUPS, 1], 1 << 20), "wide");
    assert_eq!(chosen([MAX_WORKGROUPS + 1, 1, 1], 0), "narrow");
    assert_eq!(chosen([1, 1, MAX_WORKGROUPS + 1], 0), "narrow");
    assert_eq!(chosen([1, 1, 1], (1 << 20) + 4), "narrow");
}
