//! What the large products of a network are computed in.

use super::Tolerance;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a user asks for. Weights, gradients, sums and the optimiser are `f32` either way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Everything in `f32`.
    #[default]
    F32,
    /// The two operands of matrix products and convolutions, forward and backward, are rounded to half precision.
    F16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            _ => Err(format!("precision {text:?} is not known: wanted f32 or f16")),
        }
    }
}

/// How a kernel forms sums of products. Where operands are rounded, they are the op's inputs 0 and 1, each to the nearest
/// half, ties to even, past the largest finite one to that one: no infinity arises.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Products {
    /// Of operands in `f32`.
    #[default]
    F32,
    /// Of operands in `f32`, by minimal filtering (Winograd's F(2x2, 3x3)): rounded as sums of its own terms are, which
    /// [`Op::filtered_magnitude`](crate::graph::Op::filtered_magnitude) bounds.
    Filtered,
    /// Of rounded operands, by the arithmetic of `f32`, in which their products are exact.
    F16,
    /// Of rounded operands, on matrix units.
    MatrixUnits,
}

impl Products {
    /// Numbers of the inputs that are rounded.
    pub fn rounded_inputs(self) -> &'static [usize] {
        match self {
            Self::F32 | Self::Filtered => &[],
            Self::F16 | Self::MatrixUnits => &[0, 1],
        }
    }

    /// How far a kernel may be from the reference on the operands as it rounds them. Matrix units may drop the bits of a
    /// sum that do not fit (Fasi et al., Numerical behavior of NVIDIA tensor cores, 2021), which loses at most 2^-23 of
    /// the sum at each of K products, all of them in one direction: `|err| <= K 2^-23 sum|a_i b_i|`, the bound that
    /// [`Tolerance::Sum`] has for (K / 2)^2 products whose sums round to the nearest.
    pub fn tolerance(self, tolerance: Tolerance) -> Tolerance {
        match (self, tolerance) {
            (Self::MatrixUnits, Tolerance::Sum { terms, rtol, atol }) => {
                Tolerance::Sum { terms: terms.max(terms * terms / 4), rtol, atol }
            }
            (_, tolerance) => tolerance,
        }
    }
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Filtered => "f32 by minimal filtering",
            Self::F16 => "f16 by arithmetic",
            Self::MatrixUnits => "f16 on matrix units",
        })
    }
}

/// Units that multiply small matrices: half-precision factors, single-precision sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MatrixUnits {
    /// Rows and columns of each matrix: 8 or 16.
    pub size: u32,
    /// Most invocations in a subgroup, which computes a product together.
    pub lanes: u32,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn precisions_read_back_as_written() {
        for precision in [Precision::F32, Precision::F16] {
            assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
        }
        assert!("f64".parse::<Precision>().unwrap_err().contains("wanted f32 or f16"));
    }

    #[test]
    fn only_matrix_units_may_truncate() {
        let sum = |terms| Tolerance::Sum { terms, rtol: 0.0, atol: 0.0 };
        assert_eq!(Products::F16.tolerance(sum(100)), sum(100));
        assert_eq!(Products::MatrixUnits.tolerance(sum(100)), sum(2500), "4 sqrt(2500) 2^-24 is 100 2^-23");
        assert_eq!(Products::MatrixUnits.tolerance(sum(2)), sum(2));
        assert_eq!(Products::MatrixUnits.tolerance(Tolerance::Exact), Tolerance::Exact);
    }
}
