// The kernel of a 3x3 convolution in the sixteen points of Winograd's F(2x2, 3x3) (Lavin and Gray, 2016): u[point, ci, co] =
// G g G^T. w is (3, 3, in, out), or (3, 3, out, in) and turned round where TRANSPOSED. One invocation: one pair of channels,
// neighbouring ones the last channel's neighbours of u.
const TRANSPOSED: bool = false;

struct Parameters { inputs: u32, outputs: u32 }
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> u: array<f32>;

fn tap(row: u32, column: u32, input: u32, output: u32) -> f32 {
    if (TRANSPOSED) { return w[((8u - row * 3u - column) * p.outputs + output) * p.inputs + input]; }
    return w[((row * 3u + column) * p.inputs + input) * p.outputs + output];
}

fn taps(row: u32, input: u32, output: u32) -> vec3<f32> {
    return vec3<f32>(tap(row, 0u, input, output), tap(row, 1u, input, output), tap(row, 2u, input, output));
}

fn store(row: u32, g: vec3<f32>, input: u32, output: u32) {
    let plane = p.inputs * p.outputs;
    let at = row * 4u * plane + input * p.outputs + output;
    u[at] = g.x;
    u[at + plane] = 0.5 * (g.x + g.y + g.z);
    u[at + 2u * plane] = 0.5 * (g.x - g.y + g.z);
    u[at + 3u * plane] = g.z;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i >= p.inputs * p.outputs) { return; }
    let input = i / p.outputs;
    let output = i % p.outputs;
    let a = taps(0u, input, output);
    let b = taps(1u, input, output);
    let c = taps(2u, input, output);
    store(0u, a, input, output);
    store(1u, 0.5 * (a + b + c), input, output);
    store(2u, 0.5 * (a - b + c), input, output);
    store(3u, c, input, output);
}
