// First stage of a mean over elements of term(x, target), which the file joined after this one defines: one invocation
// sums the terms of one run of neighbouring elements, in order.
struct Parameters { elements: u32, runs: u32, run_elements: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> target_: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let run = (group.y * groups.x + group.x) * 64u + lane;
    if (run >= parameters.runs) { return; }
    let end = min((run + 1u) * parameters.run_elements, parameters.elements);
    var sum = 0.0;
    for (var i = run * parameters.run_elements; i < end; i++) { sum += term(x[i], target_[i]); }
    sums[run] = sum;
}
