//! Timestamps around compute passes.

use super::device::Gpu;
use crate::error::Result;

/// Passes of one query set: wgpu allows 4,096 queries in each.
const PASSES_OF_SET: usize = 2048;

/// Queries for the begin and the end of a number of compute passes.
pub(super) struct PassClock {
    sets: Vec<Queries>,
    /// Nanoseconds of one tick.
    period_ns: f64,
}

struct Queries {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
}

impl PassClock {
    /// For this many passes; none on a device without timestamps.
    pub(super) fn new(gpu: &Gpu, passes: usize) -> Result<Option<Self>> {
        if !gpu.has_timestamps() {
            return Ok(None);
        }
        let queries = |first: usize| {
            let count = 2 * (passes - first).min(PASSES_OF_SET) as u32;
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            let label = Some("timestamps");
            let set = wgpu::QuerySetDescriptor { label, ty: wgpu::QueryType::Timestamp, count };
            let buffer = wgpu::BufferDescriptor { label, size: 8 * u64::from(count), usage, mapped_at_creation: false };
            Queries { set: gpu.device.create_query_set(&set), resolved: gpu.device.create_buffer(&buffer) }
        };
        let sets = gpu.scoped(|| (0..passes.max(1)).step_by(PASSES_OF_SET).map(queries).collect())?;
        Ok(Some(Self { sets, period_ns: f64::from(gpu.queue.get_timestamp_period()) }))
    }

    /// What the pass of this number is to write.
    pub(super) fn writes(&self, pass: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        let first = 2 * (pass % PASSES_OF_SET) as u32;
        wgpu::ComputePassTimestampWrites {
            query_set: &self.sets[pass / PASSES_OF_SET].set,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        }
    }

    /// Records that the times are to be had after this encoder's work.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        for Queries { set, resolved } in &self.sets {
            encoder.resolve_query_set(set, 0..set.count(), resolved, 0);
        }
    }

    /// Begin and end of every pass, in nanoseconds from the first begin, once the work is submitted.
    pub(super) fn read(&self, gpu: &Gpu) -> Result<Vec<[f64; 2]>> {
        let mut ticks: Vec<u64> = Vec::new();
        for Queries { resolved, .. } in &self.sets {
            let words = gpu.read_buffer(resolved)?;
            ticks.extend(words.chunks_exact(2).map(|word| u64::from(word[1]) << 32 | u64::from(word[0])));
        }
        // Differences first: some clocks count nanoseconds since 1970, which f64 only has to the nearest 256.
        let first = ticks.first().copied().unwrap_or(0);
        let ns = |tick: u64| tick.wrapping_sub(first).cast_signed() as f64 * self.period_ns;
        Ok(ticks.chunks_exact(2).map(|pair| [ns(pair[0]), ns(pair[1])]).collect())
    }
}
