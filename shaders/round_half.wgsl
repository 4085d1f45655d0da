// y = the nearest half to x, kept as f32, element by element: the operands of a product in half precision, for kernels that
// multiply in f32. Joined with half.wgsl.
struct Parameters { elements: u32 }
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i < p.elements) { y[i] = nearest_half(x[i]); }
}
