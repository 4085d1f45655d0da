//! The nearest of a block of codes to each of a tile of queries, merged into those found in earlier blocks.

use super::conv2d::reals;
use super::{Case, Values, expect_f32, expect_inputs, expect_same};
use crate::error::{Error, Result};
use crate::graph::{CpuCall, Op, Signature};
use crate::kernel::{Binding, Cost, Launch, Products, Shader, Target, Tolerance, Variant, linear_grid};
use crate::tensor::{Array, TensorType};

/// For each query the K codes with the smallest squared Euclidean distances, of those found before and those of this
/// block, by rising distance; equal distances by rising index.
///
/// Inputs: codes (N, D), queries (Q, D), range `u32[2]` (index of the block's first code, and how many of its rows count,
/// at most N), distances (Q, K) and indices `u32` (Q, K) found before, in the same order. Outputs: the distances and
/// indices afterwards, in their place. A place that nothing has taken yet holds [`Nearest::FAR`] and [`Nearest::NOBODY`];
/// a distance above that is none.
///
/// Distances are sums of squared differences, so that codes that are close to each other, or far from zero, lose no digits.
#[derive(Clone, Copy, Debug)]
pub struct Nearest;

/// Queries and codes of a tile, as in the shader.
const TILE: usize = 32;
/// Workgroups that keep any GPU busy.
const BUSY_GROUPS: usize = 1024;
/// Codes of a slice at least, so that its list costs little beside its distances.
const SLICE: usize = 512;
/// Lists of all slices at most.
const SCRATCH_BYTES: usize = 32 << 20;

/// Extents of a search.
pub(crate) struct Extents {
    pub(crate) codes: usize,
    pub(crate) queries: usize,
    /// Numbers in a code.
    pub(crate) dim: usize,
    /// Neighbours of a query.
    pub(crate) kept: usize,
}

impl Nearest {
    /// The squared distance of a place that no code has taken.
    pub const FAR: f32 = f32::MAX;
    /// The index of a place that no code has taken.
    pub const NOBODY: u32 = u32::MAX;

    /// The extents for inputs that [`Op::infer`] takes.
    pub(crate) fn extents(inputs: &[TensorType]) -> Option<Extents> {
        let matrix = |i: usize| inputs.get(i).and_then(|ty| ty.shape.matrix());
        let ([codes, dim], [queries, same_dim], [same_queries, kept]) = (matrix(0)?, matrix(1)?, matrix(3)?);
        let fits = dim == same_dim && queries == same_queries && codes * queries * dim * kept > 0;
        fits.then_some(Extents { codes, queries, dim, kept })
    }

    /// Slices of the codes, each searched by workgroups of its own, and codes in one.
    fn slices(extents: &Extents) -> (usize, usize) {
        let tiles = extents.queries.div_ceil(TILE);
        let by_scratch = SCRATCH_BYTES / (extents.queries * extents.kept * 4);
        let slices = (extents.codes / SLICE).min(BUSY_GROUPS.div_ceil(tiles)).min(by_scratch).max(1);
        let len = extents.codes.div_ceil(slices).next_multiple_of(TILE);
        (extents.codes.div_ceil(len), len)
    }

    /// Bytes that a search takes on a GPU besides its codes: queries, lists, and the lists of its slices.
    pub(crate) fn working_bytes(extents: &Extents) -> usize {
        let &Extents { queries, dim, kept, .. } = extents;
        4 * queries * (dim + 2 * kept) + 8 * Self::slices(extents).0 * queries * kept
    }
}

impl Op for Nearest {
    fn name(&self) -> &'static str {
        "nearest"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 5..=5)?;
        [0, 1, 3].into_iter().try_for_each(|i| expect_f32(self.name(), &inputs[i]))?;
        expect_same(self.name(), &TensorType::u32([2]), &inputs[2])?;
        expect_same(self.name(), &TensorType::u32(inputs[3].shape.clone()), &inputs[4])?;
        if Self::extents(inputs).is_none() {
            let got = format!("{}, {} and {}", inputs[0], inputs[1], inputs[3]);
            return Err(Error::shape(self.name(), "codes (N, D), queries (Q, D) and distances (Q, K)", got));
        }
        Ok(vec![inputs[3].clone(), inputs[4].clone()])
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 3), (1, 4)]
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        let Some(extents) = Self::extents(signature.inputs) else { return Vec::new() };
        let Extents { queries, dim, kept, .. } = extents;
        let (slices, slice_len) = Self::slices(&extents);
        let (distances, indices) = (Binding::Scratch(0), Binding::Scratch(1));
        let search = Launch {
            shader: Shader { name: "nearest", files: &[include_str!("../../shaders/nearest.wgsl")] },
            constants: Vec::new(),
            parameters: vec![
                ("queries", queries.into()),
                ("dim", dim.into()),
                ("kept", kept.into()),
                ("slices", slices.into()),
                ("slice_len", slice_len.into()),
            ],
            bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Input(2), distances, indices],
            workgroups: linear_grid(queries.div_ceil(TILE) * slices, 1),
        };
        let merge = Launch {
            shader: Shader { name: "nearest_merge", files: &[include_str!("../../shaders/nearest_merge.wgsl")] },
            constants: Vec::new(),
            parameters: vec![("queries", queries.into()), ("kept", kept.into()), ("slices", slices.into())],
            bindings: vec![distances, indices, Binding::Output(0), Binding::Output(1)],
            workgroups: linear_grid(queries, 64),
        };
        let list_bytes = queries * slices * kept * 4;
        vec![Variant {
            name: "tiled",
            launches: vec![search, merge],
            scratch_bytes: vec![list_bytes; 2],
            estimate_us: 1.0,
            products: Products::F32,
        }]
    }

    fn reference(&self, signature: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        let Some(Extents { dim, kept, .. }) = Self::extents(signature.inputs) else { return };
        let (codes, queries) = (inputs[0].f64(), inputs[1].f64());
        let (first, count) = (inputs[2].u32()[0], inputs[2].u32()[1] as usize);
        for (q, query) in queries.chunks_exact(dim).enumerate() {
            let before = q * kept..(q + 1) * kept;
            let found = inputs[3].f64()[before.clone()].iter().copied().zip(inputs[4].u32()[before].iter().copied());
            let here = codes
                .chunks_exact(dim)
                .take(count)
                .zip(first..)
                .map(|(code, index)| (code.iter().zip(query).map(|(c, q)| (c - q) * (c - q)).sum::<f64>(), index));
            let mut all: Vec<(f64, u32)> =
                found.chain(here.filter(|(distance, _)| *distance < f64::from(Self::FAR))).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for (slot, (distance, index)) in (q * kept..).zip(all.into_iter().take(kept)) {
                outputs[0].f64_mut()[slot] = distance;
                outputs[1].u32_mut()[slot] = index;
            }
        }
    }

    fn compute(&self, signature: &Signature<'_>, call: &mut CpuCall<'_>) -> bool {
        let Some(extents) = Self::extents(signature.inputs) else { return false };
        crate::cpu::nearest::run(&extents, call);
        true
    }

    fn cost(&self, signature: &Signature<'_>) -> Cost {
        let pairs = Self::extents(signature.inputs).map_or(0.0, |e| (e.codes * e.queries) as f64 * e.dim as f64);
        Cost { flops: 3.0 * pairs, bytes: signature.bytes() }
    }

    fn tolerance(&self, _: &Signature<'_>) -> Vec<Tolerance> {
        vec![Tolerance::ELEMENTWISE, Tolerance::Exact]
    }
}

/// A search of `count` of the codes from index `first` on, with nothing found before. Whole numbers, of which no sum is
/// rounded, make many ties.
fn case([codes, queries, dim, kept]: [usize; 4], first: u32, count: usize) -> Case {
    let numbers = |shape: [usize; 2]| (TensorType::f32(shape), Values::Integers(0, 4));
    let found = [queries, kept];
    let inputs = vec![
        numbers([codes, dim]),
        numbers([queries, dim]),
        (TensorType::u32([2]), Values::Words(vec![first, count as u32])),
        (TensorType::f32(found), Values::Exact(vec![f64::from(Nearest::FAR); queries * kept])),
        (TensorType::u32(found), Values::Words(vec![Nearest::NOBODY; queries * kept])),
    ];
    Case::new(format!("{kept} of {codes} codes of {dim} for {queries} queries"), Nearest, inputs)
}

/// As `case`, where as many codes as are kept were found before, all at this distance, from this index on.
fn after(extents: [usize; 4], first: u32, (distance, index): (f64, u32)) -> Case {
    let [codes, queries, _, kept] = extents;
    let mut case = case(extents, first, codes);
    case.inputs[3].1 = Values::Exact(vec![distance; queries * kept]);
    case.inputs[4].1 = Values::Words((0..queries * kept).map(|i| index + (i % kept) as u32).collect());
    case.label = format!("{} after those at {distance} from {index} on", case.label);
    case
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case([1, 1, 1, 1], 0, 1),
        case([5, 3, 2, 8], 7, 5),
        case([31, 33, 15, 4], 0, 31),
        case([32, 32, 16, 32], 100, 32),
        case([33, 31, 17, 5], 1 << 31, 33),
        case([70, 40, 33, 10], 0, 61),
        case([64, 9, 8, 3], 0, 0),
        // Several slices, the last one short or without a code that counts.
        case([1600, 3, 5, 7], 0, 1600),
        case([2048, 65, 3, 18], 4, 1100),
        case([1537, 1, 40, 12], 9, 1537),
        // Ties with what was found before: at smaller indices, and at larger ones.
        after([40, 5, 2, 6], 50, (2.0, 3)),
        after([40, 5, 2, 6], 50, (2.0, 900)),
        after([1100, 34, 3, 9], 20, (1.0, 4000)),
        // Nothing here is near enough.
        after([12, 4, 3, 2], 6, (0.0, 1)),
    ];
    // Reals, far from zero for their distances from each other.
    let mut far = case([50, 6, 24, 5], 0, 50);
    far.inputs[0] = reals([50, 24], 100.0, 101.0);
    far.inputs[1] = reals([6, 24], 100.0, 101.0);
    far.label = format!("{} far from zero", far.label);
    cases.push(far);
    cases
}

pub(super) fn random(draw: &mut super::Draw) -> Result<Case> {
    let extents @ [codes, ..] = [draw.extent() * draw.extent(), draw.extent(), draw.channels(), draw.extent()];
    let first = draw.from(0..1 << 31);
    if draw.flag() {
        return Ok(after(extents, first, (f64::from(draw.from(0..30_u32)), draw.from(0..u32::MAX - 1_000_000))));
    }
    let count = draw.from(0..=codes);
    Ok(case(extents, first, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn slices_cover_all_codes_and_their_lists_stay_small() {
        for (codes, queries, kept) in [(1, 1, 1), (1 << 20, 1, 18), (100_000, 1024, 18), (5000, 3, 8192), (31, 4096, 9)]
        {
            let (slices, len) = Nearest::slices(&Extents { codes, queries, dim: 1, kept });
            assert!(slices * len >= codes && (slices - 1) * len < codes && len.is_multiple_of(TILE));
            assert!(slices == 1 || slices * queries * kept * 4 <= SCRATCH_BYTES, "{codes} {queries} {kept}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let real = |shape: [usize; 2]| TensorType::f32(shape);
        let inputs = |codes, queries, found: [usize; 2], indices: DType| {
            let ty = if indices == DType::U32 { TensorType::u32(found) } else { TensorType::f32(found) };
            [codes, queries, TensorType::u32([2]), real(found), ty]
        };
        assert!(Nearest.infer(&inputs(real([9, 4]), real([3, 4]), [3, 2], DType::U32)).is_ok());
        assert!(Nearest.infer(&inputs(real([9, 4]), real([3, 5]), [3, 2], DType::U32)).is_err());
        assert!(Nearest.infer(&inputs(real([9, 4]), real([3, 4]), [2, 2], DType::U32)).is_err());
        assert!(Nearest.infer(&inputs(real([9, 4]), real([3, 4]), [3, 2], DType::F32)).is_err());
    }
}
