//! Every shader that any case of any op launches, without a GPU: it must be valid WGSL, its bindings and parameter
//! block must be what the launch gives it, and it must fit WebGPU's default limits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::graph::Signature;
use degrain::kernel::Target;
use degrain::op::OPS;
use degrain::validate::Suite;
use std::collections::BTreeSet;

#[test]
fn every_launch_fits_its_shader() {
    let launches = Suite::built_in().check_shaders().unwrap();
    assert!(launches > 1000, "only {launches} launches were checked");
}

#[test]
fn every_shader_file_is_used() {
    let used: BTreeSet<&str> = OPS
        .iter()
        .flat_map(|op| (op.cases)())
        .flat_map(|case| {
            let (inputs, outputs) = (case.input_types(), case.output_types().unwrap());
            let signature = Signature { inputs: &inputs, outputs: &outputs };
            let targets = [Target::DEFAULT_LIMITS, Target::SOFTWARE_DRIVER];
            let variants = targets.map(|target| case.op.variants(&signature, &target));
            variants
                .into_iter()
                .flatten()
                .flat_map(|v| v.launches)
                .flat_map(|l| l.shader.files)
                .copied()
                .collect::<Vec<_>>()
        })
        .collect();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(used.contains(text.as_str()), "{} is launched by no case", path.display());
        assert!(text.starts_with("// "), "{} does not say what it computes", path.display());
    }
}
