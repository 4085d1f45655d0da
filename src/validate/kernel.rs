//! A user's bare kernel as an op: one WGSL file, its parameter block, a closure that says what it should compute.

use super::shaders::BlockLayout;
use super::suite::Suite;
use crate::error::{Error, Result};
use crate::gpu::{assemble, reflect};
use crate::graph::{Op, Signature};
use crate::kernel::{Binding, Constant, Launch, Shader, Target, Tolerance, Variant, Word};
use crate::op::{Case, Values};
use crate::tensor::{Array, TensorType};
use std::fmt;
use std::sync::Arc;

/// A member of a parameter block, as Rust lays it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockMember {
    /// Its name, the same as in WGSL.
    pub name: &'static str,
    /// Its place in the struct.
    pub offset_bytes: usize,
    /// `u32`, `i32` or `f32`.
    pub kind: &'static str,
}

/// A struct of 32-bit scalars that a kernel has as its uniform block; made by [`crate::parameter_block!`].
pub trait ParameterBlock: Copy + fmt::Debug + Send + Sync + 'static {
    /// The members, in order.
    const MEMBERS: &'static [BlockMember];
    /// Size of the struct.
    const SIZE_BYTES: usize;
    /// The values, by member name.
    fn words(&self) -> Vec<(&'static str, Word)>;
}

/// For kernels without parameters.
impl ParameterBlock for () {
    const MEMBERS: &'static [BlockMember] = &[];
    const SIZE_BYTES: usize = 0;

    fn words(&self) -> Vec<(&'static str, Word)> {
        Vec::new()
    }
}

/// Declares a struct of `u32`, `i32` and `f32` members as the parameter block of a kernel.
///
/// ```
/// degrain::parameter_block! {
///     /// The uniform block of `scale.wgsl`.
///     pub struct Scale {
///         /// Elements.
///         pub len: u32,
///         /// What each is multiplied with.
///         pub factor: f32,
///     }
/// }
/// use degrain::validate::ParameterBlock;
/// assert_eq!(Scale::MEMBERS[1].offset_bytes, 4);
/// ```
#[macro_export]
macro_rules! parameter_block {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$member_meta:meta])* $member_vis:vis $member:ident : $kind:ident),* $(,)?
    }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, PartialEq, Debug)]
        $vis struct $name {
            $($(#[$member_meta])* $member_vis $member: $kind,)*
        }

        impl $crate::validate::ParameterBlock for $name {
            const MEMBERS: &'static [$crate::validate::BlockMember] = &[
                $($crate::validate::BlockMember {
                    name: stringify!($member),
                    offset_bytes: ::core::mem::offset_of!($name, $member),
                    kind: stringify!($kind),
                },)*
            ];
            const SIZE_BYTES: usize = ::core::mem::size_of::<$name>();

            fn words(&self) -> Vec<(&'static str, $crate::kernel::Word)> {
                vec![$((stringify!($member), $crate::kernel::Word::from(self.$member)),)*]
            }
        }
    };
}

/// What a kernel should compute, in `f64`.
type Formula<P> = Arc<dyn Fn(&P, &[&Array], &mut [Array]) + Send + Sync>;
/// Workgroup counts for some parameters and the module's workgroup size.
type Grid<P> = Arc<dyn Fn(&P, [u32; 3]) -> [u32; 3] + Send + Sync>;

/// A WGSL kernel of your own, to be held against a closure.
///
/// The shader has one entry point `main`, its parameter block (if any) as `var<uniform>` at group 0, binding 0, and
/// storage buffers at bindings 1, 2, … of group 0. Those declared `read` are the inputs, in order; those declared
/// `read_write` are the outputs, in order.
///
/// ```
/// use degrain::kernel::{Shader, Tolerance, linear_grid};
/// use degrain::op::Values;
/// use degrain::tensor::TensorType;
/// use degrain::validate::{BareKernel, KernelCase};
///
/// degrain::parameter_block! {
///     struct Scale { len: u32, factor: f32 }
/// }
/// let shader = Shader { name: "scale", files: &["
///     struct Scale { len: u32, factor: f32 }
///     @group(0) @binding(0) var<uniform> p: Scale;
///     @group(0) @binding(1) var<storage, read> x: array<f32>;
///     @group(0) @binding(2) var<storage, read_write> y: array<f32>;
///     @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
///         if (id.x < p.len) { y[id.x] = p.factor * x[id.x]; }
///     }"] };
/// let suite = BareKernel::new(shader, |p: &Scale, inputs, outputs| {
///     for (y, x) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()) {
///         *y = f64::from(p.factor) * x;
///     }
/// })
/// .tolerance(Tolerance::ELEMENTWISE)
/// .workgroups(|p, [size, ..]| linear_grid(p.len as usize, size as usize))
/// .suite((1..=3).map(|n| {
///     let len = 64 * n - 1;
///     KernelCase::new(format!("{len}"), Scale { len: len as u32, factor: -1.5 })
///         .input(TensorType::f32([len]), Values::Uniform(-1.0, 1.0))
///         .output(TensorType::f32([len]))
/// }));
/// assert_eq!(suite.check_shaders()?, 15, "three cases, on five sets of limits");
/// // In a test, with a device: suite.assert_everywhere();
/// # Ok::<(), degrain::Error>(())
/// ```
pub struct BareKernel<P> {
    shader: Shader,
    variants: Vec<(&'static str, Vec<(&'static str, Constant)>)>,
    tolerance: Tolerance,
    in_place: Vec<(usize, usize)>,
    formula: Formula<P>,
    grid: Grid<P>,
}

/// One case of a [`BareKernel`].
#[derive(Clone, Debug)]
pub struct KernelCase<P> {
    label: String,
    parameters: P,
    inputs: Vec<(TensorType, Values)>,
    outputs: Vec<TensorType>,
}

impl<P: ParameterBlock> KernelCase<P> {
    /// A case without buffers. Inputs drawn at random depend on the kernel's name and this label alone.
    pub fn new(label: impl Into<String>, parameters: P) -> Self {
        Self { label: label.into(), parameters, inputs: Vec::new(), outputs: Vec::new() }
    }

    /// Adds the next input.
    #[must_use]
    pub fn input(mut self, ty: TensorType, values: Values) -> Self {
        self.inputs.push((ty, values));
        self
    }

    /// Adds the next output.
    #[must_use]
    pub fn output(mut self, ty: TensorType) -> Self {
        self.outputs.push(ty);
        self
    }
}

impl<P: ParameterBlock> BareKernel<P> {
    /// A kernel that should compute what `formula` does with the parameters, the inputs and the outputs (zeros, to be
    /// filled). One workgroup is launched unless [`BareKernel::workgroups`] says otherwise.
    pub fn new(shader: Shader, formula: impl Fn(&P, &[&Array], &mut [Array]) + Send + Sync + 'static) -> Self {
        Self {
            shader,
            variants: vec![("kernel", Vec::new())],
            tolerance: Tolerance::ELEMENTWISE,
            in_place: Vec::new(),
            formula: Arc::new(formula),
            grid: Arc::new(|_, _| [1; 3]),
        }
    }

    /// How exact every output must be; [`Tolerance::ELEMENTWISE`] unless given. For [`Tolerance::Sum`] the formula is
    /// run on the absolute values of the inputs as well, so it must be a sum of products without subtractions.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Tolerance) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Workgroup counts, from the parameters and the workgroup size that the module declares.
    #[must_use]
    pub fn workgroups(mut self, grid: impl Fn(&P, [u32; 3]) -> [u32; 3] + Send + Sync + 'static) -> Self {
        self.grid = Arc::new(grid);
        self
    }

    /// The kernels to run, each with values for some of the shader's top-level `const`s; by default there is one,
    /// as the file stands.
    #[must_use]
    pub fn variants(
        mut self,
        variants: impl IntoIterator<Item = (&'static str, Vec<(&'static str, Constant)>)>,
    ) -> Self {
        self.variants = variants.into_iter().collect();
        self
    }

    /// Says that `output` is read before it is written: it starts with the values of `input`, which has no binding of
    /// its own.
    #[must_use]
    pub fn in_place(mut self, output: usize, input: usize) -> Self {
        self.in_place.push((output, input));
        self
    }

    /// The suite of these cases. Its shader check also holds `P` against the shader's block.
    pub fn suite(self, cases: impl IntoIterator<Item = KernelCase<P>>) -> Suite {
        let layouts = self.variants.iter().map(|(_, constants)| BlockLayout {
            shader: self.shader,
            constants: constants.clone(),
            members: P::MEMBERS,
            size_bytes: P::SIZE_BYTES,
        });
        let layouts = layouts.collect();
        let kernel = Arc::new(self);
        let case = |case: KernelCase<P>| {
            let KernelCase { label, parameters, inputs, outputs } = case;
            Case::new(label, BareOp { kernel: kernel.clone(), parameters, outputs }, inputs)
        };
        Suite::of(kernel.shader.name, cases.into_iter().map(case).collect()).with_layouts(layouts)
    }
}

/// One case of a kernel as an op.
struct BareOp<P> {
    kernel: Arc<BareKernel<P>>,
    parameters: P,
    outputs: Vec<TensorType>,
}

impl<P: ParameterBlock> fmt::Debug for BareOp<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kernel.shader.name, self.parameters)
    }
}

impl<P: ParameterBlock> BareOp<P> {
    /// Inputs go to the bindings that are only read, outputs to those that are written, each in order.
    fn launch(&self, inputs: usize, constants: &[(&'static str, Constant)]) -> Result<Launch> {
        let shader = self.kernel.shader;
        let layout = reflect(shader, &assemble(shader, constants)?)?;
        let replaced = |input: &usize| self.kernel.in_place.iter().any(|pair| pair.1 == *input);
        let mut reads = (0..inputs).filter(|i| !replaced(i)).map(Binding::Input);
        let mut writes = (0..self.outputs.len()).map(Binding::Output);
        let next = |&written: &bool| if written { writes.next() } else { reads.next() };
        let bindings: Vec<Binding> = layout.storage_written.iter().map_while(next).collect();
        if bindings.len() < layout.storage_written.len() || reads.next().is_some() || writes.next().is_some() {
            let written = layout.storage_written.iter().filter(|w| **w).count();
            let read = layout.storage_written.len() - written;
            let problem = format!(
                "declares {read} storage bindings that are read and {written} that are written, the case has \
                 {inputs} inputs and {} outputs",
                self.outputs.len()
            );
            return Err(Error::Shader { name: shader.name.to_owned(), problem });
        }
        let workgroups = (self.kernel.grid)(&self.parameters, layout.workgroup_size);
        let (constants, parameters) = (constants.to_vec(), self.parameters.words());
        Ok(Launch { shader, constants, parameters, bindings, workgroups })
    }
}

impl<P: ParameterBlock> Op for BareOp<P> {
    fn name(&self) -> &'static str {
        self.kernel.shader.name
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        for (_, constants) in &self.kernel.variants {
            self.launch(inputs.len(), constants)?;
        }
        for &(output, input) in &self.kernel.in_place {
            if self.outputs.get(output).is_none() || self.outputs.get(output) != inputs.get(input) {
                let pair = format!("output {output} of the type of input {input}, which it replaces");
                return Err(Error::shape(self.name(), pair, format!("{:?} and {inputs:?}", self.outputs)));
            }
        }
        Ok(self.outputs.clone())
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &self.kernel.in_place
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let variant = |(name, constants): &(&'static str, Vec<_>)| {
            // What is wrong with a shader was said when the types were inferred.
            let launch = self.launch(signature.inputs.len(), constants).ok()?;
            Some(Variant::single(name, 0.0, launch))
        };
        self.kernel.variants.iter().filter_map(variant).collect()
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        (self.kernel.formula)(&self.parameters, inputs, outputs);
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        vec![self.kernel.tolerance; signature.outputs.len()]
    }
}
