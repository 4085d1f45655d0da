// One tensor's update by an optimiser with two moments. Joined with flushed.wgsl and bias_correction.wgsl before and, behind, a
// rule: a struct Step, this_step(), which gives what is the same for all elements, and update(element, step). A workgroup takes
// 512 neighbouring elements, 8 per invocation, so that the exponentials of the bias correction are paid once for eight.
struct Parameters {
    elements: u32,
    beta1: f32,
    beta2: f32,
    log_beta1: f32, // natural logarithms, rounded from double precision
    log_beta2: f32,
    epsilon: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(3) var<storage, read_write> first_moment: array<f32>;
@group(0) @binding(4) var<storage, read_write> second_moment: array<f32>;
@group(0) @binding(5) var<storage, read> clock: array<u32>;
@group(0) @binding(6) var<storage, read> learning_rate: array<f32>;
@group(0) @binding(7) var<storage, read> weights: array<f32>; // Nadam's; the other rules do not read them

struct Element {
    parameter: f32,
    gradient: f32,
    first: f32,
    second: f32,
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let step = this_step();
    let start = (group.y * groups.x + group.x) * 512u + lane;
    for (var k = 0u; k < 8u; k++) {
        let i = start + k * 64u;
        if (i >= parameters.elements) { return; }
        let updated = update(Element(parameter[i], gradient[i], first_moment[i], second_moment[i]), step);
        parameter[i] = updated.parameter;
        first_moment[i] = updated.first;
        second_moment[i] = updated.second;
    }
}
