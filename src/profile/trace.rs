//! A measured step in the trace event format that Perfetto and chrome://tracing open.

use super::step::StepProfile;
use serde_json::{Value, json};

const PROCESS: u32 = 1;
const DEVICE: u32 = 1;
const HOST: u32 = 2;

impl StepProfile {
    /// The step whose length is the median, as trace events (the "JSON Array Format" of the Trace Event Format): a slice for
    /// each launch on the device's track, with the gaps between them as they were; a slice each for recording the commands
    /// and for handing them over on the host's. How the two clocks stand to each other is not known: the device's track ends
    /// where the host saw the step done.
    pub fn trace(&self) -> Value {
        let timeline = &self.timeline;
        let name = |thread: u32, name: &str| json!({"ph": "M", "pid": PROCESS, "tid": thread, "name": "thread_name", "args": {"name": name}});
        let mut events = vec![
            json!({"ph": "M", "pid": PROCESS, "name": "process_name", "args": {"name": format!("degrain on {}", self.device)}}),
            name(DEVICE, "device"),
        ];
        let slice = |thread: u32, name: &str, [begin, end]: [f64; 2]| json!({"ph": "X", "pid": PROCESS, "tid": thread, "name": name, "ts": begin / 1e3, "dur": (end - begin) / 1e3});
        let host_end = timeline.encode_ns + timeline.submit_ns;
        if host_end > 0.0 {
            events.push(name(HOST, "host"));
            events.push(slice(HOST, "encode", [0.0, timeline.encode_ns]));
            events.push(slice(HOST, "submit", [timeline.encode_ns, host_end]));
        }
        let last = timeline.launches.iter().flatten().map(|launch| launch[1]).fold(0.0, f64::max);
        let shift = (timeline.total_ns - last).max(0.0);
        for (place, launch) in self.places.iter().zip(&timeline.launches) {
            let Some([begin, end]) = launch else { continue };
            let mut event = slice(DEVICE, &place.name(), [begin + shift, end + shift]);
            event["cat"] = json!(place.op);
            event["args"] =
                json!({"layer": place.layer, "op": place.op, "variant": place.variant, "kernel": place.kernel});
            events.push(event);
        }
        json!({"displayTimeUnit": "ns", "traceEvents": events})
    }
}
