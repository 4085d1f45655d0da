// Mean and sum of squared deviations of each column over runs of rows, both as distances from the first row of all:
// what single precision holds of x - x[0] is exact where the values lie close together far from zero. Two passes over
// the run, whose second corrects the mean of the first (the corrected two-pass algorithm; Chan, Golub and LeVeque 1983).
// One invocation per (run, column), columns fastest.
struct Parameters { rows: u32, columns: u32, runs: u32, run_rows: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> means: array<f32>;
@group(0) @binding(3) var<storage, read_write> squares: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let run = i / parameters.columns;
    if (run >= parameters.runs) { return; }
    let column = i % parameters.columns;
    let start = run * parameters.run_rows;
    let end = min(start + parameters.run_rows, parameters.rows);
    let count = f32(end - start);
    let shift = x[column];
    var sum = 0.0;
    for (var r = start; r < end; r++) { sum += x[r * parameters.columns + column] - shift; }
    let mean = sum / count;
    var rest = 0.0;
    var square = 0.0;
    for (var r = start; r < end; r++) {
        let d = (x[r * parameters.columns + column] - shift) - mean;
        rest += d;
        square += d * d;
    }
    means[i] = mean + rest / count;
    squares[i] = square - rest * (rest / count);
}
