// The updates of some tensors by an optimiser with one moment, in one launch: each of them has its workgroups, as in
// optimizer_one_moment.wgsl, one tensor after the other. Joined with the same files, and with tensor_share.wgsl behind this one.
const TENSORS: u32 = 1u;

struct Parameters {
    // repeat TENSORS
    elements_0: u32,
    // end
    decay: f32,
    epsilon: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
// repeat TENSORS
@group(0) @binding(3u * 0u + 1u) var<storage, read> gradient_0: array<f32>;
@group(0) @binding(3u * 0u + 2u) var<storage, read_write> parameter_0: array<f32>;
@group(0) @binding(3u * 0u + 3u) var<storage, read_write> moment_0: array<f32>;
// end
@group(0) @binding(3u * TENSORS + 1u) var<storage, read> learning_rate: array<f32>;

struct Element {
    parameter: f32,
    gradient: f32,
    moment: f32,
}

fn load(tensor: u32, i: u32) -> Element {
    switch tensor {
        // repeat TENSORS
        case 0u: { return Element(parameter_0[i], gradient_0[i], moment_0[i]); }
        // end
        default: { return Element(); }
    }
}

fn store(tensor: u32, i: u32, updated: Element) {
    switch tensor {
        // repeat TENSORS
        case 0u: {
            parameter_0[i] = updated.parameter;
            moment_0[i] = updated.moment;
        }
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
        if (i >= own.elements) { return; }
        store(own.tensor, i, update(load(own.tensor, i)));
    }
}
