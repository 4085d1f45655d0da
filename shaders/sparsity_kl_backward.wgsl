// dr = dy weight ((1 - rho) / (1 - r) - rho / r), zero where r was clamped. One unit per invocation.
struct Parameters { units: u32, rho: f32, weight: f32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> means: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dr: array<f32>;

const MARGIN: f32 = 1e-6;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let j = (group.y * groups.x + group.x) * 64u + lane;
    if (j >= parameters.units) { return; }
    let r = means[j];
    let rho = parameters.rho;
    let slope = dy[0] * parameters.weight * ((1.0 - rho) / (1.0 - r) - rho / r);
    dr[j] = select(0.0, slope, r >= MARGIN && r <= 1.0 - MARGIN);
}
