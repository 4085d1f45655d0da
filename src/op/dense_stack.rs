//! A whole chain of dense layers as one op: forward pass, loss, and the gradients that the weights' gradients are made of.

mod cases;
mod error;
mod kernel;

pub(super) use cases::{bce_cases, mse_cases, random_bce, random_mse};

use super::{
    ActivateBackward, Activation, LinearOp, LossGradient, LossOp, Matmul, TimesSlope, expect_f32, expect_same,
};
use crate::error::{Error, Result};
use crate::graph::{Op, Signature};
use crate::kernel::{Cost, Target, Tolerance, Variant};
use crate::tensor::{Array, TensorType};

/// Most layers of one stack: with weights, bias, activation and gradient of each they take 26 storage buffers of the 31 that
/// Metal has.
pub const MOST_LAYERS: usize = 6;

/// `y_l = f_l(y_(l-1) w_l + b_l)` for l from 1 to L, y_0 being x; the loss of (y_L, target); and dz_l, `upstream` times the
/// gradient of the loss with respect to what f_l takes.
///
/// Inputs: x (N, W_0), target (N·W_L values, of any shape), then w_l (W_(l-1), W_l) and b_l (W_l) of each layer. Outputs: the
/// loss (scalar), `y_1, …, y_(L-1)`, then `dz_1, …, dz_L`, each (N, W_l).
#[derive(Clone, Debug)]
pub struct DenseStack {
    /// f of each layer; as many as there are layers.
    pub activations: Vec<Activation>,
    /// The loss.
    pub loss: LossOp,
    /// The gradient of the loss itself: what its weight in the objective makes of one.
    pub upstream: f32,
}

impl DenseStack {
    fn layers(&self) -> usize {
        self.activations.len()
    }

    /// Rows of the batch.
    fn rows(signature: &Signature<'_>) -> usize {
        signature.inputs[0].shape.matrix().map_or(0, |[rows, _]| rows)
    }

    /// W_0 to W_L.
    fn widths(&self, signature: &Signature<'_>) -> Vec<usize> {
        let first = signature.inputs[0].shape.last();
        let biases = signature.inputs[3..].iter().step_by(2);
        std::iter::once(first).chain(biases.map(|bias| bias.shape.last())).collect()
    }

    /// The layer of this number, from nought.
    fn layer(&self, l: usize) -> Matmul {
        Matmul { activation: self.activations[l], ..Matmul::default() }
    }

    /// What makes `dz_l` of `dz_(l+1)`, w_(l+1) and y_l.
    fn data_gradient(&self, l: usize) -> Option<TimesSlope> {
        let product = Matmul { transpose_b: true, ..Matmul::default() };
        TimesSlope::new(LinearOp::Matmul(product), ActivateBackward { kind: self.activations[l] })
    }

    fn loss_gradient(&self) -> LossGradient {
        let activation = self.activations.last().copied().unwrap_or_default();
        LossGradient { loss: self.loss, upstream: self.upstream, activation }
    }
}

/// One op of a composition, on types and values of its own.
fn run(op: &dyn Op, inputs: &[(&TensorType, &Array)], outputs: &[TensorType]) -> Vec<Array> {
    let types: Vec<TensorType> = inputs.iter().map(|(ty, _)| (*ty).clone()).collect();
    let values: Vec<&Array> = inputs.iter().map(|(_, value)| *value).collect();
    let mut results: Vec<Array> = outputs.iter().map(Array::zeros).collect();
    op.reference(&Signature { inputs: &types, outputs }, &values, &mut results);
    results
}

impl Op for DenseStack {
    fn name(&self) -> &'static str {
        match self.loss {
            LossOp::Mse => "dense_stack_mse",
            LossOp::BceLogits => "dense_stack_bce",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let layers = self.layers();
        if !(2..=MOST_LAYERS).contains(&layers) {
            return Err(Error::shape(self.name(), "2 to 6 layers", layers.to_string()));
        }
        super::expect_inputs(self.name(), inputs, 2 + 2 * layers..=2 + 2 * layers)?;
        let mut y = inputs[0].clone();
        let mut outputs = vec![TensorType::f32([])];
        let mut gradients = Vec::new();
        for (l, layer) in inputs[2..].chunks(2).enumerate() {
            y = self.layer(l).infer(&[y, layer[0].clone(), layer[1].clone()])?.remove(0);
            gradients.push(y.clone());
            if l + 1 < layers {
                outputs.push(y.clone());
            }
        }
        expect_f32(self.name(), &inputs[1])?;
        expect_same(self.name(), &TensorType::f32([y.shape.len()]), &TensorType::f32([inputs[1].shape.len()]))?;
        outputs.extend(gradients);
        Ok(outputs)
    }

    fn variants(&self, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        kernel::variant(self, signature, target).into_iter().collect()
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let layers = self.layers();
        let types = signature.outputs;
        let gradient_ty = |l: usize| &types[layers + l];
        let layer = |l: usize| {
            [(&signature.inputs[2 + 2 * l], inputs[2 + 2 * l]), (&signature.inputs[3 + 2 * l], inputs[3 + 2 * l])]
        };
        let mut y = (&signature.inputs[0], inputs[0].clone());
        for l in 0..layers {
            let ty = gradient_ty(l);
            let [w, b] = layer(l);
            y = (ty, run(&self.layer(l), &[(y.0, &y.1), w, b], std::slice::from_ref(ty)).remove(0));
            if l + 1 < layers {
                outputs[1 + l] = y.1.clone();
            }
        }
        let of_loss = [TensorType::f32([]), y.0.clone()];
        let mut found = run(&self.loss_gradient(), &[(y.0, &y.1), (y.0, inputs[1])], &of_loss);
        let mut dz = found.remove(1);
        outputs[0] = found.remove(0);
        for l in (0..layers - 1).rev() {
            outputs[layers + l + 1] = dz.clone();
            let Some(op) = self.data_gradient(l) else { return };
            let (upstream, [w, _], ty) = (gradient_ty(l + 1), layer(l + 1), gradient_ty(l));
            dz = run(&op, &[(upstream, &dz), w, (ty, &outputs[1 + l])], std::slice::from_ref(ty)).remove(0);
        }
        outputs[layers] = dz;
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let widths = self.widths(signature);
        let products: usize = widths.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let back = products - widths[0] * widths[1];
        Cost { flops: 2.0 * (Self::rows(signature) * (products + back)) as f64, bytes: signature.bytes() }
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        error::tolerances(self, signature)
    }

    fn magnitude(&self, signature: &Signature<'_>, inputs: &[&Array]) -> Vec<Array> {
        error::magnitudes(self, signature, inputs)
    }
}
