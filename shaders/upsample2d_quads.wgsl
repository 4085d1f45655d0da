// As upsample2d.wgsl, for channels in multiples of four: one invocation moves four channels of a position as two words
// of 64 bits, which a software driver loads as fast as two of 32.
struct Parameters { batch: u32, in_h: u32, in_w: u32, channels: u32, factor_h: u32, factor_w: u32 }
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<u64>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let quads = p.channels / 4u;
    let pixel = i / quads;
    let line = pixel / (p.in_w * p.factor_w);
    let column = (pixel % (p.in_w * p.factor_w)) / p.factor_w;
    let row = line / p.factor_h;
    if (row >= p.batch * p.in_h) { return; }
    y[i] = x[(row * p.in_w + column) * quads + (i - pixel * quads)];
}
