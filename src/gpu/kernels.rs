//! Kernels compiled on a device: each once, all that are new at the same time.

use super::device::Gpu;
use super::recording::entry;
use super::shader::{Layout, assemble, reflect};
use crate::error::{Error, Result};
use crate::kernel::{Launch, Shader};
use crate::op::fnv1a;
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A compiled kernel.
#[derive(Clone)]
pub(super) struct Kernel {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) group_layout: wgpu::BindGroupLayout,
    pub(super) layout: Layout,
}

/// What tells kernels apart: the shader, and its constants as a text.
pub(super) type KernelKey = (Shader, String);

fn key(launch: &Launch) -> KernelKey {
    (launch.shader, launch.constants.iter().map(|(name, value)| format!("{name}={value};")).collect())
}

/// A kernel's text, what it declares, and the parameters that it is first launched with.
struct Source {
    shader: Shader,
    text: String,
    layout: Layout,
    words: Vec<u32>,
}

impl Source {
    fn of(launch: &Launch) -> Result<Self> {
        let text = assemble(launch.shader, &launch.constants)?;
        let layout = reflect(launch.shader, &text)?;
        let words = layout.parameter_words(launch)?;
        Ok(Self { shader: launch.shader, text, layout, words })
    }

    fn hash(&self) -> u64 {
        fnv1a(&self.text)
    }
}

/// New kernels from which on it pays to compile them on devices of their own first.
const MANY: usize = 4;
/// Most devices that are opened for that: each takes tens of megabytes while it compiles.
const MOST_DEVICES: usize = 8;

impl Gpu {
    /// The kernels of these launches, in their order, each compiled at its first use. New ones are compiled on as many
    /// threads as there are cores: a driver takes milliseconds to seconds for each. `lfw-conv` at batch 64, on two Zen 3
    /// cores with llvmpipe (Mesa 22.3), which compiles most of a kernel later: 28 kernels in 0.67 s instead of 1.25 s.
    pub(super) fn kernels<'l>(&mut self, launches: impl Iterator<Item = &'l Launch>) -> Result<Vec<Kernel>> {
        let keyed: Vec<(KernelKey, &Launch)> = launches.map(|launch| (key(launch), launch)).collect();
        let mut missing: Vec<&(KernelKey, &Launch)> = Vec::new();
        for entry in &keyed {
            if !self.kernels.contains_key(&entry.0) && !missing.iter().any(|known| known.0 == entry.0) {
                missing.push(entry);
            }
        }
        let sources: Vec<Result<Source>> = missing.par_iter().map(|entry| Source::of(entry.1)).collect();
        let sources = sources.into_iter().collect::<Result<Vec<_>>>()?;
        self.compile_ahead(&sources);
        // One at a time is dealt out, since their times differ a hundredfold.
        let built: Vec<Result<Kernel>> =
            sources.par_iter().with_max_len(1).map(|source| self.compile(source)).collect();
        for (entry, kernel) in missing.iter().zip(built) {
            self.kernels.insert(entry.0.clone(), kernel?);
        }
        if let Some(store) = &mut self.pipelines {
            store.note(sources.iter().map(Source::hash));
        }
        let lost = || self.error("a kernel was not compiled");
        keyed.iter().map(|(key, _)| self.kernels.get(key).cloned().ok_or_else(lost)).collect()
    }

    /// Drivers that run kernels on the processor compile them at their first launch, one after the other in a device's
    /// queue, and keep the results on disk. Kernels that such a driver has not seen are therefore launched on other devices
    /// of the same adapter before, one for each core, all of which are closed again. From the start of the process to the
    /// end of the first step of `lfw-conv`, on the same machine with Mesa's cache empty: 10.8 s instead of 15.8 s.
    fn compile_ahead(&self, sources: &[Source]) {
        let Some(store) = self.pipelines.as_ref().filter(|_| self.target().is_software()) else { return };
        let new: Vec<&Source> = sources.iter().filter(|source| !store.knows(source.hash())).collect();
        if new.len() < MANY {
            return;
        }
        let next = AtomicUsize::new(0);
        rayon::broadcast(|thread| {
            if thread.index() >= MOST_DEVICES.min(new.len()) {
                return;
            }
            let Ok(gpu) = self.adapter().open(self.checked) else { return };
            while let Some(source) = new.get(next.fetch_add(1, Ordering::Relaxed)) {
                // What fails here fails on the device itself as well, which then tells of it.
                let launched =
                    gpu.compile(source).and_then(|kernel| gpu.scoped(|| gpu.launch_nothing(&kernel, &source.words)));
                drop(launched.and_then(|()| gpu.wait_for(None)));
            }
        });
    }

    /// Launches a kernel without workgroups. The parameters are those that it is to run with: lavapipe folds them into the
    /// code where that halves it, as parameters of zero would do, and then compiles something else.
    fn launch_nothing(&self, kernel: &Kernel, words: &[u32]) {
        // More than any kernel's parameter block, and than one element of any array.
        const BYTES: usize = 1024;
        let buffer = |usage| {
            let label = Some("nothing");
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label,
                size: BYTES as u64,
                usage,
                mapped_at_creation: false,
            })
        };
        let parameters = buffer(wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST);
        self.queue.write_buffer(&parameters, 0, bytemuck::cast_slice(words));
        // No buffer may be read and written by one launch.
        let (read, written) = (buffer(wgpu::BufferUsages::STORAGE), buffer(wgpu::BufferUsages::STORAGE));
        let mut entries = Vec::new();
        if kernel.layout.parameters_bytes > 0 {
            entries.push(entry(0, &parameters, 0, BYTES));
        }
        for (binding, &is_written) in (1..).zip(&kernel.layout.storage_written) {
            entries.push(entry(binding, if is_written { &written } else { &read }, 0, BYTES));
        }
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &kernel.group_layout, entries: &entries };
        let group = self.device.create_bind_group(&descriptor);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&kernel.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(0, 0, 0);
        }
        self.queue.submit([encoder.finish()]);
    }

    fn compile(&self, source: &Source) -> Result<Kernel> {
        self.check_limits(source)?;
        // Errors are scoped by thread.
        self.scoped(|| self.create(source))
    }

    fn check_limits(&self, Source { shader, layout, .. }: &Source) -> Result<()> {
        let target = self.target();
        let invocations: u32 = layout.workgroup_size.iter().product();
        let fits = invocations <= target.max_invocations
            && layout.workgroup_bytes <= target.workgroup_memory_bytes
            && layout.storage_written.len() <= target.max_storage_buffers as usize;
        let problem = || {
            let (bytes, buffers) = (layout.workgroup_bytes, layout.storage_written.len());
            format!(
                "{invocations} invocations, {bytes} bytes of workgroup memory and {buffers} buffers exceed the device"
            )
        };
        if fits { Ok(()) } else { Err(Error::Shader { name: shader.name.to_owned(), problem: problem() }) }
    }

    fn create(&self, Source { shader, text, layout, .. }: &Source) -> Kernel {
        let label = Some(shader.name);
        let wgsl = wgpu::ShaderSource::Wgsl(text.into());
        let descriptor = wgpu::ShaderModuleDescriptor { label, source: wgsl };
        let module = if self.checked {
            self.device.create_shader_module(descriptor)
        } else {
            let checks = wgpu::ShaderRuntimeChecks {
                bounds_checks: false,
                force_loop_bounding: false,
                ..wgpu::ShaderRuntimeChecks::checked()
            };
            // SAFETY: the built-in kernels guard every access by their parameter block, and every variant of every
            // op is tested with checks on, off, and with guard words around its buffers; their loops are bounded.
            unsafe { self.device.create_shader_module_trusted(descriptor, checks) }
        };
        let buffer = |binding: u32, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            count: None,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        };
        let mut entries = Vec::new();
        if layout.parameters_bytes > 0 {
            entries.push(buffer(0, wgpu::BufferBindingType::Uniform));
        }
        for (binding, &written) in (1..).zip(&layout.storage_written) {
            entries.push(buffer(binding, wgpu::BufferBindingType::Storage { read_only: !written }));
        }
        let group_layout =
            self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&group_layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            cache: self.pipelines.as_ref().map(|store| store.cache()),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..wgpu::PipelineCompilationOptions::default()
            },
        });
        Kernel { pipeline, group_layout, layout: layout.clone() }
    }
}
