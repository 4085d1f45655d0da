// Last stage of the gradients of batch normalisation: dx = dy weight / sqrt(variance + epsilon). One element per
// invocation.
struct Parameters { elements: u32, columns: u32, epsilon: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i >= parameters.elements) { return; }
    let c = i % parameters.columns;
    dx[i] = dy[i] * (weight[c] * inverseSqrt(variance[c] + parameters.epsilon));
}
