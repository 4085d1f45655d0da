// A batch of rows from a data set, as gather.wgsl gives it, and the same rows with noise, in one pass: KIND 0 masks pixels,
// 1 replaces them by low or high, 2 replaces one square of side x side by low (pixel_noise.wgsl), 3 adds sigma * normal to
// each element (gaussian_noise.wgsl); with the same random words. At most three chunks. Joined with philox.wgsl.
// One invocation takes four neighbouring columns. ALONE and FOURS as in gather.wgsl.
const BYTES: bool = true;
const RING: bool = false;
const ALONE: bool = false;
const FOURS: bool = false;
const KIND: u32 = 3u;

struct Parameters {
    batch: u32,
    columns: u32,
    row_words: u32,  // words of one row of a chunk
    chunk_rows: u32, // rows of every chunk but the last
    order_rows: u32,
    offset: f32,
    height: u32,
    width: u32,
    channels: u32,
    seed: u32,
    stream: u32,
    threshold: u32, // of the upper 24 bits
    side: u32,
    low: f32,
    high: f32,
    sigma: f32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> clock: array<u32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> rows: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read> chunk_0: array<u32>;
@group(0) @binding(7) var<storage, read> chunk_1: array<u32>;
@group(0) @binding(8) var<storage, read> chunk_2: array<u32>;

fn load(chunk: u32, word: u32) -> u32 {
    if (ALONE) { return chunk_0[word]; }
    switch chunk {
        case 0u: { return chunk_0[word]; }
        case 1u: { return chunk_1[word]; }
        default: { return chunk_2[word]; }
    }
}

fn draw(quad: u32, row: u32) -> vec4<u32> {
    return philox(vec4<u32>(quad, row, clock[0], clock[1]), vec2<u32>(p.seed, p.stream));
}

// First row or column of a square, at equal chances where it fits.
fn square_begin(word: u32, extent: u32) -> u32 { return multiply_high(word, max(extent, p.side) - p.side + 1u); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let quads = (p.columns + 3u) / 4u;
    let b = i / quads;
    if (b >= p.batch) { return; }
    let column = (i - b * quads) * 4u;
    let position = (clock[2] + b) % p.order_rows;
    let row = order[position];
    let place = select(row, position, RING);
    let chunk = select(place / p.chunk_rows, 0u, ALONE);
    if (column == 0u) { rows[b] = row; }
    let start = (place - chunk * p.chunk_rows) * p.row_words;
    let end = select(min(column + 4u, p.columns), column + 4u, FOURS);
    var word = 0u;
    if (BYTES) { word = load(chunk, start + column / 4u); }
    // The words of the columns: those of their elements, of their pixels, or of the one square. Four pixels are a multiple of
    // four columns, so that all have the same.
    var quad = select(column / p.channels / 4u, column / 4u, KIND == 3u);
    if (KIND == 2u) { quad = 0u; }
    let words = draw(quad, row);
    for (var c = column; c < end; c++) {
        var value = 0.0;
        if (BYTES) {
            value = f32((word >> (8u * (c - column))) & 255u) / 255.0 + p.offset;
        } else {
            value = bitcast<f32>(load(chunk, start + c));
        }
        let at = b * p.columns + c;
        x[at] = value;
        let pixel = c / p.channels;
        if (KIND < 2u) {
            let bits = words[pixel % 4u];
            if ((bits >> 8u) < p.threshold) { value = select(p.low, p.high, KIND == 1u && (bits & 1u) == 1u); }
        }
        if (KIND == 2u) {
            let down = pixel / p.width - square_begin(words.x, p.height);
            let right = pixel % p.width - square_begin(words.y, p.width);
            if (down < p.side && right < p.side) { value = p.low; }
        }
        if (KIND == 3u) { value += p.sigma * normal_from_bits(words[c % 4u]); }
        y[at] = value;
    }
}
