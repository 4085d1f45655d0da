// y = weight * sum of rho ln(rho / r) + (1 - rho) ln((1 - rho) / (1 - r)), r kept inside of (0, 1). One workgroup, in a
// fixed order.
struct Parameters { units: u32, rho: f32, weight: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> means: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const MARGIN: f32 = 1e-6;
var<workgroup> partial: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    let rho = parameters.rho;
    var sum = 0.0;
    for (var j = lane; j < parameters.units; j += 64u) {
        let r = clamp(means[j], MARGIN, 1.0 - MARGIN);
        sum += rho * log(rho / r) + (1.0 - rho) * log((1.0 - rho) / (1.0 - r));
    }
    partial[lane] = sum;
    workgroupBarrier();
    if (lane == 0u) {
        var total = 0.0;
        for (var i = 0u; i < 64u; i++) { total += partial[i]; }
        y[0] = parameters.weight * total;
    }
}
