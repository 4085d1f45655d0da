//! The table of ops, and what each entry offers: seeded cases that every kernel must pass.

mod activation;
mod adam;
mod adamax;
mod add;
mod all_reduce;
mod avg_pool2d;
mod batch_norm;
mod bce_logits;
mod broadcast_rows;
mod clip_norm;
mod clock;
mod conv2d;
mod conv2d_max_pool2d;
mod conv2d_weight_grad;
mod conv_kernels;
mod conv_transpose2d;
mod curvature;
mod dense_stack;
mod dense_update;
mod draw;
mod dropout;
mod fill;
mod gather;
mod gather_noise;
mod gaussian_kl;
mod half_products;
mod history;
mod lookup;
mod loss_gradient;
mod matmul;
mod matmul_kernels;
mod max_pool2d;
mod max_pool2d_pick;
mod moments;
mod moving_average;
mod mse;
mod nadam;
mod nearest;
mod noise;
mod norm_penalty;
mod pixel_noise;
mod reparameterise;
mod reshape;
mod rmsprop;
mod scale;
mod several;
mod sgd;
mod sparsity;
mod sum_rows;
mod times_slope;
mod unit_rows;
mod unpooled;
mod upsample2d;
mod weight_bias_grad;
mod window;

pub use activation::{Activate, ActivateBackward, Activation};
pub use adam::{Adam, AdamConvention};
pub use adamax::{Adamax, AdamaxConvention};
pub use add::Add;
pub use all_reduce::{AllReduce, MergeMoments};
pub use avg_pool2d::{AvgPool2d, AvgPool2dBackward};
pub use batch_norm::{BatchNorm, BatchNormBackward, BatchNormTraining, BatchStatistics};
pub use bce_logits::{BceLogits, BceLogitsBackward};
pub use broadcast_rows::BroadcastRows;
pub use clip_norm::ClipNorm;
pub use clock::Tick;
pub use conv_transpose2d::ConvTranspose2d;
pub use conv2d::Conv2d;
pub use conv2d_max_pool2d::Conv2dMaxPool2d;
pub use conv2d_weight_grad::Conv2dWeightGrad;
pub use curvature::ActivateCurvature;
pub use dense_stack::{DenseStack, MOST_LAYERS};
pub(crate) use dense_update::moments_rule;
pub use dense_update::{DenseUpdate, LAYERS_TOGETHER, MomentsRule};
pub use draw::Draw;
pub use dropout::Dropout;
pub use fill::Fill;
pub use gather::{Gather, MAX_CHUNKS};
pub use gather_noise::{BatchNoise, GatherNoise};
pub use gaussian_kl::{GaussianKl, GaussianKlBackward};
pub use history::Record;
pub use lookup::Lookup;
pub use loss_gradient::{LossGradient, LossOp};
pub use matmul::Matmul;
pub use max_pool2d::{MaxPool2d, MaxPool2dBackward};
pub use max_pool2d_pick::MaxPool2dPick;
pub use moments::{Moments, MomentsBackward};
pub use moving_average::MovingAverage;
pub use mse::{Mse, MseBackward};
pub use nadam::{Nadam, NadamSchedule};
pub(crate) use nearest::Extents as NearestExtents;
pub use nearest::Nearest;
pub use noise::{GaussianNoise, Philox, normal_from_bits, philox4x32};
pub use norm_penalty::{NormPenalty, NormPenaltyBackward};
pub use pixel_noise::{PixelNoise, Replaced};
pub use reparameterise::{Reparameterise, ReparameteriseBackward};
pub use reshape::Reshape;
pub use rmsprop::{RmsProp, RmsPropConvention};
pub use scale::Scale;
pub use several::{Rule, SEVERAL, Several};
pub use sgd::{Sgd, SgdConvention};
pub use sparsity::{SparsityKl, SparsityKlBackward};
pub use sum_rows::SumRows;
pub use times_slope::{LinearOp, TimesSlope};
pub use unit_rows::UnitRows;
pub use unpooled::{Unpooled, UnpooledOp};
pub use upsample2d::{Upsample2d, Upsample2dBackward};
pub use weight_bias_grad::WeightBiasGrad;
pub use window::{Axis, Padding, Window};

use crate::error::Result;
use crate::graph::{Op, Signature};
use crate::tensor::{Array, DType, TensorType};
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

/// One line of the table of ops.
pub struct OpEntry {
    /// The op's name, as [`Op::name`] gives it.
    pub name: &'static str,
    /// Cases that every kernel of the op must pass, ragged shapes among them.
    pub cases: fn() -> Vec<Case>,
    /// A case of random shapes and settings.
    pub random: fn(&mut Draw) -> Result<Case>,
}

impl OpEntry {
    /// The random case of this seed, with extents of at most `largest`; the same each time.
    ///
    /// # Errors
    /// If the op refuses the shapes that it drew itself.
    pub fn random_case(&self, seed: u64, largest: usize) -> Result<Case> {
        let mut case = (self.random)(&mut Draw::new(seed, largest))?;
        // The label seeds the values.
        case.label = format!("random {seed}: {}", case.label);
        Ok(case)
    }
}

/// Every built-in op. Kernel tests, gradient checks, validation and benches walk this table.
pub const OPS: &[OpEntry] = &[
    OpEntry { name: "activate", cases: activation::cases, random: activation::random },
    OpEntry { name: "activate_backward", cases: activation::backward_cases, random: activation::random_backward },
    OpEntry { name: "activate_curvature", cases: curvature::cases, random: curvature::random },
    OpEntry { name: "adam", cases: adam::cases, random: adam::random },
    OpEntry { name: "adam_several", cases: adam::several_cases, random: adam::random_several },
    OpEntry { name: "adamax", cases: adamax::cases, random: adamax::random },
    OpEntry { name: "adamax_several", cases: adamax::several_cases, random: adamax::random_several },
    OpEntry { name: "add", cases: add::cases, random: add::random },
    OpEntry { name: "avg_pool2d", cases: avg_pool2d::cases, random: avg_pool2d::random },
    OpEntry { name: "avg_pool2d_backward", cases: avg_pool2d::backward_cases, random: avg_pool2d::random_backward },
    OpEntry { name: "batch_norm", cases: batch_norm::cases, random: batch_norm::random },
    OpEntry { name: "batch_norm_backward", cases: batch_norm::backward_cases, random: batch_norm::random_backward },
    OpEntry { name: "bce_logits", cases: bce_logits::cases, random: bce_logits::random },
    OpEntry { name: "bce_logits_backward", cases: bce_logits::backward_cases, random: bce_logits::random_backward },
    OpEntry { name: "bce_logits_gradient", cases: loss_gradient::bce_cases, random: loss_gradient::random_bce },
    OpEntry { name: "broadcast_rows", cases: broadcast_rows::cases, random: broadcast_rows::random },
    OpEntry { name: "clip_norm", cases: clip_norm::cases, random: clip_norm::random },
    OpEntry { name: "conv2d", cases: conv2d::cases, random: conv2d::random },
    OpEntry { name: "conv2d_max_pool2d", cases: conv2d_max_pool2d::cases, random: conv2d_max_pool2d::random },
    OpEntry { name: "conv2d_times_slope", cases: times_slope::conv2d_cases, random: times_slope::random_conv2d },
    OpEntry { name: "conv2d_weight_grad", cases: conv2d_weight_grad::cases, random: conv2d_weight_grad::random },
    OpEntry { name: "conv_transpose2d", cases: conv_transpose2d::cases, random: conv_transpose2d::random },
    OpEntry {
        name: "conv_transpose2d_times_slope",
        cases: times_slope::conv_transpose2d_cases,
        random: times_slope::random_conv_transpose2d,
    },
    OpEntry { name: "dense_stack_bce", cases: dense_stack::bce_cases, random: dense_stack::random_bce },
    OpEntry { name: "dense_stack_mse", cases: dense_stack::mse_cases, random: dense_stack::random_mse },
    OpEntry { name: "dense_update", cases: dense_update::cases, random: dense_update::random },
    OpEntry { name: "dropout", cases: dropout::cases, random: dropout::random },
    OpEntry { name: "fill", cases: fill::cases, random: fill::random },
    OpEntry { name: "gather", cases: gather::cases, random: gather::random },
    OpEntry { name: "gather_noise", cases: gather_noise::cases, random: gather_noise::random },
    OpEntry { name: "gaussian_kl", cases: gaussian_kl::cases, random: gaussian_kl::random },
    OpEntry { name: "gaussian_kl_backward", cases: gaussian_kl::backward_cases, random: gaussian_kl::random_backward },
    OpEntry { name: "gaussian_noise", cases: noise::cases, random: noise::random },
    OpEntry { name: "lookup", cases: lookup::cases, random: lookup::random },
    OpEntry { name: "matmul", cases: matmul::cases, random: matmul::random },
    OpEntry { name: "matmul_times_slope", cases: times_slope::matmul_cases, random: times_slope::random_matmul },
    OpEntry { name: "max_pool2d", cases: max_pool2d::cases, random: max_pool2d::random },
    OpEntry { name: "max_pool2d_backward", cases: max_pool2d::backward_cases, random: max_pool2d::random_backward },
    OpEntry { name: "max_pool2d_pick", cases: max_pool2d_pick::cases, random: max_pool2d_pick::random },
    OpEntry { name: "moments", cases: moments::cases, random: moments::random },
    OpEntry { name: "moments_backward", cases: moments::backward_cases, random: moments::random_backward },
    OpEntry { name: "moving_average", cases: moving_average::cases, random: moving_average::random },
    OpEntry { name: "mse", cases: mse::cases, random: mse::random },
    OpEntry { name: "mse_backward", cases: mse::backward_cases, random: mse::random_backward },
    OpEntry { name: "mse_gradient", cases: loss_gradient::mse_cases, random: loss_gradient::random_mse },
    OpEntry { name: "nadam", cases: nadam::cases, random: nadam::random },
    OpEntry { name: "nadam_several", cases: nadam::several_cases, random: nadam::random_several },
    OpEntry { name: "nadam_schedule", cases: nadam::schedule_cases, random: nadam::random_schedule },
    OpEntry { name: "nearest", cases: nearest::cases, random: nearest::random },
    OpEntry { name: "norm_penalty", cases: norm_penalty::cases, random: norm_penalty::random },
    OpEntry {
        name: "norm_penalty_backward",
        cases: norm_penalty::backward_cases,
        random: norm_penalty::random_backward,
    },
    OpEntry { name: "philox", cases: noise::philox_cases, random: noise::random_philox },
    OpEntry { name: "pixel_noise", cases: pixel_noise::cases, random: pixel_noise::random },
    OpEntry { name: "record", cases: history::cases, random: history::random },
    OpEntry { name: "reparameterise", cases: reparameterise::cases, random: reparameterise::random },
    OpEntry {
        name: "reparameterise_backward",
        cases: reparameterise::backward_cases,
        random: reparameterise::random_backward,
    },
    OpEntry { name: "rmsprop", cases: rmsprop::cases, random: rmsprop::random },
    OpEntry { name: "rmsprop_several", cases: rmsprop::several_cases, random: rmsprop::random_several },
    OpEntry { name: "scale", cases: scale::cases, random: scale::random },
    OpEntry { name: "sgd", cases: sgd::cases, random: sgd::random },
    OpEntry { name: "sgd_several", cases: sgd::several_cases, random: sgd::random_several },
    OpEntry { name: "sparsity_kl", cases: sparsity::cases, random: sparsity::random },
    OpEntry { name: "sparsity_kl_backward", cases: sparsity::backward_cases, random: sparsity::random_backward },
    OpEntry { name: "sum_rows", cases: sum_rows::cases, random: sum_rows::random },
    OpEntry { name: "tick", cases: clock::cases, random: clock::random },
    OpEntry { name: "unit_rows", cases: unit_rows::cases, random: unit_rows::random },
    OpEntry { name: "unpooled_input_grad", cases: unpooled::input_grad_cases, random: unpooled::random_input_grad },
    OpEntry { name: "unpooled_weight_grad", cases: unpooled::weight_grad_cases, random: unpooled::random_weight_grad },
    OpEntry { name: "upsample2d", cases: upsample2d::cases, random: upsample2d::random },
    OpEntry { name: "upsample2d_backward", cases: upsample2d::backward_cases, random: upsample2d::random_backward },
    OpEntry { name: "weight_bias_grad", cases: weight_bias_grad::cases, random: weight_bias_grad::random },
];

/// How an input of a case is filled.
#[derive(Clone, Debug)]
pub enum Values {
    /// Uniform in `lo..hi`.
    Uniform(f64, f64),
    /// Whole numbers in `lo..hi`, so that ties occur.
    Integers(u32, u32),
    /// These values.
    Exact(Vec<f64>),
    /// These words.
    Words(Vec<u32>),
}

/// An op with seeded inputs.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is special about it, for people.
    pub label: String,
    /// The op.
    pub op: Arc<dyn Op>,
    /// Type and values of each input.
    pub inputs: Vec<(TensorType, Values)>,
    /// Inputs whose gradient is checked against finite differences, away from kinks.
    pub gradients: Vec<usize>,
    /// Whether this is one of the few cases that are there for their size alone.
    pub large: bool,
}

/// FNV-1a, 64 bits (Fowler, Noll and Vo): written out here because the hash in `std` may change between versions.
pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Case {
    /// A case whose gradients are not checked.
    pub fn new(label: impl Into<String>, op: impl Op + 'static, inputs: Vec<(TensorType, Values)>) -> Self {
        Self { label: label.into(), op: Arc::new(op), inputs, gradients: Vec::new(), large: false }
    }

    /// Marks a case that is there for its size, such as more than 65,535 workgroups: it runs once on each kernel.
    #[must_use]
    pub fn large(mut self) -> Self {
        self.large = true;
        self
    }

    /// Also checks the gradients of these inputs.
    #[must_use]
    pub fn with_gradients(mut self, inputs: impl IntoIterator<Item = usize>) -> Self {
        self.gradients = inputs.into_iter().collect();
        self
    }

    /// The same inputs each time: values depend on the op, the label and the input's number alone.
    pub fn arrays(&self) -> Vec<Array> {
        self.inputs.iter().enumerate().map(|(i, (ty, values))| values.generate(ty, self.seed(i))).collect()
    }

    /// The seed of input `i`.
    pub fn seed(&self, i: usize) -> u64 {
        let key = format!("{} {} {i}", self.op.name(), self.label);
        fnv1a(&key)
    }

    /// Types of the inputs.
    pub fn input_types(&self) -> Vec<TensorType> {
        self.inputs.iter().map(|(ty, _)| ty.clone()).collect()
    }

    /// Types of the outputs.
    ///
    /// # Errors
    /// If the op cannot take the inputs.
    pub fn output_types(&self) -> Result<Vec<TensorType>> {
        self.op.infer(&self.input_types())
    }

    /// What the reference gives for `inputs`.
    ///
    /// # Errors
    /// If the op cannot take the inputs.
    pub fn expected(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let (input_types, output_types) = (self.input_types(), self.output_types()?);
        let mut outputs: Vec<Array> = output_types.iter().map(Array::zeros).collect();
        let signature = Signature { inputs: &input_types, outputs: &output_types };
        self.op.reference(&signature, &inputs.iter().collect::<Vec<_>>(), &mut outputs);
        Ok(outputs)
    }
}

impl Values {
    fn generate(&self, ty: &TensorType, seed: u64) -> Array {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
        let n = ty.shape.len();
        match (self, ty.dtype) {
            (Self::Uniform(lo, hi), DType::F32) => {
                // Rounded, so that the reference and the kernel start from the same numbers.
                Array::F64((0..n).map(|_| f64::from(rng.random_range(*lo..*hi) as f32)).collect())
            }
            (Self::Integers(lo, hi), DType::F32) => {
                Array::F64((0..n).map(|_| f64::from(rng.random_range(*lo..*hi))).collect())
            }
            (Self::Integers(lo, hi), DType::U32) => Array::U32((0..n).map(|_| rng.random_range(*lo..*hi)).collect()),
            (Self::Integers(lo, hi), DType::U8) => {
                Array::U8((0..n).map(|_| rng.random_range(*lo..*hi) as u8).collect())
            }
            (Self::Exact(values), DType::F32) => Array::F64(values.clone()),
            (Self::Words(words), DType::U32) => Array::U32(words.clone()),
            (Self::Words(words), DType::U8) => Array::U8(words.iter().map(|&w| w as u8).collect()),
            _ => Array::zeros(ty),
        }
    }
}

/// Wants an exact number of inputs.
fn expect_inputs(op: &str, inputs: &[TensorType], wanted: std::ops::RangeInclusive<usize>) -> Result<()> {
    if wanted.contains(&inputs.len()) {
        return Ok(());
    }
    Err(crate::error::Error::shape(op, format!("{wanted:?} inputs"), format!("{} inputs", inputs.len())))
}

/// Wants two tensors to have one type.
fn expect_same(op: &str, a: &TensorType, b: &TensorType) -> Result<()> {
    if a == b {
        return Ok(());
    }
    Err(crate::error::Error::shape(op, a.to_string(), b.to_string()))
}

/// Wants a tensor of `f32`.
fn expect_f32(op: &str, ty: &TensorType) -> Result<()> {
    if ty.dtype == DType::F32 {
        return Ok(());
    }
    Err(crate::error::Error::shape(op, "f32", ty.to_string()))
}
