//! Kernels compiled on a device with buffers bound to them, run and timed.

use super::limits::LoneLimits;
use super::module::LoneModule;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::gpu::pass_clock::PassClock;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Run-time checks that wgpu puts into a module. A build without them trusts the kernel: where it reads or writes past an
/// array, or never ends, whatever then happens is its author's own doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checks {
    /// Indices are kept within arrays, where the driver does not do it itself.
    pub bounds: bool,
    /// Loops count their turns, so that a compiler may not take an endless one for unreachable.
    pub loops: bool,
}

impl Checks {
    /// What `create_shader_module` makes.
    pub const ALL: Self = Self { bounds: true, loops: true };
    /// Neither.
    pub const NONE: Self = Self { bounds: false, loops: false };
}

/// What a buffer holds at the start.
#[derive(Clone, PartialEq, Debug)]
pub struct BoundData {
    /// Group and binding.
    pub at: [u32; 2],
    /// Little-endian contents.
    pub bytes: Vec<u8>,
}

impl BoundData {
    /// Size of the buffer: buffers are whole words.
    fn size_bytes(&self) -> u64 {
        self.bytes.len().next_multiple_of(4).max(4) as u64
    }
}

/// Dispatches of one kernel in one compute pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LonePass {
    /// Number of the kernel, as [`LoneBench::add`] returned it.
    pub kernel: usize,
    /// How often it runs.
    pub dispatches: u32,
}

/// A device with lone kernels and their buffers.
pub struct LoneBench {
    gpu: Gpu,
    timestamps: bool,
    time_limit: Duration,
    buffers: Vec<BufferSet>,
    kernels: Vec<Compiled>,
    /// By number of passes: all queries of a set that is read must have been written.
    clocks: HashMap<usize, PassClock>,
}

struct BufferSet {
    data: Vec<BoundData>,
    copies: Vec<Vec<wgpu::Buffer>>,
}

struct Compiled {
    name: String,
    pipeline: wgpu::ComputePipeline,
    /// For every copy of the buffers, the bind groups with their numbers.
    groups: Vec<Vec<(u32, wgpu::BindGroup)>>,
    workgroups: [u32; 3],
    next_copy: usize,
}

impl LoneBench {
    /// On this device; `timestamps` says whether they are to be used where there are any. A run that takes longer than
    /// `time_limit` is given up.
    pub fn new(gpu: Gpu, timestamps: bool, time_limit: Duration) -> Self {
        let timestamps = timestamps && gpu.has_timestamps();
        Self { gpu, timestamps, time_limit, buffers: Vec::new(), kernels: Vec::new(), clocks: HashMap::new() }
    }

    /// Whether passes are timed by the device; else whole submits are timed by the host.
    pub fn has_timestamps(&self) -> bool {
        self.timestamps
    }

    /// The device's limits.
    pub fn limits(&self) -> LoneLimits {
        LoneLimits::of(&self.gpu)
    }

    /// The device's name and its driver.
    pub fn device(&self) -> [String; 2] {
        let info = self.gpu.device.adapter_info();
        [info.name, format!("{:?}, {} {}", info.backend, info.driver, info.driver_info).trim().to_owned()]
    }

    /// Forgets all kernels and buffers.
    pub fn clear(&mut self) {
        self.kernels.clear();
        self.buffers.clear();
    }

    /// Makes buffers with these contents, `copies` times, and returns the set's number.
    ///
    /// # Errors
    /// If the device has not the memory.
    pub fn bind(&mut self, data: Vec<BoundData>, copies: usize) -> Result<usize> {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::UNIFORM
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let copy = || {
            let descriptors = data.iter().map(|of| wgpu::BufferDescriptor {
                label: None,
                size: of.size_bytes(),
                usage,
                mapped_at_creation: false,
            });
            self.gpu.scoped(|| descriptors.map(|d| self.gpu.device.create_buffer(&d)).collect::<Vec<_>>())
        };
        let out_of_memory = |error| match error {
            Error::OutOfMemory { name } => {
                Error::Device { name, problem: "out of memory: bind smaller buffers with --bind".to_owned() }
            }
            other => other,
        };
        let copies = (0..copies).map(|_| copy()).collect::<Result<_>>().map_err(out_of_memory)?;
        self.buffers.push(BufferSet { data, copies });
        let set = self.buffers.len() - 1;
        self.reset(set)?;
        Ok(set)
    }

    /// Gives all buffers of a set their first contents back.
    ///
    /// # Errors
    /// If the device refuses, or there is no such set.
    pub fn reset(&self, set: usize) -> Result<()> {
        let BufferSet { data, copies } = self.set(set)?;
        self.gpu.scoped(|| {
            for (buffer, of) in copies.iter().flat_map(|copy| copy.iter().zip(data)) {
                let mut bytes = std::borrow::Cow::from(&of.bytes);
                if bytes.len() as u64 != buffer.size() {
                    bytes.to_mut().resize(buffer.size() as usize, 0);
                }
                self.gpu.queue.write_buffer(buffer, 0, &bytes);
                // Each upload is staged in memory of its own until it is submitted.
                self.gpu.queue.submit([]);
            }
        })
    }

    fn set(&self, set: usize) -> Result<&BufferSet> {
        self.buffers.get(set).ok_or_else(|| self.gpu.error("there is no such set of buffers"))
    }

    /// Compiles a kernel for a set of buffers, and returns its number.
    ///
    /// # Errors
    /// A kernel that the device cannot run, or buffers that it cannot run with.
    pub fn add(&mut self, module: &LoneModule, checks: Checks, workgroups: [u32; 3], set: usize) -> Result<usize> {
        let BufferSet { data, copies } = self.set(set)?;
        let bound: Vec<([u32; 2], u64)> = data.iter().map(|of| (of.at, of.bytes.len() as u64)).collect();
        module.check_bound(&bound)?;
        module.check_limits(&self.limits(), workgroups, &bound)?;
        let refused = |error| match error {
            Error::Device { name, problem } => {
                let problem = problem.split_whitespace().collect::<Vec<_>>().join(" ");
                Error::file(&module.name, format!("{name} refuses it: {problem}"))
            }
            other => other,
        };
        let (pipeline, layouts) = self.gpu.scoped(|| self.compile(module, checks)).map_err(refused)?;
        let groups = self.gpu.scoped(|| {
            let of_copy = |copy: &Vec<wgpu::Buffer>| {
                let group = |layout: &(u32, wgpu::BindGroupLayout)| (layout.0, self.group(module, layout, data, copy));
                layouts.iter().map(group).collect()
            };
            copies.iter().map(of_copy).collect()
        });
        let groups = groups.map_err(refused)?;
        self.kernels.push(Compiled { name: module.name.clone(), pipeline, groups, workgroups, next_copy: 0 });
        Ok(self.kernels.len() - 1)
    }

    fn compile(
        &self,
        module: &LoneModule,
        checks: Checks,
    ) -> (wgpu::ComputePipeline, Vec<(u32, wgpu::BindGroupLayout)>) {
        let device = &self.gpu.device;
        let label = Some(module.entry.as_str());
        let source = wgpu::ShaderSource::Wgsl(module.text.as_str().into());
        let descriptor = wgpu::ShaderModuleDescriptor { label, source };
        let shader = if checks == Checks::ALL {
            device.create_shader_module(descriptor)
        } else {
            let wanted = wgpu::ShaderRuntimeChecks {
                bounds_checks: checks.bounds,
                force_loop_bounding: checks.loops,
                ..wgpu::ShaderRuntimeChecks::checked()
            };
            // SAFETY: whoever asks for a build with less checks answers for the kernel, as `Checks` says.
            unsafe { device.create_shader_module_trusted(descriptor, wanted) }
        };
        let last = module.bindings.iter().map(|b| b.group).max();
        let layouts: Vec<_> = (0..last.map_or(0, |last| last + 1)).map(|group| self.layout(module, group)).collect();
        let borrowed: Vec<_> = layouts.iter().map(|(_, layout)| Some(layout)).collect();
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &borrowed,
            immediate_size: 0,
        });
        let constants: Vec<(&str, f64)> = module.overrides.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&layout),
            module: &shader,
            entry_point: Some(&module.entry),
            cache: None,
            compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
        });
        (pipeline, layouts)
    }

    fn layout(&self, module: &LoneModule, group: u32) -> (u32, wgpu::BindGroupLayout) {
        let entry = |b: &super::LoneBinding| wgpu::BindGroupLayoutEntry {
            binding: b.binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            count: None,
            ty: wgpu::BindingType::Buffer {
                ty: if b.uniform {
                    wgpu::BufferBindingType::Uniform
                } else {
                    wgpu::BufferBindingType::Storage { read_only: !b.writable }
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
        };
        let entries: Vec<_> = module.bindings.iter().filter(|b| b.group == group).map(entry).collect();
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
        (group, self.gpu.device.create_bind_group_layout(&descriptor))
    }

    fn group(
        &self,
        module: &LoneModule,
        (group, layout): &(u32, wgpu::BindGroupLayout),
        data: &[BoundData],
        buffers: &[wgpu::Buffer],
    ) -> wgpu::BindGroup {
        let of_group = module.bindings.iter().filter(|b| b.group == *group);
        let entry = |b: &super::LoneBinding| {
            let place = data.iter().position(|of| of.at == [b.group, b.binding])?;
            Some(wgpu::BindGroupEntry { binding: b.binding, resource: buffers.get(place)?.as_entire_binding() })
        };
        let entries: Vec<_> = of_group.filter_map(entry).collect();
        self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }

    /// Words of a buffer of a set's first copy, once everything submitted is done.
    ///
    /// # Errors
    /// If nothing is bound there, or the device fails.
    pub fn read(&self, set: usize, at: [u32; 2]) -> Result<Vec<u32>> {
        let BufferSet { data, copies } = self.set(set)?;
        let place = data.iter().position(|of| of.at == at);
        let buffer = place.and_then(|place| copies.first()?.get(place));
        let [group, binding] = at;
        let buffer = buffer.ok_or_else(|| self.gpu.error(format!("nothing is bound to {group}:{binding}")))?;
        self.gpu.read_buffer(buffer)
    }

    /// Runs a kernel once on the first copy of its buffers.
    ///
    /// # Errors
    /// If the device fails, or the run does not end in time.
    pub fn run(&mut self, kernel: usize) -> Result<()> {
        if let Some(compiled) = self.kernels.get_mut(kernel) {
            compiled.next_copy = 0;
        }
        self.time_submit(Some(LonePass { kernel, dispatches: 1 })).map(|_| ())
    }

    /// Runs these passes in one submit and times each, in microseconds: what the device's clock says, however little sense
    /// it makes; NaN for more than the host waited. Without timestamps each pass is a submit of its own, which the host times.
    ///
    /// # Errors
    /// If the device fails, or does not end in time.
    pub fn time_us(&mut self, passes: &[LonePass]) -> Result<Vec<f64>> {
        if !self.timestamps {
            return passes.iter().map(|&pass| self.time_submit(Some(pass))).collect();
        }
        let clock = match self.clocks.remove(&passes.len()) {
            Some(clock) => clock,
            None => PassClock::new(&self.gpu, passes.len())?.ok_or_else(|| self.gpu.error("has no timestamps"))?,
        };
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (at, &pass) in passes.iter().enumerate() {
            self.encode(&mut encoder, pass, Some(clock.writes(at)));
        }
        clock.resolve(&mut encoder);
        let waited_us = self.submit(encoder, passes.first().copied())?;
        let times = clock.read(&self.gpu)?;
        self.clocks.insert(passes.len(), clock);
        let valid = |us: f64| if us <= waited_us { us } else { f64::NAN };
        Ok(times.into_iter().map(|[begin, end]| valid((end - begin) / 1000.0)).collect())
    }

    /// Times a submit of one pass, or of an empty one, by the host, in microseconds.
    ///
    /// # Errors
    /// As [`LoneBench::time_us`].
    pub fn time_submit(&mut self, pass: Option<LonePass>) -> Result<f64> {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        match pass {
            Some(pass) => self.encode(&mut encoder, pass, None),
            None => drop(encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default())),
        }
        self.submit(encoder, pass)
    }

    fn encode(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        pass: LonePass,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) {
        let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
        let mut recorded = encoder.begin_compute_pass(&descriptor);
        let Some(kernel) = self.kernels.get_mut(pass.kernel) else { return };
        recorded.set_pipeline(&kernel.pipeline);
        let [x, y, z] = kernel.workgroups;
        for _ in 0..pass.dispatches {
            for (number, group) in kernel.groups.get(kernel.next_copy).into_iter().flatten() {
                recorded.set_bind_group(*number, group, &[]);
            }
            recorded.dispatch_workgroups(x, y, z);
            kernel.next_copy = (kernel.next_copy + 1) % kernel.groups.len().max(1);
        }
    }

    /// Submits and waits, and says how long that took in microseconds.
    fn submit(&mut self, encoder: wgpu::CommandEncoder, pass: Option<LonePass>) -> Result<f64> {
        let commands = encoder.finish();
        let started = Instant::now();
        let submission_index = Some(self.gpu.queue.submit([commands]));
        let wait = wgpu::PollType::Wait { submission_index, timeout: Some(self.time_limit) };
        match self.gpu.device.poll(wait) {
            Ok(_) => {}
            Err(wgpu::PollError::Timeout) => {
                // The last owner of the device would wait for the kernel.
                std::mem::forget((self.gpu.device.clone(), self.gpu.queue.clone()));
                let name = pass.and_then(|pass| self.kernels.get(pass.kernel)).map_or("kernel", |k| &k.name);
                return Err(Error::Endless { name: name.to_owned(), seconds: self.time_limit.as_secs_f64() });
            }
            Err(error) => return Err(self.gpu.error(error.to_string())),
        }
        let elapsed = started.elapsed();
        self.gpu.check()?;
        Ok(elapsed.as_secs_f64() * 1e6)
    }
}
