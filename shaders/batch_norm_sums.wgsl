// First stage of the gradients of batch normalisation: sums of dy and of dy (x - mean) over the rows of a run, in
// order. One invocation per (run, column), columns fastest.
struct Parameters { rows: u32, columns: u32, runs: u32, run_rows: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;
@group(0) @binding(5) var<storage, read_write> products: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let run = i / parameters.columns;
    if (run >= parameters.runs) { return; }
    let column = i % parameters.columns;
    let middle = mean[column];
    let end = min((run + 1u) * parameters.run_rows, parameters.rows);
    var sum = 0.0;
    var product = 0.0;
    for (var r = run * parameters.run_rows; r < end; r++) {
        let at = r * parameters.columns + column;
        sum += dy[at];
        product += dy[at] * (x[at] - middle);
    }
    sums[i] = sum;
    products[i] = product;
}
