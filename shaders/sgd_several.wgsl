// Gradient descent of some tensors in one launch: each of them has its workgroups, one tensor after the other. Joined with
// tensor_share.wgsl.
const TENSORS: u32 = 1u;

struct Parameters {
    // repeat TENSORS
    elements_0: u32,
    // end
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
// repeat TENSORS
@group(0) @binding(2u * 0u + 1u) var<storage, read> gradient_0: array<f32>;
@group(0) @binding(2u * 0u + 2u) var<storage, read_write> parameter_0: array<f32>;
// end
@group(0) @binding(2u * TENSORS + 1u) var<storage, read> learning_rate: array<f32>;

fn descend(tensor: u32, i: u32) {
    switch tensor {
        // repeat TENSORS
        case 0u: { parameter_0[i] -= learning_rate[0] * gradient_0[i]; }
        // end
        default: {}
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let own = share(group.y * groups.x + group.x);
    for (var k = 0u; k < 8u; k++) {
        let i = own.first + k * 64u + lane;
        if (i < own.elements) { descend(own.tensor, i); }
    }
}
