// Convolution or transposed convolution with bias and activation as a product of positions by channels, for software
// drivers: y[position, co] = activate(bias[co] + sum over taps and ci of x w). NHWC. Joined with activation.wgsl,
// pairs.wgsl, one of lanes_even.wgsl and lanes_ragged.wgsl, and conv_positions.wgsl. A dense layer is the case of one tap.
//
// What decides on llvmpipe is how many reals are loaded, about 22 cycles for each of them (11 in pairs), and barriers
// and workgroup memory cost the same again. So the eight invocations of a subgroup share: each loads the input channels
// of one position and hands them round by subgroupBroadcast (a shuffle), and each loads the weights of its own four
// output channels (eight where WIDE). Tile of a subgroup: 64 positions x 32 (64) channels, four input channels at a
// time; 64 (128) vec4 sums per invocation, which live on the stack and in L1. No barriers, no workgroup memory.
// Positions outside the picture load nothing, which costs nothing.
//
// A workgroup is one subgroup, so that a compiler can see that a whole subgroup takes the same way through the loops,
// which WGSL demands of subgroup operations; workgroups of four subgroups take the same time.
// Assumes subgroups of 8 in the order of local_invocation_index; x rows in fours unless ragged; w rows in fours; for
// the transposed convolution dilation 1 (its positions go by phase, so that nothing is multiplied by a zero).
//
// Nominal GFLOP/s at batch 64, two Zen 3 cores, Mesa 22.3 (LLVM 15, AVX2), in CPU time: 16x16x32->64 20, 8x8x64->128 22,
// 4x4x128->256 24, their input gradients 17 to 24; transposed 2x2x256->128 23, 4x4x128->64 19, 8x8x64->32 11 to 15.
// Rejected: one position and four channels per invocation 0.5; 4x4 positions x 4 channels per invocation without sharing
// 4; the same shared over the lanes, as vec4 of 32 bits 11, in pairs of 64 bits 17; four 4x4 tiles 23 to 25, which
// is no more than this and takes 3x3 at stride 1 only; 32 channels instead of 64: 17 to 20.
// A constant of conv_positions.wgsl says which of the two convolutions it is.
// Whether a lane has two quads of channels, 32 channels apart, or one.
const WIDE: bool = false;

// Sums of four channels at eight positions.
struct Octet {
    a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, e: vec4<f32>, f: vec4<f32>, g: vec4<f32>, h: vec4<f32>,
}

fn product(s: vec4<f32>, m: mat4x4<f32>, v: vec4<f32>) -> vec4<f32> {
    return fma(m[3], vec4<f32>(v.w), fma(m[2], vec4<f32>(v.z), fma(m[1], vec4<f32>(v.y), fma(m[0], vec4<f32>(v.x), s))));
}

fn add(s: Octet, m: mat4x4<f32>, v: vec4<f32>) -> Octet {
    return Octet(product(s.a, m, subgroupBroadcast(v, 0u)), product(s.b, m, subgroupBroadcast(v, 1u)),
        product(s.c, m, subgroupBroadcast(v, 2u)), product(s.d, m, subgroupBroadcast(v, 3u)),
        product(s.e, m, subgroupBroadcast(v, 4u)), product(s.f, m, subgroupBroadcast(v, 5u)),
        product(s.g, m, subgroupBroadcast(v, 6u)), product(s.h, m, subgroupBroadcast(v, 7u)));
}

fn matrix(tap: u32, quad: u32, i: u32) -> mat4x4<f32> {
    if (TRANSPOSED) {
        let first = tap * p.out_c;
        let last = p.out_c - 1u;
        return transpose(mat4x4<f32>(
            w_four(first + min(quad * 4u, last), p.in_c, i), w_four(first + min(quad * 4u + 1u, last), p.in_c, i),
            w_four(first + min(quad * 4u + 2u, last), p.in_c, i), w_four(first + min(quad * 4u + 3u, last), p.in_c, i)));
    }
    // Rows past the last meet zeros of x.
    let first = tap * p.in_c;
    let last = p.in_c - 1u;
    return mat4x4<f32>(
        w_four(first + min(i * 4u, last), p.out_c, quad), w_four(first + min(i * 4u + 1u, last), p.out_c, quad),
        w_four(first + min(i * 4u + 2u, last), p.out_c, quad), w_four(first + min(i * 4u + 3u, last), p.out_c, quad));
}

fn fetch(place: Place, down: u32, right: u32, i: u32) -> vec4<f32> {
    let row = place.row + down;
    let column = place.column + right;
    var v = vec4<f32>(0.0);
    if (place.pixel != NONE && row < p.in_h && column < p.in_w) {
        v = x_four(place.plane + row * p.in_w + column, p.in_c, i);
    }
    return v;
}

fn store_octet(s: Octet, pixel: u32, position: u32, channel: u32, b: vec4<f32>) {
    let here = vec4<u32>(subgroupBroadcast(pixel, 0u), subgroupBroadcast(pixel, 1u), subgroupBroadcast(pixel, 2u), subgroupBroadcast(pixel, 3u));
    let there = vec4<u32>(subgroupBroadcast(pixel, 4u), subgroupBroadcast(pixel, 5u), subgroupBroadcast(pixel, 6u), subgroupBroadcast(pixel, 7u));
    store_four(s.a, s.b, s.c, s.d, here, position, channel, b);
    store_four(s.e, s.f, s.g, s.h, there, position + 4u, channel, b);
}

fn offsets(quad: u32) -> vec4<f32> {
    let last = p.out_c - 1u;
    if (!BIAS) { return vec4<f32>(0.0); }
    return vec4<f32>(bias[min(quad * 4u, last)], bias[min(quad * 4u + 1u, last)],
        bias[min(quad * 4u + 2u, last)], bias[min(quad * 4u + 3u, last)]);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    var i = group.y * groups.x + group.x;
    let width = select(8u, 16u, WIDE);
    let tiles = (p.out_c + width * 4u - 1u) / (width * 4u);
    let quad = (i % tiles) * width + lane;
    i /= tiles;
    let phase = phase_of(i);
    if (TRANSPOSED) { i /= p.stride_h * p.stride_w; }
    let first = i * 64u + lane;
    var pa = locate(phase, first);
    var pb = locate(phase, first + 8u);
    var pc = locate(phase, first + 16u);
    var pd = locate(phase, first + 24u);
    var pe = locate(phase, first + 32u);
    var pf = locate(phase, first + 40u);
    var pg = locate(phase, first + 48u);
    var ph = locate(phase, first + 56u);
    var a = Octet();
    var b = Octet();
    var c = Octet();
    var d = Octet();
    var e = Octet();
    var f = Octet();
    var g = Octet();
    var h = Octet();
    var a2 = Octet();
    var b2 = Octet();
    var c2 = Octet();
    var d2 = Octet();
    var e2 = Octet();
    var f2 = Octet();
    var g2 = Octet();
    var h2 = Octet();
    let q = min(quad, (p.out_c + 3u) / 4u - 1u);
    let q2 = min(quad + 8u, (p.out_c + 3u) / 4u - 1u);
    let step = tap_step();
    let hop = tap_move();
    var down = 0u;
    for (var th = phase.tap_h; th < p.kernel_h; th += step.x) {
        var right = 0u;
        for (var tw = phase.tap_w; tw < p.kernel_w; tw += step.y) {
            for (var i = 0u; i < (p.in_c + 3u) / 4u; i++) {
                let m = matrix(th * p.kernel_w + tw, q, i);
                var m2 = m;
                if (WIDE) { m2 = matrix(th * p.kernel_w + tw, q2, i); }
                let va = fetch(pa, down, right, i);
                a = add(a, m, va);
                if (WIDE) { a2 = add(a2, m2, va); }
                let vb = fetch(pb, down, right, i);
                b = add(b, m, vb);
                if (WIDE) { b2 = add(b2, m2, vb); }
                let vc = fetch(pc, down, right, i);
                c = add(c, m, vc);
                if (WIDE) { c2 = add(c2, m2, vc); }
                let vd = fetch(pd, down, right, i);
                d = add(d, m, vd);
                if (WIDE) { d2 = add(d2, m2, vd); }
                let ve = fetch(pe, down, right, i);
                e = add(e, m, ve);
                if (WIDE) { e2 = add(e2, m2, ve); }
                let vf = fetch(pf, down, right, i);
                f = add(f, m, vf);
                if (WIDE) { f2 = add(f2, m2, vf); }
                let vg = fetch(pg, down, right, i);
                g = add(g, m, vg);
                if (WIDE) { g2 = add(g2, m2, vg); }
                let vh = fetch(ph, down, right, i);
                h = add(h, m, vh);
                if (WIDE) { h2 = add(h2, m2, vh); }
            }
            right += hop.y;
        }
        down += hop.x;
    }
    // Octet by octet in a loop, so that the stores and the activation are compiled once.
    var pixel = pa.pixel;
    var position = i * 64u;
    let offset = offsets(quad);
    let offset2 = offsets(quad + 8u);
    for (var k = 0u; k < 8u; k++) {
        store_octet(a, pixel, position, quad * 4u, offset);
        if (WIDE) { store_octet(a2, pixel, position, quad * 4u + 32u, offset2); }
        position += 8u;
        a = b; b = c; c = d; d = e; e = f; f = g; g = h;
        a2 = b2; b2 = c2; c2 = d2; d2 = e2; e2 = f2; f2 = g2; g2 = h2;
        pixel = pb.pixel;
        pb = pc; pc = pd; pd = pe; pe = pf; pf = pg; pg = ph;
    }
}
