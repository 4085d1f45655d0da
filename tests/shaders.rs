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
            let variants = Target::ALL.map(|target| case.op.variants(&signature, &target));
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

#[test]
fn some_case_of_every_kind_of_kernel_goes_past_the_limit_of_one_axis() {
    let mut past = BTreeSet::new();
    for case in OPS.iter().flat_map(|op| (op.cases)()).filter(|case| case.large) {
        let (inputs, outputs) = (case.input_types(), case.output_types().unwrap());
        let variants = case.op.variants(&Signature { inputs: &inputs, outputs: &outputs }, &Target::DEFAULT_LIMITS);
        let folded: Vec<&str> = variants
            .iter()
            .flat_map(|variant| &variant.launches)
            .filter(|launch| launch.workgroups[1] > 1)
            .map(|launch| launch.shader.name)
            .collect();
        assert!(!folded.is_empty(), "{} {} is not large", case.op.name(), case.label);
        past.extend(folded);
    }
    for name in ["activate", "add", "conv2d_direct", "conv_tiled", "matmul_tiled", "gather", "max_pool2d", "sum_rows"] {
        assert!(past.contains(name), "{name} is not among {past:?}");
    }
}
