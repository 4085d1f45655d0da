// d mean = dy scale mean and d log_variance = dy scale (exp(log_variance) - 1) / 2. One element per invocation.
struct Parameters { elements: u32, scale: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> mean: array<f32>;
@group(0) @binding(2) var<storage, read> log_variance: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> mean_gradient: array<f32>;
@group(0) @binding(5) var<storage, read_write> log_variance_gradient: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i >= parameters.elements) { return; }
    let scale = dy[0] * parameters.scale;
    mean_gradient[i] = scale * mean[i];
    log_variance_gradient[i] = scale * 0.5 * (exp(log_variance[i]) - 1.0);
}
