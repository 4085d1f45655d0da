// history[step mod capacity] = value.
struct Parameters { capacity: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> value: array<f32>;
@group(0) @binding(2) var<storage, read_write> history: array<f32>;
@group(0) @binding(3) var<storage, read> clock: array<u32>;

@compute @workgroup_size(1)
fn main() {
    history[clock[0] % parameters.capacity] = value[0];
}
