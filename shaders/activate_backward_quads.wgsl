// dx = dy * activation_slope(y) for a multiple of four elements, four per invocation. Joined with activation.wgsl and
// pairs.wgsl.
struct Parameters { elements: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> dy: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read> y: array<vec2<u64>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i * 4u >= parameters.elements) { return; }
    let z = reals(y[i]);
    dx[i] = reals(dy[i])
        * vec4<f32>(activation_slope(z.x), activation_slope(z.y), activation_slope(z.z), activation_slope(z.w));
}
