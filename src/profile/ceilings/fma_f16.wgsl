// As fma.wgsl, in half precision.
enable f16;
const CHAINS: u32 = 8u;
const ROUNDS: u32 = 64u;
const FUSED: bool = true;
struct Parameters {
    factor: f32,
    addend: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

fn next(x: vec4<f16>, factor: vec4<f16>, addend: vec4<f16>) -> vec4<f16> {
    if (FUSED) { return fma(x, factor, addend); }
    return x * factor + addend;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * 64u + lane;
    let k = vec4<f16>(f16(parameters.factor));
    let s = vec4<f16>(f16(parameters.addend));
    var a = vec4<f16>(f16(lane)); var b = a + 1.0h; var c = a + 2.0h; var d = a + 3.0h;
    var e = a + 4.0h; var f = a + 5.0h; var g = a + 6.0h; var h = a + 7.0h;
    for (var round = 0u; round < ROUNDS; round++) {
        a = next(a, k, s); b = next(b, k, s); c = next(c, k, s); d = next(d, k, s);
        if (CHAINS == 8u) { e = next(e, k, s); f = next(f, k, s); g = next(g, k, s); h = next(h, k, s); }
    }
    y[i] = f32(dot(a + b + c + d + e + f + g + h, vec4<f16>(1.0h)));
}
