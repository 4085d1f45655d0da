//! Random cases: seeded, and of a stated size, so that a failing one can be made smaller.

use super::{Activation, Case, Padding, Tick, Values, Window, conv2d::Sample, conv2d::reals};
use crate::tensor::TensorType;
use rand::distr::uniform::{SampleRange, SampleUniform};
use rand::{RngExt, SeedableRng};

/// Where an op's random case takes its shapes and settings from.
pub struct Draw {
    rng: rand_pcg::Pcg64,
    largest: usize,
}

impl Draw {
    /// Draws from `seed`; extents are at most `largest`, channels and columns a few times that.
    pub fn new(seed: u64, largest: usize) -> Self {
        Self { rng: rand_pcg::Pcg64::seed_from_u64(seed), largest: largest.max(1) }
    }

    /// A number in `range`.
    pub(super) fn from<T: SampleUniform>(&mut self, range: impl SampleRange<T>) -> T {
        self.rng.random_range(range)
    }

    /// One of `choices`, which are not empty.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.random_range(0..choices.len())]
    }

    pub(super) fn flag(&mut self) -> bool {
        self.rng.random()
    }

    /// An extent of at least one.
    pub(super) fn extent(&mut self) -> usize {
        self.rng.random_range(1..=self.largest)
    }

    /// Channels or columns: every other time a multiple of four, which some kernels ask for.
    pub(super) fn channels(&mut self) -> usize {
        let n = self.rng.random_range(1..=3 * self.largest);
        if self.flag() { n } else { n.next_multiple_of(4) }
    }

    /// Extents of a tensor of one to four axes.
    pub(super) fn dims(&mut self) -> Vec<usize> {
        let rank = self.rng.random_range(1..=4);
        let mut dims: Vec<usize> = (1..rank).map(|_| self.extent()).collect();
        dims.push(self.channels());
        dims
    }

    /// Extents of a batch of pictures.
    pub(super) fn pictures(&mut self) -> [usize; 4] {
        [self.rng.random_range(1..=3), self.extent(), self.extent(), self.channels()]
    }

    /// Every other time none.
    pub(super) fn activation(&mut self) -> Activation {
        if self.flag() { Activation::Linear } else { self.one_of(&Activation::NONLINEAR) }
    }

    /// A window with taps, strides and holes of its own on each axis.
    pub(super) fn window(&mut self) -> Window {
        let mut pair = |upto: usize| [self.from(1..=upto), self.from(1..=upto)];
        Window { kernel: pair(4), stride: pair(3), dilation: pair(2), padding: [0; 2] }
    }

    pub(super) fn padding(&mut self) -> Padding {
        self.one_of(&[Padding::Same, Padding::Valid])
    }

    /// A convolution; same padding, which every window has, where the other has no window.
    pub(super) fn convolution(&mut self) -> Sample {
        let (input, out_c, window) = (self.pictures(), self.channels(), self.window());
        let fits = (0..2).all(|axis| (window.kernel[axis] - 1) * window.dilation[axis] < input[1 + axis]);
        let padding = if fits { self.padding() } else { Padding::Same };
        Sample { input, out_c, window, padding }
    }

    /// A batch of pictures, and a pooling window that fits it.
    pub(super) fn pooling(&mut self) -> ([usize; 4], Window, Padding) {
        let Sample { input, mut window, padding, .. } = self.convolution();
        if padding == Padding::Same {
            // Windows with holes may have all their taps outside of a small picture, which pooling refuses.
            window.dilation = [1; 2];
        }
        (input, window, padding)
    }

    /// The inputs that optimisers with two moments share: parameter, gradient, both moments, clock, learning rate.
    pub(super) fn moments(&mut self) -> Vec<(TensorType, Values)> {
        let dims = self.dims();
        vec![
            reals(&dims[..], -1.0, 1.0),
            reals(&dims[..], -0.1, 0.1),
            reals(&dims[..], -0.05, 0.05),
            reals(&dims[..], 1e-4, 0.1),
            (Tick::clock(), Values::Words(vec![self.from(0..10_000), 0, 0, 0])),
            self.rate(),
        ]
    }

    /// A learning rate.
    pub(super) fn rate(&mut self) -> (TensorType, Values) {
        (TensorType::f32([]), Values::Uniform(1e-4, 0.1))
    }

    /// The case as it is, with the gradients of these inputs where it is small enough for that.
    pub(super) fn small(&self, case: Case, inputs: impl IntoIterator<Item = usize>) -> Case {
        let elements: usize = case.inputs.iter().map(|(ty, _)| ty.shape.len()).sum();
        if elements < 1000 { case.with_gradients(inputs) } else { case }
    }
}
