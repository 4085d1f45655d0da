//! Half precision: IEEE 754 binary16.

/// The nearest half, ties to even, as bits.
pub(crate) fn to_half(number: f64) -> u16 {
    let sign = if number.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = number.abs();
    if magnitude.is_nan() {
        return sign | 0x7e00;
    }
    // Halves past the largest finite one, 65504, begin halfway to the next power of two.
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    // Steps between halves of this magnitude: 2^-24 for subnormal ones, then 10 bits below the leading one.
    let exponent = if magnitude < 2f64.powi(-14) { -14 } else { magnitude.log2().floor() as i32 };
    let steps = (magnitude * 2f64.powi(10 - exponent)).round_ties_even() as u16;
    // A step count of 2048 carries into the exponent by itself.
    sign | ((((exponent + 14) as u16) << 10) + steps)
}

/// The number that the bits of a half stand for.
pub(crate) fn from_half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

/// The nearest finite half, ties to even: what kernels make of the operands of products in half precision.
pub(crate) fn nearest_half(number: f64) -> f64 {
    const LARGEST: f64 = 65504.0;
    if number.is_nan() { number } else { from_half(to_half(number.clamp(-LARGEST, LARGEST))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_comes_back_and_others_round_to_the_nearest() {
        for bits in 0..=u16::MAX {
            let number = from_half(bits);
            assert!(number.is_nan() || to_half(number) == bits, "{bits:04x} {number}");
        }
        assert!(from_half(to_half(f64::NAN)).is_nan());
        let rounded = [1.0, -2.0, 65504.0, 65519.9, 65520.0, 2f64.powi(-24), 2f64.powi(-26), 1.0 + 2f64.powi(-11), 0.1];
        let wanted = [0x3c00, 0xc000, 0x7bff, 0x7bff, 0x7c00, 1, 0, 0x3c00, 0x2e66];
        assert_eq!(rounded.map(to_half), wanted);
        assert_eq!(to_half(2047.9), 0x6800, "carries into the exponent");
        let nearest = [0.1, 1e6, f64::NEG_INFINITY, 65519.0, 1e-9, -1.0 - 2f64.powi(-11) - 1e-9].map(nearest_half);
        assert_eq!(nearest, [0.0999755859375, 65504.0, -65504.0, 65504.0, 0.0, -1.0 - 2f64.powi(-10)]);
        assert!(nearest_half(f64::NAN).is_nan());
    }
}
