struct Dimensions { m: u32, k: u32, n: u32 }

@group(0) @binding(0) var<uniform> dims: Dimensions;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= dims.n || id.y >= dims.m) { return; }
    var sum = 0.0;
    for (var k = 0u; k < dims.k; k++) {
        sum += a[id.y * dims.k + k] * b[k * dims.n + id.x];
    }
    c[id.y * dims.n + id.x] = sum;
}
