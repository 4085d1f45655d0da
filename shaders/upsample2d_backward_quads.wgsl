// As upsample2d_backward.wgsl, for channels in multiples of four: one invocation per four channels of a position.
// Joined with pairs.wgsl.
struct Parameters { batch: u32, in_h: u32, in_w: u32, channels: u32, factor_h: u32, factor_w: u32 }
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> dy: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let quads = p.channels / 4u;
    let pixel = i / quads;
    let row = pixel / p.in_w;
    if (row >= p.batch * p.in_h) { return; }
    let out_w = p.in_w * p.factor_w;
    let origin = row * p.factor_h * out_w + (pixel % p.in_w) * p.factor_w;
    var sum = vec4<f32>(0.0);
    for (var a = 0u; a < p.factor_h; a++) {
        for (var b = 0u; b < p.factor_w; b++) {
            sum += reals(dy[(origin + a * out_w + b) * quads + (i - pixel * quads)]);
        }
    }
    dx[i] = sum;
}
