// The updates of up to six tensors by an optimiser with two moments, in one launch: each of them has its workgroups, as in
// optimizer.wgsl, one tensor after the other. Joined with the same files.
struct Parameters {
    elements_0: u32, // 0 where there are fewer tensors
    elements_1: u32,
    elements_2: u32,
    elements_3: u32,
    elements_4: u32,
    elements_5: u32,
    beta1: f32,
    beta2: f32,
    log_beta1: f32, // natural logarithms, rounded from double precision
    log_beta2: f32,
    epsilon: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> gradient_0: array<f32>;
@group(0) @binding(2) var<storage, read_write> parameter_0: array<f32>;
@group(0) @binding(3) var<storage, read_write> first_moment_0: array<f32>;
@group(0) @binding(4) var<storage, read_write> second_moment_0: array<f32>;
@group(0) @binding(5) var<storage, read> gradient_1: array<f32>;
@group(0) @binding(6) var<storage, read_write> parameter_1: array<f32>;
@group(0) @binding(7) var<storage, read_write> first_moment_1: array<f32>;
@group(0) @binding(8) var<storage, read_write> second_moment_1: array<f32>;
@group(0) @binding(9) var<storage, read> gradient_2: array<f32>;
@group(0) @binding(10) var<storage, read_write> parameter_2: array<f32>;
@group(0) @binding(11) var<storage, read_write> first_moment_2: array<f32>;
@group(0) @binding(12) var<storage, read_write> second_moment_2: array<f32>;
@group(0) @binding(13) var<storage, read> gradient_3: array<f32>;
@group(0) @binding(14) var<storage, read_write> parameter_3: array<f32>;
@group(0) @binding(15) var<storage, read_write> first_moment_3: array<f32>;
@group(0) @binding(16) var<storage, read_write> second_moment_3: array<f32>;
@group(0) @binding(17) var<storage, read> gradient_4: array<f32>;
@group(0) @binding(18) var<storage, read_write> parameter_4: array<f32>;
@group(0) @binding(19) var<storage, read_write> first_moment_4: array<f32>;
@group(0) @binding(20) var<storage, read_write> second_moment_4: array<f32>;
@group(0) @binding(21) var<storage, read> gradient_5: array<f32>;
@group(0) @binding(22) var<storage, read_write> parameter_5: array<f32>;
@group(0) @binding(23) var<storage, read_write> first_moment_5: array<f32>;
@group(0) @binding(24) var<storage, read_write> second_moment_5: array<f32>;
@group(0) @binding(25) var<storage, read> clock: array<u32>;
@group(0) @binding(26) var<storage, read> learning_rate: array<f32>;
@group(0) @binding(27) var<storage, read> weights: array<f32>; // Nadam's; the other rules do not read them

struct Element {
    parameter: f32,
    gradient: f32,
    first: f32,
    second: f32,
}

fn elements_of_tensors() -> array<u32, 6> {
    return array<u32, 6>(parameters.elements_0, parameters.elements_1, parameters.elements_2, parameters.elements_3,
                         parameters.elements_4, parameters.elements_5);
}

fn load(tensor: u32, i: u32) -> Element {
    switch tensor {
        case 0u: { return Element(parameter_0[i], gradient_0[i], first_moment_0[i], second_moment_0[i]); }
        case 1u: { return Element(parameter_1[i], gradient_1[i], first_moment_1[i], second_moment_1[i]); }
        case 2u: { return Element(parameter_2[i], gradient_2[i], first_moment_2[i], second_moment_2[i]); }
        case 3u: { return Element(parameter_3[i], gradient_3[i], first_moment_3[i], second_moment_3[i]); }
        case 4u: { return Element(parameter_4[i], gradient_4[i], first_moment_4[i], second_moment_4[i]); }
        default: { return Element(parameter_5[i], gradient_5[i], first_moment_5[i], second_moment_5[i]); }
    }
}

fn store(tensor: u32, i: u32, updated: Element) {
    switch tensor {
        case 0u: {
            parameter_0[i] = updated.parameter;
            first_moment_0[i] = updated.first;
            second_moment_0[i] = updated.second;
        }
        case 1u: {
            parameter_1[i] = updated.parameter;
            first_moment_1[i] = updated.first;
            second_moment_1[i] = updated.second;
        }
        case 2u: {
            parameter_2[i] = updated.parameter;
            first_moment_2[i] = updated.first;
            second_moment_2[i] = updated.second;
        }
        case 3u: {
            parameter_3[i] = updated.parameter;
            first_moment_3[i] = updated.first;
            second_moment_3[i] = updated.second;
        }
        case 4u: {
            parameter_4[i] = updated.parameter;
            first_moment_4[i] = updated.first;
            second_moment_4[i] = updated.second;
        }
        default: {
            parameter_5[i] = updated.parameter;
            first_moment_5[i] = updated.first;
            second_moment_5[i] = updated.second;
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
    let correction = vec2<f32>(bias_correction(parameters.log_beta1), bias_correction(parameters.log_beta2));
    for (var k = 0u; k < 8u; k++) {
        let i = number * 512u + k * 64u + lane;
        if (i >= elements[tensor]) { return; }
        store(tensor, i, update(load(tensor, i), correction));
    }
}
