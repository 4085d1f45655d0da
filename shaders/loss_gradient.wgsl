// A loss and its gradient in one pass: sums[group] = sum of term(x, target) over the 512 neighbouring elements of a
// workgroup, as a tree in a fixed order, and dx = scale * term_slope(x, target) * activation_slope(x), x being what the
// activation gave. mean.wgsl adds the sums. Joined with activation.wgsl and a loss (mse.wgsl, bce_logits.wgsl).
struct Parameters { elements: u32, scale: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> target_: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

var<workgroup> partial: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let number = group.y * groups.x + group.x;
    var sum = 0.0;
    for (var k = 0u; k < 8u; k++) {
        let i = number * 512u + k * 64u + lane;
        if (i < parameters.elements) {
            let value = x[i];
            let wanted = target_[i];
            sum += term(value, wanted);
            dx[i] = parameters.scale * term_slope(value, wanted) * activation_slope(value);
        }
    }
    partial[lane] = sum;
    workgroupBarrier();
    if (lane == 0u && number * 512u < parameters.elements) {
        var total = 0.0;
        for (var i = 0u; i < 64u; i++) { total += partial[i]; }
        sums[number] = total;
    }
}
