// Gradient of a convolution's kernel for software drivers: dw[run, a, ci, co] = sum of x dy over the positions of the
// run, in order; the runs are added afterwards. NHWC, any window. Joined with pairs.wgsl and one of lanes_even.wgsl and
// lanes_ragged.wgsl, whose w is dy here. A dense layer is the case of one tap and pictures of one pixel.
//
// As in conv_lanes.wgsl the eight invocations of a subgroup share what they load: rows of dw are (tap, four input
// channels), each invocation loads x for one of the subgroup's eight rows and hands it round, and dy for its own four
// output channels. Tile of a subgroup: 32 rows x 32 channels, four positions at a time; 32 vec4 sums per invocation. A
// workgroup is one subgroup. No barriers, no workgroup memory. Assumes subgroups of 8 and output channels in fours.
//
// Tiles of 64 x 64 compile for 2 s on two Zen 3 cores (Mesa 22.3, LLVM 15, AVX2).
// Rejected: one tap, channel and four outputs per invocation 0.5 GFLOP/s.
struct Parameters {
    batch: u32, in_h: u32, in_w: u32, in_c: u32, out_h: u32, out_w: u32, out_c: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    dilation_h: u32, dilation_w: u32, padding_h: u32, padding_w: u32,
    runs: u32, run_rows: u32, // positions (sample, y, x) are dealt to runs
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(3) var<storage, read_write> dw: array<vec4<f32>>;

// One tap, four input channels: a column for each.
struct Rows {
    a: mat4x4<f32>, b: mat4x4<f32>, c: mat4x4<f32>, d: mat4x4<f32>,
    e: mat4x4<f32>, f: mat4x4<f32>, g: mat4x4<f32>, h: mat4x4<f32>,
}
struct Four { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32> }
struct Position { sample: u32, row: u32, column: u32, index: u32 }
// What this lane loads for its row quad: shift of the tap, and the quad of channels; or no valid quad.
struct Source { down: u32, right: u32, quad: u32, valid: bool }

fn column(s: vec4<f32>, d: Four, v: vec4<f32>) -> vec4<f32> {
    return fma(d.d, vec4<f32>(v.w), fma(d.c, vec4<f32>(v.z), fma(d.b, vec4<f32>(v.y), fma(d.a, vec4<f32>(v.x), s))));
}
fn outer(s: mat4x4<f32>, d: Four, u: vec4<f32>, v: vec4<f32>, w: vec4<f32>, z: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(column(s[0], d, vec4<f32>(u.x, v.x, w.x, z.x)), column(s[1], d, vec4<f32>(u.y, v.y, w.y, z.y)),
        column(s[2], d, vec4<f32>(u.z, v.z, w.z, z.z)), column(s[3], d, vec4<f32>(u.w, v.w, w.w, z.w)));
}
fn add(s: Rows, d: Four, v: Four) -> Rows {
    return Rows(
        outer(s.a, d, subgroupBroadcast(v.a, 0u), subgroupBroadcast(v.b, 0u), subgroupBroadcast(v.c, 0u), subgroupBroadcast(v.d, 0u)),
        outer(s.b, d, subgroupBroadcast(v.a, 1u), subgroupBroadcast(v.b, 1u), subgroupBroadcast(v.c, 1u), subgroupBroadcast(v.d, 1u)),
        outer(s.c, d, subgroupBroadcast(v.a, 2u), subgroupBroadcast(v.b, 2u), subgroupBroadcast(v.c, 2u), subgroupBroadcast(v.d, 2u)),
        outer(s.d, d, subgroupBroadcast(v.a, 3u), subgroupBroadcast(v.b, 3u), subgroupBroadcast(v.c, 3u), subgroupBroadcast(v.d, 3u)),
        outer(s.e, d, subgroupBroadcast(v.a, 4u), subgroupBroadcast(v.b, 4u), subgroupBroadcast(v.c, 4u), subgroupBroadcast(v.d, 4u)),
        outer(s.f, d, subgroupBroadcast(v.a, 5u), subgroupBroadcast(v.b, 5u), subgroupBroadcast(v.c, 5u), subgroupBroadcast(v.d, 5u)),
        outer(s.g, d, subgroupBroadcast(v.a, 6u), subgroupBroadcast(v.b, 6u), subgroupBroadcast(v.c, 6u), subgroupBroadcast(v.d, 6u)),
        outer(s.h, d, subgroupBroadcast(v.a, 7u), subgroupBroadcast(v.b, 7u), subgroupBroadcast(v.c, 7u), subgroupBroadcast(v.d, 7u)));
}

fn source(row: u32) -> Source {
    let quads = (p.in_c + 3u) / 4u;
    let tap = row / quads;
    return Source((tap / p.kernel_w) * p.dilation_h - p.padding_h, (tap % p.kernel_w) * p.dilation_w - p.padding_w,
        row % quads, tap < p.kernel_h * p.kernel_w);
}
fn fetch(s: Source, at: Position, end: u32) -> vec4<f32> {
    let row = at.row * p.stride_h + s.down;
    let column = at.column * p.stride_w + s.right;
    var v = vec4<f32>(0.0);
    if (s.valid && at.index < end && row < p.in_h && column < p.in_w) {
        v = x_four((at.sample * p.in_h + row) * p.in_w + column, p.in_c, s.quad);
    }
    return v;
}
fn next(at: Position) -> Position {
    let wrap = at.column + 1u == p.out_w;
    let row = select(at.row, at.row + 1u, wrap);
    let turn = row == p.out_h;
    return Position(select(at.sample, at.sample + 1u, turn), select(row, 0u, turn), select(at.column + 1u, 0u, wrap), at.index + 1u);
}
// The gradient at a position; past the end of the run the one at its last position, which meets zeros of x.
fn gradient(at: Position, end: u32, quad: u32) -> vec4<f32> { return w_four(min(at.index, end - 1u), p.out_c, quad); }

fn store(s: mat4x4<f32>, row: u32, quad: u32, run: u32) {
    let quads = (p.in_c + 3u) / 4u;
    let tap = row / quads;
    let taps = p.kernel_h * p.kernel_w;
    if (tap >= taps || quad >= p.out_c / 4u) { return; }
    let channel = row % quads * 4u;
    let step = p.out_c / 4u;
    let at = (run * taps * p.in_c + tap * p.in_c + channel) * step + quad;
    dw[at] = s[0];
    if (channel + 1u < p.in_c) { dw[at + step] = s[1]; }
    if (channel + 2u < p.in_c) { dw[at + 2u * step] = s[2]; }
    if (channel + 3u < p.in_c) { dw[at + 3u * step] = s[3]; }
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    var i = group.y * groups.x + group.x;
    let tiles = (p.out_c + 31u) / 32u;
    let quad = (i % tiles) * 8u + lane;
    i /= tiles;
    let blocks = ((p.in_c + 3u) / 4u * p.kernel_h * p.kernel_w + 7u) / 8u;
    let first = (i % blocks) * 8u;
    let run = i / blocks;
    let here = source(first + lane);
    let q = min(quad, p.out_c / 4u - 1u);
    let start = run * p.run_rows;
    let end = select(start, min(start + p.run_rows, p.batch * p.out_h * p.out_w), run < p.runs);
    var at = Position(start / (p.out_w * p.out_h), (start / p.out_w) % p.out_h, start % p.out_w, start);
    var s = Rows();
    for (var k = start; k < end; k += 4u) {
        let b = next(at);
        let c = next(b);
        let d = next(c);
        let g = Four(gradient(at, end, q), gradient(b, end, q), gradient(c, end, q), gradient(d, end, q));
        let u = Four(fetch(here, at, end), fetch(here, b, end), fetch(here, c, end), fetch(here, d, end));
        s = add(s, g, u);
        at = next(d);
    }
    if (run >= p.runs) { return; }
    // In a loop, so that the stores are compiled once.
    for (var k = 0u; k < 8u; k++) {
        store(s.a, first + k, quad, run);
        s.a = s.b; s.b = s.c; s.c = s.d; s.d = s.e; s.e = s.f; s.f = s.g; s.g = s.h;
    }
}
