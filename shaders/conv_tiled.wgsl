// Convolution or transposed convolution with bias and activation as an implicit matrix product, for GPUs:
// y[position, co] = activate(bias[co] + sum over taps and ci of x w). NHWC. Joined with activation.wgsl,
// conv_positions.wgsl, conv_load.wgsl or conv_load_unpooled.wgsl, and conv_store.wgsl or conv_store_pooled.wgsl. One workgroup of 256: 64 positions x 64 channels, 4 x 4 per invocation, over slices of 16 of the
// (tap, ci) extent staged in workgroup memory (2 x 64 x 16 reals = 8 KiB). Loads are guarded: what lies outside is zero.
// A workgroup of the transposed convolution has positions of one phase, so that nothing is multiplied by a zero.
// Any window (dilation 1 where TRANSPOSED), any number of channels. Neighbouring lanes load neighbouring channels.

@group(0) @binding(2) var<storage, read> w: array<f32>;

// The (tap, ci) extent outermost and 16 quads of neighbouring positions or channels within.
var<workgroup> tile_x: array<vec4<f32>, 256>;
var<workgroup> tile_w: array<vec4<f32>, 256>;

fn load_w(tap: u32, in_channel: u32, channel: u32, valid: bool) -> f32 {
    let plain = (tap * p.in_c + in_channel) * p.out_c + channel;
    var value = 0.0;
    if (valid & (channel < p.out_c)) {
        value = w[select(plain, (tap * p.out_c + channel) * p.in_c + in_channel, TRANSPOSED)];
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
    let phase = phase_of(tile);
    if (TRANSPOSED) { tile /= p.stride_h * p.stride_w; }
    let position0 = tile * 64u;
    let step = tap_step();
    let hop = tap_move();
    // A phase may have no taps at all: the sums stay zero.
    let taps = (vec2<u32>(max(p.kernel_h, phase.tap_h), max(p.kernel_w, phase.tap_w))
        - vec2<u32>(phase.tap_h, phase.tap_w) + step - vec2<u32>(1u)) / step;
    let inner = taps.x * taps.y * p.in_c;
    let quad_x = lane / 16u;
    let k_x = lane % 16u;
    let quad_w = select(lane % 16u, lane / 16u, TRANSPOSED);
    let k_w = select(lane / 16u, lane % 16u, TRANSPOSED);
    let pa = locate(phase, position0 + quad_x * 4u);
    let pb = locate(phase, position0 + quad_x * 4u + 1u);
    let pc = locate(phase, position0 + quad_x * 4u + 2u);
    let pd = locate(phase, position0 + quad_x * 4u + 3u);
    let channel_w = channel0 + quad_w * 4u;
    var s0 = vec4<f32>(0.0);
    var s1 = vec4<f32>(0.0);
    var s2 = vec4<f32>(0.0);
    var s3 = vec4<f32>(0.0);
    for (var k0 = 0u; k0 < inner; k0 += 16u) {
        let kx = k0 + k_x;
        let tx = kx / p.in_c;
        let cx = kx - tx * p.in_c;
        let shift = vec2<u32>(tx / taps.y, tx % taps.y) * hop;
        let valid_x = kx < inner;
        tile_x[k_x * 16u + quad_x] = vec4<f32>(load_x(pa, shift, cx, valid_x), load_x(pb, shift, cx, valid_x),
            load_x(pc, shift, cx, valid_x), load_x(pd, shift, cx, valid_x));
        let kw = k0 + k_w;
        let tw = kw / p.in_c;
        let cw = kw - tw * p.in_c;
        let tap = (phase.tap_h + tw / taps.y * step.x) * p.kernel_w + phase.tap_w + tw % taps.y * step.y;
        let valid_w = kw < inner;
        tile_w[k_w * 16u + quad_w] = vec4<f32>(load_w(tap, cw, channel_w, valid_w), load_w(tap, cw, channel_w + 1u, valid_w),
            load_w(tap, cw, channel_w + 2u, valid_w), load_w(tap, cw, channel_w + 3u, valid_w));
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let u = tile_x[k * 16u + lane / 16u];
            let v = tile_w[k * 16u + lane % 16u];
            s0 += u.x * v;
            s1 += u.y * v;
            s2 += u.z * v;
            s3 += u.w * v;
        }
        workgroupBarrier();
    }
    // The positions staged by this lane are also those that it has summed.
    let pixels = vec4<u32>(pa.pixel, pb.pixel, pc.pixel, pd.pixel);
    let channel = channel0 + (lane % 16u) * 4u;
    var offsets = vec4<f32>(0.0);
    if (p.biased == 1u) {
        let channels = min(vec4<u32>(channel, channel + 1u, channel + 2u, channel + 3u), vec4<u32>(p.out_c - 1u));
        offsets = vec4<f32>(bias[channels.x], bias[channels.y], bias[channels.z], bias[channels.w]);
    }
    store_four(s0, s1, s2, s3, pixels, position0 + quad_x * 4u, channel, offsets);
}
