// One tensor's update by an optimiser with one moment. Joined with a rule: update(element). A workgroup takes 512
// neighbouring elements, 8 per invocation.
struct Parameters {
    elements: u32,
    decay: f32,
    epsilon: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(3) var<storage, read_write> moment: array<f32>;
@group(0) @binding(4) var<storage, read> learning_rate: array<f32>;

struct Element {
    parameter: f32,
    gradient: f32,
    moment: f32,
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let start = (group.y * groups.x + group.x) * 512u + lane;
    for (var k = 0u; k < 8u; k++) {
        let i = start + k * 64u;
        if (i >= parameters.elements) { return; }
        let updated = update(Element(parameter[i], gradient[i], moment[i]));
        parameter[i] = updated.parameter;
        moment[i] = updated.moment;
    }
}
