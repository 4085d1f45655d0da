//! A measured step in the trace event format that Perfetto and chrome://tracing open.

use super::step::StepProfile;
use serde_json::{Value, json};

const PROCESS: u32 = 1;
const HOST: u32 = 1;
/// The first of the device's tracks.
const DEVICE: u32 = 2;

impl StepProfile {
    /// The step whose length is the median, as trace events (the "JSON Object Format" of the Trace Event Format): a slice for
    /// each launch on the device's track, with the gaps between them as they were; a slice each for recording the commands
    /// and for handing them over on the host's. Launches that overlap lie on tracks beside each other. How the two clocks
    /// stand to each other is not known: the device's track ends where the host saw the step done.
    pub fn trace(&self) -> Value {
        let timeline = &self.timeline;
        let mut events = vec![name_event("process_name", 0, &format!("degrain on {}", self.device))];
        let host_end = timeline.encode_ns + timeline.submit_ns;
        if host_end > 0.0 {
            events.push(name_event("thread_name", HOST, "host"));
            events.push(slice(HOST, "encode", [0.0, timeline.encode_ns]));
            events.push(slice(HOST, "submit", [timeline.encode_ns, host_end]));
        }
        let last = timeline.launches.iter().flatten().map(|launch| launch[1]).fold(0.0, f64::max);
        let shift = (timeline.total_ns - last).max(0.0);
        // When each of the device's tracks is free again.
        let mut free: Vec<f64> = Vec::new();
        for (place, launch) in self.places.iter().zip(&timeline.launches) {
            let Some([begin, end]) = launch.map(|launch| launch.map(|time| (time + shift).round())) else { continue };
            let track = free.iter().position(|&free| free <= begin).unwrap_or(free.len());
            if track == free.len() {
                free.push(0.0);
                events.push(name_event("thread_name", DEVICE + track as u32, "device"));
            }
            free[track] = end;
            let mut event = slice(DEVICE + track as u32, &place.name(), [begin, end]);
            event["cat"] = json!(place.op);
            event["args"] =
                json!({"layer": place.layer, "op": place.op, "variant": place.variant, "kernel": place.kernel});
            events.push(event);
        }
        json!({"displayTimeUnit": "ns", "traceEvents": events})
    }
}

fn name_event(kind: &str, thread: u32, name: &str) -> Value {
    json!({"ph": "M", "pid": PROCESS, "tid": thread, "name": kind, "args": {"name": name}})
}

/// A complete event. It ends a nanosecond early: readers cut microseconds to whole nanoseconds, and drop slices that then
/// seem to begin before the last one's end.
fn slice(thread: u32, name: &str, [begin, end]: [f64; 2]) -> Value {
    let length = (end - begin - 1.0).max(0.0);
    json!({"ph": "X", "pid": PROCESS, "tid": thread, "name": name, "ts": begin / 1e3, "dur": length / 1e3})
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use crate::graph::Graph;
    use crate::op::Tick;
    use crate::profile::{Ceilings, StepOptions, profile_graph};
    use crate::session::Session;
    use crate::tensor::Class;

    #[test]
    fn launches_that_overlap_have_tracks_beside_each_other() {
        let mut graph = Graph::new();
        let mut clock = graph.persistent(Class::State, "clock", Tick::clock()).unwrap();
        for _ in 0..4 {
            clock = graph.apply_one(Tick { batch: 1, rows: 1 }, &[clock]).unwrap();
        }
        let mut session = Session::cpu();
        let peaks = Ceilings::measure(&mut session).unwrap();
        let options = StepOptions { max_replays: 1, min_replays: 1, ..StepOptions::default() };
        let mut profile = profile_graph(&mut session, &graph, &[], &peaks, &options).unwrap();
        profile.timeline.launches = vec![Some([0.0, 50.0]), None, Some([50.0, 90.0]), Some([80.0, 100.0])];
        profile.timeline.total_ns = 1100.0;
        let trace = profile.trace();
        let slices = trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X");
        let slices: Vec<(u64, f64, f64)> = slices
            .map(|s| (s["tid"].as_u64().unwrap(), s["ts"].as_f64().unwrap(), s["dur"].as_f64().unwrap()))
            .collect();
        assert_eq!(slices, [(2, 1.0, 0.049), (2, 1.05, 0.039), (3, 1.08, 0.019)]);
    }
}
