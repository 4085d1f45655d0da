//! What an op may run on a GPU, as plain data: shaders, launches, variants, their cost and how exact they are.
//! Nothing here names a wgpu type, so a plan can hold it and a test can check it without a device.

mod precision;

pub use precision::{MatrixUnits, Precision, Products};

use std::fmt;

/// WGSL files that together make one module: shared snippets first, the kernel last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shader {
    /// The kernel's file name without `.wgsl`.
    pub name: &'static str,
    /// The texts, joined in this order.
    pub files: &'static [&'static str],
}

/// A value for one of a shader's named top-level constants.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Constant {
    /// A `bool`.
    Bool(bool),
    /// A `u32`.
    U32(u32),
    /// An `f32`.
    F32(f32),
}

impl From<usize> for Constant {
    fn from(v: usize) -> Self {
        Self::U32(u32::try_from(v).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(v) => write!(f, "{v}"),
            Self::U32(v) => write!(f, "{v}u"),
            Self::F32(v) => write!(f, "{v:?}f"),
        }
    }
}

/// One word of a parameter block.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Word {
    /// A `u32` member.
    U32(u32),
    /// An `i32` member.
    I32(i32),
    /// An `f32` member.
    F32(f32),
}

impl Word {
    /// The bits as they stand in the uniform buffer.
    pub fn bits(self) -> u32 {
        match self {
            Self::U32(v) => v,
            Self::I32(v) => v.cast_unsigned(),
            Self::F32(v) => v.to_bits(),
        }
    }
}

impl From<usize> for Word {
    /// Tensors are held against [`Target::max_binding_bytes`] before a launch is made, so that their extents fit.
    fn from(v: usize) -> Self {
        Self::U32(u32::try_from(v).unwrap_or(u32::MAX))
    }
}

impl From<u32> for Word {
    fn from(v: u32) -> Self {
        Self::U32(v)
    }
}

impl From<i32> for Word {
    fn from(v: i32) -> Self {
        Self::I32(v)
    }
}

impl From<f32> for Word {
    fn from(v: f32) -> Self {
        Self::F32(v)
    }
}

/// What a storage binding of a launch refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// The op's input of this number.
    Input(usize),
    /// The op's output of this number.
    Output(usize),
    /// The variant's scratch buffer of this number.
    Scratch(usize),
}

/// One dispatch of one shader.
#[derive(Clone, PartialEq, Debug)]
pub struct Launch {
    /// What runs.
    pub shader: Shader,
    /// Values for the shader's tunable constants, by name; the others keep the value in the file.
    pub constants: Vec<(&'static str, Constant)>,
    /// The parameter block (uniform, group 0, binding 0), by member name; all members must be given.
    pub parameters: Vec<(&'static str, Word)>,
    /// The storage buffers (group 0, bindings 1, 2, …).
    pub bindings: Vec<Binding>,
    /// Workgroup counts.
    pub workgroups: [u32; 3],
}

impl fmt::Display for Launch {
    /// `conv2d_direct {BIAS=true} (batch=2, in_h=5) in 3x1x1 workgroups`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shader.name)?;
        if !self.constants.is_empty() {
            let constants: Vec<String> = self.constants.iter().map(|(name, value)| format!("{name}={value}")).collect();
            write!(f, " {{{}}}", constants.join(", "))?;
        }
        let word = |word: &Word| match word {
            Word::U32(v) => v.to_string(),
            Word::I32(v) => v.to_string(),
            Word::F32(v) => format!("{v:?}"),
        };
        let parameters: Vec<String> = self.parameters.iter().map(|(name, w)| format!("{name}={}", word(w))).collect();
        let [x, y, z] = self.workgroups;
        write!(f, " ({}) in {x}x{y}x{z} workgroups", parameters.join(", "))
    }
}

/// One way to compute an op on a GPU.
#[derive(Clone, PartialEq, Debug)]
pub struct Variant {
    /// Short name, unique within the op.
    pub name: &'static str,
    /// The dispatches, in order.
    pub launches: Vec<Launch>,
    /// Sizes of the scratch buffers, in bytes.
    pub scratch_bytes: Vec<usize>,
    /// Estimated time on the target, in microseconds; the smallest is chosen.
    pub estimate_us: f64,
    /// What its sums of products are made of.
    pub products: Products,
}

impl Variant {
    /// A variant of one dispatch without scratch.
    pub fn single(name: &'static str, estimate_us: f64, launch: Launch) -> Self {
        Self { name, launches: vec![launch], scratch_bytes: Vec::new(), estimate_us, products: Products::F32 }
    }
}

/// What kind of machine runs the kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetKind {
    /// A GPU, discrete or integrated: many small cores, fast workgroup memory and barriers.
    Gpu,
    /// A software driver: few wide cores; a barrier splits a kernel into loops that spill every register.
    SoftwareDriver,
}

/// What variants may depend on. The fields are limits that the device promises.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Target {
    /// Kind of machine.
    pub kind: TargetKind,
    /// Invocations in one workgroup.
    pub max_invocations: u32,
    /// Workgroup memory, in bytes.
    pub workgroup_memory_bytes: u32,
    /// Largest storage binding, in bytes: at most [`Target::MOST_BINDING_BYTES`].
    pub max_binding_bytes: u64,
    /// Storage buffers that one launch may bind.
    pub max_storage_buffers: u32,
    /// Invocations of a subgroup, where all subgroups have one size and kernels may use them; else 0.
    pub subgroup_size: u32,
    /// Whether kernels may use integers of 64 bits.
    pub int64: bool,
    /// Whether kernels may use reals of 16 bits.
    pub f16: bool,
    /// What is asked of products.
    pub precision: Precision,
    /// Matrix units that kernels may use; none where the device has none, or was not opened with them.
    pub matrix_units: Option<MatrixUnits>,
}

impl Target {
    /// Kernels number the words and the bytes of a buffer by `u32`.
    pub const MOST_BINDING_BYTES: u64 = (1 << 32) - 4;
    /// WebGPU's default limits, which every kernel must be able to live with.
    pub const DEFAULT_LIMITS: Self = Self {
        kind: TargetKind::Gpu,
        max_invocations: 256,
        workgroup_memory_bytes: 16 << 10,
        max_binding_bytes: 128 << 20,
        max_storage_buffers: 8,
        subgroup_size: 0,
        int64: false,
        f16: false,
        precision: Precision::F32,
        matrix_units: None,
    };
    /// WebGPU's default limits with what kernels for software drivers may use besides, among it the most storage
    /// buffers that any kernel binds.
    pub const SOFTWARE_DRIVER: Self = Self {
        kind: TargetKind::SoftwareDriver,
        max_storage_buffers: 132,
        subgroup_size: 8,
        int64: true,
        ..Self::DEFAULT_LIMITS
    };
    /// A GPU with matrix units for 16x16 matrices, in half precision. All that have such units have this much workgroup
    /// memory.
    pub const MATRIX_UNITS: Self = Self {
        workgroup_memory_bytes: 32 << 10,
        f16: true,
        precision: Precision::F16,
        matrix_units: Some(MatrixUnits { size: 16, lanes: 32 }),
        ..Self::DEFAULT_LIMITS
    };
    /// One of each kind of target: together they launch every shader, in every size that it has.
    pub const ALL: [Self; 5] = [
        Self::DEFAULT_LIMITS,
        Self::SOFTWARE_DRIVER,
        Self { precision: Precision::F16, ..Self::SOFTWARE_DRIVER },
        Self::MATRIX_UNITS,
        Self { matrix_units: Some(MatrixUnits { size: 8, lanes: 64 }), ..Self::MATRIX_UNITS },
    ];

    /// Whether this is a software driver.
    pub fn is_software(&self) -> bool {
        self.kind == TargetKind::SoftwareDriver
    }
}

/// Arithmetic and traffic of one run of an op.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Cost {
    /// Floating-point operations; a multiply-add counts two.
    pub flops: f64,
    /// Bytes that must move between memory and the cores, each tensor counted once.
    pub bytes: f64,
}

/// How far a kernel may be from the reference.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Tolerance {
    /// Bit for bit.
    Exact,
    /// `|err| <= atol + rtol * |expected|`.
    Close {
        /// Relative part.
        rtol: f64,
        /// Absolute part.
        atol: f64,
    },
    /// A sum of this many products in `f32`: `|err| <= 4 sqrt(K) 2^-24 sum|a_i b_i|`, and a normalised mean
    /// squared error of at most 1e-10; the magnitudes come from [`crate::graph::Op::magnitude`]. Where a function
    /// follows the sum, its own error may come on top.
    Sum {
        /// K, the number of products.
        terms: usize,
        /// What follows the sum: its relative part.
        rtol: f64,
        /// What follows the sum: its absolute part.
        atol: f64,
    },
}

impl Tolerance {
    /// Plain arithmetic, element by element.
    pub const ELEMENTWISE: Self = Self::Close { rtol: 1e-5, atol: 1e-6 };
    /// Through the device's exp, log, tanh or sqrt.
    pub const TRANSCENDENTAL: Self = Self::Close { rtol: 1e-5, atol: 1e-5 };
}

/// Workgroups along one axis of a launch that every device takes: WebGPU's default limit.
pub const MAX_WORKGROUPS: u32 = 65_535;

/// Workgroups of a one-dimensional launch that covers `items` with `per_group` items each. Counts past
/// 65,535 continue in y; kernels number a workgroup `y * num_workgroups.x + x` and ignore the surplus.
pub fn linear_grid(items: usize, per_group: usize) -> [u32; 3] {
    let groups = items.div_ceil(per_group).max(1);
    let y = groups.div_ceil(MAX_WORKGROUPS as usize);
    let x = groups.div_ceil(y);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    [count(x), count(y), 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_cover_and_stay_in_bounds() {
        for items in [0, 1, 63, 64, 65, 65_535 * 64, 65_535 * 64 + 1, 1_000_000_007] {
            let [x, y, z] = linear_grid(items, 64);
            assert!(x <= 65_535 && y <= 65_535 && z == 1, "{items}: {x} {y}");
            assert!(u64::from(x) * u64::from(y) * 64 >= items as u64, "{items} not covered");
        }
    }
}
