// Four elements at a time for loss_gradient.wgsl, for a multiple of four, in pairs of words: for software drivers, which load
// lane by lane. Joined with pairs.wgsl.
const WIDTH: u32 = 4u;

@group(0) @binding(1) var<storage, read> x: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read> target_: array<vec2<u64>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;

fn taken(i: u32) -> f32 {
    if (i * 4u >= parameters.elements) { return 0.0; }
    let value = reals(x[i]);
    let wanted = reals(target_[i]);
    dx[i] = vec4<f32>(slope(value.x, wanted.x), slope(value.y, wanted.y), slope(value.z, wanted.z), slope(value.w, wanted.w));
    return (term(value.x, wanted.x) + term(value.y, wanted.y)) + (term(value.z, wanted.z) + term(value.w, wanted.w));
}
