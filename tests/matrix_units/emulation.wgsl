// The cooperative operations of matrix_product.wgsl in plain arithmetic: factors are places in workgroup memory, and each of
// the LANES invocations that compute a product together has its share of the sums. SIZE is that of the matrices' types.
struct Left { at: u32, stride: u32 }
struct Right { at: u32, stride: u32 }
const SHARE: u32 = SIZE * SIZE / LANES;
alias Sum = array<f32, SHARE>;

fn load_left(lane: u32, at: u32, stride: u32) -> Left { return Left(at, stride); }
fn load_right(lane: u32, at: u32, stride: u32) -> Right { return Right(at, stride); }

fn load_sum(lane: u32, at: u32, stride: u32) -> Sum {
    var sum: Sum;
    for (var i = 0u; i < SHARE; i++) {
        let e = lane % LANES + i * LANES;
        sum[i] = sums[at + e / SIZE * stride + e % SIZE];
    }
    return sum;
}

fn multiply_add(lane: u32, a: Left, b: Right, c: Sum) -> Sum {
    var sum = c;
    for (var i = 0u; i < SHARE; i++) {
        let e = lane % LANES + i * LANES;
        for (var k = 0u; k < SIZE; k++) {
            sum[i] += f32(left[a.at + e / SIZE * a.stride + k]) * f32(right[b.at + k * b.stride + e % SIZE]);
        }
    }
    return sum;
}

fn store_sum(lane: u32, sum: Sum, at: u32, stride: u32) {
    for (var i = 0u; i < SHARE; i++) {
        let e = lane % LANES + i * LANES;
        sums[at + e / SIZE * stride + e % SIZE] = sum[i];
    }
}
