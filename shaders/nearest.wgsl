// For each query and slice of the codes the nearest codes of the slice: their squared distances, sum((code - query)^2),
// and indices, by rising distance and index, (queries, slices, kept); places that no code takes are far and nobody's.
// codes (N, dim), queries (queries, dim); range: the index of the first code, and how many count.
//
// A workgroup takes 32 queries and one slice, 32 codes at a time: each of the 64 invocations sums 4x4 distances from 16
// columns at a time in workgroup memory (8.5 KB in all with the distances); then one invocation a query goes through
// the distances in the order of the codes and inserts those that are nearer than the farthest of its list. Codes come by rising
// index, so an equal distance never takes a place from one that has it. Insertions are rare: about kept * ln(N / kept).
const TILE: u32 = 32u;
const DEPTH: u32 = 16u;
const PITCH: u32 = 17u; // of a row of DEPTH, so that neighbouring rows are in different banks
const ROW: u32 = 33u;   // of TILE distances
const FAR: f32 = 3.40282347e38;
const NOBODY: u32 = 0xffffffffu;

struct Parameters {
    queries: u32,
    dim: u32,
    kept: u32,
    slices: u32,
    slice_len: u32, // a multiple of TILE
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> codes: array<f32>;
@group(0) @binding(2) var<storage, read> queries: array<f32>;
@group(0) @binding(3) var<storage, read> range: array<u32>;
@group(0) @binding(4) var<storage, read_write> near: array<f32>;
@group(0) @binding(5) var<storage, read_write> indices: array<u32>;

var<workgroup> query_tile: array<f32, 544>;    // TILE * PITCH
var<workgroup> code_tile: array<f32, 544>;
var<workgroup> distance_tile: array<f32, 1056>; // TILE * ROW

// Puts a code into a sorted list whose last entry is farther.
fn insert(list: u32, distance: f32, index: u32) {
    var place = parameters.kept - 1u;
    while (place > 0u) {
        let before = near[list + place - 1u];
        if (before <= distance) { break; }
        near[list + place] = before;
        indices[list + place] = indices[list + place - 1u];
        place--;
    }
    near[list + place] = distance;
    indices[list + place] = index;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) counts: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let group = id.y * counts.x + id.x;
    let slice = group % parameters.slices;
    let first_query = (group / parameters.slices) * TILE;
    if (first_query >= parameters.queries) { return; }
    let begin = slice * parameters.slice_len;
    let end = min(begin + parameters.slice_len, range[1]);
    let column = lane % 8u;
    let row = lane / 8u;

    let query = first_query + lane;
    let keeps = lane < TILE && query < parameters.queries;
    let list = (query * parameters.slices + slice) * parameters.kept;
    if (keeps) {
        for (var i = 0u; i < parameters.kept; i++) {
            near[list + i] = FAR;
            indices[list + i] = NOBODY;
        }
    }
    var farthest = FAR;

    for (var first = begin; first < end; first += TILE) {
        var sums: array<vec4<f32>, 4>;
        for (var depth = 0u; depth < parameters.dim; depth += DEPTH) {
            for (var i = lane; i < TILE * DEPTH; i += 64u) {
                let r = i / DEPTH;
                let c = i % DEPTH;
                let inside = depth + c < parameters.dim;
                var q = 0.0;
                if (inside && first_query + r < parameters.queries) {
                    q = queries[(first_query + r) * parameters.dim + depth + c];
                }
                query_tile[r * PITCH + c] = q;
                var x = 0.0;
                if (inside && first + r < end) { x = codes[(first + r) * parameters.dim + depth + c]; }
                code_tile[r * PITCH + c] = x;
            }
            workgroupBarrier();
            for (var c = 0u; c < DEPTH; c++) {
                let at = column * PITCH + c;
                let x = vec4<f32>(code_tile[at], code_tile[at + 8u * PITCH], code_tile[at + 16u * PITCH],
                                  code_tile[at + 24u * PITCH]);
                for (var i = 0u; i < 4u; i++) {
                    let difference = x - query_tile[(row + 8u * i) * PITCH + c];
                    sums[i] += difference * difference;
                }
            }
            workgroupBarrier();
        }
        for (var i = 0u; i < 4u; i++) {
            for (var j = 0u; j < 4u; j++) { distance_tile[(row + 8u * i) * ROW + column + 8u * j] = sums[i][j]; }
        }
        workgroupBarrier();
        if (keeps) {
            let here = min(TILE, end - first);
            for (var j = 0u; j < here; j++) {
                let distance = distance_tile[lane * ROW + j];
                if (distance < farthest) {
                    insert(list, distance, range[0] + first + j);
                    farthest = near[list + parameters.kept - 1u];
                }
            }
        }
    }
}
