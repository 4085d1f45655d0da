// A batch of rows from a data set in chunks: x[b] = data[order[clock.row + b]]. A launch sees four of the chunks and writes
// the rows of the batch that lie in them; those that lie elsewhere are left to the other launches.
// As a ring, the chunks hold rows in the order itself: x[b] = data[clock.row + b], which is row order[clock.row + b] of a
// data set that lies elsewhere. Both begin again at the start after order_rows.
// Bytes are packed four to a word, rows padded to whole words; they become byte / 255 + offset.
// One invocation writes four neighbouring columns, so that each packed word is read once.
// With one chunk there is nothing to choose and nothing to divide by, and with columns in fours no end to look for: software
// drivers run all cases of a switch and divide number by number.
const BYTES: bool = true;
const RING: bool = false;
const ALONE: bool = false;
const FOURS: bool = false;

struct Parameters {
    batch: u32,
    columns: u32,
    row_words: u32,  // words of one row of a chunk
    chunk_rows: u32, // rows of every chunk but the last
    first_chunk: u32, // of the four that are bound
    order_rows: u32,
    offset: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> clock: array<u32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> rows: array<u32>;
@group(0) @binding(5) var<storage, read> chunk_0: array<u32>;
@group(0) @binding(6) var<storage, read> chunk_1: array<u32>;
@group(0) @binding(7) var<storage, read> chunk_2: array<u32>;
@group(0) @binding(8) var<storage, read> chunk_3: array<u32>;

fn load(chunk: u32, word: u32) -> u32 {
    if (ALONE) { return chunk_0[word]; }
    switch chunk {
        case 0u: { return chunk_0[word]; }
        case 1u: { return chunk_1[word]; }
        case 2u: { return chunk_2[word]; }
        default: { return chunk_3[word]; }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let quads = (parameters.columns + 3u) / 4u;
    let b = i / quads;
    if (b >= parameters.batch) { return; }
    let column = (i - b * quads) * 4u;
    let position = (clock[2] + b) % parameters.order_rows;
    let row = order[position];
    let place = select(row, position, RING);
    let number = select(place / parameters.chunk_rows, 0u, ALONE);
    if (number < parameters.first_chunk || number >= parameters.first_chunk + 4u) { return; }
    let chunk = number - parameters.first_chunk;
    if (column == 0u) { rows[b] = row; }
    let start = (place - number * parameters.chunk_rows) * parameters.row_words;
    let end = select(min(column + 4u, parameters.columns), column + 4u, FOURS);
    if (BYTES) {
        let word = load(chunk, start + column / 4u);
        for (var c = column; c < end; c++) {
            let byte = (word >> (8u * (c - column))) & 255u;
            x[b * parameters.columns + c] = f32(byte) / 255.0 + parameters.offset;
        }
    } else {
        for (var c = column; c < end; c++) {
            x[b * parameters.columns + c] = bitcast<f32>(load(chunk, start + c));
        }
    }
}
