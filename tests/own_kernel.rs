//! How to hold a kernel of your own against the CPU: copy this file and `own_kernel/smooth.wgsl` into `tests/` of a
//! crate that has `degrain` among its dev-dependencies, put your kernel in the place of the example's, and add to
//! Cargo.toml
//!
//! ```toml
//! [[test]]
//! name = "own_kernel"
//! harness = false
//! ```
//!
//! The closure says in plain loops over `f64` what the kernel should compute. The suite then checks the shader without
//! a GPU (it is valid, its parameter block is laid out as the Rust struct, its bindings are those of the cases), and
//! runs every case on every adapter, with and without run-time checks: outputs are poisoned, everything is fenced,
//! inputs must stay as they are, a second run must give the same bits, and each element must be within tolerance.
//! Where there is no adapter the tests are reported as ignored, or fail with DEGRAIN_REQUIRE_GPU=1 in the environment.
//! In a plain `#[test]`, call `suite().assert_everywhere()`.

use degrain::kernel::{Shader, Tolerance};
use degrain::op::Values;
use degrain::tensor::TensorType;
use degrain::validate::{BareKernel, KernelCase, Suite, test_main};

degrain::parameter_block! {
    /// The uniform block of `smooth.wgsl`.
    struct Smooth { width: u32, height: u32, strength: f32 }
}

fn suite() -> Suite {
    let shader = Shader { name: "smooth", files: &[include_str!("own_kernel/smooth.wgsl")] };
    BareKernel::new(shader, |p: &Smooth, inputs, outputs| {
        let (width, height) = (p.width as usize, p.height as usize);
        let (x, y) = (inputs[0].f64(), outputs[0].f64_mut());
        for row in 0..height {
            for column in 0..width {
                let at = |column: usize| x[row * width + column];
                let mean = (at(column.saturating_sub(1)) + at((column + 1).min(width - 1))) / 2.0;
                y[row * width + column] = at(column) + f64::from(p.strength) * (mean - at(column));
            }
        }
    })
    .tolerance(Tolerance::ELEMENTWISE)
    .workgroups(|p, [x, y, _]| [p.width.div_ceil(x), p.height.div_ceil(y), 1])
    // One, tile - 1, tile, tile + 1, and long and thin.
    .suite([[1, 1], [7, 9], [8, 8], [9, 7], [1, 33], [130, 3]].map(|[height, width]| {
        let picture = TensorType::f32([height, width]);
        let block = Smooth { width: width as u32, height: height as u32, strength: 0.75 };
        KernelCase::new(format!("{height} x {width}"), block)
            .input(picture.clone(), Values::Uniform(-1.0, 1.0))
            .output(picture)
    }))
}

fn main() -> std::process::ExitCode {
    test_main(&suite())
}
