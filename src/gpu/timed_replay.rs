//! Replays of a recording that measure every launch.

use super::pass_clock::PassClock;
use super::recording::{GpuProgram, Recording};
use crate::error::Result;
use crate::session::{Backend, Timeline};
use std::time::Instant;

impl GpuProgram {
    /// Every launch is a compute pass with timestamps. What is too long for one submit is split, as in other replays.
    ///
    /// Tried on llvmpipe (Mesa 22.3, 2 cores Zen 3), where nothing overlaps: all launches in one pass with timestamps between
    /// them. Steps of `quickdraw-simple` and `mnist-dae` then took 1.24 and 1.25 of their time, with a pass each 1.07 to 1.23.
    pub(super) fn time_by_device(&mut self, recording: &Recording) -> Result<Timeline> {
        let clock = PassClock::new(&self.gpu, recording.launches.len())?;
        let clock = clock.ok_or_else(|| self.gpu.error("has no timestamps"))?;
        let mut timeline = Timeline::default();
        let start = Instant::now();
        for part in recording.pace.parts() {
            let begin = Instant::now();
            let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for number in part {
                let timestamp_writes = Some(clock.writes(number));
                let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                recording.launches[number].encode(&mut encoder.begin_compute_pass(&descriptor));
            }
            let commands = encoder.finish();
            timeline.encode_ns += begin.elapsed().as_nanos() as f64;
            let begin = Instant::now();
            self.gpu.queue.submit([commands]);
            timeline.submit_ns += begin.elapsed().as_nanos() as f64;
        }
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        clock.resolve(&mut encoder);
        self.gpu.queue.submit([encoder.finish()]);
        self.wait()?;
        timeline.total_ns = start.elapsed().as_nanos() as f64;
        timeline.launches = sensible(&clock.read(&self.gpu)?, timeline.total_ns);
        Ok(timeline)
    }

    /// Every launch is a submit that the host waits for.
    pub(super) fn time_by_host(&mut self, recording: &Recording) -> Result<Timeline> {
        let start = Instant::now();
        let now = || start.elapsed().as_nanos() as f64;
        let mut launches = Vec::new();
        for launch in &recording.launches {
            let begin = now();
            self.submit(std::iter::once(launch))?;
            self.wait()?;
            launches.push(Some([begin, now()]));
        }
        Ok(Timeline { launches, total_ns: now(), ..Timeline::default() })
    }
}

/// Times from the begin of the first pass on, without those that cannot be.
fn sensible(times: &[[f64; 2]], total_ns: f64) -> Vec<Option<[f64; 2]>> {
    // The device's clock may run a little faster than the host's.
    let longest = 1.1 * total_ns + 1e4;
    let lasts = |&[begin, end]: &[f64; 2]| (0.0..=longest).contains(&(end - begin));
    let first = times.iter().find(|pass| lasts(pass)).map_or(0.0, |pass| pass[0]);
    let shifted = |pass: &[f64; 2]| {
        let [begin, end] = [pass[0] - first, pass[1] - first];
        (lasts(pass) && (-longest..=longest).contains(&begin)).then_some([begin, end])
    };
    times.iter().map(shifted).collect()
}

#[cfg(test)]
mod tests {
    use super::sensible;

    #[test]
    fn times_that_cannot_be_are_left_out() {
        let wrapped = [2e9, 5.0];
        let times = [wrapped, [1e9, 1e9 + 300.0], [1e9 + 400.0, 1e9 + 400.0], [1e9 + 500.0, 9e18], [3e18, 3e18 + 1.0]];
        let expected = [None, Some([0.0, 300.0]), Some([400.0, 400.0]), None, None];
        assert_eq!(sensible(&times, 1000.0), expected);
        assert_eq!(sensible(&[], 1000.0), []);
    }
}
