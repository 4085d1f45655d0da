// The cooperative operations of matrix_product.wgsl in plain arithmetic: factors are places in workgroup memory, and each of
// the LANES invocations that compute a product together has its share of the sums, four of them at most, in a vector: an
// array in registers would have drivers unroll the loops, and compile for ten times as long. SIZE is that of the matrices'
// types.
struct Left { at: u32, stride: u32 }
struct Right { at: u32, stride: u32 }
const SHARE: u32 = SIZE * SIZE / LANES;
const_assert SHARE >= 1u && SHARE <= 4u;
alias Sum = vec4<f32>;

// Numbers of the elements in an invocation's share; those that are too many are the last one again.
fn share(lane: u32) -> vec4<u32> {
    return vec4<u32>(lane % LANES) + min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(SHARE - 1u)) * LANES;
}

fn load_left(lane: u32, at: u32, stride: u32) -> Left { return Left(at, stride); }
fn load_right(lane: u32, at: u32, stride: u32) -> Right { return Right(at, stride); }

fn load_sum(lane: u32, at: u32, stride: u32) -> Sum {
    let i = vec4<u32>(at) + share(lane) / SIZE * stride + share(lane) % SIZE;
    return vec4<f32>(sums[i.x], sums[i.y], sums[i.z], sums[i.w]);
}

fn multiply_add(lane: u32, a: Left, b: Right, c: Sum) -> Sum {
    var sum = c;
    var i = vec4<u32>(a.at) + share(lane) / SIZE * a.stride;
    var j = vec4<u32>(b.at) + share(lane) % SIZE;
    for (var k = 0u; k < SIZE; k++) {
        sum += vec4<f32>(f32(left[i.x]), f32(left[i.y]), f32(left[i.z]), f32(left[i.w]))
            * vec4<f32>(f32(right[j.x]), f32(right[j.y]), f32(right[j.z]), f32(right[j.w]));
        i += vec4<u32>(1u);
        j += vec4<u32>(b.stride);
    }
    return sum;
}

fn store_sum(lane: u32, sum: Sum, at: u32, stride: u32) {
    let i = vec4<u32>(at) + share(lane) / SIZE * stride + share(lane) % SIZE;
    sums[i.x] = sum.x;
    sums[i.y] = sum.y;
    sums[i.z] = sum.z;
    sums[i.w] = sum.w;
}
