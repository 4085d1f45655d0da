// y = scale * x, or zero where the upper 24 bits of the element's random word are below the threshold; words keyed by
// (seed, stream, step, sample, element). Joined with philox.wgsl. One invocation per four elements of a sample.
struct Parameters { samples: u32, elements: u32, seed: u32, stream: u32, threshold: u32, scale: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> clock: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

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
        y[start + e] = select(0.0, parameters.scale * x[start + e], (words[e] >> 8u) >= parameters.threshold);
    }
}
