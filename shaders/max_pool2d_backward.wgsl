// dx = sum of dy over the windows whose maximum is here. NHWC. One invocation per element of dx: it looks at every
// window that covers it, so that nothing is scattered and the order of the sum is fixed.
struct Parameters {
    batch: u32, in_h: u32, in_w: u32, out_h: u32, out_w: u32, channels: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    dilation_h: u32, dilation_w: u32, padding_h: u32, padding_w: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> argmax: array<u32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let pixel = i / p.channels;
    let channel = i % p.channels;
    let in_x = pixel % p.in_w;
    let in_y = (pixel / p.in_w) % p.in_h;
    let sample = pixel / (p.in_w * p.in_h);
    if (sample >= p.batch) { return; }
    let place = in_y * p.in_w + in_x;
    var sum = 0.0;
    for (var a = 0u; a < p.kernel_h; a++) {
        let row = in_y + p.padding_h - a * p.dilation_h;
        if (row % p.stride_h != 0u || row / p.stride_h >= p.out_h) { continue; }
        for (var b = 0u; b < p.kernel_w; b++) {
            let column = in_x + p.padding_w - b * p.dilation_w;
            if (column % p.stride_w != 0u || column / p.stride_w >= p.out_w) { continue; }
            let o = ((sample * p.out_h + row / p.stride_h) * p.out_w + column / p.stride_w) * p.channels + channel;
            sum += select(0.0, dy[o], argmax[o] == place);
        }
    }
    dx[i] = sum;
}
