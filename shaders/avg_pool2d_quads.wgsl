// As avg_pool2d.wgsl, for channels in multiples of four: one invocation per four channels of a position. Joined with
// pairs.wgsl.
const COUNT_PADDING: bool = false;

struct Parameters {
    batch: u32, in_h: u32, in_w: u32, out_h: u32, out_w: u32, channels: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    dilation_h: u32, dilation_w: u32, padding_h: u32, padding_w: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let quads = p.channels / 4u;
    let pixel = i / quads;
    let line = pixel / p.out_w;
    let out_x = pixel - line * p.out_w;
    let sample = line / p.out_h;
    let out_y = line - sample * p.out_h;
    if (sample >= p.batch) { return; }
    var sum = vec4<f32>(0.0);
    var inside = 0u;
    for (var a = 0u; a < p.kernel_h; a++) {
        // Before the first row the difference wraps to a large number, which is outside as well.
        let row = out_y * p.stride_h + a * p.dilation_h - p.padding_h;
        if (row >= p.in_h) { continue; }
        for (var b = 0u; b < p.kernel_w; b++) {
            let column = out_x * p.stride_w + b * p.dilation_w - p.padding_w;
            if (column >= p.in_w) { continue; }
            sum += reals(x[((sample * p.in_h + row) * p.in_w + column) * quads + (i - pixel * quads)]);
            inside += 1u;
        }
    }
    y[i] = sum / f32(select(inside, p.kernel_h * p.kernel_w, COUNT_PADDING));
}
