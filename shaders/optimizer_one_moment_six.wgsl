// The updates of up to six tensors by an optimiser with one moment, in one launch: each of them has its workgroups, as in
// optimizer_one_moment.wgsl, one tensor after the other. Joined with the same files.
struct Parameters {
    elements_0: u32, // 0 where there are fewer tensors
    elements_1: u32,
    elements_2: u32,
    elements_3: u32,
    elements_4: u32,
    elements_5: u32,
    decay: f32,
    epsilon: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> gradient_0: array<f32>;
@group(0) @binding(2) var<storage, read_write> parameter_0: array<f32>;
@group(0) @binding(3) var<storage, read_write> moment_0: array<f32>;
@group(0) @binding(4) var<storage, read> gradient_1: array<f32>;
@group(0) @binding(5) var<storage, read_write> parameter_1: array<f32>;
@group(0) @binding(6) var<storage, read_write> moment_1: array<f32>;
@group(0) @binding(7) var<storage, read> gradient_2: array<f32>;
@group(0) @binding(8) var<storage, read_write> parameter_2: array<f32>;
@group(0) @binding(9) var<storage, read_write> moment_2: array<f32>;
@group(0) @binding(10) var<storage, read> gradient_3: array<f32>;
@group(0) @binding(11) var<storage, read_write> parameter_3: array<f32>;
@group(0) @binding(12) var<storage, read_write> moment_3: array<f32>;
@group(0) @binding(13) var<storage, read> gradient_4: array<f32>;
@group(0) @binding(14) var<storage, read_write> parameter_4: array<f32>;
@group(0) @binding(15) var<storage, read_write> moment_4: array<f32>;
@group(0) @binding(16) var<storage, read> gradient_5: array<f32>;
@group(0) @binding(17) var<storage, read_write> parameter_5: array<f32>;
@group(0) @binding(18) var<storage, read_write> moment_5: array<f32>;
@group(0) @binding(19) var<storage, read> learning_rate: array<f32>;

struct Element {
    parameter: f32,
    gradient: f32,
    moment: f32,
}

fn elements_of_tensors() -> array<u32, 6> {
    return array<u32, 6>(parameters.elements_0, parameters.elements_1, parameters.elements_2, parameters.elements_3,
                         parameters.elements_4, parameters.elements_5);
}

fn load(tensor: u32, i: u32) -> Element {
    switch tensor {
        case 0u: { return Element(parameter_0[i], gradient_0[i], moment_0[i]); }
        case 1u: { return Element(parameter_1[i], gradient_1[i], moment_1[i]); }
        case 2u: { return Element(parameter_2[i], gradient_2[i], moment_2[i]); }
        case 3u: { return Element(parameter_3[i], gradient_3[i], moment_3[i]); }
        case 4u: { return Element(parameter_4[i], gradient_4[i], moment_4[i]); }
        default: { return Element(parameter_5[i], gradient_5[i], moment_5[i]); }
    }
}

fn store(tensor: u32, i: u32, updated: Element) {
    switch tensor {
        case 0u: {
            parameter_0[i] = updated.parameter;
            moment_0[i] = updated.moment;
        }
        case 1u: {
            parameter_1[i] = updated.parameter;
            moment_1[i] = updated.moment;
        }
        case 2u: {
            parameter_2[i] = updated.parameter;
            moment_2[i] = updated.moment;
        }
        case 3u: {
            parameter_3[i] = updated.parameter;
            moment_3[i] = updated.moment;
        }
        case 4u: {
            parameter_4[i] = updated.parameter;
            moment_4[i] = updated.moment;
        }
        default: {
            parameter_5[i] = updated.parameter;
            moment_5[i] = updated.moment;
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    // The tensor that this workgroup belongs to, and its number among the tensor's workgroups.
    let elements = elements_of_tensors();
    var tensor = 0u;
    var number = group.y * groups.x + group.x;
    while (tensor < 6u && number >= (elements[tensor] + 511u) / 512u) {
        number -= (elements[tensor] + 511u) / 512u;
        tensor += 1u;
    }
    if (tensor == 6u) { return; }
    for (var k = 0u; k < 8u; k++) {
        let i = number * 512u + k * 64u + lane;
        if (i >= elements[tensor]) { return; }
        store(tensor, i, update(load(tensor, i)));
    }
}
