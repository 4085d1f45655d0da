// dx = dy * term_slope(x, target) / N; scale = 1 / N. One element per invocation. Joined with a loss (mse.wgsl,
// bce_logits.wgsl).
struct Parameters { elements: u32, scale: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> target_: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i < parameters.elements) { dx[i] = dy[0] * parameters.scale * term_slope(x[i], target_[i]); }
}
