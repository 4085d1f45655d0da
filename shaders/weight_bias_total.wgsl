// Sums over the runs of a gradient of weights and bias: each run has the weights' elements, then the bias's. One invocation
// per element, runs in order.
struct Parameters { weights: u32, biases: u32, runs: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;
@group(0) @binding(3) var<storage, read_write> db: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let elements = parameters.weights + parameters.biases;
    if (i >= elements) { return; }
    var sum = 0.0;
    for (var run = 0u; run < parameters.runs; run++) { sum += sums[run * elements + i]; }
    if (i < parameters.weights) { dw[i] = sum; } else { db[i - parameters.weights] = sum; }
}
