// As moments.wgsl, for columns in multiples of four: one invocation per run and four columns. Joined with pairs.wgsl.
struct Parameters { rows: u32, columns: u32, runs: u32, run_rows: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read_write> means: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> squares: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let quads = parameters.columns / 4u;
    let run = i / quads;
    if (run >= parameters.runs) { return; }
    let quad = i % quads;
    let start = run * parameters.run_rows;
    let end = min(start + parameters.run_rows, parameters.rows);
    let count = f32(end - start);
    let shift = reals(x[quad]);
    var sum = vec4<f32>(0.0);
    for (var r = start; r < end; r++) { sum += reals(x[r * quads + quad]) - shift; }
    let mean = sum / count;
    var rest = vec4<f32>(0.0);
    var square = vec4<f32>(0.0);
    for (var r = start; r < end; r++) {
        let d = (reals(x[r * quads + quad]) - shift) - mean;
        rest += d;
        square += d * d;
    }
    means[i] = mean + rest / count;
    squares[i] = square - rest * (rest / count);
}
