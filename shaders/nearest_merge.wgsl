// Merges, for each query, the sorted lists of all slices of the codes (queries, slices, kept) into the list found before,
// (queries, kept), by rising distance and, where distances are equal, by rising index. One invocation a query: a list is
// left at its first entry that comes after the last one kept.
struct Parameters { queries: u32, kept: u32, slices: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> slice_near: array<f32>;
@group(0) @binding(2) var<storage, read> slice_indices: array<u32>;
@group(0) @binding(3) var<storage, read_write> near: array<f32>;
@group(0) @binding(4) var<storage, read_write> indices: array<u32>;

// Whether a code comes before the one that stands at this place.
fn precedes(distance: f32, index: u32, place: u32) -> bool {
    return distance < near[place] || (distance == near[place] && index < indices[place]);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let query = (group.y * groups.x + group.x) * 64u + lane;
    if (query >= parameters.queries) { return; }
    let first = query * parameters.kept;
    let last = first + parameters.kept - 1u;
    for (var slice = 0u; slice < parameters.slices; slice++) {
        let list = (query * parameters.slices + slice) * parameters.kept;
        for (var i = 0u; i < parameters.kept; i++) {
            let distance = slice_near[list + i];
            let index = slice_indices[list + i];
            if (!precedes(distance, index, last)) { break; }
            var place = last;
            while (place > first && precedes(distance, index, place - 1u)) {
                near[place] = near[place - 1u];
                indices[place] = indices[place - 1u];
                place--;
            }
            near[place] = distance;
            indices[place] = index;
        }
    }
}
