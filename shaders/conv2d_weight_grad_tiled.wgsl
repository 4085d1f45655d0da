// Gradient of a convolution's kernel as an implicit matrix product, for GPUs: dw[run, (a, ci), co] = sum of x dy over the
// positions of the run; the runs are added afterwards, in order. NHWC, any window, any number of channels. One workgroup
// of 256: 64 rows (tap, ci) x 64 output channels of one run, 4 x 4 per invocation, over slices of 16 positions staged in
// workgroup memory (2 x 64 x 16 reals = 8 KiB). Loads are guarded: what lies outside is zero.
// Joined with weight_grad_load.wgsl or weight_grad_load_unpooled.wgsl.
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
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;

// Positions outermost and 16 quads of neighbouring rows or channels within.
var<workgroup> tile_x: array<vec4<f32>, 256>;
var<workgroup> tile_dy: array<vec4<f32>, 256>;

// What a row of dw reads of x: the shift of its tap and its channel, NONE past the last row.
struct Source { down: u32, right: u32, channel: u32 }
const NONE: u32 = 0xffffffffu;

fn source(row: u32) -> Source {
    let tap = row / p.in_c;
    let channel = select(NONE, row - tap * p.in_c, tap < p.kernel_h * p.kernel_w);
    return Source((tap / p.kernel_w) * p.dilation_h - p.padding_h, (tap % p.kernel_w) * p.dilation_w - p.padding_w, channel);
}

// One branch: `||` and early returns are a branch for each condition, and SwiftShader compiled those for 30 s.
fn load_x(s: Source, sample: u32, origin: vec2<u32>, valid: bool) -> f32 {
    let row = origin.x + s.down;
    let column = origin.y + s.right;
    var value = 0.0;
    if (valid & (s.channel != NONE) & (row < p.in_h) & (column < p.in_w)) {
        value = x[((sample * p.in_h + row) * p.in_w + column) * p.in_c + s.channel];
    }
    return value;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    var tile = group.y * groups.x + group.x;
    let tiles = (p.out_c + 63u) / 64u;
    let channel0 = (tile % tiles) * 64u;
    tile /= tiles;
    let rows = p.kernel_h * p.kernel_w * p.in_c;
    let run_rows = rows + select(0u, 1u, BIASED);
    let blocks = (rows + 63u) / 64u;
    let row0 = (tile % blocks) * 64u;
    let run = tile / blocks;
    let quad = (lane % 16u) * 4u;
    let sa = source(row0 + quad);
    let sb = source(row0 + quad + 1u);
    let sc = source(row0 + quad + 2u);
    let sd = source(row0 + quad + 3u);
    let begin = run * p.run_rows;
    let end = min(begin + p.run_rows, p.batch * p.out_h * p.out_w);
    var s0 = vec4<f32>(0.0);
    var s1 = vec4<f32>(0.0);
    var s2 = vec4<f32>(0.0);
    var s3 = vec4<f32>(0.0);
    var bias = vec4<f32>(0.0);
    for (var k0 = begin; k0 < end; k0 += 16u) {
        let position = k0 + lane / 16u;
        let valid = position < end;
        let line = position / p.out_w;
        let sample = line / p.out_h;
        let origin = vec2<u32>((line - sample * p.out_h) * p.stride_h, (position - line * p.out_w) * p.stride_w);
        tile_x[lane] = vec4<f32>(load_x(sa, sample, origin, valid), load_x(sb, sample, origin, valid),
            load_x(sc, sample, origin, valid), load_x(sd, sample, origin, valid));
        tile_dy[lane] = vec4<f32>(load_dy(position, channel0 + quad, valid), load_dy(position, channel0 + quad + 1u, valid),
            load_dy(position, channel0 + quad + 2u, valid), load_dy(position, channel0 + quad + 3u, valid));
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let u = tile_x[k * 16u + lane / 16u];
            let v = tile_dy[k * 16u + lane % 16u];
            s0 += u.x * v;
            s1 += u.y * v;
            s2 += u.z * v;
            s3 += u.w * v;
            if (BIASED) { bias += v; }
        }
        workgroupBarrier();
    }
    var sums = array<vec4<f32>, 4>(s0, s1, s2, s3);
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            let row = row0 + (lane / 16u) * 4u + r;
            let channel = channel0 + quad + c;
            if (run < p.runs && row < rows && channel < p.out_c) {
                dw[(run * run_rows + row) * p.out_c + channel] = sums[r][c];
            }
        }
    }
    if (BIASED && row0 == 0u && lane < 16u && run < p.runs) {
        for (var c = 0u; c < 4u; c++) {
            let channel = channel0 + quad + c;
            if (channel < p.out_c) { dw[(run * run_rows + rows) * p.out_c + channel] = bias[c]; }
        }
    }
}
