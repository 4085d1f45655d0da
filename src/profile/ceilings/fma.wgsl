// Chains of multiply-adds in registers: the rate of arithmetic when nothing has to be fetched. Each invocation has CHAINS
// independent chains of four lanes; one result of each is written, so that no chain can be left out.
const CHAINS: u32 = 8u;
const ROUNDS: u32 = 64u;
const FUSED: bool = true; // fma(a, b, c), or a * b + c, which some drivers turn into it and others into two operations
struct Parameters {
    factor: f32,
    addend: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

fn next(x: vec4<f32>) -> vec4<f32> {
    if (FUSED) { return fma(x, vec4<f32>(parameters.factor), vec4<f32>(parameters.addend)); }
    return x * parameters.factor + parameters.addend;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * 64u + lane;
    var a = vec4<f32>(f32(i)); var b = a + 1.0; var c = a + 2.0; var d = a + 3.0;
    var e = a + 4.0; var f = a + 5.0; var g = a + 6.0; var h = a + 7.0;
    for (var round = 0u; round < ROUNDS; round++) {
        a = next(a); b = next(b); c = next(c); d = next(d);
        if (CHAINS == 8u) { e = next(e); f = next(f); g = next(g); h = next(h); }
    }
    y[i] = dot(a + b + c + d + e + f + g + h, vec4<f32>(1.0));
}
