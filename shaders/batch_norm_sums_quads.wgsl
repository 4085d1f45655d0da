// As batch_norm_sums.wgsl, for columns in multiples of four: one invocation per run and four columns. Joined with
// pairs.wgsl.
struct Parameters { rows: u32, columns: u32, runs: u32, run_rows: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read> dy: array<vec2<u64>>;
@group(0) @binding(3) var<storage, read> mean: array<vec2<u64>>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> products: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let quads = parameters.columns / 4u;
    let run = i / quads;
    if (run >= parameters.runs) { return; }
    let quad = i % quads;
    let middle = reals(mean[quad]);
    let end = min((run + 1u) * parameters.run_rows, parameters.rows);
    var sum = vec4<f32>(0.0);
    var product = vec4<f32>(0.0);
    for (var r = run * parameters.run_rows; r < end; r++) {
        let gradient = reals(dy[r * quads + quad]);
        sum += gradient;
        product += gradient * (reals(x[r * quads + quad]) - middle);
    }
    sums[i] = sum;
    products[i] = product;
}
