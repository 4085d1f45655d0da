//! The tape: ops in the order in which they were recorded, and gradients as a reverse walk over it.

use crate::error::{Error, Result};
use crate::kernel::{Cost, Target, Tolerance, Variant};
use crate::tensor::{Array, Class, TensorId, TensorType};
use std::any::Any;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Types of an op's inputs and outputs.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// Input types, in order.
    pub inputs: &'a [TensorType],
    /// Output types, in order.
    pub outputs: &'a [TensorType],
}

impl Signature<'_> {
    /// Bytes of all inputs and outputs, each counted once.
    pub fn bytes(&self) -> f64 {
        self.inputs.iter().chain(self.outputs).map(|t| t.size_bytes() as f64).sum()
    }
}

/// Buffers of one op on the CPU executor: 32-bit words, as on a device.
pub struct CpuCall<'a> {
    /// The inputs. An input that an output replaces in place is empty: its values stand in that output.
    pub inputs: &'a [&'a [u32]],
    /// The outputs.
    pub outputs: &'a mut [&'a mut [u32]],
}

impl<'a> CpuCall<'a> {
    /// Input `i` as reals.
    pub fn input(&self, i: usize) -> &'a [f32] {
        bytemuck::cast_slice(self.inputs[i])
    }

    /// Input `i` as reals, or none if the op was given fewer inputs.
    pub fn optional_input(&self, i: usize) -> Option<&'a [f32]> {
        self.inputs.get(i).map(|words| bytemuck::cast_slice(words))
    }

    /// Output `i` as reals.
    pub fn output(&mut self, i: usize) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.outputs[i])
    }
}

/// An operation on tensors: its shapes, its gradient, the formula, and what a GPU can run for it.
///
/// Everything else (kernel tests, gradient checks, validation, profiles) follows from these methods.
pub trait Op: std::any::Any + Debug + Send + Sync {
    /// Name in the field's terms, as in the table of ops.
    fn name(&self) -> &'static str;

    /// Types of all outputs for these input types, or what is wrong with them.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>>;

    /// Pairs (output, input): the output replaces the input in its buffer (optimisers, counters, histories).
    fn in_place(&self) -> &[(usize, usize)] {
        &[]
    }

    /// Whether output 0 is input 0 under another shape; such an op has no launches.
    fn is_view(&self) -> bool {
        false
    }

    /// What ranks that train together make of outputs that replace their inputs, where this op stands for that; it has no
    /// launches. A lone rank changes nothing.
    fn reduction(&self) -> Option<Reduction> {
        None
    }

    /// Records the gradient with respect to each input as ordinary ops. `upstream` has one gradient per output,
    /// none where nothing depends on it; `needed` says for which inputs a gradient is wanted.
    fn backward(
        &self,
        _graph: &mut Graph,
        _node: &Node,
        _upstream: &[Option<TensorId>],
        _needed: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        Err(Error::NotDifferentiable { op: self.name().to_owned() })
    }

    /// The ways in which a GPU can compute this, for these shapes and this device. Empty for an op without launches.
    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant>;

    /// The formula, stored and accumulated in `f64`: the oracle that everything else is held against.
    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]);

    /// A fast `f32` kernel for the CPU; `false` means that there is none and the reference runs instead.
    fn compute(&self, _signature: &Signature<'_>, _call: &mut CpuCall<'_>) -> bool {
        false
    }

    /// Arithmetic and traffic of one run. Unless an op says otherwise, one operation for each element of its inputs or of
    /// its outputs, whichever are more.
    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let elements = |types: &[TensorType]| types.iter().map(|t| t.shape.len() as f64).sum::<f64>();
        Cost { flops: elements(signature.inputs).max(elements(signature.outputs)), bytes: signature.bytes() }
    }

    /// How exact each output must be.
    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::ELEMENTWISE; signature.outputs.len()]
    }

    /// Sum of the absolute values of all terms behind each output element, for [`Tolerance::Sum`].
    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        let absolute: Vec<Array> = inputs.iter().map(|a| a.abs()).collect();
        let mut outputs: Vec<Array> = signature.outputs.iter().map(Array::zeros).collect();
        self.reference(signature, &absolute.iter().collect::<Vec<_>>(), &mut outputs);
        outputs
    }

    /// As [`Op::magnitude`], for sums by minimal filtering ([`Products::Filtered`](crate::kernel::Products::Filtered)), which
    /// adds up other terms than the definition's.
    fn filtered_magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        self.magnitude(signature, inputs)
    }

    /// Whether [`Op::compute`] makes its sums by minimal filtering.
    fn computes_filtered(&self, _signature: &Signature<'_>) -> bool {
        false
    }

    /// This op with `next` applied to its output, as one op, if there is such a kernel.
    fn fuse(&self, _next: &dyn Op) -> Option<Arc<dyn Op>> {
        None
    }
}

impl dyn Op {
    /// Whether a device computes it: a view and a reduction over ranks have no launches.
    pub fn has_launches(&self) -> bool {
        !self.is_view() && self.reduction().is_none()
    }

    /// This op as one of kind `T`, if it is one.
    pub fn downcast_ref<T: Op>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// How tensors of several ranks become one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Mean and variance over the rows of all ranks, from those of each rank's rows.
    Moments {
        /// The share of this rank's rows in all.
        share: f32,
    },
}

/// One recorded op.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is computed.
    pub op: Arc<dyn Op>,
    /// Tensors read.
    pub inputs: Vec<TensorId>,
    /// Tensors written.
    pub outputs: Vec<TensorId>,
    /// Layer or phase that this belongs to, for people.
    pub label: String,
}

/// One tensor of a graph.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Shape and element type.
    pub ty: TensorType,
    /// Where it lives.
    pub class: Class,
    /// Key in the session's store; for a temporary a description.
    pub name: String,
}

/// A tape of ops over tensors.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    tensors: Vec<TensorInfo>,
    nodes: Vec<Node>,
    persistent: HashMap<String, TensorId>,
    label: String,
}

/// Name of input `i` in a graph of [`Graph::of_op`].
pub fn input_name(i: usize) -> String {
    format!("input {i}")
}

/// Name of output `o` in a graph of [`Graph::of_op`].
pub fn output_name(o: usize) -> String {
    format!("output {o}")
}

impl Graph {
    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    /// The recorded ops, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All tensors, by [`TensorId::index`].
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Type of a tensor.
    pub fn ty(&self, id: TensorId) -> &TensorType {
        &self.tensors[id.0].ty
    }

    /// Sets the label of the ops recorded from now on.
    pub fn set_label(&mut self, label: impl Into<String>) {
        self.label = label.into();
    }

    /// A tensor that lives in the session's store under `name`. Asking twice gives the same tensor.
    ///
    /// # Errors
    /// If `name` is there already with another type.
    pub fn persistent(&mut self, class: Class, name: &str, ty: TensorType) -> Result<TensorId> {
        if let Some(&id) = self.persistent.get(name) {
            if self.tensors[id.0].ty != ty {
                return Err(Error::shape(name, self.tensors[id.0].ty.to_string(), ty.to_string()));
            }
            return Ok(id);
        }
        let id = self.add_tensor(ty, class, name.to_owned());
        self.persistent.insert(name.to_owned(), id);
        Ok(id)
    }

    fn add_tensor(&mut self, ty: TensorType, class: Class, name: String) -> TensorId {
        self.tensors.push(TensorInfo { ty, class, name });
        TensorId(self.tensors.len() - 1)
    }

    /// `op` alone, under a label, on tensors of these types: inputs in the store under [`input_name`], outputs kept under
    /// [`output_name`] where they do not take the place of an input. Also returns inputs and outputs.
    ///
    /// # Errors
    /// If the op cannot take these types.
    pub fn of_op(
        op: Arc<dyn Op>,
        label: &str,
        inputs: impl IntoIterator<Item = TensorType>,
    ) -> Result<(Self, Vec<TensorId>, Vec<TensorId>)> {
        let mut graph = Self::new();
        graph.set_label(label);
        let inputs = inputs.into_iter().enumerate().map(|(i, ty)| graph.persistent(Class::State, &input_name(i), ty));
        let inputs: Vec<TensorId> = inputs.collect::<Result<_>>()?;
        let outputs = graph.apply_shared(op.clone(), &inputs)?;
        for (o, &output) in outputs.iter().enumerate() {
            if op.in_place().iter().all(|pair| pair.0 != o) {
                graph.keep(output, &output_name(o))?;
            }
        }
        Ok((graph, inputs, outputs))
    }

    /// Records `op` on `inputs` and returns its outputs.
    ///
    /// # Errors
    /// If the op cannot take these types.
    pub fn apply(&mut self, op: impl Op + 'static, inputs: &[TensorId]) -> Result<Vec<TensorId>> {
        self.apply_shared(Arc::new(op), inputs)
    }

    /// As [`Graph::apply`], for an op with one output.
    pub fn apply_one(&mut self, op: impl Op + 'static, inputs: &[TensorId]) -> Result<TensorId> {
        Ok(self.apply(op, inputs)?[0])
    }

    /// As [`Graph::apply`], for an op that is already shared.
    pub fn apply_shared(&mut self, op: Arc<dyn Op>, inputs: &[TensorId]) -> Result<Vec<TensorId>> {
        let types: Vec<TensorType> = inputs.iter().map(|&i| self.ty(i).clone()).collect();
        let output_types = op.infer(&types)?;
        let in_place = op.in_place();
        let outputs: Vec<TensorId> = output_types
            .into_iter()
            .enumerate()
            .map(|(o, ty)| {
                let replaced = in_place.iter().find(|pair| pair.0 == o).map(|pair| &self.tensors[inputs[pair.1].0]);
                let (class, name) = match replaced {
                    Some(info) => (info.class, info.name.clone()),
                    None => (Class::Temporary, format!("{}.{}", self.label, op.name())),
                };
                self.add_tensor(ty, class, name)
            })
            .collect();
        let label = self.label.clone();
        self.nodes.push(Node { op, inputs: inputs.to_vec(), outputs: outputs.clone(), label });
        Ok(outputs)
    }

    /// Makes a temporary an output that the host can read under `name`.
    ///
    /// # Errors
    /// If the name is taken, or if the tensor is not a plain temporary.
    pub fn keep(&mut self, mut id: TensorId, name: &str) -> Result<()> {
        // A view has no buffer of its own: what it looks at is kept, element for element the same.
        while let Some(node) = self.nodes.iter().find(|n| n.op.is_view() && n.outputs.contains(&id)) {
            id = node.inputs[0];
        }
        let info = &mut self.tensors[id.0];
        if info.class != Class::Temporary || self.persistent.contains_key(name) {
            return Err(Error::shape("keep", "a temporary and a free name", format!("{} as {name}", info.name)));
        }
        info.class = Class::Output;
        info.name = name.to_owned();
        self.persistent.insert(name.to_owned(), id);
        Ok(())
    }

    /// Gradients of a scalar `loss` with respect to each tensor of `wrt`.
    ///
    /// # Errors
    /// If some op on the way has no gradient, or if the loss does not depend on one of `wrt`.
    pub fn gradients(&mut self, loss: TensorId, wrt: &[TensorId]) -> Result<Vec<TensorId>> {
        self.scaled_gradients(loss, wrt, 1.0)
    }

    /// As [`Graph::gradients`], with every gradient on the way `scale` times as large, so that half precision can hold it.
    /// The results are divided by it again: powers of two change no bit of a normal `f32`.
    ///
    /// # Errors
    /// As [`Graph::gradients`].
    pub fn scaled_gradients(&mut self, loss: TensorId, wrt: &[TensorId], scale: f32) -> Result<Vec<TensorId>> {
        let ty = self.ty(loss).clone();
        if ty.shape.len() != 1 {
            return Err(Error::shape("gradients", "a scalar loss", ty.to_string()));
        }
        let seed = self.apply_one(crate::op::Fill { shape: ty.shape, value: scale }, &[])?;
        let gradients = self.vector_jacobian(&[(loss, seed)], wrt)?;
        if scale == 1.0 {
            return Ok(gradients);
        }
        self.set_label("loss scale");
        let op = crate::op::Scale { factor: scale.recip() };
        gradients.into_iter().map(|gradient| self.apply_one(op, &[gradient])).collect()
    }

    /// Sum over the pairs (output, upstream) of upstream^T d output / d `wrt`, for each tensor of `wrt`.
    ///
    /// # Errors
    /// If some op on the way has no gradient, or if no output depends on one of `wrt`.
    pub fn vector_jacobian(&mut self, pairs: &[(TensorId, TensorId)], wrt: &[TensorId]) -> Result<Vec<TensorId>> {
        let recorded = self.nodes.len();
        let mut depends = vec![false; self.tensors.len()];
        for id in wrt {
            depends[id.0] = true;
        }
        for node in &self.nodes {
            if node.inputs.iter().any(|i| depends[i.0]) {
                node.outputs.iter().for_each(|o| depends[o.0] = true);
            }
        }
        let mut gradient: HashMap<TensorId, TensorId> = HashMap::new();
        for &(output, upstream) in pairs {
            self.accumulate(&mut gradient, output, upstream)?;
        }
        for n in (0..recorded).rev() {
            let node = self.nodes[n].clone();
            let upstream: Vec<Option<TensorId>> = node.outputs.iter().map(|o| gradient.get(o).copied()).collect();
            let needed: Vec<bool> = node.inputs.iter().map(|i| depends[i.0]).collect();
            if upstream.iter().all(Option::is_none) || !needed.contains(&true) {
                continue;
            }
            self.label.clone_from(&node.label);
            let found = node.op.backward(self, &node, &upstream, &needed)?;
            for ((&input, partial), needed) in node.inputs.iter().zip(found).zip(needed) {
                if let (Some(partial), true) = (partial, needed) {
                    self.accumulate(&mut gradient, input, partial)?;
                }
            }
        }
        wrt.iter()
            .map(|id| {
                let name = &self.tensors[id.0].name;
                gradient.get(id).copied().ok_or_else(|| Error::shape("gradients", "a tensor that the loss uses", name))
            })
            .collect()
    }

    fn accumulate(
        &mut self,
        gradient: &mut HashMap<TensorId, TensorId>,
        of: TensorId,
        partial: TensorId,
    ) -> Result<()> {
        let (wanted, got) = (self.ty(of), self.ty(partial));
        if wanted != got {
            return Err(Error::shape("gradient", wanted.to_string(), got.to_string()));
        }
        let total = match gradient.get(&of) {
            Some(&sum) => self.apply_one(crate::op::Add, &[sum, partial])?,
            None => partial,
        };
        gradient.insert(of, total);
        Ok(())
    }
}
