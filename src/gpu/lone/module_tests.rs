//! What reflection finds in files, and what it says of those that cannot be launched.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::{LoneLimits, LoneModule, LoneSource};
use crate::error::{Error, Result};

const SCAN: &str = "override N = 64u;\n@id(7) override SCALE: f32;\nconst K = 2u;\n\
    struct Block { n: u32, scale: f32, pad: vec2f }\n\
    @group(1) @binding(3) var<uniform> block: Block;\n\
    @group(0) @binding(0) var<storage, read> x: array<vec4f>;\n\
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;\n\
    @group(0) @binding(2) var<storage, read_write> count: atomic<u32>;\n\
    @group(0) @binding(9) var<storage, read_write> other: array<i32, 5>;\n\
    @group(2) @binding(0) var picture: texture_2d<f32>;\n\
    var<workgroup> tile: array<f32, N * K>;\n\
    @compute @workgroup_size(N, K) fn scan() {\n\
      tile[0] = x[0].x * SCALE; y[block.n] = tile[0]; atomicAdd(&count, 1u); }\n\
    @compute @workgroup_size(1) fn clear() { other[0] = 0; }\n\
    @compute @workgroup_size(1) fn sample() { y[0] = textureLoad(picture, vec2u(0u), 0).x; }";

fn parse(
    text: &str,
    entry: Option<&str>,
    constants: &[(&str, &str)],
    workgroup_size: Option<[u32; 3]>,
) -> Result<LoneModule> {
    let constants: Vec<_> = constants.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    LoneModule::parse(&LoneSource { name: "k.wgsl", text, entry, constants: &constants, workgroup_size })
}

fn told(text: &str, entry: Option<&str>, constants: &[(&str, &str)]) -> String {
    parse(text, entry, constants, None).unwrap_err().to_string()
}

#[test]
fn only_what_the_entry_point_uses_is_bound() {
    let module = parse(SCAN, Some("scan"), &[("SCALE", "0.5")], None).unwrap();
    let seen: Vec<_> =
        module.bindings.iter().map(|b| (b.group, b.binding, b.name.as_str(), b.uniform, b.read, b.written)).collect();
    let wanted = [
        (0, 0, "x", false, true, false),
        (0, 1, "y", false, false, true),
        (0, 2, "count", false, true, true),
        (1, 3, "block", true, true, false),
    ];
    assert_eq!(seen, wanted);
    let sizes: Vec<_> = module.bindings.iter().map(|b| (b.min_bytes, b.runtime_sized, b.scalar)).collect();
    assert_eq!(sizes, [(16, true, "f32"), (4, true, "f32"), (4, false, "u32"), (16, false, "u32")]);
    assert_eq!(module.unused, [[0, 9], [2, 0]]);
    assert_eq!((module.workgroup_size, module.workgroup_bytes), ([64, 2, 1], 512));
    assert!(!module.has_loops);
}

#[test]
fn constants_overrides_and_workgroup_sizes_are_evaluated() {
    let module = parse(SCAN, Some("scan"), &[("N", "8"), ("7", "1"), ("K", "4")], None).unwrap();
    assert_eq!((module.workgroup_size, module.workgroup_bytes), ([8, 4, 1], 128));
    let module = parse(SCAN, Some("scan"), &[("SCALE", "1")], Some([16, 2, 2])).unwrap();
    assert_eq!((module.workgroup_size, module.workgroup_bytes), ([16, 2, 2], 512));
}

#[test]
fn what_cannot_be_launched_is_told() {
    assert!(told(SCAN, None, &[]).contains("several entry points, scan, clear, sample: pick one with --entry"));
    assert!(told(SCAN, Some("main"), &[]).contains("no compute entry point main; it has scan, clear, sample"));
    assert!(told(SCAN, Some("scan"), &[]).contains("has no value: add --const"));
    assert!(told(SCAN, Some("clear"), &[("TILE", "4")]).contains("no const or override TILE; it has K, N, SCALE"));
    assert!(told(SCAN, Some("clear"), &[("N", "big")]).contains("--const: N=big: an override takes a number"));
    assert!(told(SCAN, Some("sample"), &[]).contains("binding 2:0 (picture) is a texture; only uniform and storage"));
    assert!(told("fn f() {}", None, &[]).contains("k.wgsl: has no compute entry point"));
}

#[test]
fn errors_of_the_compiler_carry_the_place() {
    let place = |text: &str| match parse(text, None, &[], None).unwrap_err() {
        Error::Wgsl { line, column, rendered, problem, .. } => (line, column, rendered, problem),
        other => panic!("{other}"),
    };
    let (line, column, rendered, _) = place("\nfn f() { let x = y; }");
    assert_eq!((line, column), (2, 18));
    assert!(rendered.contains("k.wgsl:2:18"), "{rendered}");
    let read_only = "@group(0) @binding(0) var<storage, read> x: array<f32>;\n\
        @compute @workgroup_size(1) fn main() {\n  x[0] = 1.0; }";
    assert_eq!(place(read_only).0, 3);
    let (line, column, _, problem) = place("@compute @workgroup_size(1) fn main() {\n  loop { }\n}");
    assert_eq!((line, column), (2, 3));
    assert!(problem.contains("never ends"), "{problem}");
}

#[test]
fn buffers_are_checked_before_the_driver_sees_them() {
    let module = parse(SCAN, Some("scan"), &[("SCALE", "1")], None).unwrap();
    let bound = |sizes: &[u64]| -> Vec<([u32; 2], u64)> {
        [[0, 0], [0, 1], [0, 2], [1, 3], [0, 9], [3, 3]].into_iter().zip(sizes.iter().copied()).collect()
    };
    module.check_bound(&bound(&[16, 4, 4, 16])).unwrap();
    module.check_bound(&bound(&[16, 4, 4, 16, 20])).unwrap();
    let told = |sizes: &[u64]| module.check_bound(&bound(sizes)).unwrap_err().to_string();
    assert!(told(&[16, 4, 4]).contains("uniform buffer 1:3 (block) is not bound: add --bind 1:3=u32[4]:zeros"));
    assert!(told(&[16]).contains("storage buffer 0:1 (y) is not bound: add --bind 0:1=f32[N]:zeros"));
    assert!(told(&[16, 4, 4, 8]).contains("binding 1:3 (block) needs at least 16 bytes and is given 8"));
    assert!(told(&[16, 4, 4, 16, 20, 4]).contains("has no binding 3:3; scan has 0:0, 0:1, 0:2, 1:3"));
}

#[test]
fn limits_are_checked_before_the_driver_sees_them() {
    let limits = LoneLimits::DEFAULT;
    let check = |constants: &[(&str, &str)], workgroups, size: u64| {
        let constants = [constants, &[("SCALE", "1")]].concat();
        let module = parse(SCAN, Some("scan"), &constants, None).unwrap();
        module.check_limits(&limits, workgroups, &[([0, 1], size)]).map_err(|error| error.to_string())
    };
    assert_eq!(check(&[], [1; 3], 64), Ok(()));
    let told = |constants: &[(&str, &str)], workgroups, size| check(constants, workgroups, size).unwrap_err();
    assert!(told(&[("N", "256")], [1; 3], 64).contains("256,2,1 makes 512 invocations, more than the device's 256"));
    assert!(told(&[("N", "1"), ("K", "8000")], [1; 3], 64).contains("invocations"));
    assert!(
        told(&[], [1, 70_000, 1], 64).contains("--workgroups: 70000 along one axis is more than the device's 65535")
    );
    assert!(told(&[], [1, 0, 1], 64).contains("runs nothing"));
    assert!(told(&[], [1; 3], 1 << 30).contains("--bind 0:1: 1073741824 bytes are more"));
    let wide = SCAN.replace("N * K", "N * 4096u");
    let module = parse(&wide, Some("scan"), &[("SCALE", "1")], None).unwrap();
    let error = module.check_limits(&limits, [1; 3], &[]).unwrap_err().to_string();
    assert!(error.contains("uses 1048576 bytes of workgroup memory, more than the device's 16384"), "{error}");
}
