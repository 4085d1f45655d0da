//! Adapters and the opened device.

mod matrix_units;

use super::kernels::{Kernel, KernelKey};
use super::pace::SUBMIT_NS;
use super::pipeline_store::PipelineStore;
use crate::error::{Error, Result};
use crate::kernel::{Precision, Target, TargetKind};
use crate::memory::available_bytes;
use matrix_units::MATRIX_UNITS;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Kind of an adapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU behind a virtual machine.
    Virtual,
    /// A driver that runs shaders on the processor.
    Software,
    /// The driver does not say.
    Other,
}

impl DeviceKind {
    /// The word used in listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Software => "software",
            Self::Other => "other",
        }
    }
}

/// A device that a driver offers.
#[derive(Clone, Debug)]
pub struct Adapter {
    adapter: wgpu::Adapter,
}

/// All adapters, in the drivers' order. Empty where there is no driver.
pub fn adapters() -> Vec<Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    found.into_iter().map(|adapter| Adapter { adapter }).collect()
}

impl Adapter {
    /// The device's name.
    pub fn name(&self) -> String {
        self.adapter.get_info().name
    }

    /// Vulkan, Metal or Dx12.
    pub fn backend(&self) -> String {
        format!("{:?}", self.adapter.get_info().backend)
    }

    /// The driver's name and version.
    pub fn driver(&self) -> String {
        let info = self.adapter.get_info();
        format!("{} {}", info.driver, info.driver_info).trim().to_owned()
    }

    /// Kind of device.
    pub fn kind(&self) -> DeviceKind {
        match self.adapter.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => DeviceKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => DeviceKind::Integrated,
            wgpu::DeviceType::VirtualGpu => DeviceKind::Virtual,
            wgpu::DeviceType::Cpu => DeviceKind::Software,
            wgpu::DeviceType::Other => DeviceKind::Other,
        }
    }

    /// Bytes of the device's own memory, or of the host's that are still to be had where the device has none of its own;
    /// none where neither says so.
    fn memory_bytes(&self) -> Option<u64> {
        let shares_the_hosts = !matches!(self.kind(), DeviceKind::Discrete | DeviceKind::Virtual);
        let host = available_bytes().filter(|_| shares_the_hosts);
        let own = heap_bytes(&self.adapter);
        own.into_iter().chain(host).min()
    }

    /// Tells this device and driver from others, on this machine or any.
    pub(super) fn identity(&self) -> String {
        let wgpu::AdapterInfo { vendor, device, .. } = self.adapter.get_info();
        format!("{} {} {} {vendor:x}:{device:x}", self.name(), self.backend(), self.driver())
    }

    /// The limits that kernels depend on.
    pub fn target(&self) -> Target {
        self.target_with(&self.adapter.limits(), self.opened_features())
    }

    /// Features that some kernels use where they pay: those for software drivers only.
    fn kernel_features(&self) -> wgpu::Features {
        match self.kind() {
            DeviceKind::Software => self.adapter.features() & (wgpu::Features::SUBGROUP | wgpu::Features::SHADER_INT64),
            _ => wgpu::Features::empty(),
        }
    }

    fn target_with(&self, limits: &wgpu::Limits, features: wgpu::Features) -> Target {
        let info = self.adapter.get_info();
        let fixed = features.contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size == info.subgroup_max_size;
        Target {
            kind: if self.kind() == DeviceKind::Software { TargetKind::SoftwareDriver } else { TargetKind::Gpu },
            max_invocations: limits.max_compute_invocations_per_workgroup,
            workgroup_memory_bytes: limits.max_compute_workgroup_storage_size,
            max_binding_bytes: limits.max_storage_buffer_binding_size.min(Target::MOST_BINDING_BYTES),
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            subgroup_size: if fixed { info.subgroup_max_size } else { 0 },
            int64: features.contains(wgpu::Features::SHADER_INT64),
            f16: features.contains(wgpu::Features::SHADER_F16),
            precision: Precision::F32,
            matrix_units: self.matrix_units().filter(|_| features.contains(MATRIX_UNITS)),
        }
    }

    /// Features that matter here and that the device has.
    pub fn features(&self) -> Vec<&'static str> {
        let has = self.adapter.features();
        [
            (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
            (wgpu::Features::SHADER_F16, "f16"),
            (wgpu::Features::SUBGROUP, "subgroups"),
            (wgpu::Features::IMMEDIATES, "immediates"),
            (MATRIX_UNITS, "cooperative matrix"),
        ]
        .into_iter()
        .filter_map(|(feature, name)| has.contains(feature).then_some(name))
        .collect()
    }

    /// Features that the device is opened with: those of kernels, timestamps and half precision for profiles, and
    /// pipelines that can be kept.
    fn opened_features(&self) -> wgpu::Features {
        let profiled = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SHADER_F16;
        self.kernel_features() | self.adapter.features() & (profiled | wgpu::Features::PIPELINE_CACHE)
    }

    /// Opens the device with all its limits. `checked` keeps bounds checks and loop bounds in the kernels.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn open(&self, checked: bool) -> Result<Gpu> {
        self.open_with(checked, self.adapter.limits(), self.opened_features())
    }

    /// As [`Adapter::open`], with every feature that a compute shader may ask for and the device has, and with checks.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn open_for_any_kernel(&self) -> Result<Gpu> {
        let language = wgpu::Features::SHADER_F16
            | wgpu::Features::SHADER_F64
            | wgpu::Features::SHADER_INT64
            | wgpu::Features::SHADER_INT64_ATOMIC_MIN_MAX
            | wgpu::Features::SHADER_INT64_ATOMIC_ALL_OPS
            | wgpu::Features::SHADER_FLOAT32_ATOMIC
            | wgpu::Features::SUBGROUP
            | wgpu::Features::SUBGROUP_BARRIER;
        let features = self.adapter.features() & (language | wgpu::Features::TIMESTAMP_QUERY);
        self.open_with(true, self.adapter.limits(), features)
    }

    /// As [`Adapter::open`], at WebGPU's default limits.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn open_with_default_limits(&self, checked: bool) -> Result<Gpu> {
        self.open_with(checked, wgpu::Limits::default(), wgpu::Features::empty())
    }

    fn open_with(&self, checked: bool, limits: wgpu::Limits, features: wgpu::Features) -> Result<Gpu> {
        let experimental_features = if features.contains(MATRIX_UNITS) {
            // SAFETY: whoever asks for matrix units first holds what they compute against the formula: the measurement
            // of their peak, and training in half precision.
            unsafe { wgpu::ExperimentalFeatures::enabled() }
        } else {
            wgpu::ExperimentalFeatures::disabled()
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("degrain"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features,
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        let refused = |e: wgpu::RequestDeviceError| Error::Device { name: self.name(), problem: e.to_string() };
        let (device, queue) = pollster::block_on(self.adapter.request_device(&descriptor)).map_err(refused)?;
        let fault: Fault = Arc::default();
        let seen = fault.clone();
        device.on_uncaptured_error(Arc::new(move |error| note(&seen, problem(&error))));
        let seen = fault.clone();
        device.set_device_lost_callback(move |reason, message| {
            // A destroyed one is in use no more, except after a `DeviceLoss`.
            note(&seen, Problem::Other(one_line(&format!("was lost ({reason:?}): {message}"))));
        });
        Ok(Gpu {
            adapter: self.clone(),
            name: self.name(),
            description: format!("{} ({}, {})", self.name(), self.backend(), self.driver()),
            target: self.target_with(&limits, features),
            device,
            queue,
            checked,
            fault,
            most_bytes: u64::MAX,
            submit_ns: (self.kind() != DeviceKind::Software).then_some(SUBMIT_NS),
            kernels: HashMap::new(),
            pipelines: None,
        })
    }
}

/// Bytes of the largest heap that Vulkan calls local to the device.
#[cfg(any(target_os = "linux", target_os = "windows"))]
fn heap_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: the handle is only asked for properties, and lives as long as `adapter`.
    let properties = unsafe {
        let vulkan = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = vulkan.shared_instance().raw_instance();
        instance.get_physical_device_memory_properties(vulkan.raw_physical_device())
    };
    let heaps = properties.memory_heaps.iter().take(properties.memory_heap_count as usize);
    heaps.filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0).map(|heap| heap.size).max()
}

#[cfg(not(any(target_os = "linux", target_os = "windows")))]
fn heap_bytes(_: &wgpu::Adapter) -> Option<u64> {
    None
}

/// The first error that the driver reported outside of a call.
type Fault = Arc<Mutex<Option<Problem>>>;

/// What a driver objects to.
#[derive(Clone, Debug)]
enum Problem {
    OutOfMemory,
    Other(String),
}

fn note(fault: &Fault, problem: Problem) {
    if let Ok(mut fault) = fault.lock() {
        fault.get_or_insert(problem);
    }
}

fn problem(error: &wgpu::Error) -> Problem {
    match error {
        wgpu::Error::OutOfMemory { .. } => Problem::OutOfMemory,
        other => Problem::Other(one_line(&other.to_string())),
    }
}

/// A message of several lines, whose causes follow each other, as one.
fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "Caused by:");
    let lines: Vec<String> = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.join(": ")
}

/// The loss of a device, at a moment of one's choice.
pub struct DeviceLoss(wgpu::Device);

impl DeviceLoss {
    /// From now on whatever uses the device is an error.
    pub fn strike(&self) {
        self.0.destroy();
    }
}

/// An opened device with the kernels compiled on it.
pub struct Gpu {
    adapter: Adapter,
    name: String,
    description: String,
    target: Target,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) checked: bool,
    fault: Fault,
    most_bytes: u64,
    submit_ns: Option<f64>,
    pub(super) kernels: HashMap<KernelKey, Kernel>,
    pub(super) pipelines: Option<PipelineStore>,
}

impl Gpu {
    /// Limits and kind.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Name, backend and driver.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Something that takes the device away while it is in use, as a driver does that resets: for tests of what then
    /// happens.
    pub fn loss(&self) -> DeviceLoss {
        DeviceLoss(self.device.clone())
    }

    /// From now on fails allocations past this many bytes, as a driver does that has no more: for tests of what then happens.
    pub fn fail_allocations_past(&mut self, bytes: u64) {
        self.most_bytes = bytes;
    }

    /// Bytes of buffers from which on allocations fail, whatever the driver says.
    pub(super) fn most_bytes(&self) -> u64 {
        self.most_bytes
    }

    /// From now on records plans so that no submit holds more work than this, as it was measured: what is longer is split
    /// between launches. Without it the limit is 80 ms, and software drivers have none.
    pub fn limit_submits(&mut self, most: Duration) {
        self.submit_ns = Some(most.as_nanos() as f64);
    }

    /// Work that one submit may hold; none where nothing ends those that are longer.
    pub(super) fn submit_limit_ns(&self) -> Option<f64> {
        self.submit_ns
    }

    /// Most bytes that the device can hold, where it says so.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        self.adapter.memory_bytes()
    }

    pub(super) fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    pub(super) fn has_timestamps(&self) -> bool {
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    pub(super) fn error(&self, problem: impl Into<String>) -> Error {
        Error::Device { name: self.name.clone(), problem: problem.into() }
    }

    /// The first error that the driver reported since the device was opened.
    pub(super) fn check(&self) -> Result<()> {
        let fault = self.fault.lock().ok().and_then(|fault| fault.clone());
        fault.map_or(Ok(()), |problem| Err(self.refused(problem)))
    }

    pub(super) fn out_of_memory(&self) -> Error {
        Error::OutOfMemory { name: self.name.clone() }
    }

    fn refused(&self, problem: Problem) -> Error {
        match problem {
            Problem::OutOfMemory => self.out_of_memory(),
            Problem::Other(problem) => self.error(problem),
        }
    }

    /// Runs `work`, and turns what the driver objects to into an error.
    pub(super) fn scoped<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = work();
        let reported = [pollster::block_on(validation.pop()), pollster::block_on(memory.pop())];
        reported.iter().flatten().next().map_or(Ok(result), |error| Err(self.refused(problem(error))))
    }

    /// Waits for a submission, or for all.
    pub(super) fn wait_for(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let poll = self.device.poll(wgpu::PollType::Wait { submission_index, timeout: None });
        self.check()?;
        poll.map(|_| ()).map_err(|e| self.error(e.to_string()))
    }

    /// All words of a buffer, once everything submitted is done.
    pub(super) fn read_buffer(&self, source: &wgpu::Buffer) -> Result<Vec<u32>> {
        let words = (source.size() / 4) as usize;
        self.finish_staged(self.stage(&[(source.clone(), words)], &mut Vec::new())?, &mut Vec::new())
    }

    /// Has the first words of some buffers copied, one after the other, to where the host can read them. A spare buffer is
    /// taken where one is large enough.
    pub(super) fn stage(&self, sources: &[(wgpu::Buffer, usize)], spare: &mut Vec<wgpu::Buffer>) -> Result<StagedRead> {
        let words: usize = sources.iter().map(|(_, words)| words).sum();
        let size = (4 * words).max(4) as u64;
        let buffer = match spare.iter().position(|buffer| buffer.size() >= size) {
            Some(at) => spare.swap_remove(at),
            None => {
                let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                let descriptor = wgpu::BufferDescriptor { label: Some("read"), size, usage, mapped_at_creation: false };
                self.scoped(|| self.device.create_buffer(&descriptor))?
            }
        };
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut at = 0;
        for (source, words) in sources {
            let bytes = 4 * *words as u64;
            encoder.copy_buffer_to_buffer(source, 0, &buffer, at, bytes);
            at += bytes;
        }
        let (send, mapped) = std::sync::mpsc::channel();
        encoder.map_buffer_on_submit(&buffer, wgpu::MapMode::Read, ..size, move |mapped| {
            // The receiver waits for it; if it is gone there is nobody to tell.
            let _ = send.send(mapped);
        });
        let submitted = self.queue.submit([encoder.finish()]);
        Ok(StagedRead { buffer, words, submitted, mapped })
    }

    /// Waits for a copy and returns its words; its buffer becomes a spare one.
    pub(super) fn finish_staged(&self, staged: StagedRead, spare: &mut Vec<wgpu::Buffer>) -> Result<Vec<u32>> {
        let StagedRead { buffer, words, submitted, mapped } = staged;
        self.wait_for(Some(submitted))?;
        let unread = |problem: String| self.error(format!("cannot read a buffer: {problem}"));
        mapped.recv().map_err(|e| unread(e.to_string()))?.map_err(|e| unread(e.to_string()))?;
        let read = {
            let mapped = buffer.get_mapped_range(..(4 * words) as u64).map_err(|e| unread(e.to_string()))?;
            bytemuck::pod_collect_to_vec(&mapped)
        };
        buffer.unmap();
        spare.push(buffer);
        Ok(read)
    }
}

/// Words on their way from a GPU to the host.
#[derive(Debug)]
pub struct StagedRead {
    buffer: wgpu::Buffer,
    words: usize,
    submitted: wgpu::SubmissionIndex,
    mapped: std::sync::mpsc::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}
