// Advances a clock: step + 1 (two words), row + batch or 0 at the end of the epoch.
struct Parameters { batch: u32, rows: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> clock: array<u32>;

@compute @workgroup_size(1)
fn main() {
    let low = clock[0] + 1u;
    clock[0] = low;
    clock[1] = clock[1] + select(0u, 1u, low == 0u);
    let row = clock[2] + parameters.batch;
    clock[2] = select(0u, row, row < parameters.rows);
}
