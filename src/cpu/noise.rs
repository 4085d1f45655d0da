//! Random numbers of one sample, many counters at a time: the same words as [`crate::op::philox4x32`] gives.

use super::vector::{ln, wide};

/// Counters that are taken at a time; each gives four words.
const QUADS: usize = 64;

/// Where random numbers come from: key, step and sample.
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    /// Seed and stream.
    pub(crate) key: [u32; 2],
    /// Low and high word of the step.
    pub(crate) step: [u32; 2],
    /// The data set's row.
    pub(crate) sample: u32,
}

impl Stream {
    /// The stream of a sample at the step that a clock shows.
    pub(crate) fn new(key: [u32; 2], clock: &[u32], sample: u32) -> Self {
        Self { key, step: [clock[0], clock[1]], sample }
    }

    /// Calls `visit(first element, words)` for all words of `elements` elements, a few hundred at a time.
    pub(crate) fn each(&self, elements: usize, mut visit: impl FnMut(usize, &[u32])) {
        let mut words = [0; 4 * QUADS];
        for first in (0..elements).step_by(4 * QUADS) {
            self.fill((first / 4) as u32, &mut words);
            visit(first, &words[..(elements - first).min(4 * QUADS)]);
        }
    }

    /// `y[e] = f(y[e], n)` with the standard normal n of element e. What f captures should be moved into it.
    pub(crate) fn with_normals(&self, y: &mut [f32], f: impl Fn(f32, f32) -> f32 + Copy) {
        self.each(y.len(), |first, words| {
            let y = &mut y[first..];
            wide(
                #[inline(always)]
                move || {
                    for (y, &bits) in y.iter_mut().zip(words) {
                        *y = f(*y, normal(bits));
                    }
                },
            );
        });
    }

    /// The words of the counters from `first` on.
    fn fill(&self, first: u32, words: &mut [u32; 4 * QUADS]) {
        let (sample, step) = (u64::from(self.sample), self.step.map(u64::from));
        let mut keys = [self.key.map(u64::from); 10];
        for (round, key) in (0u32..).zip(&mut keys) {
            let weyl = [0x9E37_79B9u32, 0xBB67_AE85].map(|step| step.wrapping_mul(round));
            *key = [0, 1].map(|i| u64::from(self.key[i].wrapping_add(weyl[i])));
        }
        wide(
            #[inline(always)]
            move || {
                let [mut a, mut b, mut c, mut d] = [[0u32; QUADS]; 4];
                for i in 0..QUADS {
                    // Words in the low halves of double words, which is what the vector product of two words takes; what
                    // stands in the high halves does not matter.
                    const LOW: u64 = 0xFFFF_FFFF;
                    let mut counter = [u64::from(first) + i as u64, sample, step[0], step[1]];
                    for key in keys {
                        let left = (counter[0] & LOW) * 0xD251_1F53;
                        let right = (counter[2] & LOW) * 0xCD9E_8D57;
                        counter = [right >> 32 ^ counter[1] ^ key[0], right, left >> 32 ^ counter[3] ^ key[1], left];
                    }
                    [a[i], b[i], c[i], d[i]] =
                        [counter[0] as u32, counter[1] as u32, counter[2] as u32, counter[3] as u32];
                }
                for (i, word) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    *word = [a[i], b[i], c[i], d[i]];
                }
            },
        );
    }
}

/// As [`crate::op::normal_from_bits`], without branches. The rational function for more than 5 standard roots of the tail's
/// logarithm is left out: no tail of 2^-33 or more needs it.
#[inline(always)]
fn normal(bits: u32) -> f32 {
    // 31 bits: the conversion of a signed word is one instruction.
    let tail = ((bits & 0x7FFF_FFFF).cast_signed() as f32 + 0.5) * (1.0 / 4_294_967_296.0);
    let q = 0.5 - tail;
    let r = 0.180_625 - q * q;
    let near = q * (((59.109_375 * r + 159.291_13) * r + 50.434_27) * r + 3.387_132_7);
    let below_near = ((67.187_56 * r + 78.757_76) * r + 17.895_17) * r + 1.0;
    let r = (-ln(tail)).sqrt() - 1.6;
    let far = ((0.170_238_21 * r + 1.306_728_5) * r + 2.756_815_4) * r + 1.423_437_3;
    let below_far = (0.120_211_33 * r + 0.737_001_64) * r + 1.0;
    let is_near = q <= 0.425;
    let z = if is_near { near } else { far } / if is_near { below_near } else { below_far };
    // The top bit clear: the lower half.
    f32::from_bits(z.to_bits() ^ (!bits & 0x8000_0000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{normal_from_bits, philox4x32};

    #[test]
    fn words_are_those_of_one_counter_at_a_time() {
        let stream = Stream { key: [0xA409_3822, 7], step: [u32::MAX, 3], sample: 12 };
        for elements in [1, 3, 255, 256, 257, 1030] {
            let mut seen = 0;
            stream.each(elements, |first, words| {
                assert_eq!(first, seen);
                seen += words.len();
                for (e, &word) in words.iter().enumerate() {
                    let quad = ((first + e) / 4) as u32;
                    assert_eq!(word, philox4x32([quad, 12, u32::MAX, 3], [0xA409_3822, 7])[(first + e) % 4]);
                }
            });
            assert_eq!(seen, elements);
        }
    }

    #[test]
    fn normals_are_those_with_branches() {
        let edges = [0, 1, 2, 0x7FFF_FFFF, 0x8000_0000, u32::MAX, 0x1333_3333, 0x1333_3334];
        let spread = (0..400_000u32).map(|i| i.wrapping_mul(2_654_435_761) >> (i % 32));
        for bits in spread.chain(edges) {
            let (got, wanted) = (normal(bits), normal_from_bits(bits));
            assert!((got - wanted).abs() <= 2e-6, "{bits:#x}: {got}, wanted {wanted}");
        }
    }
}
