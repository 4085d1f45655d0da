// dx of average-pooling: sum of dy / n over the windows that cover it. NHWC. One invocation per element of dx, so that
// nothing is scattered and the order of the sum is fixed. Joined with pool_count.wgsl.
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

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
    var sum = 0.0;
    for (var a = 0u; a < p.kernel_h; a++) {
        // A negative difference wraps to a number that is past the last window even after the division.
        let row = in_y + p.padding_h - a * p.dilation_h;
        let out_y = row / p.stride_h;
        if (row % p.stride_h != 0u || out_y >= p.out_h) { continue; }
        for (var b = 0u; b < p.kernel_w; b++) {
            let column = in_x + p.padding_w - b * p.dilation_w;
            let out_x = column / p.stride_w;
            if (column % p.stride_w != 0u || out_x >= p.out_w) { continue; }
            sum += dy[((sample * p.out_h + out_y) * p.out_w + out_x) * p.channels + channel] / window_count(out_y, out_x);
        }
    }
    dx[i] = sum;
}
