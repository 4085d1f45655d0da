// g = u dy s'(y), s the slope of an activation as a function of its output y. Joined with activation.wgsl, whose
// ACTIVATION says which. One element per invocation.
struct Parameters { elements: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradient: array<f32>;

fn slope_of_slope(y: f32) -> f32 {
    switch ACTIVATION {
        case 2u: { return select(0.0, 1.0, y <= 0.0); }
        case 3u: { return 1.0 - 2.0 * y; }
        case 4u: { return -2.0 * y; }
        case 6u: { return exp(-y); }
        default: { return 0.0; }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i < parameters.elements) { gradient[i] = u[i] * dy[i] * slope_of_slope(y[i]); }
}
