//! Peaks of the processor, on all threads that the CPU executor has.

use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Runs of each measurement.
const RUNS: usize = 20;

/// Independent chains of multiply-adds: more than two per cycle with four cycles each need eight.
const CHAINS: usize = 12;

/// Rounds of multiply-adds in registers; gives how many operations they were.
struct Chains {
    rounds: usize,
}

impl pulp::WithSimd for Chains {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) -> f64 {
        let (factor, addend) = (simd.splat_f32s(black_box(0.75)), simd.splat_f32s(black_box(0.25)));
        let mut chains = [simd.splat_f32s(black_box(0.5)); CHAINS];
        for _ in 0..self.rounds {
            for chain in &mut chains {
                *chain = simd.mul_add_f32s(*chain, factor, addend);
            }
        }
        for chain in chains {
            black_box(simd.reduce_sum_f32s(chain));
        }
        (2 * self.rounds * CHAINS * S::F32_LANES) as f64
    }
}

/// 10^9 single-precision operations per second.
pub(super) fn fma_gflops() -> f64 {
    let arch = pulp::Arch::new();
    let threads = rayon::current_num_threads();
    let run = || -> f64 {
        let begin = Instant::now();
        let operations: f64 =
            (0..4 * threads).into_par_iter().with_max_len(1).map(|_| arch.dispatch(Chains { rounds: 100_000 })).sum();
        operations / begin.elapsed().as_nanos().max(1) as f64
    };
    (0..RUNS).map(|_| run()).fold(0.0, f64::max)
}

/// 10^9 bytes per second, read and written.
pub(super) fn copy_gbps() -> f64 {
    const FLOATS: usize = 16 << 20;
    let source = vec![1.0_f32; FLOATS];
    let mut copy = vec![0.0_f32; FLOATS];
    let part = FLOATS.div_ceil(4 * rayon::current_num_threads());
    let mut run = || {
        let begin = Instant::now();
        copy.par_chunks_mut(part).zip(source.par_chunks(part)).for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&copy);
        (2 * 4 * FLOATS) as f64 / begin.elapsed().as_nanos().max(1) as f64
    };
    (0..RUNS).map(|_| run()).fold(0.0, f64::max)
}
