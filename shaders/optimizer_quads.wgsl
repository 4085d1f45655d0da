// As optimizer.wgsl, for a multiple of four elements: one invocation loads, updates and stores four neighbouring ones, twice,
// in pairs of words. For software drivers, which load lane by lane: what is the same for all elements is loaded once for two
// fours, and not for each. Joined with the same files, and with pairs.wgsl before this one.
struct Parameters {
    elements: u32,
    beta1: f32,
    beta2: f32,
    log_beta1: f32, // natural logarithms, rounded from double precision
    log_beta2: f32,
    epsilon: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> gradient: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read_write> parameter: array<vec2<u64>>;
@group(0) @binding(3) var<storage, read_write> first_moment: array<vec2<u64>>;
@group(0) @binding(4) var<storage, read_write> second_moment: array<vec2<u64>>;
@group(0) @binding(5) var<storage, read> clock: array<u32>;
@group(0) @binding(6) var<storage, read> learning_rate: array<f32>;
@group(0) @binding(7) var<storage, read> weights: array<f32>; // Nadam's; the other rules do not read them

struct Element {
    parameter: f32,
    gradient: f32,
    first: f32,
    second: f32,
}

fn packed(v: vec4<f32>) -> vec2<u64> {
    let bits = bitcast<vec4<u32>>(v);
    return vec2<u64>(u64(bits.x) | (u64(bits.y) << 32u), u64(bits.z) | (u64(bits.w) << 32u));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let step = this_step();
    let start = (group.y * groups.x + group.x) * 128u + lane;
    for (var k = 0u; k < 2u; k++) {
        let i = start + k * 64u;
        if (i * 4u >= parameters.elements) { return; }
        let p = reals(parameter[i]);
        let g = reals(gradient[i]);
        let m = reals(first_moment[i]);
        let v = reals(second_moment[i]);
        let a = update(Element(p.x, g.x, m.x, v.x), step);
        let b = update(Element(p.y, g.y, m.y, v.y), step);
        let c = update(Element(p.z, g.z, m.z, v.z), step);
        let d = update(Element(p.w, g.w, m.w, v.w), step);
        parameter[i] = packed(vec4<f32>(a.parameter, b.parameter, c.parameter, d.parameter));
        first_moment[i] = packed(vec4<f32>(a.first, b.first, c.first, d.first));
        second_moment[i] = packed(vec4<f32>(a.second, b.second, c.second, d.second));
    }
}
