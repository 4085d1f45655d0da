// What becomes of the sums of a convolution or a dense layer: y = activate(sum + bias), or, where SLOPED, y = sum *
// activation_slope(z), z the values at the same places of what the activation gave (bound in the place of the bias).
// Joined with activation.wgsl and conv_positions.wgsl, whose places and parameters it takes.
const SLOPED: bool = false;

@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

fn finished(sum: f32, at: u32) -> f32 {
    if (SLOPED) { return sum * activation_slope(bias[at]); }
    return activate(sum);
}

// Four channels, from `channel` on, at one pixel of y.
fn store_one(s: vec4<f32>, pixel: u32, channel: u32, offsets: vec4<f32>) {
    if (pixel == NONE) { return; }
    let z = s + offsets;
    let at = pixel * p.out_c + channel;
    let n = select(0u, p.out_c - channel, channel < p.out_c);
    if (n > 0u) { y[at] = finished(z.x, at); }
    if (n > 1u) { y[at + 1u] = finished(z.y, at + 1u); }
    if (n > 2u) { y[at + 2u] = finished(z.z, at + 2u); }
    if (n > 3u) { y[at + 3u] = finished(z.w, at + 3u); }
}

// The same at four positions that follow one another, from a multiple of four on.
fn store_four(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, pixels: vec4<u32>, position: u32, channel: u32,
        offsets: vec4<f32>) {
    store_one(a, pixels.x, channel, offsets);
    store_one(b, pixels.y, channel, offsets);
    store_one(c, pixels.z, channel, offsets);
    store_one(d, pixels.w, channel, offsets);
}
