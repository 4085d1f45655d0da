//! A plan resolved on a device: pipelines, bind groups and parameter blocks. A replay encodes the launches again and
//! does nothing else.

use super::device::Gpu;
use super::kernels::Kernel;
use super::pace::{Measurement, Pace};
use crate::error::Result;
use crate::kernel::{Binding, Launch};
use crate::plan::{Plan, Step, Storage};
use crate::session::{Backend, Clock, PendingRead, ProgramId, Timeline};
use crate::tensor::TensorType;
use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

/// Launches in a submit whose time is not known.
const SMALL: usize = 8;
/// Submits in flight before the host waits for the oldest.
const IN_FLIGHT: usize = 2;

/// A launch with everything looked up.
pub(super) struct ResolvedLaunch {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    workgroups: [u32; 3],
}

impl ResolvedLaunch {
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        let [x, y, z] = self.workgroups;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// A recorded plan.
#[derive(Default)]
pub(super) struct Recording {
    pub(super) launches: Vec<ResolvedLaunch>,
    /// Number of launches up to and with each step of the plan.
    ends: Vec<usize>,
    /// The buffers of the plan's slots.
    slots: Vec<wgpu::Buffer>,
    pub(super) pace: Pace,
}

/// Buffers and recordings on one device.
pub struct GpuProgram {
    pub(super) gpu: Gpu,
    store: HashMap<String, Stored>,
    /// Buffers that temporaries of all plans share, the largest first.
    shared: Vec<wgpu::Buffer>,
    recordings: Vec<Recording>,
    in_flight: Vec<wgpu::SubmissionIndex>,
    submits: u64,
    parameter_bytes: usize,
    guard_words: usize,
    /// Buffers that reads go through, free at the moment.
    spare_staging: Vec<wgpu::Buffer>,
}

/// A tensor of the store: its own words, then the guard words.
struct Stored {
    buffer: wgpu::Buffer,
    words: usize,
}

impl GpuProgram {
    /// Without buffers or recordings.
    pub fn new(gpu: Gpu) -> Self {
        Self {
            gpu,
            store: HashMap::new(),
            shared: Vec::new(),
            recordings: Vec::new(),
            in_flight: Vec::new(),
            submits: 0,
            parameter_bytes: 0,
            guard_words: 0,
            spare_staging: Vec::new(),
        }
    }

    fn storage_buffer(&self, label: &str, bytes: usize) -> Result<wgpu::Buffer> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        self.buffer(label, bytes, usage)
    }

    fn buffer(&self, label: &str, bytes: usize, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let size = (bytes.max(4) as u64).next_multiple_of(4);
        if self.allocated_bytes() as u64 + size > self.gpu.most_bytes() {
            return Err(self.gpu.out_of_memory());
        }
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        self.gpu.scoped(|| self.gpu.device.create_buffer(&descriptor))
    }

    fn named(&self, name: &str) -> Result<&Stored> {
        self.store.get(name).ok_or_else(|| self.gpu.error(format!("no tensor {name} is allocated")))
    }

    /// Gives each slot one of the shared buffers, growing them where this plan needs more. Recordings made earlier
    /// keep the buffers that they were made with.
    fn slots(&mut self, plan: &Plan) -> Result<Vec<wgpu::Buffer>> {
        let mut order: Vec<usize> = (0..plan.slot_bytes().len()).collect();
        order.sort_by_key(|&s| std::cmp::Reverse(plan.slot_bytes()[s]));
        let mut buffers: Vec<Option<wgpu::Buffer>> = vec![None; order.len()];
        for (rank, &slot) in order.iter().enumerate() {
            let bytes = plan.slot_bytes()[slot].max(4).next_multiple_of(4) + 4 * self.guard_words;
            if self.shared.get(rank).is_none_or(|buffer| buffer.size() < bytes as u64) {
                let buffer = self.storage_buffer("temporary", bytes)?;
                if rank < self.shared.len() { self.shared[rank] = buffer } else { self.shared.push(buffer) }
            }
            buffers[slot] = Some(self.shared[rank].clone());
        }
        Ok(buffers.into_iter().flatten().collect())
    }

    /// All launches of a plan with their kernels and parameter words.
    fn kernels<'p>(&mut self, plan: &'p Plan) -> Result<Vec<PendingLaunch<'p>>> {
        let kernels = self.gpu.kernels(launches(plan).map(|(_, launch)| launch))?;
        let pend = |((step, launch), kernel): ((&'p Step, &'p Launch), Kernel)| {
            let words = kernel.layout.parameter_words(launch)?;
            Ok(PendingLaunch { step, launch, kernel, words })
        };
        launches(plan).zip(kernels).map(pend).collect()
    }

    fn resolve(
        &self,
        plan: &Plan,
        pending: PendingLaunch<'_>,
        slots: &[wgpu::Buffer],
        parameters: &wgpu::Buffer,
        offset: u64,
    ) -> Result<ResolvedLaunch> {
        let PendingLaunch { step, launch, kernel, words } = pending;
        let (input_types, output_types) = plan.types(step);
        let tensor = |id, ty: &TensorType| -> Result<(&wgpu::Buffer, usize)> {
            Ok(match plan.storage(id) {
                Some(Storage::Slot(slot)) => (&slots[*slot], ty.size_bytes()),
                Some(Storage::Store(name)) => (&self.named(name)?.buffer, ty.size_bytes()),
                None => return Err(self.gpu.error(format!("{} has a tensor without a buffer", step.op.name()))),
            })
        };
        let mut entries = Vec::new();
        if !words.is_empty() {
            entries.push(entry(0, parameters, offset, words.len() * 4));
        }
        for (at, binding) in (1..).zip(&launch.bindings) {
            let (buffer, bytes) = match *binding {
                Binding::Input(i) => tensor(step.inputs[i], &input_types[i])?,
                Binding::Output(o) => tensor(step.outputs[o], &output_types[o])?,
                Binding::Scratch(s) => {
                    (&slots[step.scratch[s]], step.variant.as_ref().map_or(0, |v| v.scratch_bytes[s]))
                }
            };
            // The guard words are bound as well, so that no bounds check keeps a kernel from reaching them.
            entries.push(entry(at, buffer, 0, bytes.max(4).next_multiple_of(4) + 4 * self.guard_words));
        }
        let descriptor = wgpu::BindGroupDescriptor {
            label: Some(launch.shader.name),
            layout: &kernel.group_layout,
            entries: &entries,
        };
        let bind_group = self.gpu.device.create_bind_group(&descriptor);
        Ok(ResolvedLaunch { pipeline: kernel.pipeline, bind_group, workgroups: launch.workgroups })
    }

    /// Encodes and submits some launches.
    pub(super) fn submit<'l>(&mut self, launches: impl Iterator<Item = &'l ResolvedLaunch>) -> Result<()> {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            launches.for_each(|launch| launch.encode(&mut pass));
        }
        self.in_flight.push(self.gpu.queue.submit([encoder.finish()]));
        self.submits += 1;
        while self.in_flight.len() > IN_FLIGHT {
            let oldest = self.in_flight.remove(0);
            self.gpu.wait_for(Some(oldest))?;
        }
        self.gpu.check()
    }
}

/// The launches of a plan, each with its op.
fn launches(plan: &Plan) -> impl Iterator<Item = (&Step, &Launch)> {
    let variants = plan.steps().iter().filter_map(|step| Some((step, step.variant.as_ref()?)));
    variants.flat_map(|(step, variant)| variant.launches.iter().map(move |launch| (step, launch)))
}

/// A launch on its way into a recording.
struct PendingLaunch<'p> {
    step: &'p Step,
    launch: &'p Launch,
    kernel: Kernel,
    words: Vec<u32>,
}

/// A part of a buffer as an entry of a bind group.
pub(super) fn entry(binding: u32, buffer: &wgpu::Buffer, offset: u64, bytes: usize) -> wgpu::BindGroupEntry<'_> {
    let size = std::num::NonZeroU64::new(bytes as u64);
    wgpu::BindGroupEntry {
        binding,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size }),
    }
}

impl Backend for GpuProgram {
    fn allocate(&mut self, name: &str, ty: &TensorType) -> Result<()> {
        if !self.store.contains_key(name) {
            // wgpu zeroes new buffers.
            let words = ty.words().max(1);
            let buffer = self.storage_buffer(name, 4 * (words + self.guard_words))?;
            self.store.insert(name.to_owned(), Stored { buffer, words });
        }
        Ok(())
    }

    fn write(&mut self, name: &str, first: usize, words: &[u32]) -> Result<()> {
        let buffer = self.named(name)?.buffer.clone();
        self.write_buffer(&buffer, first, words)
    }

    fn read(&mut self, name: &str) -> Result<Vec<u32>> {
        let Stored { buffer, words } = self.named(name)?;
        let (buffer, words) = (buffer.clone(), *words);
        let mut all = self.gpu.read_buffer(&buffer)?;
        all.truncate(words);
        Ok(all)
    }

    fn prepare(&mut self, plan: &Plan) -> Result<()> {
        self.gpu.kernels(launches(plan).map(|(_, launch)| launch)).map(drop)
    }

    fn record(&mut self, plan: &Plan) -> Result<ProgramId> {
        // Kernels first: what drivers need to compile them is free again before there are buffers.
        let pending = self.kernels(plan)?;
        let slots = self.slots(plan)?;
        let launches_of = |step: &Step| step.variant.as_ref().map_or(0, |variant| variant.launches.len());
        let ends = plan.steps().iter().scan(0, |end, step| {
            *end += launches_of(step);
            Some(*end)
        });
        let ends: Vec<usize> = ends.collect();
        let align = self.gpu.device.limits().min_uniform_buffer_offset_alignment as usize;
        let mut bytes: Vec<u8> = Vec::new();
        let mut offsets = Vec::new();
        for launch in &pending {
            bytes.resize(bytes.len().next_multiple_of(align), 0);
            offsets.push(bytes.len() as u64);
            bytes.extend(bytemuck::cast_slice::<u32, u8>(&launch.words));
        }
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let parameters = self.buffer("parameters", bytes.len(), usage)?;
        self.gpu.queue.write_buffer(&parameters, 0, &bytes);
        self.parameter_bytes += bytes.len();
        let launches = self.gpu.scoped(|| {
            let resolve = |(pending, offset)| self.resolve(plan, pending, &slots, &parameters, offset);
            pending.into_iter().zip(offsets).map(resolve).collect::<Result<Vec<_>>>()
        })??;
        let pace = Pace::new(launches.len(), self.gpu.submit_limit_ns());
        self.recordings.push(Recording { launches, ends, slots, pace });
        Ok(ProgramId(self.recordings.len() - 1))
    }

    fn replay(&mut self, program: ProgramId, times: usize) -> Result<()> {
        let mut recording = std::mem::take(&mut self.recordings[program.0]);
        let result = self.replay_recording(&mut recording, times);
        self.recordings[program.0] = recording;
        result
    }

    fn submits(&self) -> u64 {
        self.submits
    }

    fn wait(&mut self) -> Result<()> {
        self.in_flight.clear();
        self.gpu.wait_for(None)
    }

    fn memory_bytes(&self) -> Option<u64> {
        self.gpu.memory_bytes()
    }

    fn allocated_bytes(&self) -> usize {
        let buffers = self.store.values().map(|stored| &stored.buffer).chain(&self.shared);
        self.parameter_bytes + buffers.map(|b| b.size() as usize).sum::<usize>()
    }

    fn set_guard_words(&mut self, words: usize) {
        self.guard_words = words;
    }

    fn replay_steps(&mut self, program: ProgramId, steps: Range<usize>) -> Result<()> {
        let recording = std::mem::take(&mut self.recordings[program.0]);
        let end = |step: usize| step.checked_sub(1).map_or(0, |last| recording.ends[last]);
        let launches = &recording.launches[end(steps.start)..end(steps.end)];
        // Nothing is known of the time of a part; small submits are never too long, where that matters.
        let most = if self.gpu.submit_limit_ns().is_some() { SMALL } else { launches.len().max(1) };
        let result = launches.chunks(most).try_for_each(|part| self.submit(part.iter()));
        self.recordings[program.0] = recording;
        result
    }

    fn begin_read(&mut self, program: ProgramId, places: &[(Storage, usize)]) -> Result<PendingRead> {
        let sources = places.iter().map(|(storage, words)| Ok((self.buffer_of(program, storage)?.clone(), *words)));
        let sources: Vec<(wgpu::Buffer, usize)> = sources.collect::<Result<_>>()?;
        self.gpu.stage(&sources, &mut self.spare_staging).map(PendingRead::Staged)
    }

    fn finish_read(&mut self, read: PendingRead) -> Result<Vec<u32>> {
        match read {
            PendingRead::Words(words) => Ok(words),
            PendingRead::Staged(staged) => self.gpu.finish_staged(staged, &mut self.spare_staging),
        }
    }

    fn has_clock(&self, clock: Clock) -> bool {
        clock == Clock::Host || self.gpu.has_timestamps()
    }

    fn replay_timed(&mut self, program: ProgramId, clock: Clock) -> Result<Timeline> {
        self.wait()?;
        let recording = std::mem::take(&mut self.recordings[program.0]);
        let result = match clock {
            Clock::Device => self.time_by_device(&recording),
            Clock::Host => self.time_by_host(&recording),
        };
        self.recordings[program.0] = recording;
        result
    }

    fn read_storage(&mut self, program: ProgramId, storage: &Storage) -> Result<Vec<u32>> {
        let buffer = self.buffer_of(program, storage)?.clone();
        self.gpu.read_buffer(&buffer)
    }

    fn storage_words(&self, program: ProgramId, storage: &Storage) -> Result<usize> {
        Ok(self.buffer_of(program, storage)?.size() as usize / 4)
    }

    fn write_storage(&mut self, program: ProgramId, storage: &Storage, words: &[u32]) -> Result<()> {
        let buffer = self.buffer_of(program, storage)?.clone();
        self.write_buffer(&buffer, 0, words)
    }

    fn with_matrix_units(&self) -> Option<Gpu> {
        self.gpu.adapter().open_with_matrix_units()
    }

    fn clear(&mut self) -> Result<()> {
        self.wait()?;
        self.store.clear();
        self.shared.clear();
        self.recordings.clear();
        self.parameter_bytes = 0;
        Ok(())
    }
}

impl GpuProgram {
    /// The buffer in which a recorded plan keeps a tensor.
    fn buffer_of(&self, program: ProgramId, storage: &Storage) -> Result<&wgpu::Buffer> {
        match storage {
            Storage::Slot(slot) => Ok(&self.recordings[program.0].slots[*slot]),
            Storage::Store(name) => Ok(&self.named(name)?.buffer),
        }
    }

    fn write_buffer(&mut self, buffer: &wgpu::Buffer, first: usize, words: &[u32]) -> Result<()> {
        // In parts: each one is staged in host memory until the next submit.
        const PART: usize = 16 << 20;
        for (part, words) in words.chunks(PART / 4).enumerate() {
            let offset = (4 * first + part * PART) as u64;
            self.gpu.queue.write_buffer(buffer, offset, bytemuck::cast_slice(words));
            if words.len() == PART / 4 {
                self.gpu.queue.submit([]);
                self.gpu.wait_for(None)?;
            }
        }
        self.gpu.check()
    }

    /// Several replays go into one submit, as many as the measured time allows; a replay that is longer than a
    /// submit may be is split between launches.
    fn replay_recording(&mut self, recording: &mut Recording, times: usize) -> Result<()> {
        let mut left = times;
        while left > 0 {
            if let Some(measurement) = recording.pace.next(Instant::now()) {
                self.measure(recording, measurement)?;
                left -= 1;
                continue;
            }
            let now = left.min(recording.pace.replays_in_submit());
            let parts = recording.pace.parts();
            if parts.len() > 1 {
                parts.into_iter().try_for_each(|part| self.submit(recording.launches[part].iter()))?;
                left -= 1;
            } else {
                self.submit((0..now).flat_map(|_| &recording.launches))?;
                left -= now;
            }
        }
        Ok(())
    }

    /// One replay that is timed.
    fn measure(&mut self, recording: &mut Recording, measurement: Measurement) -> Result<()> {
        self.wait()?;
        let timed = |program: &mut Self, launches: &[ResolvedLaunch]| -> Result<f64> {
            let begin = Instant::now();
            program.submit(launches.iter())?;
            program.wait()?;
            Ok(begin.elapsed().as_nanos() as f64)
        };
        match measurement {
            Measurement::Launches => {
                let times = recording.launches.chunks(1).map(|launch| timed(self, launch));
                let times = times.collect::<Result<Vec<f64>>>()?;
                recording.pace.see_launches(times, Instant::now());
            }
            Measurement::Replay => {
                let ns = timed(self, &recording.launches)?;
                recording.pace.see_replay(ns, Instant::now());
            }
        }
        Ok(())
    }
}
