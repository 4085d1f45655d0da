// 2-D transposed convolution for any window: y[i * stride + a * dilation - padding] += x[i] w[a], then bias and
// activation. NHWC, w (kh, kw, out, in). One invocation: one output pixel, four neighbouring channels; it collects
// the inputs that reach it, so that nothing is scattered. Joined with activation.wgsl.
const BIAS: bool = true;
// Where SLOPED, y = sum * activation_slope(z) instead, z what the activation gave at the same places, bound as the bias.
const SLOPED: bool = false;

struct Parameters {
    batch: u32, in_h: u32, in_w: u32, in_c: u32, out_h: u32, out_w: u32, out_c: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    dilation_h: u32, dilation_w: u32, padding_h: u32, padding_w: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let quads = (p.out_c + 3u) / 4u;
    let channel = (i % quads) * 4u;
    let pixel = i / quads;
    let out_x = pixel % p.out_w;
    let out_y = (pixel / p.out_w) % p.out_h;
    let sample = pixel / (p.out_w * p.out_h);
    if (sample >= p.batch) { return; }
    // Channels past the last are computed as the last one and not stored.
    let last = p.out_c - 1u;
    let channels = min(vec4<u32>(channel, channel + 1u, channel + 2u, channel + 3u), vec4<u32>(last)) * p.in_c;
    var sum = vec4<f32>(0.0);
    for (var a = 0u; a < p.kernel_h; a++) {
        // A negative difference wraps to a number that is past the input even after the division.
        let row = out_y + p.padding_h - a * p.dilation_h;
        if (row % p.stride_h != 0u || row / p.stride_h >= p.in_h) { continue; }
        for (var b = 0u; b < p.kernel_w; b++) {
            let column = out_x + p.padding_w - b * p.dilation_w;
            if (column % p.stride_w != 0u || column / p.stride_w >= p.in_w) { continue; }
            let origin = ((sample * p.in_h + row / p.stride_h) * p.in_w + column / p.stride_w) * p.in_c;
            let k = vec4<u32>((a * p.kernel_w + b) * p.in_c * p.out_c) + channels;
            for (var c = 0u; c < p.in_c; c++) {
                sum += x[origin + c] * vec4<f32>(w[k.x + c], w[k.y + c], w[k.z + c], w[k.w + c]);
            }
        }
    }
    let end = min(4u, p.out_c - channel);
    for (var c = 0u; c < end; c++) {
        var z = sum[c];
        if (BIAS) { z += bias[channel + c]; }
        let at = pixel * p.out_c + channel + c;
        if (SLOPED) { y[at] = z * activation_slope(bias[at]); } else { y[at] = activate(z); }
    }
}
