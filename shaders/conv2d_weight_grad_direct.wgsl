// Gradient of a convolution's kernel, for any window: dw[run, a, ci, co] = sum of x dy over the positions of the
// run, in order; the runs are added afterwards. NHWC. One invocation: one tap, one input channel, four neighbouring
// output channels of one run.
// Where BIASED, each run has one more row: the sums of dy itself, the gradient of the bias.
const BIASED: bool = false;

struct Parameters {
    batch: u32, in_h: u32, in_w: u32, in_c: u32, out_h: u32, out_w: u32, out_c: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    dilation_h: u32, dilation_w: u32, padding_h: u32, padding_w: u32,
    runs: u32, run_rows: u32, // positions (sample, y, x) are dealt to runs
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let quads = (p.out_c + 3u) / 4u;
    let taps = p.kernel_h * p.kernel_w;
    let channel = (i % quads) * 4u;
    let in_channel = (i / quads) % p.in_c;
    let tap = (i / (quads * p.in_c)) % taps;
    let run = i / (quads * p.in_c * taps);
    if (run >= p.runs) { return; }
    let last = p.out_c - 1u;
    let channels = min(vec4<u32>(channel, channel + 1u, channel + 2u, channel + 3u), vec4<u32>(last));
    let shift_h = (tap / p.kernel_w) * p.dilation_h - p.padding_h;
    let shift_w = (tap % p.kernel_w) * p.dilation_w - p.padding_w;
    let end = min((run + 1u) * p.run_rows, p.batch * p.out_h * p.out_w);
    var sum = vec4<f32>(0.0);
    var bias = vec4<f32>(0.0);
    for (var position = run * p.run_rows; position < end; position++) {
        let k = vec4<u32>(position * p.out_c) + channels;
        let gradient = vec4<f32>(dy[k.x], dy[k.y], dy[k.z], dy[k.w]);
        if (BIASED) { bias += gradient; }
        let row = ((position / p.out_w) % p.out_h) * p.stride_h + shift_h;
        let column = (position % p.out_w) * p.stride_w + shift_w;
        if (row >= p.in_h || column >= p.in_w) { continue; }
        let sample = position / (p.out_w * p.out_h);
        let value = x[((sample * p.in_h + row) * p.in_w + column) * p.in_c + in_channel];
        sum += value * gradient;
    }
    let rows = taps * p.in_c + select(0u, 1u, BIASED);
    let row = tap * p.in_c + in_channel;
    let to = (run * rows + row) * p.out_c + channel;
    let count = min(4u, p.out_c - channel);
    for (var c = 0u; c < count; c++) { dw[to + c] = sum[c]; }
    if (BIASED && row == 0u) {
        let last_row = ((run + 1u) * rows - 1u) * p.out_c + channel;
        for (var c = 0u; c < count; c++) { dw[last_row + c] = bias[c]; }
    }
}
