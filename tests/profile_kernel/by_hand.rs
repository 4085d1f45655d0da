//! A timing as one would write it for a single kernel, which shares nothing with the profiler.

use wgpu::util::DeviceExt;

/// A kernel with an input at 0:0 and an output at 0:1.
pub(crate) struct ByHand {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    workgroups: u32,
}

impl ByHand {
    pub(crate) fn new(adapter: usize, text: &str, floats: usize, workgroups: u32) -> Self {
        let descriptor = wgpu::InstanceDescriptor {
            backends: wgpu::Backends::PRIMARY,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        };
        let instance = wgpu::Instance::new(descriptor);
        let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
        let adapter = &found[adapter];
        let descriptor = wgpu::DeviceDescriptor {
            required_features: wgpu::Features::TIMESTAMP_QUERY,
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        let source = wgpu::ShaderSource::Wgsl(text.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let contents: Vec<u8> = (0..floats).flat_map(|i| (i as f32).sin().to_le_bytes()).collect();
        let buffer = || {
            let usage = wgpu::BufferUsages::STORAGE;
            device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents: &contents, usage })
        };
        let buffers = [buffer(), buffer()];
        let entries =
            [0, 1].map(|i| wgpu::BindGroupEntry { binding: i, resource: buffers[i as usize].as_entire_binding() });
        let layout = pipeline.get_bind_group_layout(0);
        let group =
            device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
        Self { device, queue, pipeline, group, workgroups }
    }

    /// Microseconds of one run, as the mean of `runs` in one pass.
    pub(crate) fn time_us(&self, runs: u32) -> f64 {
        let set = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let buffer = |usage| {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 16,
                usage,
                mapped_at_creation: false,
            })
        };
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let read = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &set,
                    beginning_of_pass_write_index: Some(0),
                    end_of_pass_write_index: Some(1),
                }),
            });
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.group, &[]);
            (0..runs).for_each(|_| pass.dispatch_workgroups(self.workgroups, 1, 1));
        }
        encoder.resolve_query_set(&set, 0..2, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &read, 0, 16);
        self.queue.submit([encoder.finish()]);
        read.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let bytes = read.get_mapped_range(..).unwrap();
        let tick = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        tick(8).wrapping_sub(tick(0)) as f64 * f64::from(self.queue.get_timestamp_period()) / 1e3 / f64::from(runs)
    }
}
