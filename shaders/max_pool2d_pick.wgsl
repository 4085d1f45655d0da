// y = x at the places that a max-pooling found. NHWC. One invocation per element of y.
struct Parameters {
    batch: u32,
    plane: u32,     // pixels of x
    out_plane: u32, // pixels of y
    channels: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> argmax: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let channel = i % parameters.channels;
    let sample = i / (parameters.channels * parameters.out_plane);
    if (sample >= parameters.batch) { return; }
    y[i] = x[(sample * parameters.plane + argmax[i]) * parameters.channels + channel];
}
