// Smooths each row of a picture: y = x + strength * (mean of the left and right neighbours - x).
// Pixels past an edge count as the edge pixel. One invocation makes one pixel; rows are contiguous.

struct Smooth {
    width: u32,
    height: u32,
    strength: f32,
}

@group(0) @binding(0) var<uniform> smooth_: Smooth;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= smooth_.width || id.y >= smooth_.height) {
        return;
    }
    let row = id.y * smooth_.width;
    let left = x[row + max(id.x, 1u) - 1u];
    let right = x[row + min(id.x + 1u, smooth_.width - 1u)];
    let here = x[row + id.x];
    y[row + id.x] = here + smooth_.strength * (0.5 * (left + right) - here);
}
