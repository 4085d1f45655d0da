// y = activate(op(a) op(b) + bias), op the transpose where asked for. One workgroup of 256: a 64 x 64 tile of y,
// 4 x 4 per invocation, over slices of 16 of the inner extent staged in workgroup memory (2 x 64 x 16 floats = 8 KiB).
// Loads are guarded: what lies outside is zero. Joined with activation.wgsl.
const BIAS: bool = true;
// Where SLOPED, y = sum * activation_slope(z) instead, z what the activation gave at the same places, bound as the bias.
const SLOPED: bool = false;
const TRANSPOSE_A: bool = false;
const TRANSPOSE_B: bool = false;

// Where there are several matrices, those of a follow one another in its buffer, and so do those of b and of y.
struct Parameters { rows: u32, inner: u32, columns: u32, matrices: u32 }
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// Both tiles with the inner extent outermost and 16 quads of neighbouring rows or columns within.
var<workgroup> tile_a: array<vec4<f32>, 256>;
var<workgroup> tile_b: array<vec4<f32>, 256>;

fn load_a(matrix: u32, row: u32, k: u32) -> f32 {
    if (row >= p.rows || k >= p.inner) { return 0.0; }
    return a[matrix * p.rows * p.inner + select(row * p.inner + k, k * p.rows + row, TRANSPOSE_A)];
}

fn load_b(matrix: u32, k: u32, column: u32) -> f32 {
    if (column >= p.columns || k >= p.inner) { return 0.0; }
    return b[matrix * p.inner * p.columns + select(k * p.columns + column, column * p.inner + k, TRANSPOSE_B)];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    var tile = group.y * groups.x + group.x;
    let tiles = (p.columns + 63u) / 64u;
    let all = (p.rows + 63u) / 64u * tiles;
    let matrix = tile / all;
    // A whole workgroup.
    if (matrix >= p.matrices) { return; }
    tile -= matrix * all;
    let row0 = (tile / tiles) * 64u;
    let column0 = (tile % tiles) * 64u;
    // Which quad this invocation stages: neighbours in memory go to neighbouring lanes.
    let quad_a = select(lane / 16u, lane % 16u, TRANSPOSE_A);
    let k_a = select(lane % 16u, lane / 16u, TRANSPOSE_A);
    let quad_b = select(lane % 16u, lane / 16u, TRANSPOSE_B);
    let k_b = select(lane / 16u, lane % 16u, TRANSPOSE_B);
    let row = (lane / 16u) * 4u;
    let column = (lane % 16u) * 4u;
    var s0 = vec4<f32>(0.0);
    var s1 = vec4<f32>(0.0);
    var s2 = vec4<f32>(0.0);
    var s3 = vec4<f32>(0.0);
    for (var k0 = 0u; k0 < p.inner; k0 += 16u) {
        let ra = row0 + quad_a * 4u;
        let ka = k0 + k_a;
        tile_a[k_a * 16u + quad_a] =
            vec4<f32>(load_a(matrix, ra, ka), load_a(matrix, ra + 1u, ka), load_a(matrix, ra + 2u, ka), load_a(matrix, ra + 3u, ka));
        let cb = column0 + quad_b * 4u;
        let kb = k0 + k_b;
        tile_b[k_b * 16u + quad_b] =
            vec4<f32>(load_b(matrix, kb, cb), load_b(matrix, kb, cb + 1u), load_b(matrix, kb, cb + 2u), load_b(matrix, kb, cb + 3u));
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let u = tile_a[k * 16u + lane / 16u];
            let v = tile_b[k * 16u + lane % 16u];
            s0 += u.x * v;
            s1 += u.y * v;
            s2 += u.z * v;
            s3 += u.w * v;
        }
        workgroupBarrier();
    }
    var sums = array<vec4<f32>, 4>(s0, s1, s2, s3);
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            let i = row0 + row + r;
            let j = column0 + column + c;
            if (i < p.rows && j < p.columns) {
                var z = sums[r][c];
                if (BIAS) { z += bias[j]; }
                let at = (matrix * p.rows + i) * p.columns + j;
                if (SLOPED) { y[at] = z * activation_slope(bias[at]); } else { y[at] = activate(z); }
            }
        }
    }
}
