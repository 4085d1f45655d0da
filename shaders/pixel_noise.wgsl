// y = x with some pixels, all channels of each, replaced by low or high; random words keyed by (seed, stream, step,
// sample, pixel). Joined with philox.wgsl. One invocation per four pixels of a sample.
// KIND: 0 masks pixels, 1 replaces them by low or high, 2 one square of side x side.
const KIND: u32 = 0u;

struct Parameters {
    samples: u32,
    height: u32,
    width: u32,
    channels: u32,
    seed: u32,
    stream: u32,
    threshold: u32, // of the upper 24 bits
    side: u32,
    low: f32,
    high: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> clock: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// First row or column of a square, at equal chances where it fits.
fn square_begin(word: u32, extent: u32) -> u32 {
    return multiply_high(word, max(extent, parameters.side) - parameters.side + 1u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let pixels = parameters.height * parameters.width;
    let quads = (pixels + 3u) / 4u;
    let b = i / quads;
    if (b >= parameters.samples) { return; }
    let quad = i % quads;
    let counter = vec4<u32>(select(quad, 0u, KIND == 2u), rows[b], clock[0], clock[1]);
    let words = philox(counter, vec2<u32>(parameters.seed, parameters.stream));
    let top = square_begin(words.x, parameters.height);
    let left = square_begin(words.y, parameters.width);
    for (var e = 0u; e < min(4u, pixels - quad * 4u); e++) {
        let pixel = quad * 4u + e;
        var replaced = (words[e] >> 8u) < parameters.threshold;
        var value = parameters.low;
        if (KIND == 1u && (words[e] & 1u) == 1u) { value = parameters.high; }
        if (KIND == 2u) {
            let row = pixel / parameters.width;
            let column = pixel % parameters.width;
            replaced = row >= top && row < top + parameters.side && column >= left && column < left + parameters.side;
        }
        let start = (b * pixels + pixel) * parameters.channels;
        for (var c = 0u; c < parameters.channels; c++) { y[start + c] = select(x[start + c], value, replaced); }
    }
}
