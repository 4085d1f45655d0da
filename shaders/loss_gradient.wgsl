// A loss and its gradient in one pass: sums[group] = sum of term(x, target) over the 512 neighbouring elements of a
// workgroup, as a tree in a fixed order, and dx = scale * term_slope(x, target) * activation_slope(x), x being what the
// activation gave. mean.wgsl adds the sums. Joined with activation.wgsl, a loss (mse.wgsl, bce_logits.wgsl), and
// loss_elements.wgsl or loss_quads.wgsl, which have x, the target and dx: WIDTH neighbouring elements are taken at a time, and
// taken(i) writes the i-th ones' dx and gives the sum of their terms.
struct Parameters { elements: u32, scale: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

var<workgroup> partial: array<f32, 64>;

fn slope(value: f32, wanted: f32) -> f32 {
    return parameters.scale * term_slope(value, wanted) * activation_slope(value);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let number = group.y * groups.x + group.x;
    var sum = 0.0;
    for (var k = 0u; k < 8u / WIDTH; k++) { sum += taken(number * (512u / WIDTH) + k * 64u + lane); }
    partial[lane] = sum;
    workgroupBarrier();
    if (lane == 0u && number * 512u < parameters.elements) {
        var total = 0.0;
        for (var i = 0u; i < 64u; i++) { total += partial[i]; }
        sums[number] = total;
    }
}
