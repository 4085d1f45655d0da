// The updates of some tensors by an optimiser with two moments, in one launch: each of them has its workgroups, as in
// optimizer.wgsl, one tensor after the other. Joined with the same files, and with tensor_share.wgsl behind this one.
const TENSORS: u32 = 1u;

struct Parameters {
    // repeat TENSORS
    elements_0: u32,
    // end
    beta1: f32,
    beta2: f32,
    log_beta1: f32, // natural logarithms, rounded from double precision
    log_beta2: f32,
    epsilon: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
// repeat TENSORS
@group(0) @binding(4u * 0u + 1u) var<storage, read> gradient_0: array<f32>;
@group(0) @binding(4u * 0u + 2u) var<storage, read_write> parameter_0: array<f32>;
@group(0) @binding(4u * 0u + 3u) var<storage, read_write> first_moment_0: array<f32>;
@group(0) @binding(4u * 0u + 4u) var<storage, read_write> second_moment_0: array<f32>;
// end
@group(0) @binding(4u * TENSORS + 1u) var<storage, read> clock: array<u32>;
@group(0) @binding(4u * TENSORS + 2u) var<storage, read> learning_rate: array<f32>;
@group(0) @binding(4u * TENSORS + 3u) var<storage, read> weights: array<f32>; // Nadam's; the other rules do not read them

struct Element {
    parameter: f32,
    gradient: f32,
    first: f32,
    second: f32,
}

fn load(tensor: u32, i: u32) -> Element {
    switch tensor {
        // repeat TENSORS
        case 0u: { return Element(parameter_0[i], gradient_0[i], first_moment_0[i], second_moment_0[i]); }
        // end
        default: { return Element(); }
    }
}

fn store(tensor: u32, i: u32, updated: Element) {
    switch tensor {
        // repeat TENSORS
        case 0u: {
            parameter_0[i] = updated.parameter;
            first_moment_0[i] = updated.first;
            second_moment_0[i] = updated.second;
        }
        // end
        default: {}
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let own = share(group.y * groups.x + group.x);
    let step = this_step();
    for (var k = 0u; k < 8u; k++) {
        let i = own.first + k * 64u + lane;
        if (i >= own.elements) { return; }
        store(own.tensor, i, update(load(own.tensor, i), step));
    }
}
