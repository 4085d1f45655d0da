// Forward pass, loss and backward pass of a chain of up to six dense layers in one launch: y_l = f_l(y_(l-1) w_l + b_l), the
// loss of the last y and a target, and dz_l, the gradient of what each activation takes. mean.wgsl adds the loss's sums, a
// sum for each workgroup. Joined with activation.wgsl and a loss (mse.wgsl, bce_logits.wgsl).
//
// One workgroup of 256 takes four rows of the batch through all layers and back. What a layer reads is in workgroup memory
// (16 KiB, so that no layer may be wider than 1024), four rows in a vec4. Lanes share out outputs, four to a lane, and, where
// there are fewer than 1024 outputs, slices of the inner extent as well: neighbouring lanes have neighbouring weights. The
// partial sums go through the same memory. Lane i then finishes outputs i, i + 256, …, in either direction, so that it reads
// back those activations that it wrote itself. Sixteen weights are loaded at a time, since nothing but the loads of one
// workgroup hides how long they take.
//
// Every workgroup reads all weights, twice. For GPUs, where a launch costs more than that; for small networks and batches.
struct Parameters {
    rows: u32,
    layers: u32,
    scale: f32, // of the loss's gradient
    width_0: u32,
    width_1: u32,
    width_2: u32,
    width_3: u32,
    width_4: u32,
    width_5: u32,
    width_6: u32,
    kind_0: u32,
    kind_1: u32,
    kind_2: u32,
    kind_3: u32,
    kind_4: u32,
    kind_5: u32,
    coefficient_0: f32,
    coefficient_1: f32,
    coefficient_2: f32,
    coefficient_3: f32,
    coefficient_4: f32,
    coefficient_5: f32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> target_: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
@group(0) @binding(4) var<storage, read> w_0: array<f32>;
@group(0) @binding(5) var<storage, read> w_1: array<f32>;
@group(0) @binding(6) var<storage, read> w_2: array<f32>;
@group(0) @binding(7) var<storage, read> w_3: array<f32>;
@group(0) @binding(8) var<storage, read> w_4: array<f32>;
@group(0) @binding(9) var<storage, read> w_5: array<f32>;
@group(0) @binding(10) var<storage, read> b_0: array<f32>;
@group(0) @binding(11) var<storage, read> b_1: array<f32>;
@group(0) @binding(12) var<storage, read> b_2: array<f32>;
@group(0) @binding(13) var<storage, read> b_3: array<f32>;
@group(0) @binding(14) var<storage, read> b_4: array<f32>;
@group(0) @binding(15) var<storage, read> b_5: array<f32>;
@group(0) @binding(16) var<storage, read_write> y_0: array<f32>;
@group(0) @binding(17) var<storage, read_write> y_1: array<f32>;
@group(0) @binding(18) var<storage, read_write> y_2: array<f32>;
@group(0) @binding(19) var<storage, read_write> y_3: array<f32>;
@group(0) @binding(20) var<storage, read_write> y_4: array<f32>;
@group(0) @binding(21) var<storage, read_write> dz_0: array<f32>;
@group(0) @binding(22) var<storage, read_write> dz_1: array<f32>;
@group(0) @binding(23) var<storage, read_write> dz_2: array<f32>;
@group(0) @binding(24) var<storage, read_write> dz_3: array<f32>;
@group(0) @binding(25) var<storage, read_write> dz_4: array<f32>;
@group(0) @binding(26) var<storage, read_write> dz_5: array<f32>;

// Four rows of what a layer reads; then the lanes' partial sums; then four rows of what the next one reads.
var<workgroup> tile: array<vec4<f32>, 1024>;

fn width(side: u32) -> u32 {
    let widths = array<u32, 7>(p.width_0, p.width_1, p.width_2, p.width_3, p.width_4, p.width_5, p.width_6);
    return widths[side];
}

fn kind(layer: u32) -> u32 {
    let kinds = array<u32, 6>(p.kind_0, p.kind_1, p.kind_2, p.kind_3, p.kind_4, p.kind_5);
    return kinds[layer];
}

fn coefficient(layer: u32) -> f32 {
    let coefficients = array<f32, 6>(p.coefficient_0, p.coefficient_1, p.coefficient_2, p.coefficient_3, p.coefficient_4,
                                     p.coefficient_5);
    return coefficients[layer];
}

fn four_0(i: vec4<u32>) -> vec4<f32> { return vec4<f32>(w_0[i.x], w_0[i.y], w_0[i.z], w_0[i.w]); }
fn four_1(i: vec4<u32>) -> vec4<f32> { return vec4<f32>(w_1[i.x], w_1[i.y], w_1[i.z], w_1[i.w]); }
fn four_2(i: vec4<u32>) -> vec4<f32> { return vec4<f32>(w_2[i.x], w_2[i.y], w_2[i.z], w_2[i.w]); }
fn four_3(i: vec4<u32>) -> vec4<f32> { return vec4<f32>(w_3[i.x], w_3[i.y], w_3[i.z], w_3[i.w]); }
fn four_4(i: vec4<u32>) -> vec4<f32> { return vec4<f32>(w_4[i.x], w_4[i.y], w_4[i.z], w_4[i.w]); }
fn four_5(i: vec4<u32>) -> vec4<f32> { return vec4<f32>(w_5[i.x], w_5[i.y], w_5[i.z], w_5[i.w]); }

// Sixteen weights of a layer, from the places in four vectors.
fn weights(layer: u32, a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>) -> mat4x4<f32> {
    switch layer {
        case 0u: { return mat4x4<f32>(four_0(a), four_0(b), four_0(c), four_0(d)); }
        case 1u: { return mat4x4<f32>(four_1(a), four_1(b), four_1(c), four_1(d)); }
        case 2u: { return mat4x4<f32>(four_2(a), four_2(b), four_2(c), four_2(d)); }
        case 3u: { return mat4x4<f32>(four_3(a), four_3(b), four_3(c), four_3(d)); }
        case 4u: { return mat4x4<f32>(four_4(a), four_4(b), four_4(c), four_4(d)); }
        default: { return mat4x4<f32>(four_5(a), four_5(b), four_5(c), four_5(d)); }
    }
}

fn bias(layer: u32, i: u32) -> f32 {
    switch layer {
        case 0u: { return b_0[i]; }
        case 1u: { return b_1[i]; }
        case 2u: { return b_2[i]; }
        case 3u: { return b_3[i]; }
        case 4u: { return b_4[i]; }
        default: { return b_5[i]; }
    }
}

fn load_y(layer: u32, i: u32) -> f32 {
    switch layer {
        case 0u: { return y_0[i]; }
        case 1u: { return y_1[i]; }
        case 2u: { return y_2[i]; }
        case 3u: { return y_3[i]; }
        default: { return y_4[i]; }
    }
}

fn store_y(layer: u32, i: u32, value: f32) {
    switch layer {
        case 0u: { y_0[i] = value; }
        case 1u: { y_1[i] = value; }
        case 2u: { y_2[i] = value; }
        case 3u: { y_3[i] = value; }
        default: { y_4[i] = value; }
    }
}

fn store_dz(layer: u32, i: u32, value: f32) {
    switch layer {
        case 0u: { dz_0[i] = value; }
        case 1u: { dz_1[i] = value; }
        case 2u: { dz_2[i] = value; }
        case 3u: { dz_3[i] = value; }
        case 4u: { dz_4[i] = value; }
        default: { dz_5[i] = value; }
    }
}

// How the lanes share out a product of an inner and an outer extent.
struct Shares {
    lanes: u32,  // each with four outputs: the least power of two of at least 8 for which that is enough
    slices: u32, // of the inner extent
}

fn shares(outer: u32) -> Shares {
    var lanes = 8u;
    while (lanes * 4u < outer) { lanes *= 2u; }
    return Shares(lanes, 256u / lanes);
}

// The tile's rows times the weights of a layer, or times their transpose: the sums of outputs i, i + 256, i + 512 and
// i + 768 for lane i. The tile holds nothing afterwards.
fn product(layer: u32, transposed: bool, inner: u32, outer: u32, i: u32) -> mat4x4<f32> {
    let share = shares(outer);
    // Weights of one input are neighbours; where transposed, those of one output.
    let lane = select(i % share.lanes, i / share.slices, transposed);
    let slice = select(i / share.lanes, i % share.slices, transposed);
    let stride = select(outer, 1u, transposed);
    // Outputs past the last come to nothing.
    let outputs = min(vec4<u32>(lane) + vec4<u32>(0u, 1u, 2u, 3u) * share.lanes, vec4<u32>(outer - 1u));
    let first = outputs * select(1u, inner, transposed);
    let last = inner - 1u;
    var s = mat4x4<f32>();
    for (var k = slice; k < inner; k += 4u * share.slices) {
        let l = k + share.slices;
        let m = l + share.slices;
        let n = m + share.slices;
        // Inputs past the last are zeros of the tile.
        let w = weights(layer, first + min(k, last) * stride, first + min(l, last) * stride,
                        first + min(m, last) * stride, first + min(n, last) * stride);
        let a = tile[k];
        let b = tile[l];
        let c = tile[m];
        let d = tile[n];
        s[0] += w[0].x * a + w[1].x * b + w[2].x * c + w[3].x * d;
        s[1] += w[0].y * a + w[1].y * b + w[2].y * c + w[3].y * d;
        s[2] += w[0].z * a + w[1].z * b + w[2].z * c + w[3].z * d;
        s[3] += w[0].w * a + w[1].w * b + w[2].w * c + w[3].w * d;
    }
    workgroupBarrier(); // the tile is read
    for (var j = 0u; j < 4u; j++) { tile[j * 256u + slice * share.lanes + lane] = s[j]; }
    workgroupBarrier(); // the partial sums are written
    for (var q = 0u; q < 4u; q++) {
        let column = i + q * 256u;
        let at = (column / share.lanes) * 256u + column % share.lanes;
        var sum = vec4<f32>(0.0);
        if (column < outer) {
            for (var j = 0u; j < share.slices; j++) { sum += tile[at + j * share.lanes]; }
        }
        s[q] = sum;
    }
    workgroupBarrier(); // the partial sums are read
    return s;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) i: u32) {
    let number = group.y * groups.x + group.x;
    let row = number * 4u;
    let rows = select(0u, min(p.rows - row, 4u), row < p.rows);
    var next = mat4x4<f32>();
    for (var q = 0u; q < 4u; q++) {
        let column = i + q * 256u;
        for (var r = 0u; r < 4u; r++) {
            if (column < p.width_0 && r < rows) { next[q][r] = x[(row + r) * p.width_0 + column]; }
        }
    }
    var loss = 0.0;
    for (var turn = 0u; turn < 2u * p.layers - 1u; turn++) {
        for (var q = 0u; q < 4u; q++) { tile[i + q * 256u] = next[q]; }
        workgroupBarrier(); // the tile is written
        let back = turn >= p.layers;
        let layer = select(turn, 2u * p.layers - 1u - turn, back);
        let inner = width(select(layer, layer + 1u, back));
        let outer = width(select(layer + 1u, layer, back));
        let activated = select(layer, layer - 1u, back);
        let s = product(layer, back, inner, outer, i);
        next = mat4x4<f32>();
        for (var q = 0u; q < 4u; q++) {
            let column = i + q * 256u;
            for (var r = 0u; r < 4u; r++) {
                if (column >= outer || r >= rows) { continue; }
                let at = (row + r) * outer + column;
                var value = s[q][r];
                if (back) {
                    value *= slope_as(kind(activated), coefficient(activated), load_y(activated, at));
                    store_dz(activated, at, value);
                } else {
                    value = activate_as(kind(layer), coefficient(layer), value + bias(layer, column));
                    if (layer + 1u < p.layers) {
                        store_y(layer, at, value);
                    } else {
                        let wanted = target_[at];
                        loss += term(value, wanted);
                        value = p.scale * term_slope(value, wanted) * slope_as(kind(layer), coefficient(layer), value);
                        store_dz(layer, at, value);
                    }
                }
                next[q][r] = value;
            }
        }
    }
    // The sums of the lanes as a tree.
    tile[i] = vec4<f32>(loss);
    for (var n = 128u; n > 0u; n /= 2u) {
        workgroupBarrier();
        if (i < n) { tile[i] += tile[i + n]; }
    }
    if (i == 0u && rows > 0u) { sums[number] = tile[0].x; }
}
