//! Fusion: a table of rules. Each finds a small pattern on a tape and puts an ordinary op in its place, whose reference is
//! that of the pattern's ops one after the other.

mod losses;
mod products;
mod sources;
mod stacks;

use crate::graph::{Graph, Node, Op, Signature, TensorInfo};
use crate::kernel::Target;
use crate::tensor::{Class, TensorId, TensorType};
use std::collections::HashMap;

/// A rule of fusion.
#[derive(Clone, Copy, Debug)]
pub struct Fusion {
    /// Short name, unique among the rules.
    pub name: &'static str,
    /// What is put in the place of what, and why that is better.
    pub what: &'static str,
    /// Where it is of use: on a device of this kind, or, without one, on the CPU executor.
    suits: fn(Option<&Target>) -> bool,
    /// The pattern whose last op is at this place of the tape, if it is there.
    find: fn(&mut Tape, usize) -> Option<Rewrite>,
}

/// All rules, in the order in which they are tried.
pub const FUSIONS: &[Fusion] = &[
    products::ACTIVATION,
    products::POOLED_SLOPE,
    products::POOLING,
    products::SLOPE,
    losses::CONSTANT,
    losses::GRADIENT,
    products::BIAS_GRADIENT,
    products::UNPOOLING,
    sources::NOISE,
    stacks::STACK,
    stacks::UPDATE,
];

/// Ops on their way to a plan.
pub(super) struct Tape {
    pub(super) nodes: Vec<Node>,
    pub(super) tensors: Vec<TensorInfo>,
    /// Which node writes each tensor, where one does.
    writer: Vec<Option<usize>>,
    /// Which nodes read each tensor, once for each time.
    readers: Vec<Vec<usize>>,
}

/// Nodes to be put in the place of others.
pub(super) struct Rewrite {
    /// Places of the nodes that go.
    removed: Vec<usize>,
    /// What comes in their place, in this order.
    placed: Vec<Node>,
}

impl Tape {
    /// The ops of a graph that something persistent depends on.
    pub(super) fn new(graph: &Graph) -> Self {
        let (nodes, tensors) = (graph.nodes().to_vec(), graph.tensors().to_vec());
        let mut tape = Self { nodes, tensors, writer: Vec::new(), readers: Vec::new() };
        tape.drop_unread();
        tape
    }

    fn index(&mut self) {
        self.writer = vec![None; self.tensors.len()];
        self.readers = vec![Vec::new(); self.tensors.len()];
        for (n, node) in self.nodes.iter().enumerate() {
            node.outputs.iter().for_each(|id| self.writer[id.index()] = Some(n));
            node.inputs.iter().for_each(|id| self.readers[id.index()].push(n));
        }
    }

    /// Applies every rule that suits the device as often as it finds something.
    pub(super) fn fuse(&mut self, target: Option<&Target>) {
        for rule in FUSIONS.iter().filter(|rule| (rule.suits)(target)) {
            let mut n = 0;
            while n < self.nodes.len() {
                let known = self.tensors.len();
                let rewritten = (rule.find)(self, n).and_then(|rewrite| self.rewritten(rewrite, target));
                match rewritten {
                    // Other ops stand at this place now.
                    Some(nodes) => {
                        n = n.saturating_sub(self.nodes.len() - nodes.len());
                        self.nodes = nodes;
                        self.index();
                    }
                    None => {
                        self.tensors.truncate(known);
                        n += 1;
                    }
                }
            }
        }
        self.drop_unread();
    }

    /// Removes the ops whose results nobody reads.
    pub(super) fn drop_unread(&mut self) {
        let mut live = vec![false; self.tensors.len()];
        let mut kept = Vec::with_capacity(self.nodes.len());
        for node in self.nodes.drain(..).rev() {
            let wanted = |id: &TensorId| live[id.index()] || self.tensors[id.index()].class.is_persistent();
            if node.outputs.iter().any(wanted) {
                node.inputs.iter().for_each(|i| live[i.index()] = true);
                kept.push(node);
            }
        }
        kept.reverse();
        self.nodes = kept;
        self.index();
    }

    /// The nodes after a rewrite; none if the device has no kernel for a new one, or if there is no place for them.
    fn rewritten(&self, rewrite: Rewrite, target: Option<&Target>) -> Option<Vec<Node>> {
        let computable = |node: &Node| {
            target.is_none_or(|target| {
                let (inputs, outputs) = (self.types(&node.inputs), self.types(&node.outputs));
                let signature = Signature { inputs: &inputs, outputs: &outputs };
                !node.op.has_launches() || !node.op.variants(&signature, target).is_empty()
            })
        };
        if !rewrite.placed.iter().all(computable) {
            return None;
        }
        let last = rewrite.removed.iter().max().copied()?;
        let first = rewrite.removed.iter().min().copied()?;
        [last, first].into_iter().find_map(|place| {
            let mut nodes = Vec::with_capacity(self.nodes.len());
            for (n, node) in self.nodes.iter().enumerate() {
                if n == place {
                    nodes.extend(rewrite.placed.iter().cloned());
                }
                if !rewrite.removed.contains(&n) {
                    nodes.push(node.clone());
                }
            }
            self.is_in_order(&nodes).then_some(nodes)
        })
    }

    /// Whether every tensor is written before it is read, and read before it is replaced in place.
    fn is_in_order(&self, nodes: &[Node]) -> bool {
        let written: HashMap<TensorId, usize> =
            nodes.iter().enumerate().flat_map(|(n, node)| node.outputs.iter().map(move |&id| (id, n))).collect();
        let mut seen_by: HashMap<TensorId, TensorId> = HashMap::new();
        let mut replaced: HashMap<TensorId, usize> = HashMap::new();
        for (n, node) in nodes.iter().enumerate() {
            if node.op.is_view() {
                let origin = seen_by.get(&node.inputs[0]).copied().unwrap_or(node.inputs[0]);
                seen_by.insert(node.outputs[0], origin);
            }
            for &(_, input) in node.op.in_place() {
                let id = node.inputs[input];
                replaced.insert(seen_by.get(&id).copied().unwrap_or(id), n);
            }
        }
        nodes.iter().enumerate().all(|(n, node)| {
            node.inputs.iter().all(|id| {
                let origin = seen_by.get(id).copied().unwrap_or(*id);
                written.get(id).is_none_or(|&at| at < n) && replaced.get(&origin).is_none_or(|&at| at >= n)
            })
        })
    }

    /// Where a tensor is written.
    fn writer(&self, id: TensorId) -> Option<usize> {
        self.writer[id.index()]
    }

    /// Where a tensor is read.
    fn readers(&self, id: TensorId) -> &[usize] {
        &self.readers[id.index()]
    }

    /// Whether a tensor passes from one op to one other alone.
    fn is_between(&self, id: TensorId) -> bool {
        self.readers(id).len() == 1 && self.tensors[id.index()].class == Class::Temporary
    }

    /// The op at a place, if it is of this kind.
    fn op<T: Op>(&self, n: usize) -> Option<&T> {
        self.nodes.get(n)?.op.downcast_ref()
    }

    /// The one node that reads a temporary, once.
    fn only_reader(&self, id: TensorId) -> Option<usize> {
        self.is_between(id).then(|| self.readers(id)[0])
    }

    /// The tensor that this one is a view of, or itself.
    fn origin(&self, mut id: TensorId) -> TensorId {
        while let Some(at) = self.writer(id).filter(|&at| self.nodes[at].op.is_view()) {
            id = self.nodes[at].inputs[0];
        }
        id
    }

    fn ty(&self, id: TensorId) -> &TensorType {
        &self.tensors[id.index()].ty
    }

    fn types(&self, ids: &[TensorId]) -> Vec<TensorType> {
        ids.iter().map(|&id| self.ty(id).clone()).collect()
    }

    /// A new temporary.
    fn temporary(&mut self, ty: TensorType, name: &str) -> TensorId {
        self.tensors.push(TensorInfo { ty, class: Class::Temporary, name: name.to_owned() });
        TensorId(self.tensors.len() - 1)
    }
}

fn everywhere(_: Option<&Target>) -> bool {
    true
}
