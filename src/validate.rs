//! Holds every kernel against the reference: the comparator, the check of a plan step by step, and the harness that
//! the built-in ops, a user's own ops and a user's bare kernels go through alike.
//!
//! - [`compare`] is the one comparator: element by element, under a [`crate::kernel::Tolerance`].
//! - [`walk`] runs a recorded plan one step at a time and holds each against its op's reference *on the inputs that
//!   the device had*, so errors of one step do not hide in those of the next. Outputs and scratch are poisoned
//!   first, everything is fenced, inputs must stay as they are, and a second run must give the same bits.
//! - [`Suite`] walks cases, variants and directions on a device; [`Suite::check_shaders`] looks at the shaders alone,
//!   without one. [`test_main`] makes `cargo test` trials of suites.
//! - [`BareKernel`] makes a suite of one WGSL file, its parameter block and a closure.
//! - [`check_gradients`] holds an op's analytic gradient against central differences.
//! - [`in_half_precision`] has a session compute in half precision, on matrix units once they have passed a test.
//! - [`bisect`] names the first launch of a graph that goes wrong on a device.

mod bisect;
mod case;
mod compare;
mod gradient;
mod kernel;
mod precision;
mod report;
mod shaders;
mod suite;
mod trials;
pub mod vectors;
mod walk;

pub use bisect::{BisectedStep, Bisection, bisect};
pub use case::{Direction, check, variant_names};
pub use compare::{Comparison, Mismatch, compare};
pub use gradient::{GradientCheck, check_gradients};
pub use kernel::{BareKernel, BlockMember, KernelCase, ParameterBlock};
pub use precision::{in_half_precision, matrix_unit_cases};
pub use report::{CaseFailure, Report, Row};
pub use suite::{Filter, Modules, Subject, Suite, SuiteOp};
pub use trials::{Open, device_trials, has_kernel, missing_adapter, test_main, trials};
pub use walk::{Failure, Outcome, walk};
