// The gradients of some dense layers and the update of their weights and biases by an optimiser with two moments, in
// one launch: dw = x^T dz and db = the sum of dz's rows, neither of them written. Joined with the same files as
// optimizer.wgsl.
//
// One workgroup of 256: 32 inputs x 32 outputs of one layer, 2 x 2 per invocation, over slices of 32 rows of the batch staged
// in workgroup memory (2 x 32 x 32 reals = 8 KiB). The bias has the row behind the last input, which is one everywhere.
//
// A sum over the batch is one run: for batches small enough that the layers' tiles keep a device busy.
const LAYERS: u32 = 1u;

struct Parameters {
    rows: u32,
    // repeat LAYERS
    inputs_0: u32,
    outputs_0: u32,
    // end
    beta1: f32,
    beta2: f32,
    log_beta1: f32, // natural logarithms, rounded from double precision
    log_beta2: f32,
    epsilon: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
// repeat LAYERS
@group(0) @binding(8u * 0u + 1u) var<storage, read> x_0: array<f32>;
@group(0) @binding(8u * 0u + 2u) var<storage, read> dz_0: array<f32>;
@group(0) @binding(8u * 0u + 3u) var<storage, read_write> weight_0: array<f32>;
@group(0) @binding(8u * 0u + 4u) var<storage, read_write> weight_first_0: array<f32>;
@group(0) @binding(8u * 0u + 5u) var<storage, read_write> weight_second_0: array<f32>;
@group(0) @binding(8u * 0u + 6u) var<storage, read_write> bias_0: array<f32>;
@group(0) @binding(8u * 0u + 7u) var<storage, read_write> bias_first_0: array<f32>;
@group(0) @binding(8u * 0u + 8u) var<storage, read_write> bias_second_0: array<f32>;
// end
@group(0) @binding(8u * LAYERS + 1u) var<storage, read> clock: array<u32>;
@group(0) @binding(8u * LAYERS + 2u) var<storage, read> learning_rate: array<f32>;
@group(0) @binding(8u * LAYERS + 3u) var<storage, read> weights: array<f32>; // Nadam's; the other rules do not read them

// Rows of the batch outermost and 32 inputs or outputs within.
var<workgroup> tile_x: array<f32, 1024>;
var<workgroup> tile_dz: array<f32, 1024>;

struct Element {
    parameter: f32,
    gradient: f32,
    first: f32,
    second: f32,
}

// Inputs and outputs of a layer.
fn extents(layer: u32) -> vec2<u32> {
    switch layer {
        // repeat LAYERS
        case 0u: { return vec2<u32>(parameters.inputs_0, parameters.outputs_0); }
        // end
        default: { return vec2<u32>(); }
    }
}

// Tiles of a layer, over the inputs and the bias's row, and over the outputs.
fn tiles(extent: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(extent.x + 32u, extent.y + 31u) / 32u;
}

fn load_x(layer: u32, at: u32) -> f32 {
    switch layer {
        // repeat LAYERS
        case 0u: { return x_0[at]; }
        // end
        default: { return 0.0; }
    }
}

fn load_dz(layer: u32, at: u32) -> f32 {
    switch layer {
        // repeat LAYERS
        case 0u: { return dz_0[at]; }
        // end
        default: { return 0.0; }
    }
}

fn weight(layer: u32, at: u32, gradient: f32) -> Element {
    switch layer {
        // repeat LAYERS
        case 0u: { return Element(weight_0[at], gradient, weight_first_0[at], weight_second_0[at]); }
        // end
        default: { return Element(); }
    }
}

fn bias(layer: u32, at: u32, gradient: f32) -> Element {
    switch layer {
        // repeat LAYERS
        case 0u: { return Element(bias_0[at], gradient, bias_first_0[at], bias_second_0[at]); }
        // end
        default: { return Element(); }
    }
}

fn store_weight(layer: u32, at: u32, updated: Element) {
    switch layer {
        // repeat LAYERS
        case 0u: {
            weight_0[at] = updated.parameter;
            weight_first_0[at] = updated.first;
            weight_second_0[at] = updated.second;
        }
        // end
        default: {}
    }
}

fn store_bias(layer: u32, at: u32, updated: Element) {
    switch layer {
        // repeat LAYERS
        case 0u: {
            bias_0[at] = updated.parameter;
            bias_first_0[at] = updated.first;
            bias_second_0[at] = updated.second;
        }
        // end
        default: {}
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    // The layer that this workgroup belongs to, and its number among the layer's workgroups; none for a surplus one.
    var layer = 0u;
    var number = group.y * groups.x + group.x;
    var grid = tiles(extents(0u));
    while (layer < LAYERS && number >= grid.x * grid.y) {
        number -= grid.x * grid.y;
        layer += 1u;
        grid = tiles(extents(layer));
    }
    let extent = select(vec2<u32>(0u), extents(layer), layer < LAYERS);
    let first = vec2<u32>(number / max(grid.y, 1u), number % max(grid.y, 1u)) * 32u;
    let within = vec2<u32>(lane / 16u, lane % 16u) * 2u;
    let rows = select(0u, parameters.rows, layer < LAYERS);
    // By input, then by output.
    var sums = vec4<f32>(0.0);
    for (var k0 = 0u; k0 < rows; k0 += 32u) {
        for (var q = 0u; q < 4u; q++) {
            let place = lane + q * 256u;
            let k = k0 + place / 32u;
            let at = first + place % 32u;
            var of_x = 0.0;
            var of_dz = 0.0;
            if (k < rows) {
                if (at.x < extent.x) { of_x = load_x(layer, k * extent.x + at.x); }
                if (at.x == extent.x) { of_x = 1.0; }
                if (at.y < extent.y) { of_dz = load_dz(layer, k * extent.y + at.y); }
            }
            tile_x[place] = of_x;
            tile_dz[place] = of_dz;
        }
        workgroupBarrier(); // the tiles are written
        for (var k = 0u; k < 32u; k++) {
            let u = vec2<f32>(tile_x[k * 32u + within.x], tile_x[k * 32u + within.x + 1u]);
            let v = vec2<f32>(tile_dz[k * 32u + within.y], tile_dz[k * 32u + within.y + 1u]);
            sums += u.xxyy * v.xyxy;
        }
        workgroupBarrier(); // the tiles are read
    }
    let step = this_step();
    for (var q = 0u; q < 4u; q++) {
        let row = first.x + within.x + q / 2u;
        let column = first.y + within.y + q % 2u;
        if (column >= extent.y) { continue; }
        if (row < extent.x) {
            let at = row * extent.y + column;
            store_weight(layer, at, update(weight(layer, at, sums[q]), step));
        }
        if (row == extent.x) { store_bias(layer, column, update(bias(layer, column, sums[q]), step)); }
    }
}
