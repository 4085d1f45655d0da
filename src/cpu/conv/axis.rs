//! Where along one axis of a picture a convolution, or a transposed one, reads for each of its outputs.

use crate::op::Window;

/// One axis of a convolution or of a transposed convolution.
///
/// The outputs of a transposed convolution fall into as many phases as its stride has steps: those of one phase are
/// reached by the same taps, so that each phase is a convolution of stride one with a few of the taps, and no product
/// has a zero that the stride put there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    kernel: usize,
    stride: usize,
    dilation: usize,
    padding: usize,
    input: usize,
    output: usize,
    transposed: bool,
}

impl Axis {
    /// Axis `i` of a convolution by `window`, or of a transposed one.
    pub(crate) fn new(window: Window, i: usize, input: usize, output: usize, transposed: bool) -> Self {
        let Window { kernel, stride, dilation, padding } = window;
        let [kernel, stride, dilation, padding] = [kernel, stride, dilation, padding].map(|extents| extents[i]);
        Self { kernel, stride, dilation, padding, input, output, transposed }
    }

    /// Inputs.
    pub(crate) fn input(self) -> usize {
        self.input
    }

    /// Outputs.
    pub(crate) fn output(self) -> usize {
        self.output
    }

    /// Taps.
    pub(crate) fn kernel(self) -> usize {
        self.kernel
    }

    /// Number of phases.
    pub(crate) fn phases(self) -> usize {
        if self.transposed { self.stride } else { 1 }
    }

    /// Outputs of a phase: `phase + self.phases() * q` for q below this.
    pub(crate) fn positions(self, phase: usize) -> usize {
        self.output.saturating_sub(phase).div_ceil(self.phases())
    }

    /// Inputs from one position of a phase to the next.
    pub(crate) fn pitch(self) -> usize {
        if self.transposed { 1 } else { self.stride }
    }

    /// Position q of a phase reads at `q * self.pitch() + shift` for the tap `kernel`; (shift, kernel), the shifts
    /// rising.
    pub(crate) fn taps(self, phase: usize) -> impl Iterator<Item = (isize, usize)> {
        (0..self.kernel).filter_map(move |i| {
            if !self.transposed {
                return Some(((i * self.dilation).cast_signed() - self.padding.cast_signed(), i));
            }
            let tap = self.kernel - 1 - i;
            // Output o and tap a meet input i where o = i * stride + a * dilation - padding.
            let distance = (phase + self.padding).cast_signed() - (tap * self.dilation).cast_signed();
            let stride = self.stride.cast_signed();
            (distance % stride == 0).then_some((distance / stride, tap))
        })
    }

    /// Zeros wanted before the first input and after the last one, over all phases.
    pub(crate) fn padding(self) -> [usize; 2] {
        let mut padding = [0; 2];
        for phase in (0..self.phases()).filter(|&phase| self.positions(phase) > 0) {
            let last = (self.positions(phase) - 1) * self.pitch();
            for (shift, _) in self.taps(phase) {
                let beyond = last.cast_signed() + shift + 1 - self.input.cast_signed();
                for (padding, wanted) in padding.iter_mut().zip([-shift, beyond]) {
                    *padding = (*padding).max(usize::try_from(wanted).unwrap_or(0));
                }
            }
        }
        padding
    }
}
