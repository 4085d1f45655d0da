// Gradient descent of up to six tensors in one launch: each of them has its workgroups, one tensor after the other. A
// workgroup takes 512 neighbouring elements, 8 per invocation.
struct Parameters {
    elements_0: u32, // 0 where there are fewer tensors
    elements_1: u32,
    elements_2: u32,
    elements_3: u32,
    elements_4: u32,
    elements_5: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> gradient_0: array<f32>;
@group(0) @binding(2) var<storage, read_write> parameter_0: array<f32>;
@group(0) @binding(3) var<storage, read> gradient_1: array<f32>;
@group(0) @binding(4) var<storage, read_write> parameter_1: array<f32>;
@group(0) @binding(5) var<storage, read> gradient_2: array<f32>;
@group(0) @binding(6) var<storage, read_write> parameter_2: array<f32>;
@group(0) @binding(7) var<storage, read> gradient_3: array<f32>;
@group(0) @binding(8) var<storage, read_write> parameter_3: array<f32>;
@group(0) @binding(9) var<storage, read> gradient_4: array<f32>;
@group(0) @binding(10) var<storage, read_write> parameter_4: array<f32>;
@group(0) @binding(11) var<storage, read> gradient_5: array<f32>;
@group(0) @binding(12) var<storage, read_write> parameter_5: array<f32>;
@group(0) @binding(13) var<storage, read> learning_rate: array<f32>;

fn elements_of_tensors() -> array<u32, 6> {
    return array<u32, 6>(parameters.elements_0, parameters.elements_1, parameters.elements_2, parameters.elements_3,
                         parameters.elements_4, parameters.elements_5);
}

fn descend(tensor: u32, i: u32) {
    switch tensor {
        case 0u: { parameter_0[i] -= learning_rate[0] * gradient_0[i]; }
        case 1u: { parameter_1[i] -= learning_rate[0] * gradient_1[i]; }
        case 2u: { parameter_2[i] -= learning_rate[0] * gradient_2[i]; }
        case 3u: { parameter_3[i] -= learning_rate[0] * gradient_3[i]; }
        case 4u: { parameter_4[i] -= learning_rate[0] * gradient_4[i]; }
        default: { parameter_5[i] -= learning_rate[0] * gradient_5[i]; }
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
        if (i < elements[tensor]) { descend(tensor, i); }
    }
}
