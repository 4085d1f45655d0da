// The cooperative operations of matrix_product.wgsl in plain arithmetic: factors are places in workgroup memory, and each of
// the LANES invocations that compute a product together has its share of the sums: elements of one column, eight at most, in
// two vectors. (An array in registers would have drivers unroll the loops, and compile for ten times as long.) SIZE is that of
// the matrices' types.
struct Left { at: u32, stride: u32 }
struct Right { at: u32, stride: u32 }
struct Sum { upper: vec4<f32>, lower: vec4<f32> }
const SHARE: u32 = SIZE * SIZE / LANES;
const_assert LANES % SIZE == 0u && SHARE >= 1u && SHARE <= 8u;

// Rows of an invocation's elements; those that are too many are the last one again.
fn upper_rows(lane: u32) -> vec4<u32> { return rows_from(lane, vec4<u32>(0u, 1u, 2u, 3u)); }
fn lower_rows(lane: u32) -> vec4<u32> { return rows_from(lane, vec4<u32>(4u, 5u, 6u, 7u)); }
fn rows_from(lane: u32, elements: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(lane % LANES / SIZE) + min(elements, vec4<u32>(SHARE - 1u)) * (LANES / SIZE);
}

fn load_left(lane: u32, at: u32, stride: u32) -> Left { return Left(at, stride); }
fn load_right(lane: u32, at: u32, stride: u32) -> Right { return Right(at, stride); }

fn sums_at(i: vec4<u32>) -> vec4<f32> { return vec4<f32>(sums[i.x], sums[i.y], sums[i.z], sums[i.w]); }
fn left_at(i: vec4<u32>) -> vec4<f32> { return vec4<f32>(f32(left[i.x]), f32(left[i.y]), f32(left[i.z]), f32(left[i.w])); }

fn load_sum(lane: u32, at: u32, stride: u32) -> Sum {
    let first = vec4<u32>(at + lane % SIZE);
    return Sum(sums_at(first + upper_rows(lane) * stride), sums_at(first + lower_rows(lane) * stride));
}

fn multiply_add(lane: u32, a: Left, b: Right, c: Sum) -> Sum {
    var sum = c;
    var upper = vec4<u32>(a.at) + upper_rows(lane) * a.stride;
    var lower = vec4<u32>(a.at) + lower_rows(lane) * a.stride;
    for (var k = 0u; k < SIZE; k++) {
        let factor = f32(right[b.at + k * b.stride + lane % SIZE]);
        sum.upper += left_at(upper + vec4<u32>(k)) * factor;
        sum.lower += left_at(lower + vec4<u32>(k)) * factor;
    }
    return sum;
}

fn store_four(values: vec4<f32>, i: vec4<u32>) {
    sums[i.x] = values.x;
    sums[i.y] = values.y;
    sums[i.z] = values.z;
    sums[i.w] = values.w;
}

fn store_sum(lane: u32, sum: Sum, at: u32, stride: u32) {
    let first = vec4<u32>(at + lane % SIZE);
    store_four(sum.upper, first + upper_rows(lane) * stride);
    store_four(sum.lower, first + lower_rows(lane) * stride);
}
