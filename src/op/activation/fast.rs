//! Activations and their slopes in `f32`, for the CPU executor: one loop per function, so that each is vectorised.

use super::Activation;
use crate::cpu::reduce::{LIGHT, RUN};
use crate::cpu::vector::{self, wide};
use rayon::prelude::*;

/// Replaces each element by an expression of it, in wide registers.
macro_rules! each {
    ($values:ident, |$x:ident| $y:expr) => {
        wide(
            #[inline(always)]
            || {
                for value in $values.iter_mut() {
                    let $x = *value;
                    *value = $y;
                }
            },
        )
    };
}

/// Multiplies each element by an expression of the other array's, in wide registers.
macro_rules! each_times {
    ($values:ident, $others:ident, |$y:ident| $factor:expr) => {
        wide(
            #[inline(always)]
            || {
                for (value, &$y) in $values.iter_mut().zip($others) {
                    *value *= $factor;
                }
            },
        )
    };
}

impl Activation {
    /// Replaces each element by its activation.
    pub(crate) fn apply_all(self, values: &mut [f32]) {
        match self {
            Self::Linear => {}
            Self::Relu => each!(values, |x| x.max(0.0)),
            Self::Elu { alpha } => each!(values, |x| if x > 0.0 { x } else { alpha * vector::exp_m1(x) }),
            Self::Sigmoid => each!(values, |x| vector::sigmoid(x)),
            Self::Tanh => each!(values, |x| vector::tanh(x)),
            Self::LeakyRelu { slope } => each!(values, |x| if x > 0.0 { x } else { slope * x }),
            Self::Softplus => each!(values, |x| vector::softplus(x)),
        }
    }

    /// Multiplies each gradient by the slope at its output y, a few at a time on all threads.
    pub(in crate::op) fn scale_in_place(self, dx: &mut [f32], y: &[f32]) {
        let pairs = dx.par_chunks_mut(RUN).zip(y.par_chunks(RUN));
        pairs.with_min_len(LIGHT).for_each(|(dx, y)| self.scale_by_slope(dx, y));
    }

    /// As [`Activation::scale_in_place`], on this thread.
    pub(super) fn scale_by_slope(self, dx: &mut [f32], y: &[f32]) {
        match self {
            Self::Linear => {}
            // A gradient of infinity is none where the slope is zero.
            Self::Relu => wide(
                #[inline(always)]
                || {
                    for (dx, &y) in dx.iter_mut().zip(y) {
                        *dx = if y > 0.0 { *dx } else { 0.0 };
                    }
                },
            ),
            Self::Elu { alpha } => each_times!(dx, y, |y| if y > 0.0 { 1.0 } else { y + alpha }),
            Self::Sigmoid => each_times!(dx, y, |y| y * (1.0 - y)),
            Self::Tanh => each_times!(dx, y, |y| 1.0 - y * y),
            Self::LeakyRelu { slope } => each_times!(dx, y, |y| if y > 0.0 { 1.0 } else { slope }),
            Self::Softplus => each_times!(dx, y, |y| -vector::exp_m1(-y)),
        }
    }
}
