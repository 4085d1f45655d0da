//! Which shaders compute the three convolutions, and when.

mod lanes;
mod matrix;
mod tiled;
mod winograd;

use super::conv2d::extents;
use super::half_products::in_precision;
use super::window::Window;
use super::{Activation, Conv2d, Conv2dMaxPool2d, Conv2dWeightGrad, ConvTranspose2d, activation};
use crate::graph::Signature;
use crate::kernel::{Binding, Constant, Launch, Precision, Products, Shader, Target, Variant, Word, linear_grid};

pub(super) use lanes::{PAIRS, reads_pairs};
pub(super) use tiled::unpooled;

/// Snippets of the kernels that go by position: which they are, and what becomes of their sums.
const POSITIONS: &str = include_str!("../../shaders/conv_positions.wgsl");
const STORE: &str = include_str!("../../shaders/conv_store.wgsl");
const STORE_POOLED: &str = include_str!("../../shaders/conv_store_pooled.wgsl");

/// A convolution or a transposed convolution as the kernels see it; also a dense layer, on pictures of one pixel.
#[derive(Clone, Copy)]
pub(super) struct Product {
    /// Extents of the input.
    pub(super) x: [usize; 4],
    /// Extents of the output.
    pub(super) y: [usize; 4],
    /// Window.
    pub(super) window: Window,
    /// Whether it is the transposed convolution, whose kernel is (kh, kw, out, in).
    pub(super) transposed: bool,
    /// Epilogue.
    pub(super) activation: Activation,
    /// Whether there is a bias.
    pub(super) biased: bool,
    /// Whether a 2x2 max-pooling follows, so that the outputs are its maxima and their places.
    pub(super) pooled: bool,
}

impl Product {
    /// Output positions by phase: number of phases, and the most positions that one of them has.
    fn phases(&self) -> [usize; 2] {
        if self.pooled {
            return [1, self.y[0] * (self.y[1] / 2) * (self.y[2] / 2) * 4];
        }
        let stride = if self.transposed { self.window.stride } else { [1, 1] };
        let positions = self.y[0] * self.y[1].div_ceil(stride[0]) * self.y[2].div_ceil(stride[1]);
        [stride[0] * stride[1], positions]
    }

    /// Whether the kernels that go by phase apply.
    fn has_phases(&self) -> bool {
        !self.transposed || self.window.dilation == [1, 1]
    }

    /// Multiplications that any output needs, in operations with the additions: without those by zeros in between.
    fn flops(&self) -> f64 {
        let pixels = if self.transposed { &self.x } else { &self.y };
        2.0 * (pixels[0] * pixels[1] * pixels[2] * self.window.taps() * self.x[3] * self.y[3]) as f64
    }

    /// A launch of `shader` over the input, the kernel, the bias and the output.
    fn launch(&self, shader: Shader, workgroups: [u32; 3]) -> Launch {
        // Without a bias the kernel is bound in its place and never read as one.
        let offsets = Binding::Input(if self.biased { 2 } else { 1 });
        let mut bindings = vec![Binding::Input(0), Binding::Input(1), offsets, Binding::Output(0)];
        if self.pooled {
            bindings.push(Binding::Output(1));
        }
        let (constants, parameters) = (self.activation.constants().to_vec(), sizes(self.x, self.y, self.window));
        Launch { shader, constants, parameters, bindings, workgroups }
    }

    /// As [`Product::launch`], for shaders that go by phase.
    fn phased_launch(&self, shader: Shader, workgroups: [u32; 3]) -> Launch {
        let mut launch = self.launch(shader, workgroups);
        launch.constants.push(("TRANSPOSED", Constant::Bool(self.transposed)));
        launch.constants.push(("POOLED", Constant::Bool(self.pooled)));
        // A kernel less to compile than with a constant.
        launch.parameters.push(("biased", u32::from(self.biased).into()));
        launch
    }
}

/// Sizes of the picture side and of the position side, as parameter blocks have them.
fn sizes(picture: [usize; 4], positions: [usize; 4], window: Window) -> Vec<(&'static str, Word)> {
    let mut parameters = vec![
        ("batch", picture[0].into()),
        ("in_h", picture[1].into()),
        ("in_w", picture[2].into()),
        ("in_c", picture[3].into()),
        ("out_h", positions[1].into()),
        ("out_w", positions[2].into()),
        ("out_c", positions[3].into()),
    ];
    parameters.extend(window.parameters());
    parameters
}

/// Kernels of [`Conv2d`].
pub(super) fn forward(op: &Conv2d, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
    let (x, y) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
    let (window, activation, biased) = (op.window, op.activation, signature.inputs.len() == 3);
    let product = Product { x, y, window, transposed: false, activation, biased, pooled: false };
    const FILES: &[&str] = &[activation::SNIPPET, include_str!("../../shaders/conv2d_direct.wgsl")];
    let single = variants(&product, Shader { name: "conv2d_direct", files: FILES }, target);
    in_precision(single, matrix::product(&product, target), signature, target)
}

/// Kernels of [`Conv2dMaxPool2d`].
pub(super) fn pooled(op: &Conv2dMaxPool2d, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
    let [batch, _, _, channels] = extents(&signature.outputs[0]);
    let [height, width] = op.conv.output;
    let product = Product {
        x: extents(&signature.inputs[0]),
        y: [batch, height, width, channels],
        window: op.conv.window,
        transposed: false,
        activation: op.conv.activation,
        biased: signature.inputs.len() == 3,
        pooled: true,
    };
    without_matrix_units(|| without_direct(&product, target), signature, target)
}

/// Kernels of [`ConvTranspose2d`].
pub(super) fn transposed(op: &ConvTranspose2d, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
    let (x, y) = (extents(&signature.inputs[0]), extents(&signature.outputs[0]));
    let (window, activation, biased) = (op.window, op.activation, signature.inputs.len() == 3);
    let product = Product { x, y, window, transposed: true, activation, biased, pooled: false };
    const FILES: &[&str] = &[activation::SNIPPET, include_str!("../../shaders/conv_transpose2d_direct.wgsl")];
    let single = variants(&product, Shader { name: "conv_transpose2d_direct", files: FILES }, target);
    in_precision(single, matrix::product(&product, target), signature, target)
}

/// The kernels that have every kind of convolution, pooled ones too.
fn without_direct(product: &Product, target: &Target) -> Vec<Variant> {
    let all = [lanes::product(product, target), tiled::product(product, target), winograd::product(product, target)];
    all.into_iter().flatten().collect()
}

fn variants(product: &Product, direct: Shader, target: &Target) -> Vec<Variant> {
    let y = product.y;
    let workgroups = linear_grid(y[0] * y[1] * y[2] * y[3].div_ceil(4), 64);
    let estimate_us = product.flops() / if target.is_software() { 0.5e3 } else { 200e3 };
    let mut launch = product.launch(direct, workgroups);
    launch.constants.push(("BIAS", Constant::Bool(product.biased)));
    let direct = Variant::single("direct", estimate_us, launch);
    [vec![direct], without_direct(product, target)].concat()
}

/// Kernels of dense layers that are written for convolutions: for software drivers, and for matrix units.
pub(super) type DenseKernels = [Option<Variant>; 2];

/// Those of a product of a (rows, inner) and b (inner, columns), or b (columns, inner) where `transposed`.
pub(super) fn dense(
    [rows, inner, columns]: [usize; 3],
    transposed: bool,
    activation: Activation,
    biased: bool,
    target: &Target,
) -> DenseKernels {
    let (x, y) = ([rows, 1, 1, inner], [rows, 1, 1, columns]);
    let product = Product { x, y, window: Window::square(1, 1), transposed, activation, biased, pooled: false };
    [lanes::product(&product, target), matrix::product(&product, target)]
}

/// Those of the product of a (inner, rows), which is stored the other way round, and b (inner, columns).
pub(super) fn dense_weight_grad([rows, inner, columns]: [usize; 3], target: &Target) -> DenseKernels {
    let (x, dy) = ([inner, 1, 1, rows], [inner, 1, 1, columns]);
    let sums = WeightSums { x, dy, window: Window::square(1, 1), biased: false };
    [lanes::weight_grad(&sums, target), matrix::weight_grad(&sums, target)]
}

/// Extents and window of a gradient with respect to a kernel.
#[derive(Clone, Copy)]
struct WeightSums {
    x: [usize; 4],
    dy: [usize; 4],
    window: Window,
    /// Whether the gradient of the bias is wanted as well.
    biased: bool,
}

impl WeightSums {
    /// Positions that each element of the gradient is a sum over.
    fn positions(&self) -> usize {
        self.dy[0] * self.dy[1] * self.dy[2]
    }

    /// Elements of the gradient.
    fn weights(&self) -> usize {
        self.window.taps() * self.x[3] * self.dy[3]
    }

    fn flops(&self) -> f64 {
        2.0 * self.positions() as f64 * self.weights() as f64
    }

    /// A variant in which each of about `runs` runs of positions is summed by `shader`, and then the runs, in order.
    /// `workgroups` are those of a number of runs.
    fn split(
        &self,
        name: &'static str,
        shader: Shader,
        runs: usize,
        workgroups: impl Fn(usize) -> [u32; 3],
        estimate_us: f64,
    ) -> Variant {
        let rows = self.positions();
        let run_rows = rows.div_ceil(runs.clamp(1, rows.max(1)));
        let runs = rows.div_ceil(run_rows.max(1)).max(1);
        let mut parameters = sizes(self.x, self.dy, self.window);
        parameters.extend([("runs", runs.into()), ("run_rows", run_rows.into())]);
        let sums = if runs == 1 && !self.biased { Binding::Output(0) } else { Binding::Scratch(0) };
        let partial = Launch {
            shader,
            // Kernels without the bias have no such constant.
            constants: if self.biased { vec![("BIASED", Constant::Bool(true))] } else { Vec::new() },
            parameters,
            bindings: vec![Binding::Input(0), Binding::Input(1), sums],
            workgroups: workgroups(runs),
        };
        let elements = self.weights();
        if self.biased {
            let biases = self.dy[3];
            let total = Launch {
                shader: Shader {
                    name: "weight_bias_total",
                    files: &[include_str!("../../shaders/weight_bias_total.wgsl")],
                },
                constants: Vec::new(),
                parameters: vec![("weights", elements.into()), ("biases", biases.into()), ("runs", runs.into())],
                bindings: vec![Binding::Scratch(0), Binding::Output(0), Binding::Output(1)],
                workgroups: linear_grid(elements + biases, 64),
            };
            let scratch_bytes = vec![4 * runs * (elements + biases)];
            return Variant {
                name,
                launches: vec![partial, total],
                scratch_bytes,
                estimate_us,
                products: Products::F32,
            };
        }
        if runs == 1 {
            return Variant::single(name, estimate_us, partial);
        }
        let total = Launch {
            shader: Shader { name: "sum_rows", files: &[include_str!("../../shaders/sum_rows.wgsl")] },
            constants: Vec::new(),
            parameters: vec![
                ("rows", runs.into()),
                ("columns", elements.into()),
                ("runs", 1u32.into()),
                ("run_rows", runs.into()),
            ],
            bindings: vec![Binding::Scratch(0), Binding::Output(0)],
            workgroups: linear_grid(elements, 64),
        };
        Variant {
            name,
            launches: vec![partial, total],
            scratch_bytes: vec![4 * runs * elements],
            estimate_us,
            products: Products::F32,
        }
    }
}

/// Kernels of [`Conv2dWeightGrad`].
pub(super) fn weight_grad(op: &Conv2dWeightGrad, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
    let (x, dy) = (extents(&signature.inputs[0]), extents(&signature.inputs[1]));
    let sums = WeightSums { x, dy, window: op.window, biased: false };
    in_precision(weight_variants(&sums, target), matrix::weight_grad(&sums, target), signature, target)
}

/// Kernels of [`WeightBiasGrad`](super::WeightBiasGrad).
pub(super) fn weight_bias_grad(
    x: [usize; 4],
    dy: [usize; 4],
    window: Window,
    signature: &Signature<'_>,
    target: &Target,
) -> Vec<Variant> {
    let sums = WeightSums { x, dy, window, biased: true };
    without_matrix_units(|| weight_variants(&sums, target), signature, target)
}

/// Kernels of an op that has none for matrix units: none at all where there are such units, so that its parts may use them.
fn without_matrix_units(
    single: impl FnOnce() -> Vec<Variant>,
    signature: &Signature<'_>,
    target: &Target,
) -> Vec<Variant> {
    match (target.precision, target.matrix_units) {
        (Precision::F16, Some(_)) => Vec::new(),
        _ => in_precision(single(), None, signature, target),
    }
}

fn weight_variants(sums: &WeightSums, target: &Target) -> Vec<Variant> {
    const FILES: &[&str] = &[include_str!("../../shaders/conv2d_weight_grad_direct.wgsl")];
    let shader = Shader { name: "conv2d_weight_grad_direct", files: FILES };
    let runs = sums.positions().div_ceil(512).clamp(1, 64);
    let invocations = sums.window.taps() * sums.x[3] * sums.dy[3].div_ceil(4);
    let estimate_us = sums.flops() / if target.is_software() { 0.5e3 } else { 200e3 };
    let direct = sums.split("direct", shader, runs, |runs| linear_grid(invocations * runs, 64), estimate_us);
    let tiled = tiled::weight_grad(sums, target);
    [Some(direct), lanes::weight_grad(sums, target), Some(tiled)].into_iter().flatten().collect()
}
