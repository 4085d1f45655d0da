// What the adaptive optimisers share: bindings, the bias correction, and the loop over elements. The file joined
// after this one defines update(i, ...). A workgroup takes 512 neighbouring elements, 8 per invocation, so that the
// two exponentials of the bias correction are paid once for eight.
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
@group(0) @binding(2) var<storage, read> clock: array<u32>;
@group(0) @binding(3) var<storage, read> learning_rate: array<f32>;
@group(0) @binding(4) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(5) var<storage, read_write> first_moment: array<f32>;
@group(0) @binding(6) var<storage, read_write> second_moment: array<f32>;

// 1 - beta^t. The difference cancels for small t log(beta), where its series (eight terms) is exact to rounding.
fn bias_correction(log_beta: f32) -> f32 {
    let t = f32(clock[0]) + f32(clock[1]) * 4294967296.0 + 1.0;
    let x = t * log_beta;
    let tail = 1.0 + x / 5.0 * (1.0 + x / 6.0 * (1.0 + x / 7.0 * (1.0 + x / 8.0)));
    let series = -x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * tail)));
    return select(1.0 - exp(max(x, -87.0)), series, x > -0.5);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let correction = vec2<f32>(bias_correction(parameters.log_beta1), bias_correction(parameters.log_beta2));
    let start = (group.y * groups.x + group.x) * 512u + lane;
    for (var k = 0u; k < 8u; k++) {
        let i = start + k * 64u;
        if (i < parameters.elements) { update(i, correction); }
    }
}
