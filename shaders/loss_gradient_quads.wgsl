// As loss_gradient.wgsl, for a multiple of four elements: one invocation takes four neighbouring ones, twice, in pairs of
// words. For software drivers, which load lane by lane. Joined with activation.wgsl, pairs.wgsl and a loss.
struct Parameters { elements: u32, scale: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read> target_: array<vec2<u64>>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;

var<workgroup> partial: array<f32, 64>;

fn slope(value: f32, wanted: f32) -> f32 {
    return parameters.scale * term_slope(value, wanted) * activation_slope(value);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let number = group.y * groups.x + group.x;
    var sum = 0.0;
    for (var k = 0u; k < 2u; k++) {
        let i = number * 128u + k * 64u + lane;
        if (i * 4u < parameters.elements) {
            let value = reals(x[i]);
            let wanted = reals(target_[i]);
            sum += (term(value.x, wanted.x) + term(value.y, wanted.y)) + (term(value.z, wanted.z) + term(value.w, wanted.w));
            dx[i] = vec4<f32>(slope(value.x, wanted.x), slope(value.y, wanted.y), slope(value.z, wanted.z),
                slope(value.w, wanted.w));
        }
    }
    partial[lane] = sum;
    workgroupBarrier();
    if (lane == 0u && number * 512u < parameters.elements) {
        var total = 0.0;
        for (var i = 0u; i < 64u; i++) { total += partial[i]; }
        sums[number] = total;
    }
}
