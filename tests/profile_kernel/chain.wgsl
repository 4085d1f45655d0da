// Chains of multiply-adds: arithmetic whose amount is known. A constant says how long they are.

const STEPS = 512u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= arrayLength(&y)) { return; }
    var a = x[id.x];
    for (var i = 0u; i < STEPS; i++) {
        a = fma(a, 0.999, 0.001);
    }
    y[id.x] = a;
}
