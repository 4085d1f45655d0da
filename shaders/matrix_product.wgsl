// A tile of sums of products on matrix units: TILE rows x TILE columns of one workgroup, staged through workgroup memory in
// slices of DEPTH of the inner extent, as halves. Joined with matrix_8.wgsl or matrix_16.wgsl, half.wgsl and a kernel that has
//   struct Tile { ..., begin: u32, end: u32 }     what the tile is, and where its inner extent begins and ends
//   fn tile_of(number: u32) -> Tile
//   fn prepare(tile: Tile, lane: u32)              anything in workgroup memory that stays for the whole tile
//   fn stage(tile: Tile, k0: u32, lane: u32)       fills left (rows x slice) and right (slice x columns), zero outside
//   fn finish(tile: Tile, row: u32, column: u32, sum: f32)
// Workgroup memory (16x16, in bytes): 5,120 + 4,608 for the slice, 16,384 for the sums.
// Four runs of LANES invocations, which are a subgroup each: a quarter of the tile, in four matrices. Where the driver takes
// smaller subgroups, those of one run compute and store the same values. Cooperative operations stand in main alone: they may
// not be conditional, and no driver has to pass matrices to functions. The sums begin as zeros from workgroup memory, since
// elements of a matrix cannot be set. Rows are 8 halves longer than they need be, so that lanes fall into different banks.
const LANES: u32 = 32u;
const TILE: u32 = 4u * MATRIX;
const DEPTH: u32 = 2u * MATRIX;
const INVOCATIONS: u32 = 4u * LANES;
const LEFT_STRIDE: u32 = DEPTH + 8u;
const RIGHT_STRIDE: u32 = TILE + 8u;

var<workgroup> left: array<f16, TILE * LEFT_STRIDE>;
var<workgroup> right: array<f16, DEPTH * RIGHT_STRIDE>;
var<workgroup> sums: array<f32, TILE * TILE>;

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tile = tile_of(group.y * groups.x + group.x);
    for (var i = lane; i < TILE * TILE; i += INVOCATIONS) { sums[i] = 0.0; }
    prepare(tile, lane);
    workgroupBarrier();
    let row = lane / (2u * LANES) * (2u * MATRIX);
    let column = (lane / LANES) % 2u * (2u * MATRIX);
    let at = row * TILE + column;
    var p = coopLoadT<Sum>(&sums[at], TILE);
    var q = coopLoadT<Sum>(&sums[at + MATRIX], TILE);
    var r = coopLoadT<Sum>(&sums[at + MATRIX * TILE], TILE);
    var s = coopLoadT<Sum>(&sums[at + MATRIX * TILE + MATRIX], TILE);
    for (var k0 = tile.begin; k0 < tile.end; k0 += DEPTH) {
        stage(tile, k0, lane);
        workgroupBarrier(); // the slice is there
        for (var k = 0u; k < DEPTH; k += MATRIX) {
            let a = coopLoadT<Left>(&left[row * LEFT_STRIDE + k], LEFT_STRIDE);
            let b = coopLoadT<Left>(&left[(row + MATRIX) * LEFT_STRIDE + k], LEFT_STRIDE);
            let c = coopLoadT<Right>(&right[k * RIGHT_STRIDE + column], RIGHT_STRIDE);
            let d = coopLoadT<Right>(&right[k * RIGHT_STRIDE + column + MATRIX], RIGHT_STRIDE);
            p = coopMultiplyAdd(a, c, p);
            q = coopMultiplyAdd(a, d, q);
            r = coopMultiplyAdd(b, c, r);
            s = coopMultiplyAdd(b, d, s);
        }
        workgroupBarrier(); // the slice is read
    }
    coopStoreT(p, &sums[at], TILE);
    coopStoreT(q, &sums[at + MATRIX], TILE);
    coopStoreT(r, &sums[at + MATRIX * TILE], TILE);
    coopStoreT(s, &sums[at + MATRIX * TILE + MATRIX], TILE);
    workgroupBarrier(); // the sums are there
    for (var i = lane; i < TILE * TILE; i += INVOCATIONS) { finish(tile, i / TILE, i % TILE, sums[i]); }
}
