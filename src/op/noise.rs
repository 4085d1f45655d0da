//! Random numbers from a counter: Philox 4x32-10 (Salmon et al., “Parallel random numbers: as easy as 1, 2, 3”,
//! 2011), keyed by (seed, stream) and counted by (element / 4, sample, step), so that a number depends on nothing
//! but its place. Normals by the inverse of the normal distribution function.

use super::{Case, Tick, Values, expect_f32, expect_inputs, expect_same};
use crate::cpu::noise::Stream;
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Graph, Node, Op, Signature};
use crate::kernel::{Binding, Launch, Shader, Target, Tolerance, Variant, Word, linear_grid};
use crate::tensor::{Array, TensorId, TensorType};
use rayon::prelude::*;

pub(super) const PHILOX: &str = include_str!("../../shaders/philox.wgsl");

/// Ten rounds of Philox 4x32: four random words for a counter and a key.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// The standard normal quantile of the probability that `bits` stand for: the top bit is the sign and the others
/// are the lower tail `(bits + 1/2) 2^-32`. Rational approximations of Wichura (algorithm AS 241, PPND7), about
/// 1 part in 10^7; the tails reach 6.3 standard deviations.
pub fn normal_from_bits(bits: u32) -> f32 {
    let tail = ((bits & 0x7FFF_FFFF) as f32 + 0.5) * 2f32.powi(-32);
    let q = 0.5 - tail;
    let z = if q <= 0.425 {
        let r = 0.180_625 - q * q;
        q * (((59.109_375 * r + 159.291_13) * r + 50.434_27) * r + 3.387_132_7)
            / (((67.187_56 * r + 78.757_76) * r + 17.895_17) * r + 1.0)
    } else {
        let r = (-tail.ln()).sqrt();
        if r <= 5.0 {
            let r = r - 1.6;
            (((0.170_238_21 * r + 1.306_728_5) * r + 2.756_815_4) * r + 1.423_437_3)
                / ((0.120_211_33 * r + 0.737_001_64) * r + 1.0)
        } else {
            let r = r - 5.0;
            (((0.017_337_204 * r + 0.428_682_94) * r + 3.081_226_4) * r + 6.657_905)
                / ((0.012_258_203 * r + 0.241_978_94) * r + 1.0)
        }
    };
    if bits >> 31 == 0 { -z } else { z }
}

/// The words for elements 0, 4, 8, … of one sample.
pub(super) fn words(seed: u32, stream: u32, clock: &[u32], sample: u32, quad: usize) -> [u32; 4] {
    philox4x32([quad as u32, sample, clock[0], clock[1]], [seed, stream])
}

/// Raw random words: `y[b, e]` is word `e mod 4` of the counter `(e / 4, rows[b], step)`.
///
/// Inputs: rows `u32[B]`, clock. Output: `u32[B, elements]`.
#[derive(Clone, Copy, Debug)]
pub struct Philox {
    /// First word of the key.
    pub seed: u32,
    /// Second word of the key: one number per use.
    pub stream: u32,
    /// Words per sample.
    pub elements: usize,
}

impl Op for Philox {
    fn name(&self) -> &'static str {
        "philox"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_same(self.name(), &Tick::clock(), &inputs[1])?;
        Ok(vec![TensorType::u32([inputs[0].shape.len(), self.elements])])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let shader = Shader { name: "philox_words", files: &[PHILOX, include_str!("../../shaders/philox_words.wgsl")] };
        let samples = signature.inputs[0].shape.len();
        let launch = Launch {
            shader,
            constants: Vec::new(),
            parameters: vec![
                ("samples", samples.into()),
                ("elements", self.elements.into()),
                ("seed", self.seed.into()),
                ("stream", self.stream.into()),
            ],
            bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Output(0)],
            workgroups: linear_grid(samples * self.elements.div_ceil(4), 64),
        };
        vec![Variant::single("plain", 1.0, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (rows, clock) = (inputs[0].u32(), inputs[1].u32());
        let samples = outputs[0].u32_mut().chunks_mut(self.elements.max(1));
        for (y, &row) in samples.zip(rows) {
            for (quad, chunk) in y.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&words(self.seed, self.stream, clock, row, quad)[..chunk.len()]);
            }
        }
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::Exact]
    }
}

/// The output's type, that of x, for an op whose last two inputs are the rows of x's samples and a clock.
pub(super) fn infer_keyed(op: &str, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
    let [x, .., rows, clock] = inputs else { return Err(Error::shape(op, "rows and a clock", "fewer inputs")) };
    expect_f32(op, x)?;
    expect_same(op, &Tick::clock(), clock)?;
    let batch = x.shape.dims().first().copied().unwrap_or(0);
    if *rows != TensorType::u32([batch]) {
        return Err(Error::shape(op, format!("u32[{batch}] rows"), rows.to_string()));
    }
    Ok(vec![x.clone()])
}

/// One invocation per four elements of a sample, over all inputs, of which rows and clock are the last, and one output.
pub(super) fn keyed_launch(
    shader: Shader,
    seed: u32,
    stream: u32,
    more: Vec<(&'static str, Word)>,
    signature: &Signature<'_>,
) -> Variant {
    let inputs = signature.inputs.len();
    let samples = signature.inputs[inputs - 2].shape.len();
    let elements = signature.inputs[0].shape.len() / samples.max(1);
    let mut parameters = vec![
        ("samples", samples.into()),
        ("elements", elements.into()),
        ("seed", seed.into()),
        ("stream", stream.into()),
    ];
    parameters.extend(more);
    let launch = Launch {
        shader,
        constants: Vec::new(),
        parameters,
        bindings: (0..inputs).map(Binding::Input).chain([Binding::Output(0)]).collect(),
        workgroups: linear_grid(samples * elements.div_ceil(4), 64),
    };
    Variant::single("plain", 1.0, launch)
}

/// `y = x + sigma n` with n standard normal, drawn anew for each step.
///
/// Inputs: x (B, …), rows `u32[B]` (the data set's row of each sample), clock.
#[derive(Clone, Copy, Debug)]
pub struct GaussianNoise {
    /// Standard deviation.
    pub sigma: f32,
    /// First word of the key.
    pub seed: u32,
    /// Second word of the key: one number per use.
    pub stream: u32,
}

impl Op for GaussianNoise {
    fn name(&self) -> &'static str {
        "gaussian_noise"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 3..=3)?;
        infer_keyed(self.name(), inputs)
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: &Node,
        upstream: &[Option<TensorId>],
        _: &[bool],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![upstream[0], None, None])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let shader =
            Shader { name: "gaussian_noise", files: &[PHILOX, include_str!("../../shaders/gaussian_noise.wgsl")] };
        vec![keyed_launch(shader, self.seed, self.stream, vec![("sigma", self.sigma.into())], signature)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (x, rows, clock) = (inputs[0].f64(), inputs[1].u32(), inputs[2].u32());
        let elements = x.len() / rows.len().max(1);
        let samples = outputs[0].f64_mut().chunks_mut(elements.max(1)).zip(x.chunks(elements.max(1)));
        for ((y, x), &row) in samples.zip(rows) {
            for (e, (y, x)) in y.iter_mut().zip(x).enumerate() {
                let bits = words(self.seed, self.stream, clock, row, e / 4)[e % 4];
                *y = x + f64::from(self.sigma) * f64::from(normal_from_bits(bits));
            }
        }
    }

    fn compute(&self, _: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let (x, rows, clock, sigma) = (call.input(0), call.inputs[1], call.inputs[2], self.sigma);
        let elements = (x.len() / rows.len().max(1)).max(1);
        let samples = call.output(0).par_chunks_mut(elements).zip(x.par_chunks(elements)).zip(rows);
        samples.with_min_len(2048 / elements).for_each(|((y, x), &row)| {
            y.copy_from_slice(x);
            let stream = Stream::new([self.seed, self.stream], clock, row);
            stream.with_normals(
                y,
                #[inline(always)]
                move |x, n| x + sigma * n,
            );
        });
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::TRANSCENDENTAL]
    }
}

pub(super) fn rows_and_clock(samples: usize) -> Vec<(TensorType, Values)> {
    let rows = (TensorType::u32([samples]), Values::Integers(0, 50_000));
    vec![rows, (Tick::clock(), Values::Words(vec![0xFFFF_FFFF, 3, 17, 0]))]
}

pub(super) fn philox_cases() -> Vec<Case> {
    [(1, 1), (3, 4), (5, 67), (2, 1024)]
        .map(|(samples, elements)| {
            let op = Philox { seed: 0xA409_3822, stream: 0x299F_31D0, elements };
            Case::new(format!("{samples}x{elements}"), op, rows_and_clock(samples))
        })
        .into()
}

pub(super) fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 4] = [&[1, 1], &[3, 5], &[2, 8, 8, 3], &[7, 131]];
    shapes
        .map(|dims| {
            let mut inputs = vec![(TensorType::f32(dims), Values::Uniform(-0.5, 0.5))];
            inputs.extend(rows_and_clock(dims[0]));
            Case::new(format!("{dims:?}"), GaussianNoise { sigma: 0.3, seed: 7, stream: 1 }, inputs).with_gradients([0])
        })
        .into_iter()
        .chain([large()])
        .collect()
}

/// Past 65,535 workgroups.
fn large() -> Case {
    let mut inputs = vec![(TensorType::f32([4_194_305, 1]), Values::Uniform(-0.5, 0.5))];
    inputs.extend(rows_and_clock(4_194_305));
    Case::new("large", GaussianNoise { sigma: 0.3, seed: 7, stream: 1 }, inputs).large()
}

pub(super) fn random_philox(draw: &mut super::Draw) -> Result<Case> {
    let (samples, elements) = (draw.extent(), draw.channels());
    let op = Philox { seed: draw.from(0..=u32::MAX), stream: draw.from(0..=u32::MAX), elements };
    Ok(Case::new(format!("{samples}x{elements}"), op, rows_and_clock(samples)))
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let dims = draw.dims();
    let mut inputs = vec![(TensorType::f32(&dims[..]), Values::Uniform(-0.5, 0.5))];
    inputs.extend(rows_and_clock(dims[0]));
    let op = GaussianNoise { sigma: draw.from(0.0..1.0), seed: draw.from(0..=u32::MAX), stream: 1 };
    Ok(draw.small(Case::new(format!("{dims:?}"), op, inputs), [0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the authors' Random123 distribution for philox4x32 with ten rounds.
    #[test]
    fn philox_gives_the_published_vectors() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    /// Lower-tail probability of a standard normal, through an independent erfc.
    fn distribution(z: f64) -> f64 {
        0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
    }

    #[test]
    fn quantiles_invert_the_distribution() {
        let mut worst: f64 = 0.0;
        for i in 0..200_000u32 {
            let bits = i.wrapping_mul(21_473) & 0x7FFF_FFFF;
            for bits in [bits, bits >> 8, bits >> 16, bits >> 24] {
                let p = (f64::from(bits) + 0.5) / 2f64.powi(32);
                let z = f64::from(normal_from_bits(bits));
                // One Newton step from z gives the exact quantile to first order.
                let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
                worst = worst.max(((distribution(z) - p) / density).abs());
                assert_eq!(normal_from_bits(bits | 1 << 31), -normal_from_bits(bits), "the halves mirror each other");
            }
        }
        assert!(worst <= 2e-6, "worst absolute error of a normal: {worst:e}");
        assert!(normal_from_bits(0) < -6.2, "the tail reaches {}", normal_from_bits(0));
    }

    /// Kolmogorov-Smirnov distance of our draws from those of another generator and another method.
    #[test]
    fn normals_are_distributed_as_those_of_another_library() {
        use rand::SeedableRng;
        use rand_distr::{Distribution, StandardNormal};
        let n = 100_000u32;
        let mut ours: Vec<f32> =
            (0..n / 4).flat_map(|i| philox4x32([i, 1, 2, 3], [4, 5])).map(normal_from_bits).collect();
        let mut generator = rand_pcg::Pcg64::seed_from_u64(9);
        let mut theirs: Vec<f32> = (0..n).map(|_| StandardNormal.sample(&mut generator)).collect();
        ours.sort_by(f32::total_cmp);
        theirs.sort_by(f32::total_cmp);
        let share_below = |sorted: &[f32], z: f32| sorted.partition_point(|&x| x < z) as f64 / f64::from(n);
        let distance =
            ours.iter().map(|&z| (share_below(&ours, z) - share_below(&theirs, z)).abs()).fold(0.0, f64::max);
        // The distance exceeds 1.95 sqrt(2 / n) once in a thousand pairs of samples.
        approx::assert_abs_diff_eq!(distance, 0.0, epsilon = 1.95 * (2.0 / f64::from(n)).sqrt());
    }

    #[test]
    fn normals_have_the_moments_and_tails_of_a_normal() {
        let n = 1_000_000u32;
        let draws: Vec<f64> = (0..n / 4)
            .flat_map(|i| philox4x32([i, 5, 0, 0], [1, 2]))
            .map(|bits| f64::from(normal_from_bits(bits)))
            .collect();
        let moment = |k: i32| draws.iter().map(|z| z.powi(k)).sum::<f64>() / f64::from(n);
        // Bounds of five standard errors: sqrt(1, 2, 15, 96 / n).
        assert!(moment(1).abs() <= 5e-3, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() <= 7.1e-3, "variance {}", moment(2));
        assert!(moment(3).abs() <= 2e-2, "third moment {}", moment(3));
        assert!((moment(4) - 3.0).abs() <= 5e-2, "fourth moment {}", moment(4));
        for (z, wanted) in [(2.0, 0.045_500_26), (3.0, 0.002_699_80), (4.0, 6.334e-5)] {
            let share = draws.iter().filter(|d| d.abs() > z).count() as f64 / f64::from(n);
            let error = 5.0 * (wanted / f64::from(n)).sqrt();
            assert!((share - wanted).abs() <= error, "share beyond {z}: {share}, wanted {wanted} within {error}");
        }
    }
}
