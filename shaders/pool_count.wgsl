// What the sum over a window of average-pooling is divided by, for a window that meets the picture.
const COUNT_PADDING: bool = false;

struct Parameters {
    batch: u32, in_h: u32, in_w: u32, out_h: u32, out_w: u32, channels: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    dilation_h: u32, dilation_w: u32, padding_h: u32, padding_w: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;

// Taps a of a window with 0 <= window * stride + a * dilation - padding < extent.
fn taps_inside(window: u32, kernel: u32, stride: u32, dilation: u32, padding: u32, extent: u32) -> u32 {
    let start = window * stride;
    let first = (max(padding, start) - start + dilation - 1u) / dilation;
    return min((extent + padding - start + dilation - 1u) / dilation, kernel) - first;
}

fn window_count(out_y: u32, out_x: u32) -> f32 {
    if (COUNT_PADDING) { return f32(p.kernel_h * p.kernel_w); }
    return f32(taps_inside(out_y, p.kernel_h, p.stride_h, p.dilation_h, p.padding_h, p.in_h)
        * taps_inside(out_x, p.kernel_w, p.stride_w, p.dilation_w, p.padding_w, p.in_w));
}
