// y[run, c] = sum of x[r, c] over the rows of the run, in order. One invocation per (run, column), columns
// fastest so that neighbours read neighbours. Launched twice: over the rows, then over the runs.
struct Parameters { rows: u32, columns: u32, runs: u32, run_rows: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let run = i / parameters.columns;
    if (run >= parameters.runs) { return; }
    let column = i % parameters.columns;
    let end = min((run + 1u) * parameters.run_rows, parameters.rows);
    var sum = 0.0;
    for (var r = run * parameters.run_rows; r < end; r++) { sum += x[r * parameters.columns + column]; }
    y[i] = sum;
}
