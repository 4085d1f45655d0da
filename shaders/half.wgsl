// Rounding to half precision, in the arithmetic of f32 and of integers: drivers are free to round a conversion either way,
// and this gives the same on all of them.

// The nearest half to v, ties to even; the largest finite one where v is past it. A NaN stays one.
fn nearest_half(v: f32) -> f32 {
    let below = select(v, 65504.0, v > 65504.0);
    let inside = select(below, -65504.0, below < -65504.0);
    let bits = bitcast<u32>(inside);
    // 13 bits of the fraction are dropped; half of their worth, less one where the last that stays is even, rounds up.
    let normal = bitcast<f32>((bits + 0xfffu + ((bits >> 13u) & 1u)) & 0xffffe000u);
    // Below 2^-14 halves are 2^-24 apart.
    let small = round(inside * 16777216.0) * 5.9604644775390625e-8;
    let half = select(normal, small, abs(inside) < 6.103515625e-5);
    // By its bits: compilers may take it that no number differs from itself. The carry above would turn some NaNs into 0.
    return select(half, v, (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u);
}
