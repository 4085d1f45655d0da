// Second stage of the gradients of batch normalisation: the runs' sums added in order, and from them the gradients of
// weight, bias, mean and variance. One invocation per column.
struct Parameters { columns: u32, runs: u32, epsilon: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read> products: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> variance: array<f32>;
@group(0) @binding(5) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(6) var<storage, read_write> dbias: array<f32>;
@group(0) @binding(7) var<storage, read_write> dmean: array<f32>;
@group(0) @binding(8) var<storage, read_write> dvariance: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i >= parameters.columns) { return; }
    var sum = 0.0;
    var product = 0.0;
    for (var run = 0u; run < parameters.runs; run++) {
        sum += sums[run * parameters.columns + i];
        product += products[run * parameters.columns + i];
    }
    let root = inverseSqrt(variance[i] + parameters.epsilon);
    dweight[i] = product * root;
    dbias[i] = sum;
    dmean[i] = -weight[i] * root * sum;
    dvariance[i] = -0.5 * weight[i] * root * root * (product * root);
}
