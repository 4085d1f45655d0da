// RMSProp (Tieleman and Hinton 2012): s = rho s + (1 - rho) g^2, then the parameter moves by rate g / sqrt(s), with
// epsilon inside the root (Keras, TensorFlow 1) or beside it (PyTorch). One element per invocation.
const INSIDE: bool = true;

struct Parameters { elements: u32, rho: f32, epsilon: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> learning_rate: array<f32>;
@group(0) @binding(3) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(4) var<storage, read_write> mean_square: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i >= parameters.elements) { return; }
    let g = gradient[i];
    let s = parameters.rho * mean_square[i] + (1.0 - parameters.rho) * g * g;
    let root = select(sqrt(s) + parameters.epsilon, sqrt(s + parameters.epsilon), INSIDE);
    parameter[i] -= learning_rate[0] * g / root;
    mean_square[i] = s;
}
