// y[h, w] = x[h / factor, w / factor], rounded down. NHWC. One invocation per element of y, channels fastest.
struct Parameters { batch: u32, in_h: u32, in_w: u32, channels: u32, factor_h: u32, factor_w: u32 }
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let pixel = i / p.channels;
    let line = pixel / (p.in_w * p.factor_w);
    let column = (pixel % (p.in_w * p.factor_w)) / p.factor_w;
    // Rows of all samples count through: in_h is a whole number of them.
    let row = line / p.factor_h;
    if (row >= p.batch * p.in_h) { return; }
    y[i] = x[(row * p.in_w + column) * p.channels + i % p.channels];
}
