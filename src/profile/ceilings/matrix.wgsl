// Products of small matrices on the units for them: half-precision factors, single-precision sums, one subgroup to a
// workgroup, four independent sums. Each element of a factor is 1/16, so that each product adds SIZE / 256 to each element of a
// sum, without rounding: the result tells whether the units do what they should. Behind a line that gives the matrices' types.
const ROUNDS: u32 = 256u;
const ELEMENTS: u32 = 256u; // of one matrix
const SIZE: u32 = 16u;
@group(0) @binding(1) var<storage, read> factor: array<f16>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    let start = group.x * 4u * ELEMENTS;
    let a = coopLoadT<Left>(&factor[0], SIZE);
    let b = coopLoadT<Right>(&factor[0], SIZE);
    var p = coopLoadT<Sum>(&sums[start], SIZE);
    var q = coopLoadT<Sum>(&sums[start], SIZE);
    var r = coopLoadT<Sum>(&sums[start], SIZE);
    var s = coopLoadT<Sum>(&sums[start], SIZE);
    for (var round = 0u; round < ROUNDS; round++) {
        p = coopMultiplyAdd(a, b, p);
        q = coopMultiplyAdd(a, b, q);
        r = coopMultiplyAdd(a, b, r);
        s = coopMultiplyAdd(a, b, s);
    }
    coopStoreT(p, &sums[start], SIZE);
    coopStoreT(q, &sums[start + ELEMENTS], SIZE);
    coopStoreT(r, &sums[start + 2u * ELEMENTS], SIZE);
    coopStoreT(s, &sums[start + 3u * ELEMENTS], SIZE);
}
