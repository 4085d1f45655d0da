// Gradient descent with momentum. KERAS: m = mu m - rate g, and the parameter moves by m; otherwise, as PyTorch has it,
// m = mu m + g, and it moves by -rate m. NESTEROV: it moves as if m had been advanced once more. One element per
// invocation.
const KERAS: bool = true;
const NESTEROV: bool = false;

struct Parameters { elements: u32, momentum: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> learning_rate: array<f32>;
@group(0) @binding(3) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(4) var<storage, read_write> first_moment: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i >= parameters.elements) { return; }
    let rate = learning_rate[0];
    let push = select(gradient[i], -rate * gradient[i], KERAS);
    let m = parameters.momentum * first_moment[i] + push;
    let way = select(m, parameters.momentum * m + push, NESTEROV);
    parameter[i] += select(-rate * way, way, KERAS);
    first_moment[i] = m;
}
