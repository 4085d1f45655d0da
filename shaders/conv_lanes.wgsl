// Convolution or transposed convolution with bias and activation as a product of positions by channels, for software
// drivers: y[position, co] = activate(bias[co] + sum over taps and ci of x w). NHWC. Joined with activation.wgsl,
// pairs.wgsl, one of lanes_even.wgsl and lanes_ragged.wgsl, and conv_positions.wgsl, a constant of which says which of the
// two convolutions it is. A dense layer is the case of one tap.
//
// What decides on llvmpipe is how many reals are loaded, about 22 cycles for each of them (11 in pairs), and barriers
// and workgroup memory cost the same again. So the eight invocations of a subgroup share: each loads the input channels
// of one position and hands them round by subgroupBroadcast (a shuffle), and each loads the weights of its own four
// output channels. Tile of a subgroup: 32 positions x 32 channels, four input channels at a time; 32 vec4 sums per
// invocation, which live on the stack and in L1. No barriers, no workgroup memory. Positions outside the picture load
// nothing, which costs nothing.
//
// A workgroup is one subgroup, so that a compiler can see that a whole subgroup takes the same way through the loops,
// which WGSL demands of subgroup operations; workgroups of four subgroups take the same time.
// Assumes subgroups of 8 in the order of local_invocation_index; x rows in fours unless ragged; w rows in fours; for
// the transposed convolution dilation 1 (its positions go by phase, so that nothing is multiplied by a zero).
//
// The tile is as small as it is because of LLVM's time, which grows faster than the code. On two Zen 3 cores, Mesa 22.3
// (LLVM 15, AVX2), one product of matrices, positions x channels: 64 x 64 compiles for 2.3 s and runs at 14.6 GFLOP/s,
// 32 x 64 1.4 s and 12.6, 64 x 32 1.0 s and 13.1, 32 x 32 0.4 s and 11.5, 16 x 64 0.6 s and 10.7, 16 x 32 0.3 s and 9.1.
// Rejected: one position and four channels per invocation 0.5 GFLOP/s; 4x4 positions x 4 channels per invocation without
// sharing 4; both operands in uniform buffers, which llvmpipe gathers in registers: 32 x 32 26 and 0.6 s, but a binding
// holds no more than 64 KiB there, and arrays of bindings it has not.

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
    if (p.biased == 0u) { return vec4<f32>(0.0); }
    return vec4<f32>(bias[min(quad * 4u, last)], bias[min(quad * 4u + 1u, last)],
        bias[min(quad * 4u + 2u, last)], bias[min(quad * 4u + 3u, last)]);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    var i = group.y * groups.x + group.x;
    let tiles = (p.out_c + 31u) / 32u;
    let quad = (i % tiles) * 8u + lane;
    i /= tiles;
    let phase = phase_of(i);
    if (TRANSPOSED) { i /= p.stride_h * p.stride_w; }
    let first = i * 32u + lane;
    var pa = locate(phase, first);
    var pb = locate(phase, first + 8u);
    var pc = locate(phase, first + 16u);
    var pd = locate(phase, first + 24u);
    var a = Octet();
    var b = Octet();
    var c = Octet();
    var d = Octet();
    let q = min(quad, (p.out_c + 3u) / 4u - 1u);
    let step = tap_step();
    let hop = tap_move();
    var down = 0u;
    for (var th = phase.tap_h; th < p.kernel_h; th += step.x) {
        var right = 0u;
        for (var tw = phase.tap_w; tw < p.kernel_w; tw += step.y) {
            for (var i = 0u; i < (p.in_c + 3u) / 4u; i++) {
                let m = matrix(th * p.kernel_w + tw, q, i);
                let va = fetch(pa, down, right, i);
                a = add(a, m, va);
                let vb = fetch(pb, down, right, i);
                b = add(b, m, vb);
                let vc = fetch(pc, down, right, i);
                c = add(c, m, vc);
                let vd = fetch(pd, down, right, i);
                d = add(d, m, vd);
            }
            right += hop.y;
        }
        down += hop.x;
    }
    // Octet by octet in a loop, so that the stores and the activation are compiled once.
    var pixel = pa.pixel;
    var position = i * 32u;
    let offset = offsets(quad);
    for (var k = 0u; k < 4u; k++) {
        store_octet(a, pixel, position, quad * 4u, offset);
        position += 8u;
        a = b; b = c; c = d;
        pixel = pb.pixel;
        pb = pc; pc = pd;
    }
}
