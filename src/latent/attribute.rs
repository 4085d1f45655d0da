//! Arithmetic with attributes: what codes of pictures that have one have more of than the others, added to a code.

use super::Codes;
use crate::error::{Error, Result};

/// The way of an attribute in code space: the mean code of pictures with it less that of those without (Larsen et al.
/// 2016, "Autoencoding beyond pixels").
///
/// ```
/// use degrain::latent::{AttributeVector, Codes};
///
/// let codes = Codes::new(vec![1.0, 0.0, 3.0, 0.0, 1.0, 5.0], 2)?;
/// let smile = AttributeVector::new(&codes, &[false, false, true])?;
/// assert_eq!(smile.values(), [-1.0, 5.0]);
/// assert_eq!(smile.add(&[0.5, 0.5], 2.0), [-1.5, 10.5]);
/// assert_eq!((smile.with(), smile.without()), (1, 2));
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AttributeVector {
    values: Vec<f32>,
    with: usize,
    without: usize,
}

impl AttributeVector {
    /// From codes, and whether the picture of each has the attribute.
    ///
    /// # Errors
    /// Another number of answers than of codes, or only one kind of answer.
    pub fn new(codes: &Codes, has: &[bool]) -> Result<Self> {
        if codes.len() != has.len() {
            let got = format!("{} for {} codes", has.len(), codes.len());
            return Err(Error::shape("attribute", "one answer a code", got));
        }
        let with = has.iter().filter(|&&has| has).count();
        let without = has.len() - with;
        if with == 0 || without == 0 {
            let got = format!("{with} with and {without} without");
            return Err(Error::shape("attribute", "pictures with it and pictures without it", got));
        }
        let mut sums = vec![[0f64; 2]; codes.dim()];
        for (code, &has) in codes.iter().zip(has) {
            sums.iter_mut().zip(code).for_each(|(sum, &value)| sum[usize::from(has)] += f64::from(value));
        }
        let values = sums.iter().map(|[no, yes]| (yes / with as f64 - no / without as f64) as f32).collect();
        Ok(Self { values, with, without })
    }

    /// The difference of the means, (code).
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// How many pictures have the attribute.
    pub fn with(&self) -> usize {
        self.with
    }

    /// How many pictures do not have it.
    pub fn without(&self) -> usize {
        self.without
    }

    /// `code` with the attribute added `strength` times; at 0 it is the code itself, bit by bit.
    pub fn add(&self, code: &[f32], strength: f32) -> Vec<f32> {
        if strength == 0.0 {
            return code.to_vec();
        }
        code.iter().zip(&self.values).map(|(&value, &more)| value + strength * more).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn strength_0_changes_no_bit() {
        let codes = Codes::new(vec![1.0, 2.0, -3.0, 4.0], 2).unwrap();
        let vector = AttributeVector::new(&codes, &[true, false]).unwrap();
        assert_eq!(vector.values(), [4.0, -2.0]);
        assert_eq!(vector.add(&[-0.0, 1.0], 0.0)[0].to_bits(), (-0f32).to_bits());
        assert_eq!(vector.add(&[-0.0, 1.0], -0.5), [-2.0, 2.0]);
    }

    #[test]
    fn both_kinds_are_needed() {
        let codes = Codes::new(vec![1.0, 2.0], 1).unwrap();
        for has in [&[true, true][..], &[false, false], &[true]] {
            assert!(AttributeVector::new(&codes, has).is_err(), "{has:?}");
        }
    }
}
