// What becomes of the sums of a convolution that a 2x2 max-pooling of stride 2 follows: four positions that follow one
// another are one window (conv_positions.wgsl with POOLED). y = the largest activate(sum + bias) of the window, argmax its
// place h * W + w; the first in row-major order wins. Joined with activation.wgsl and conv_positions.wgsl.

@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> argmax: array<u32>;

fn store_largest(a: f32, b: f32, c: f32, d: f32, places: vec4<u32>, at: u32) {
    var best = activate(a);
    var place = places.x;
    let second = activate(b);
    if (second > best) { best = second; place = places.y; }
    let third = activate(c);
    if (third > best) { best = third; place = places.z; }
    let fourth = activate(d);
    if (fourth > best) { best = fourth; place = places.w; }
    y[at] = best;
    argmax[at] = place;
}

// Four channels, from `channel` on, of the window that begins at this position.
fn store_four(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, pixels: vec4<u32>, position: u32, channel: u32,
        offsets: vec4<f32>) {
    if (pixels.x == NONE) { return; }
    let at = position / 4u * p.out_c + channel;
    let n = select(0u, p.out_c - channel, channel < p.out_c);
    let e = a + offsets;
    let f = b + offsets;
    let g = c + offsets;
    let h = d + offsets;
    if (n > 0u) { store_largest(e.x, f.x, g.x, h.x, pixels, at); }
    if (n > 1u) { store_largest(e.y, f.y, g.y, h.y, pixels, at + 1u); }
    if (n > 2u) { store_largest(e.z, f.z, g.z, h.z, pixels, at + 2u); }
    if (n > 3u) { store_largest(e.w, f.w, g.w, h.w, pixels, at + 3u); }
}
