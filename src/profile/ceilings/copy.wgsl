// One array copied to another: the rate at which memory moves. Behind a line that says what an Element is.
struct Parameters {
    elements: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<Element>;
@group(0) @binding(2) var<storage, read_write> y: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let start = (group.y * groups.x + group.x) * 512u + lane;
    for (var k = 0u; k < 8u; k++) {
        let i = start + k * 64u;
        if (i < parameters.elements) { y[i] = x[i]; }
    }
}
