// y = activate(op(a) op(b) + bias), op the transpose where asked for. One invocation: 4 rows x 4 columns of y in
// registers, no workgroup memory and no barriers, which are what a software driver is slowest at. Neighbouring
// invocations take neighbouring columns. Rows and columns past the edge are computed as the last one and not
// stored. Joined with activation.wgsl.
const BIAS: bool = true;
// Where SLOPED, y = sum * activation_slope(z) instead, z what the activation gave at the same places, bound as the bias.
const SLOPED: bool = false;
const TRANSPOSE_A: bool = false;
const TRANSPOSE_B: bool = false;

struct Parameters { rows: u32, inner: u32, columns: u32 }
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

fn four(first: u32, extent: u32) -> vec4<u32> {
    return min(vec4<u32>(first, first + 1u, first + 2u, first + 3u), vec4<u32>(extent - 1u));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let tiles = (p.columns + 3u) / 4u;
    let first_column = (i % tiles) * 4u;
    let first_row = (i / tiles) * 4u;
    if (first_row >= p.rows) { return; }
    let rows = four(first_row, p.rows);
    let columns = four(first_column, p.columns);
    var left = select(rows * p.inner, rows, TRANSPOSE_A);
    var right = select(columns, columns * p.inner, TRANSPOSE_B);
    let left_step = select(1u, p.rows, TRANSPOSE_A);
    let right_step = select(p.columns, 1u, TRANSPOSE_B);
    var s0 = vec4<f32>(0.0);
    var s1 = vec4<f32>(0.0);
    var s2 = vec4<f32>(0.0);
    var s3 = vec4<f32>(0.0);
    for (var k = 0u; k < p.inner; k++) {
        let u = vec4<f32>(b[right.x], b[right.y], b[right.z], b[right.w]);
        s0 += a[left.x] * u;
        s1 += a[left.y] * u;
        s2 += a[left.z] * u;
        s3 += a[left.w] * u;
        left += vec4<u32>(left_step);
        right += vec4<u32>(right_step);
    }
    var sums = array<vec4<f32>, 4>(s0, s1, s2, s3);
    let height = min(4u, p.rows - first_row);
    let width = min(4u, p.columns - first_column);
    for (var r = 0u; r < height; r++) {
        for (var c = 0u; c < width; c++) {
            var z = sums[r][c];
            if (BIAS) { z += bias[first_column + c]; }
            let at = (first_row + r) * p.columns + first_column + c;
            if (SLOPED) { y[at] = z * activation_slope(bias[at]); } else { y[at] = activate(z); }
        }
    }
}
