//! Loops over floats that the compiler turns into the widest vectors of the processor it runs on, and the functions
//! that such loops need: the standard library's exp and tanh are calls, one element at a time.

/// Runs `work` compiled for the processor's own vector extensions. Only what is inlined into it gains.
#[inline]
pub(crate) fn wide<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// x, or zero where it is subnormal.
#[inline(always)]
pub(crate) fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x }
}

/// (e^r - 1, 2^n) with x = n ln 2 + r, |r| <= ln 2 / 2; the polynomial is that of Cephes' expf, 2 ulp.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, f32) {
    // Adding 1.5 * 2^23 rounds to a whole number, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_2e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let scale = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    (p * r * r + r, scale)
}

/// e^x, for x clamped to -87..88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let (p, scale) = exp_parts(x);
    p * scale + scale
}

/// e^x - 1 without cancellation, for x clamped to -87..88.
#[inline(always)]
pub(crate) fn exp_m1(x: f32) -> f32 {
    let (p, scale) = exp_parts(x);
    p * scale + (scale - 1.0)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Hyperbolic tangent, from e^(-2|x|) - 1.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let m = exp_m1(-2.0 * x.abs());
    (-m / (m + 2.0)).copysign(x)
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|).
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    x.max(0.0) + softplus_tail(x)
}

/// ln(1 + e^-|x|).
#[inline(always)]
pub(crate) fn softplus_tail(x: f32) -> f32 {
    let u = exp(-x.abs());
    ln_1p_of(u / (2.0 + u))
}

/// [`softplus_tail`] and [`sigmoid`] of x, which share an exponential and a division: 1 / (1 + u) and 1 / (2 + u) come from the
/// reciprocal of their product.
#[inline(always)]
pub(crate) fn softplus_tail_and_sigmoid(x: f32) -> (f32, f32) {
    let u = exp(-x.abs());
    let reciprocal = 1.0 / ((1.0 + u) * (2.0 + u));
    let of_absolute = reciprocal * (2.0 + u);
    (ln_1p_of(u * (reciprocal * (1.0 + u))), if x < 0.0 { u * of_absolute } else { of_absolute })
}

/// ln(1 + u) from s = u / (2 + u) for u in 0..=1, as 2 artanh(s): s times the polynomial in s^2 on 0..=1/9 whose largest relative
/// error, 4e-9, is the smallest.
#[inline(always)]
fn ln_1p_of(s: f32) -> f32 {
    let q = s * s;
    let mut p = 0.140_891_67;
    for c in [0.139_803, 0.200_124_55, 0.333_331_58, 1.0] {
        p = p * q + c;
    }
    2.0 * s * p
}

/// Natural logarithm of a positive, normal x: mantissa in sqrt(1/2)..sqrt(2) and exponent; the polynomial is that of
/// Cephes' logf, 2 ulp.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // The bits from those of sqrt(1/2) on, so that the exponent counts from there.
    const ROOT: u32 = 0x3F35_04F3;
    let above = x.to_bits().wrapping_sub(ROOT);
    let exponent = (above.cast_signed() >> 23) as f32;
    let m = f32::from_bits((above & 0x007F_FFFF).wrapping_add(ROOT)) - 1.0;
    let mut p = 7.037_683_6e-2;
    for c in [
        -0.115_146_1,
        0.116_769_99,
        -0.124_201_41,
        0.142_493_23,
        -0.166_680_58,
        0.200_007_15,
        -0.249_999_94,
        0.333_333_3,
    ] {
        p = p * m + c;
    }
    let square = m * m;
    m + (p * m * square - 0.5 * square - 2.121_944_4e-4 * exponent) + 0.693_359_4 * exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_exact_to_a_few_ulp() {
        type Pair = (&'static str, fn(f32) -> f32, fn(f64) -> f64);
        let functions: [Pair; 7] = [
            ("exp", exp, f64::exp),
            ("exp_m1", exp_m1, f64::exp_m1),
            ("sigmoid", sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            ("tanh", tanh, f64::tanh),
            ("softplus", softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
            ("softplus's tail", |x| softplus_tail_and_sigmoid(x).0, |x| (-x.abs()).exp().ln_1p()),
            ("sigmoid beside it", |x| softplus_tail_and_sigmoid(x).1, |x| 1.0 / (1.0 + (-x).exp())),
        ];
        for (name, fast, exact) in functions {
            for i in -400_000..=400_000 {
                // Dense around zero and out to +-80.
                let t = f64::from(i) / 400_000.0;
                let x = (80.0 * t * t * t) as f32;
                let (got, wanted) = (f64::from(fast(x)), exact(f64::from(x)));
                assert!((got - wanted).abs() <= 4e-7 * wanted.abs(), "{name}({x}) = {got}, wanted {wanted}");
            }
        }
    }

    #[test]
    fn logarithms_are_exact_to_a_few_ulp() {
        for i in 0..800_000 {
            let x = (f64::from(i - 400_000) / 400_000.0 * 80.0).exp() as f32;
            let (got, wanted) = (f64::from(ln(x)), f64::from(x).ln());
            assert!((got - wanted).abs() <= 4e-7 * wanted.abs(), "ln({x}) = {got}, wanted {wanted}");
        }
    }

    #[test]
    fn extremes_stay_finite_and_nan_stays_nan() {
        for x in [f32::NEG_INFINITY, -1e30, -100.0, 100.0, 1e30, f32::INFINITY] {
            assert!(exp(x).is_finite() && exp_m1(x).is_finite() && tanh(x).is_finite() && sigmoid(x).is_finite());
        }
        assert_eq!((tanh(-1e30), tanh(1e30), sigmoid(1e30)), (-1.0, 1.0, 1.0));
        assert!(exp(f32::NAN).is_nan() && exp_m1(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
    }
}
