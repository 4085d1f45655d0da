// d log_variance = dz n exp(log_variance / 2) / 2, n as drawn by reparameterise.wgsl. Joined with philox.wgsl. One
// invocation per four elements of a sample.
struct Parameters { samples: u32, elements: u32, seed: u32, stream: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> dz: array<f32>;
@group(0) @binding(2) var<storage, read> log_variance: array<f32>;
@group(0) @binding(3) var<storage, read> rows: array<u32>;
@group(0) @binding(4) var<storage, read> clock: array<u32>;
@group(0) @binding(5) var<storage, read_write> gradient: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let quads = (parameters.elements + 3u) / 4u;
    let b = i / quads;
    if (b >= parameters.samples) { return; }
    let quad = i % quads;
    let words = philox(vec4<u32>(quad, rows[b], clock[0], clock[1]), vec2<u32>(parameters.seed, parameters.stream));
    let start = b * parameters.elements + quad * 4u;
    let end = min(4u, parameters.elements - quad * 4u);
    for (var e = 0u; e < end; e++) {
        let at = start + e;
        gradient[at] = 0.5 * dz[at] * normal_from_bits(words[e]) * exp(0.5 * log_variance[at]);
    }
}
