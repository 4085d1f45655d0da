// Mean and biased variance of each column, from those of its runs, which moments.wgsl has left: the mean of the runs'
// means, each counted by its rows, then their squares with the distance between the means. One invocation per column.
struct Parameters { rows: u32, columns: u32, runs: u32, run_rows: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> means: array<f32>;
@group(0) @binding(3) var<storage, read> squares: array<f32>;
@group(0) @binding(4) var<storage, read_write> mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> variance: array<f32>;

fn rows_of(run: u32) -> f32 {
    return f32(min((run + 1u) * parameters.run_rows, parameters.rows) - run * parameters.run_rows);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i >= parameters.columns) { return; }
    let rows = f32(parameters.rows);
    var sum = 0.0;
    for (var run = 0u; run < parameters.runs; run++) {
        sum += rows_of(run) * means[run * parameters.columns + i];
    }
    let middle = sum / rows;
    var square = 0.0;
    for (var run = 0u; run < parameters.runs; run++) {
        let d = means[run * parameters.columns + i] - middle;
        square += squares[run * parameters.columns + i] + rows_of(run) * d * d;
    }
    mean[i] = x[i] + middle;
    variance[i] = square / rows;
}
