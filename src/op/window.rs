//! The sliding window of a convolution: kernel, stride, dilation and where it begins.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// How far a window may leave the picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// As many outputs as inputs / stride, rounded up; zeros around, the odd one after.
    #[default]
    Same,
    /// Only windows that lie inside.
    Valid,
}

/// Where a window layer's windows lie along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Positions in the output.
    pub output: usize,
    /// Padding before the first pixel; for a transposed convolution the positions cut off there.
    pub before: usize,
    /// Padding after the last pixel.
    pub after: usize,
}

impl Padding {
    /// The windows of a convolution or pooling over `n` pixels; `None` where no window fits.
    /// Same padding in all is max((ceil(n / stride) - 1) * stride + size - n, 0), the smaller half before.
    pub fn window(self, n: usize, size: usize, stride: usize) -> Option<Axis> {
        let positions = match self {
            Self::Same => n.checked_sub(1)? / stride.max(1) + 1,
            Self::Valid => n.checked_sub(size)? / stride.max(1) + 1,
        };
        let total = match self {
            Self::Same => ((positions - 1).checked_mul(stride)?.checked_add(size)?).saturating_sub(n),
            Self::Valid => 0,
        };
        Some(Axis { output: positions, before: total / 2, after: total - total / 2 })
    }

    /// The windows of a transposed convolution over `n` pixels: the gradient of the convolution with the same kernel
    /// and stride, which for `Same` takes n * stride pixels to n. `None` where the size overflows.
    pub fn transposed_window(self, n: usize, size: usize, stride: usize) -> Option<Axis> {
        let full = n.checked_sub(1)?.checked_mul(stride)?.checked_add(size)?;
        match self {
            Self::Same => {
                let output = n.checked_mul(stride)?;
                Some(Axis { output, ..self.window(output, size, stride)? })
            }
            Self::Valid => Some(Axis { output: full, before: 0, after: 0 }),
        }
    }
}

/// A window that slides over (height, width). Output position `o` and tap `a` meet input position
/// `o * stride + a * dilation - padding`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Step between windows, in inputs.
    pub stride: [usize; 2],
    /// Step between taps, in inputs.
    pub dilation: [usize; 2],
    /// Zeros before the first row and the first column.
    pub padding: [usize; 2],
}

impl Window {
    /// A square window without padding.
    pub fn square(kernel: usize, stride: usize) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], padding: [0; 2] }
    }

    /// This window, padded as wanted over an input of this size, and the size of the output.
    ///
    /// # Errors
    /// If no window fits.
    pub fn over(mut self, padding: Padding, input: [usize; 2]) -> Result<(Self, [usize; 2])> {
        let mut output = [0; 2];
        for axis in 0..2 {
            let found = padding.window(input[axis], self.reach(axis), self.stride[axis]);
            let found = found.filter(|_| self.stride[axis] > 0 && self.kernel[axis] > 0);
            let Axis { output: size, before, .. } = found.ok_or_else(|| self.misfit(input))?;
            (output[axis], self.padding[axis]) = (size, before);
        }
        Ok((self, output))
    }

    /// The window of a transposed convolution that is the gradient of the SAME (or VALID) convolution with this
    /// kernel and stride, and the size that it makes of an input of this size.
    ///
    /// # Errors
    /// If the size is zero.
    pub fn transposed_over(mut self, padding: Padding, input: [usize; 2]) -> Result<(Self, [usize; 2])> {
        let mut output = [0; 2];
        for axis in 0..2 {
            let found = padding.transposed_window(input[axis], self.reach(axis), self.stride[axis]);
            let found = found.filter(|_| self.stride[axis] > 0 && self.kernel[axis] > 0);
            let Axis { output: size, before, .. } = found.ok_or_else(|| self.misfit(input))?;
            (output[axis], self.padding[axis]) = (size, before);
        }
        Ok((self, output))
    }

    fn misfit(&self, input: [usize; 2]) -> Error {
        let wanted = format!("an input that a window of {}x{} fits", self.reach(0), self.reach(1));
        Error::shape("window", wanted, format!("{}x{}", input[0], input[1]))
    }

    /// Inputs from the first to the last tap.
    fn reach(&self, axis: usize) -> usize {
        self.kernel[axis].saturating_sub(1) * self.dilation[axis] + 1
    }

    /// Whether minimal filtering, F(2x2, 3x3), applies to it.
    pub(crate) fn suits_filtering(&self) -> bool {
        (self.kernel, self.stride, self.dilation) == ([3; 2], [1; 2], [1; 2])
    }

    /// Number of taps.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The input position for an output position and a tap along an axis, if it lies in an input of extent `n`.
    pub(super) fn input_at(&self, axis: usize, output: usize, tap: usize, n: usize) -> Option<usize> {
        let at = output * self.stride[axis] + tap * self.dilation[axis];
        at.checked_sub(self.padding[axis]).filter(|&i| i < n)
    }

    /// Whether each of these (height, width) windows meets an input of this size with at least one tap; there is none
    /// without a stride, a step between taps or a tap.
    pub(super) fn all_meet(&self, input: [usize; 2], output: [usize; 2]) -> bool {
        let moves = self.stride.iter().chain(&self.dilation).all(|&n| n > 0);
        let meets =
            |axis: usize, o| (0..self.kernel[axis]).any(|tap| self.input_at(axis, o, tap, input[axis]).is_some());
        moves && (0..2).all(|axis| output[axis] > 0 && (0..output[axis]).all(|o| meets(axis, o)))
    }

    /// The members that describe a window in a kernel's parameter block.
    pub(super) fn parameters(&self) -> Vec<(&'static str, crate::kernel::Word)> {
        vec![
            ("kernel_h", self.kernel[0].into()),
            ("kernel_w", self.kernel[1].into()),
            ("stride_h", self.stride[0].into()),
            ("stride_w", self.stride[1].into()),
            ("dilation_h", self.dilation[0].into()),
            ("dilation_w", self.dilation[1].into()),
            ("padding_h", self.padding[0].into()),
            ("padding_w", self.padding[1].into()),
        ]
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn same_pads_the_odd_zero_after() {
        let (window, output) = Window::square(3, 2).over(Padding::Same, [4, 7]).unwrap();
        assert_eq!((window.padding, output), ([0, 1], [2, 4]));
        let (window, output) = Window::square(3, 1).over(Padding::Same, [5, 1]).unwrap();
        assert_eq!((window.padding, output), ([1, 1], [5, 1]));
        let (window, output) = Window::square(3, 2).transposed_over(Padding::Same, [2, 2]).unwrap();
        assert_eq!((window.padding, output), ([0, 0], [4, 4]));
        let (_, output) = Window::square(3, 2).transposed_over(Padding::Valid, [2, 4]).unwrap();
        assert_eq!(output, [5, 9]);
        assert!(Window::square(3, 1).over(Padding::Valid, [2, 9]).is_err());
    }

    #[test]
    fn sizes_and_cuts_by_hand() {
        assert_eq!(Padding::Same.window(7, 2, 2), Some(Axis { output: 4, before: 0, after: 1 }));
        let same = |n, k, s| Padding::Same.transposed_window(n, k, s).unwrap();
        assert_eq!(same(2, 3, 2), Axis { output: 4, before: 0, after: 1 });
        assert_eq!(same(2, 2, 2), Axis { output: 4, before: 0, after: 0 });
        assert_eq!(same(5, 1, 3), Axis { output: 15, before: 0, after: 0 });
        assert_eq!(same(5, 5, 1), Axis { output: 5, before: 2, after: 2 });
        assert_eq!(Padding::Valid.transposed_window(4, 3, 2), Some(Axis { output: 9, before: 0, after: 0 }));
        assert_eq!(Padding::Same.transposed_window(usize::MAX, 3, 2), None);
    }

    proptest! {
        /// The definition itself: windows start every `stride` pixels, and each must touch the picture.
        #[test]
        fn windows_cover_the_picture(n in 1_usize..60, size in 1_usize..9, stride in 1_usize..6) {
            let same = Padding::Same.window(n, size, stride).unwrap();
            prop_assert_eq!(same.output, (0..n).step_by(stride).count());
            prop_assert!(same.after == same.before || same.after == same.before + 1);
            let last_end = (same.output - 1) * stride + size;
            prop_assert!(last_end <= n + same.before + same.after);
            let valid = (0..n).step_by(stride).filter(|start| start + size <= n).count();
            prop_assert_eq!(Padding::Valid.window(n, size, stride).map_or(0, |window| window.output), valid);
            let transposed = Padding::Same.transposed_window(n, size, stride).unwrap();
            prop_assert_eq!(Padding::Same.window(transposed.output, size, stride).unwrap().output, n);
            let full = Padding::Valid.transposed_window(n, size, stride).unwrap().output;
            prop_assert_eq!(full, (n - 1) * stride + size);
        }
    }
}
