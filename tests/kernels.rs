//! Every kernel of every op against the reference, forward and backward: on each adapter, with and without run-time
//! checks, and on the CPU executor. Where there is no adapter the GPU tests are reported as ignored, unless
//! DEGRAIN_REQUIRE_GPU=1.

use degrain::validate::{Suite, test_main};

fn main() -> std::process::ExitCode {
    test_main(&Suite::built_in())
}
