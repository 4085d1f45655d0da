//! A batch from a data set and the same batch with noise as one op.

use super::noise::PHILOX;
use super::{Case, Gather, GaussianNoise, PixelNoise, Replaced, Values};
use crate::error::Result;
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Constant, Launch, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, DType, TensorType};

/// Noise on a batch.
#[derive(Clone, Copy, Debug)]
pub enum BatchNoise {
    /// [`GaussianNoise`].
    Gaussian(GaussianNoise),
    /// [`PixelNoise`].
    Pixel(PixelNoise),
}

impl BatchNoise {
    fn op(&self) -> &dyn Op {
        match self {
            Self::Gaussian(op) => op,
            Self::Pixel(op) => op,
        }
    }
}

/// [`Gather`], then noise on its batch, keyed by its rows.
///
/// Inputs: those of the gather, whose clock is the noise's as well. Outputs: the batch, the rows, the noisy batch.
#[derive(Clone, Debug)]
pub struct GatherNoise {
    /// Where the batch comes from.
    pub gather: Gather,
    /// The noise.
    pub noise: BatchNoise,
}

/// Chunks that a launch binds: WebGPU's default of eight storage buffers less the other five.
const LAUNCH_CHUNKS: usize = 3;

impl GatherNoise {
    fn of_gather<'a>(signature: &Signature<'a>) -> Signature<'a> {
        Signature { inputs: signature.inputs, outputs: &signature.outputs[..2] }
    }

    /// Height, width and channels of a sample; one row of pixels where it is no picture.
    fn picture(&self) -> [usize; 3] {
        let dims = self.gather.sample.dims();
        <[usize; 3]>::try_from(dims).unwrap_or([1, self.gather.sample.len(), 1])
    }

    fn parameters(&self, signature: &Signature<'_>) -> Vec<(&'static str, crate::kernel::Word)> {
        let (chunk, columns) = (&signature.inputs[2], self.gather.sample.len());
        let [height, width, channels] = self.picture();
        let (pixel, gaussian) = match self.noise {
            BatchNoise::Gaussian(op) => (None, Some(op)),
            BatchNoise::Pixel(op) => (Some(op), None),
        };
        let side = match pixel.map(|op| op.replaced) {
            Some(Replaced::Square { side }) => side.min(height.max(width)),
            _ => 0,
        };
        let (seed, stream) = match self.noise {
            BatchNoise::Gaussian(op) => (op.seed, op.stream),
            BatchNoise::Pixel(op) => (op.seed, op.stream),
        };
        vec![
            ("batch", self.gather.batch.into()),
            ("columns", columns.into()),
            ("row_words", if chunk.dtype == DType::U8 { columns.div_ceil(4).into() } else { columns.into() }),
            ("chunk_rows", chunk.shape.dims()[0].into()),
            ("order_rows", signature.inputs[0].shape.len().into()),
            ("offset", self.gather.offset.into()),
            ("height", height.into()),
            ("width", width.into()),
            ("channels", channels.into()),
            ("seed", seed.into()),
            ("stream", stream.into()),
            ("threshold", pixel.map_or(0, |op| op.threshold()).into()),
            ("side", side.into()),
            ("low", pixel.map_or(0.0, |op| op.low).into()),
            ("high", pixel.map_or(0.0, |op| op.high).into()),
            ("sigma", gaussian.map_or(0.0, |op| op.sigma).into()),
        ]
    }
}

impl Op for GatherNoise {
    fn name(&self) -> &'static str {
        "gather_noise"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let mut outputs = self.gather.infer(inputs)?;
        outputs.extend(self.noise.op().infer(&[outputs[0].clone(), outputs[1].clone(), inputs[1].clone()])?);
        Ok(outputs)
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let chunks = signature.inputs.len() - 2;
        if chunks > LAUNCH_CHUNKS {
            return Vec::new();
        }
        let kind = match self.noise {
            BatchNoise::Pixel(PixelNoise { replaced: Replaced::Mask { .. }, .. }) => 0,
            BatchNoise::Pixel(PixelNoise { replaced: Replaced::SaltPepper { .. }, .. }) => 1,
            BatchNoise::Pixel(PixelNoise { replaced: Replaced::Square { .. }, .. }) => 2,
            BatchNoise::Gaussian(_) => 3,
        };
        const FILES: &[&str] = &[PHILOX, include_str!("../../shaders/gather_noise.wgsl")];
        let mut bindings = vec![Binding::Input(0), Binding::Input(1)];
        bindings.extend([0, 1, 2].map(Binding::Output));
        // Chunks that are not there are the last one again: only its own rows are ever read.
        bindings.extend((0..LAUNCH_CHUNKS).map(|c| Binding::Input(2 + c.min(chunks - 1))));
        let launch = Launch {
            shader: Shader { name: "gather_noise", files: FILES },
            constants: vec![
                ("BYTES", Constant::Bool(signature.inputs[2].dtype == DType::U8)),
                ("RING", Constant::Bool(self.gather.ring)),
                ("ALONE", Constant::Bool(chunks == 1)),
                ("FOURS", Constant::Bool(self.gather.sample.len().is_multiple_of(4))),
                ("KIND", Constant::U32(kind)),
            ],
            parameters: self.parameters(signature),
            bindings,
            workgroups: linear_grid(self.gather.batch * self.gather.sample.len().div_ceil(4), 64),
        };
        vec![Variant::single("plain", 1.0, launch)]
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let (batch, noisy) = outputs.split_at_mut(2);
        self.gather.reference(&Self::of_gather(signature), inputs, batch);
        let types = [signature.outputs[0].clone(), signature.outputs[1].clone(), signature.inputs[1].clone()];
        let of_noise = Signature { inputs: &types, outputs: &signature.outputs[2..] };
        self.noise.op().reference(&of_noise, &[&batch[0], &batch[1], inputs[1]], noisy);
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let clock = call.inputs[1];
        let [batch, rows, noisy] = &mut *call.outputs else { return false };
        let (mut gathered, mut noisy) = ([&mut **batch, &mut **rows], [&mut **noisy]);
        let mut of_gather = CpuCall { inputs: call.inputs, outputs: &mut gathered };
        if !self.gather.compute(&Self::of_gather(signature), &mut of_gather) {
            return false;
        }
        let inputs = [&**batch, &**rows, clock];
        // The noise looks at the shape of its first input alone.
        let of_noise = Signature { inputs: &signature.outputs[..1], outputs: &signature.outputs[2..] };
        self.noise.op().compute(&of_noise, &mut CpuCall { inputs: &inputs, outputs: &mut noisy })
    }

    fn tolerance(&self, signature: &Signature<'_>) -> Vec<Tolerance> {
        let mut tolerances = self.gather.tolerance(&Self::of_gather(signature));
        let of_noise = Signature { inputs: &signature.outputs[..1], outputs: &signature.outputs[2..] };
        // What is not replaced is as exact as the batch; what is added has an error of its own.
        let noise = self.noise.op().tolerance(&of_noise);
        tolerances.extend(match self.noise {
            BatchNoise::Gaussian(_) => noise,
            BatchNoise::Pixel(_) => vec![Tolerance::ELEMENTWISE],
        });
        tolerances
    }
}

/// Each of the gather's cases that fits, under one noise after the other.
pub(super) fn cases() -> Vec<Case> {
    let pixel = |replaced| BatchNoise::Pixel(PixelNoise { replaced, low: -0.5, high: 0.5, seed: 7, stream: 1 });
    let gaussian = BatchNoise::Gaussian(GaussianNoise { sigma: 0.3, seed: 7, stream: 1 });
    let noises = [
        gaussian,
        pixel(Replaced::Mask { share: 0.3 }),
        pixel(Replaced::SaltPepper { share: 0.4 }),
        pixel(Replaced::Square { side: 2 }),
    ];
    let mut cases = Vec::new();
    for from in super::gather::cases() {
        let columns = from.inputs[2].0.shape.last();
        let Some(gather) = from.op.downcast_ref::<Gather>() else { continue };
        if from.inputs.len() > 2 + LAUNCH_CHUNKS {
            continue;
        }
        for noise in noises.into_iter().take(if from.large { 1 } else { 4 }) {
            // Pictures of as many channels as divide a row.
            let channels = [3, 2, 1].into_iter().find(|c| columns % c == 0).unwrap_or(1);
            let gather = Gather { sample: [1, columns / channels, channels].into(), ..gather.clone() };
            let label = format!("{} {noise:?}", from.label);
            let case = Case::new(label, GatherNoise { gather, noise }, from.inputs.clone());
            cases.push(if from.large { case.large() } else { case });
        }
    }
    cases.push(at_the_threshold());
    // Pictures of several rows, so that a square has a place.
    let order = Values::Words((0..6).rev().collect());
    let clock = (super::Tick::clock(), Values::Words(vec![3, 1, 4, 0]));
    for noise in noises {
        for [height, width, channels] in [[7, 9, 1], [5, 6, 3], [8, 8, 4]] {
            let sample = [height, width, channels].into();
            let gather = Gather { sample, batch: 5, offset: -0.5, ring: false };
            let bytes = (TensorType::u8([6, height * width * channels]), Values::Integers(0, 256));
            let inputs = vec![(TensorType::u32([6]), order.clone()), clock.clone(), bytes];
            cases.push(Case::new(
                format!("{height}x{width}x{channels} {noise:?}"),
                GatherNoise { gather, noise },
                inputs,
            ));
        }
    }
    cases
}

/// The first word is at the threshold itself, which keeps its pixel.
fn at_the_threshold() -> Case {
    let (row, clock, seed, stream) = (5, vec![0xFFFF_FFFF, 3, 0, 0], 7, 1);
    let first = super::noise::words(seed, stream, &clock, row, 0)[0];
    let replaced = Replaced::Mask { share: (first >> 8) as f32 / 16_777_216.0 };
    let noise = BatchNoise::Pixel(PixelNoise { replaced, low: -0.5, high: 0.5, seed, stream });
    // The row of a ring is a key alone.
    let gather = Gather { sample: [1, 5, 2].into(), batch: 1, offset: 0.0, ring: true };
    let inputs = vec![
        (TensorType::u32([1]), Values::Words(vec![row])),
        (super::Tick::clock(), Values::Words(clock)),
        (TensorType::f32([1, 10]), Values::Uniform(-0.4, 0.4)),
    ];
    Case::new("at the threshold", GatherNoise { gather, noise }, inputs)
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let [_, height, width, channels] = draw.pictures();
    let columns = height * width * channels;
    let (rows, batch, bytes, seed) = (draw.extent(), draw.extent(), draw.flag(), draw.from(0..=u32::MAX));
    let share = draw.from(0.0..1.0);
    let pixel = |replaced| BatchNoise::Pixel(PixelNoise { replaced, low: -0.5, high: 0.5, seed, stream: 1 });
    let noise = match draw.from(0..4) {
        0 => pixel(Replaced::Mask { share }),
        1 => pixel(Replaced::SaltPepper { share }),
        2 => pixel(Replaced::Square { side: draw.extent() }),
        _ => BatchNoise::Gaussian(GaussianNoise { sigma: 0.5, seed, stream: 1 }),
    };
    let order = Values::Words((0..rows).map(|_| draw.from(0..rows) as u32).collect());
    let clock = Values::Words(vec![draw.from(0..=u32::MAX), 0, draw.from(0..rows) as u32, 0]);
    let data = match bytes {
        true => (TensorType::u8([rows, columns]), Values::Integers(0, 256)),
        false => (TensorType::f32([rows, columns]), Values::Uniform(-1.0, 1.0)),
    };
    let gather = Gather { sample: [height, width, channels].into(), batch, offset: -0.5, ring: draw.flag() };
    let inputs = vec![(TensorType::u32([rows]), order), (super::Tick::clock(), clock), data];
    Ok(Case::new(format!("{batch} of {rows} of {height}x{width}x{channels}"), GatherNoise { gather, noise }, inputs))
}
