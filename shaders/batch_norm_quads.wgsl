// As batch_norm.wgsl, for columns in multiples of four: four elements per invocation. Joined with activation.wgsl and
// pairs.wgsl.
struct Parameters { elements: u32, columns: u32, epsilon: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read> weight: array<vec2<u64>>;
@group(0) @binding(3) var<storage, read> bias: array<vec2<u64>>;
@group(0) @binding(4) var<storage, read> mean: array<vec2<u64>>;
@group(0) @binding(5) var<storage, read> variance: array<vec2<u64>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i * 4u >= parameters.elements) { return; }
    let c = i % (parameters.columns / 4u);
    let scale = reals(weight[c]) * inverseSqrt(reals(variance[c]) + parameters.epsilon);
    let z = scale * (reals(x[i]) - reals(mean[c])) + reals(bias[c]);
    y[i] = vec4<f32>(activate(z.x), activate(z.y), activate(z.z), activate(z.w));
}
