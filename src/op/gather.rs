//! A batch from a data set that lives on the device: rows in the epoch's order, bytes normalised on the way.

use super::{Case, Tick, Values, expect_inputs, expect_same};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Constant, Launch, Products, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, DType, Shape, TensorType};

/// Buffers that one data set may be split over where it exceeds the binding limit: 4 GiB of WebGPU's default bindings.
pub const MAX_CHUNKS: usize = 32;
/// Chunks that one launch binds: WebGPU's default of eight storage buffers less the other four. Where there are more
/// chunks there are more launches, each of which writes the rows that lie in its own.
const LAUNCH_CHUNKS: usize = 4;

/// Row `i` of the batch is row `order[clock.row + i]` of the data set; bytes become `x / 255 + offset`, reals are
/// taken as they are.
///
/// As a ring it is row `clock.row + i` of the chunks, which then hold, in the order's order, as many rows of a data set
/// that lies elsewhere as the order has entries.
///
/// Inputs: order `u32[rows]`, clock, then one to [`MAX_CHUNKS`] chunks (N_c, D) of one type, each but the last with
/// as many rows as the first. Outputs: the batch in the given shape, and the data set's row behind each of its
/// rows, which keys random numbers. Positions past the end of the order begin again at its start.
#[derive(Clone, Debug)]
pub struct Gather {
    /// Shape of one sample; its product is D.
    pub sample: Shape,
    /// Rows to take.
    pub batch: usize,
    /// Added to bytes after the division by 255.
    pub offset: f32,
    /// Whether the chunks are a ring.
    pub ring: bool,
}

impl Gather {
    /// For each row of the batch the data set's row, and the row of the chunks.
    fn rows<'a>(&self, order: &'a [u32], clock: &[u32]) -> impl Iterator<Item = (u32, usize)> + 'a {
        let (first, ring) = (clock[2] as usize, self.ring);
        (0..self.batch).map(move |i| {
            let position = (first + i) % order.len();
            (order[position], if ring { position } else { order[position] as usize })
        })
    }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 3..=2 + MAX_CHUNKS)?;
        expect_same(self.name(), &Tick::clock(), &inputs[1])?;
        let chunks = &inputs[2..];
        let rows = |ty: &TensorType| ty.shape.matrix().map_or(0, |[n, _]| n);
        for (c, chunk) in chunks.iter().enumerate() {
            let fits = chunk.shape.matrix().is_some_and(|[_, d]| d == self.sample.len());
            let full = rows(chunk) == rows(&chunks[0]) || (c == chunks.len() - 1 && rows(chunk) <= rows(&chunks[0]));
            if !fits || !full || chunk.dtype == DType::U32 || chunk.dtype != chunks[0].dtype {
                let wanted = format!("chunks of rows of {} bytes or reals", self.sample.len());
                return Err(Error::shape(self.name(), wanted, chunk.to_string()));
            }
        }
        if inputs[0].dtype != DType::U32 || inputs[0].shape.is_empty() || self.batch == 0 {
            return Err(Error::shape(self.name(), "an order and a batch of at least one row", inputs[0].to_string()));
        }
        let mut shape = vec![self.batch];
        shape.extend(self.sample.dims());
        Ok(vec![TensorType::f32(shape), TensorType::u32([self.batch])])
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let chunk = &signature.inputs[2];
        let columns = self.sample.len();
        let chunks = signature.inputs.len() - 2;
        let bytes = chunk.dtype == DType::U8;
        let quads = columns.div_ceil(4);
        let launch = |first: usize| {
            // A launch with fewer chunks binds its last one again: only its own rows are ever read.
            let mut bindings = vec![Binding::Input(0), Binding::Input(1), Binding::Output(0), Binding::Output(1)];
            bindings.extend((first..first + LAUNCH_CHUNKS).map(|c| Binding::Input(2 + c.min(chunks - 1))));
            Launch {
                shader: Shader { name: "gather", files: &[include_str!("../../shaders/gather.wgsl")] },
                constants: vec![
                    ("BYTES", Constant::Bool(bytes)),
                    ("RING", Constant::Bool(self.ring)),
                    ("ALONE", Constant::Bool(chunks == 1)),
                    ("FOURS", Constant::Bool(columns.is_multiple_of(4))),
                ],
                parameters: vec![
                    ("batch", self.batch.into()),
                    ("columns", columns.into()),
                    ("row_words", if bytes { quads.into() } else { columns.into() }),
                    ("chunk_rows", chunk.shape.dims()[0].into()),
                    ("first_chunk", first.into()),
                    ("order_rows", signature.inputs[0].shape.len().into()),
                    ("offset", self.offset.into()),
                ],
                bindings,
                workgroups: linear_grid(self.batch * quads, 64),
            }
        };
        let launches = (0..chunks).step_by(LAUNCH_CHUNKS).map(launch).collect();
        vec![Variant { name: "plain", launches, scratch_bytes: Vec::new(), estimate_us: 1.0, products: Products::F32 }]
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let per_chunk = signature.inputs[2].shape.dims()[0];
        let d = self.sample.len();
        for (b, (row, place)) in self.rows(inputs[0].u32(), inputs[1].u32()).enumerate() {
            outputs[1].u32_mut()[b] = row;
            let chunk = inputs[2 + place / per_chunk];
            let start = place % per_chunk * d;
            for (j, x) in outputs[0].f64_mut()[b * d..][..d].iter_mut().enumerate() {
                *x = match chunk {
                    Array::U8(bytes) => f64::from(bytes[start + j]) / 255.0 + f64::from(self.offset),
                    reals => reals.f64()[start + j],
                };
            }
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let per_chunk = signature.inputs[2].shape.dims()[0];
        let d = self.sample.len();
        let mut rows = std::mem::take(&mut call.outputs[1]);
        let inputs = call.inputs;
        let places = rows.iter_mut().zip(self.rows(inputs[0], inputs[1]));
        for ((slot, (row, place)), batch) in places.zip(call.output(0).chunks_exact_mut(d)) {
            *slot = row;
            let chunk = inputs[2 + place / per_chunk];
            let place = place % per_chunk;
            if signature.inputs[2].dtype == DType::U8 {
                let bytes = bytemuck::cast_slice::<u32, u8>(&chunk[place * d.div_ceil(4)..][..d.div_ceil(4)]);
                for (x, &byte) in batch.iter_mut().zip(bytes) {
                    *x = f32::from(byte) / 255.0 + self.offset;
                }
            } else {
                batch.copy_from_slice(bytemuck::cast_slice(&chunk[place * d..][..d]));
            }
        }
        call.outputs[1] = std::mem::take(&mut rows);
        true
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::ELEMENTWISE, Tolerance::Exact]
    }
}

pub(super) fn cases() -> Vec<Case> {
    let order = |rows: u32| Values::Words((0..rows).rev().collect());
    let clock = |row: u32| (Tick::clock(), Values::Words(vec![9, 0, row, 0]));
    let op = |d: usize, batch: usize| Gather { sample: [d].into(), batch, offset: -0.5, ring: false };
    let ring = |d: usize, batch: usize| Gather { ring: true, ..op(d, batch) };
    let elsewhere = |rows: u32| Values::Words((0..rows).map(|p| (p * 7919 + 5) % 100_003).collect());
    let bytes = |n: usize, d: usize| (TensorType::u8([n, d]), Values::Integers(0, 256));
    let reals = |n: usize, d: usize| (TensorType::f32([n, d]), Values::Uniform(-1.0, 1.0));
    let n = |rows: usize| TensorType::u32([rows]);
    vec![
        Case::new("bytes", op(12, 3), vec![(n(7), order(7)), clock(2), bytes(7, 12)]),
        Case::new("bytes, padded rows", op(5, 4), vec![(n(6), order(6)), clock(1), bytes(6, 5)]),
        Case::new("one", op(1, 1), vec![(n(1), order(1)), clock(0), bytes(1, 1)]),
        Case::new("reals", op(7, 5), vec![(n(9), order(9)), clock(0), reals(9, 7)]),
        Case::new("two chunks", op(6, 7), vec![(n(8), order(8)), clock(0), bytes(5, 6), bytes(3, 6)]),
        Case::new(
            "four chunks past the end of the order",
            op(70, 13),
            vec![(n(11), order(11)), clock(4), reals(3, 70), reals(3, 70), reals(3, 70), reals(2, 70)],
        ),
        Case::new(
            "nine chunks in three launches",
            op(5, 20),
            [vec![(n(17), order(17)), clock(4)], vec![bytes(2, 5); 8], vec![bytes(1, 5)]].concat(),
        ),
        Case::new(
            "five chunks of reals in two launches",
            op(3, 9),
            [vec![(n(9), order(9)), clock(0)], vec![reals(2, 3); 4], vec![reals(1, 3)]].concat(),
        ),
        Case::new("ring of bytes", ring(5, 4), vec![(n(6), elsewhere(6)), clock(1), bytes(6, 5)]),
        Case::new(
            "ring in five chunks, past its end",
            ring(7, 9),
            [vec![(n(9), elsewhere(9)), clock(13)], vec![reals(2, 7); 4], vec![reals(1, 7)]].concat(),
        ),
        Case::new("large", op(1, 4_194_305), vec![(n(9), order(9)), clock(2), bytes(9, 1)]).large(),
    ]
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let (columns, per_chunk, chunks) = (draw.channels(), draw.extent(), draw.from(1..=2 * LAUNCH_CHUNKS + 1));
    let rows = per_chunk * (chunks - 1) + draw.from(1..=per_chunk);
    let (batch, bytes, ring) = (draw.extent(), draw.flag(), draw.flag());
    let highest = if ring { 1 << 30 } else { rows };
    let order = Values::Words((0..rows).map(|_| draw.from(0..highest) as u32).collect());
    let clock = Values::Words(vec![draw.from(0..=u32::MAX), 0, draw.from(0..rows) as u32, 0]);
    let mut inputs = vec![(TensorType::u32([rows]), order), (Tick::clock(), clock)];
    inputs.extend((0..chunks).map(|c| {
        let n = per_chunk.min(rows - c * per_chunk);
        match bytes {
            true => (TensorType::u8([n, columns]), Values::Integers(0, 256)),
            false => (TensorType::f32([n, columns]), Values::Uniform(-1.0, 1.0)),
        }
    }));
    let op = Gather { sample: [columns].into(), batch, offset: draw.from(-1.0..1.0), ring };
    let kind = if ring { "a ring of " } else { "" };
    Ok(Case::new(format!("{batch} of {kind}{rows} rows of {columns} in {chunks} chunks"), op, inputs))
}
