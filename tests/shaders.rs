//! Every shader that any case of any op launches, without a GPU: it must be valid WGSL, its bindings and parameter
//! block must be what the launch gives it, and it must fit WebGPU's default limits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::gpu::{assemble, reflect};
use degrain::graph::Signature;
use degrain::kernel::{Binding, Target};
use degrain::op::OPS;
use std::collections::BTreeSet;

#[test]
fn every_launch_fits_its_shader() {
    let mut seen = BTreeSet::new();
    for target in [Target::DEFAULT_LIMITS, Target::SOFTWARE_DRIVER] {
        for case in OPS.iter().flat_map(|op| (op.cases)()) {
            let (inputs, outputs) = (case.input_types(), case.output_types().unwrap());
            let variants = case.op.variants(&Signature { inputs: &inputs, outputs: &outputs }, &target);
            let label = format!("{} {}", case.op.name(), case.label);
            assert!(!variants.is_empty(), "{label} has no kernel");
            for variant in variants {
                for launch in &variant.launches {
                    let text = assemble(launch.shader, &launch.constants).unwrap();
                    let layout = reflect(launch.shader, &text).unwrap();
                    layout.parameter_words(launch).unwrap();
                    let invocations: u32 = layout.workgroup_size.iter().product();
                    assert!(invocations <= target.max_invocations, "{label}: {invocations} invocations");
                    assert!(layout.workgroup_bytes <= target.workgroup_memory_bytes, "{label}");
                    assert!(layout.storage_written.len() <= target.max_storage_buffers as usize, "{label}");
                    assert!(
                        launch.workgroups.iter().all(|&n| (1..=65_535).contains(&n)),
                        "{label}: {:?}",
                        launch.workgroups
                    );
                    for (binding, &written) in launch.bindings.iter().zip(&layout.storage_written) {
                        let input = matches!(binding, Binding::Input(_));
                        assert!(!(input && written), "{label}: {} writes an input", launch.shader.name);
                    }
                    seen.insert(launch.shader.name);
                }
            }
        }
    }
    assert!(seen.len() >= 20, "only {seen:?} were seen");
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
