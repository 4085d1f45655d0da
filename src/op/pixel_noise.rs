//! Noise that replaces pixels, all channels of a pixel together: masking, salt and pepper, and one square.

use super::noise::{PHILOX, infer_keyed, rows_and_clock, words};
use super::{Case, Tick, Values, expect_inputs};
use crate::cpu::noise::Stream;
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Constant, Launch, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};
use rayon::prelude::*;

/// Which pixels are replaced.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Replaced {
    /// Each pixel with this chance, by `low`. It is where the upper 24 bits of its random word are below `share 2^24`.
    Mask {
        /// Chance of a pixel, 0 to 1.
        share: f32,
    },
    /// Each pixel with this chance, by `high` where the lowest bit of its word is set, else by `low`.
    SaltPepper {
        /// Chance of a pixel, 0 to 1.
        share: f32,
    },
    /// One square in each picture, by `low`, at a place where it fits as a whole.
    Square {
        /// Side of the square, in pixels; a larger one covers the picture.
        side: usize,
    },
}

/// Replaces pixels by `low` or `high`, drawn anew for each step. Words are keyed by (seed, stream) and counted by
/// (pixel / 4, row, step); the place of a square comes from the first two words. The gradient is the same op on dy with
/// zeros for both values.
///
/// Inputs: x (B, H, W, C), rows `u32[B]` (the data set's row of each sample), clock.
#[derive(Clone, Copy, Debug)]
pub struct PixelNoise {
    /// Which pixels.
    pub replaced: Replaced,
    /// Black.
    pub low: f32,
    /// White.
    pub high: f32,
    /// First word of the key.
    pub seed: u32,
    /// Second word of the key: one number per use.
    pub stream: u32,
}

impl PixelNoise {
    pub(super) fn threshold(&self) -> u32 {
        match self.replaced {
            Replaced::Mask { share } | Replaced::SaltPepper { share } => (share * 16_777_216.0) as u32,
            Replaced::Square { .. } => 0,
        }
    }

    /// Shows the pixels of one picture of `[height, width]` that are replaced, and by what.
    fn each(&self, [height, width]: [usize; 2], row: u32, clock: &[u32], mut put: impl FnMut(usize, f32)) {
        if let Replaced::Square { side } = self.replaced {
            let place = words(self.seed, self.stream, clock, row, 0);
            let from = |word: u32, extent: usize| {
                let places = extent.saturating_sub(side) as u64 + 1;
                ((u64::from(word) * places) >> 32) as usize
            };
            let (top, left) = (from(place[0], height), from(place[1], width));
            for y in top..height.min(top.saturating_add(side)) {
                for x in left..width.min(left.saturating_add(side)) {
                    put(y * width + x, self.low);
                }
            }
            return;
        }
        let salt = matches!(self.replaced, Replaced::SaltPepper { .. });
        Stream::new([self.seed, self.stream], clock, row).each(height * width, |first, words| {
            for (pixel, &bits) in (first..).zip(words) {
                if bits >> 8 < self.threshold() {
                    put(pixel, if salt && bits & 1 == 1 { self.high } else { self.low });
                }
            }
        });
    }

    /// Replaces the pixels of pictures (B, height, width, channels), one for each of the data set's `rows`.
    pub fn apply(&self, pictures: &mut [f32], [height, width, channels]: [usize; 3], rows: &[u32], clock: &[u32; 4]) {
        let len = (height * width * channels).max(1);
        pictures.par_chunks_mut(len).zip(rows).for_each(|(picture, &row)| {
            self.each([height, width], row, clock, |pixel, value| {
                if let Some(pixel) = picture.get_mut(pixel * channels..(pixel + 1) * channels) {
                    pixel.fill(value);
                }
            });
        });
    }
}

impl Op for PixelNoise {
    fn name(&self) -> &'static str {
        "pixel_noise"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 3..=3)?;
        let outputs = infer_keyed(self.name(), inputs)?;
        if inputs[0].shape.nhwc().is_none() {
            return Err(Error::shape(self.name(), "pictures (B, H, W, C)", inputs[0].to_string()));
        }
        Ok(outputs)
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; 3]) };
        let zeros = Self { low: 0.0, high: 0.0, ..*self };
        Ok(vec![Some(graph.apply_one(zeros, &[dy, node.inputs[1], node.inputs[2]])?), None, None])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let Some([samples, height, width, channels]) = signature.inputs[0].shape.nhwc() else { return Vec::new() };
        let (kind, side) = match self.replaced {
            Replaced::Mask { .. } => (0, 0),
            Replaced::SaltPepper { .. } => (1, 0),
            Replaced::Square { side } => (2, side.min(height.max(width))),
        };
        let launch = Launch {
            shader: Shader { name: "pixel_noise", files: &[PHILOX, include_str!("../../shaders/pixel_noise.wgsl")] },
            constants: vec![("KIND", Constant::U32(kind))],
            parameters: vec![
                ("samples", samples.into()),
                ("height", height.into()),
                ("width", width.into()),
                ("channels", channels.into()),
                ("seed", self.seed.into()),
                ("stream", self.stream.into()),
                ("threshold", self.threshold().into()),
                ("side", side.into()),
                ("low", self.low.into()),
                ("high", self.high.into()),
            ],
            bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Input(2), Binding::Output(0)],
            workgroups: linear_grid(samples * (height * width).div_ceil(4), 64),
        };
        vec![Variant::single("plain", 1.0, launch)]
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let Some([_, height, width, channels]) = signature.inputs[0].shape.nhwc() else { return };
        let len = (height * width * channels).max(1);
        outputs[0] = inputs[0].clone();
        for (picture, &row) in outputs[0].f64_mut().chunks_mut(len).zip(inputs[1].u32()) {
            self.each([height, width], row, inputs[2].u32(), |pixel, value| {
                picture[pixel * channels..][..channels].fill(f64::from(value));
            });
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let Some([_, height, width, channels]) = signature.inputs[0].shape.nhwc() else { return false };
        let (x, rows, clock) = (call.input(0), call.inputs[1], call.inputs[2]);
        let Ok(clock) = <&[u32; 4]>::try_from(clock) else { return false };
        let y = call.output(0);
        y.copy_from_slice(x);
        self.apply(y, [height, width, channels], rows, clock);
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::Exact]
    }
}

fn case(dims: [usize; 4], replaced: Replaced, seed: u32) -> Case {
    let mut inputs = vec![(TensorType::f32(dims), Values::Uniform(-0.5, 0.5))];
    inputs.extend(rows_and_clock(dims[0]));
    Case::new(format!("{replaced:?} {dims:?}"), PixelNoise { replaced, low: -0.5, high: 0.5, seed, stream: 1 }, inputs)
}

pub(super) fn cases() -> Vec<Case> {
    let kinds = [
        Replaced::Mask { share: 0.3 },
        Replaced::Mask { share: 0.0 },
        Replaced::Mask { share: 1.0 },
        Replaced::SaltPepper { share: 0.4 },
        Replaced::Square { side: 1 },
        Replaced::Square { side: 3 },
        Replaced::Square { side: 100 },
    ];
    let shapes = [[1, 1, 1, 1], [2, 8, 8, 3], [3, 5, 7, 2]];
    let all = kinds.into_iter().flat_map(|kind| shapes.map(|dims| (kind, dims)));
    let mut cases: Vec<Case> = all.map(|(kind, dims)| case(dims, kind, 7).with_gradients([0])).collect();
    cases.push(at_the_threshold());
    cases.push(case([4_194_305, 1, 1, 1], Replaced::Mask { share: 0.5 }, 7).large());
    cases
}

/// The first word is at the threshold itself, which keeps its pixel.
fn at_the_threshold() -> Case {
    let (row, clock) = (5, vec![0xFFFF_FFFF, 3, 0, 0]);
    let (low, high, seed, stream) = (-0.5, 0.5, 7, 1);
    let first = words(seed, stream, &clock, row, 0)[0];
    let replaced = Replaced::Mask { share: (first >> 8) as f32 / 16_777_216.0 };
    let inputs = vec![
        (TensorType::f32([1, 1, 5, 2]), Values::Uniform(-0.4, 0.4)),
        (TensorType::u32([1]), Values::Words(vec![row])),
        (Tick::clock(), Values::Words(clock)),
    ];
    Case::new("at the threshold", PixelNoise { replaced, low, high, seed, stream }, inputs)
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let share = draw.from(0.0..1.0);
    let replaced = match draw.from(0..3) {
        0 => Replaced::Mask { share },
        1 => Replaced::SaltPepper { share },
        _ => Replaced::Square { side: draw.extent() },
    };
    let dims = draw.pictures();
    let seed = draw.from(0..=u32::MAX);
    Ok(draw.small(case(dims, replaced, seed), [0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures of 0.25 after the noise.
    fn noisy(replaced: Replaced, rows: std::ops::Range<u32>, [height, width]: [usize; 2]) -> Vec<f32> {
        let rows: Vec<u32> = rows.collect();
        let mut x = vec![0.25; rows.len() * height * width * 3];
        let op = PixelNoise { replaced, low: 0.0, high: 1.0, seed: 3, stream: 2 };
        op.apply(&mut x, [height, width, 3], &rows, &[0; 4]);
        x
    }

    #[test]
    fn shares_are_as_asked_for_and_whole_pixels_go() {
        let n = 200_000.0;
        let count = |x: &[f32], value: f32| x.chunks_exact(3).filter(|p| **p == [value; 3]).count() as f64 / n;
        let within = |share: f64, wanted: f64| (share - wanted).abs() <= 5.0 * (wanted * (1.0 - wanted) / n).sqrt();
        let masked = noisy(Replaced::Mask { share: 0.3 }, 0..500, [20, 20]);
        assert!(within(count(&masked, 0.0), 0.3) && count(&masked, 1.0) == 0.0, "{}", count(&masked, 0.0));
        assert!((count(&masked, 0.0) + count(&masked, 0.25) - 1.0).abs() < 1e-9, "channels are replaced together");
        let salted = noisy(Replaced::SaltPepper { share: 0.3 }, 0..500, [20, 20]);
        let (black, white) = (count(&salted, 0.0), count(&salted, 1.0));
        assert!(within(black, 0.15) && within(white, 0.15), "{black} {white}");
        assert!(noisy(Replaced::Mask { share: 1.0 }, 0..100, [9, 9]).iter().all(|&x| x == 0.0));
        assert!(noisy(Replaced::Mask { share: 0.0 }, 0..100, [9, 9]).iter().all(|&x| x == 0.25));
    }

    #[test]
    fn one_square_of_its_size_at_every_place_where_it_fits() {
        let (height, width, side) = (5, 6, 3);
        let mut corners = std::collections::BTreeSet::new();
        for picture in noisy(Replaced::Square { side }, 0..400, [height, width]).chunks_exact(height * width * 3) {
            let black: Vec<usize> =
                picture.chunks_exact(3).enumerate().filter(|(_, p)| **p == [0.0; 3]).map(|(i, _)| i).collect();
            assert_eq!(black.len(), side * side);
            let (top, left) = (black[0] / width, black[0] % width);
            let wanted = (0..side).flat_map(|y| (0..side).map(move |x| (top + y) * width + left + x));
            assert!(black.iter().copied().eq(wanted));
            corners.insert((top, left));
        }
        assert_eq!(corners.len(), (height - side + 1) * (width - side + 1));
    }
}
