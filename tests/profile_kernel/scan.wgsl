// Inclusive prefix sum within each workgroup (Hillis and Steele 1986), for a first pass over blocks.

override WORKGROUP: u32 = 128u;
const ROUNDS = 1u;

@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(1) @binding(0) var<storage, read_write> sums: array<u32>;

var<workgroup> front: array<u32, WORKGROUP>;
var<workgroup> back: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn scan(
    @builtin(global_invocation_id) global: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let i = local.x;
    for (var round = 0u; round < ROUNDS; round++) {
        front[i] = values[global.x];
        workgroupBarrier();
        for (var reach = 1u; reach < WORKGROUP; reach = reach * 2u) {
            var sum = front[i];
            if (i >= reach) { sum += front[i - reach]; }
            back[i] = sum;
            workgroupBarrier();
            front[i] = back[i];
            workgroupBarrier();
        }
    }
    sums[global.x] = front[i];
}

@compute @workgroup_size(64)
fn clear(@builtin(global_invocation_id) global: vec3<u32>) {
    sums[global.x] = 0u;
}
