// y = activate(weight (x - mean) / sqrt(variance + epsilon) + bias), the four given per column. One element per
// invocation. Joined with activation.wgsl.
struct Parameters { elements: u32, columns: u32, epsilon: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> variance: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i >= parameters.elements) { return; }
    let c = i % parameters.columns;
    let scale = weight[c] * inverseSqrt(variance[c] + parameters.epsilon);
    y[i] = activate(scale * (x[i] - mean[c]) + bias[c]);
}
