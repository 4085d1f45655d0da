// dx of max-pooling where windows neither overlap nor leave gaps and channels come in fours: one invocation per window
// and four channels writes the whole window, dy at the maximum and zero elsewhere. A window looks at one maximum where
// an element would look at every window that covers it. Joined with pairs.wgsl.
struct Parameters {
    batch: u32, in_h: u32, in_w: u32, out_h: u32, out_w: u32, channels: u32,
    kernel_h: u32, kernel_w: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> dy: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read> argmax: array<vec2<u64>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let quads = p.channels / 4u;
    let pixel = i / quads;
    let line = pixel / p.out_w;
    let out_x = pixel - line * p.out_w;
    let sample = line / p.out_h;
    let out_y = line - sample * p.out_h;
    if (sample >= p.batch) { return; }
    let gradient = reals(dy[i]);
    let place = words(argmax[i]);
    for (var a = 0u; a < p.kernel_h; a++) {
        let row = out_y * p.kernel_h + a;
        if (row >= p.in_h) { continue; }
        for (var b = 0u; b < p.kernel_w; b++) {
            let column = out_x * p.kernel_w + b;
            if (column >= p.in_w) { continue; }
            let here = row * p.in_w + column;
            dx[(sample * p.in_h * p.in_w + here) * quads + (i - pixel * quads)] =
                select(vec4<f32>(0.0), gradient, place == vec4<u32>(here));
        }
    }
}
