// Pictures in the sixteen points of Winograd's F(2x2, 3x3) (Lavin and Gray, 2016): v[point, tile, c] = B^T d B, d the 4x4
// pixels that a tile of 2x2 outputs depends on, zero outside the picture. NHWC. Tiles go by sample, row and column. One
// invocation: one channel of one tile, neighbouring ones neighbouring channels.
struct Parameters {
    batch: u32, in_h: u32, in_w: u32, channels: u32,
    tiles_h: u32, tiles_w: u32,
    before_h: u32, before_w: u32, // rows of zeros above the first pixel and columns before it; below zero they wrap
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;

fn pixel(plane: u32, row: u32, column: u32, channel: u32) -> f32 {
    var value = 0.0;
    if ((row < p.in_h) & (column < p.in_w)) { value = x[((plane + row) * p.in_w + column) * p.channels + channel]; }
    return value;
}

fn pixels(plane: u32, row: u32, column: u32, channel: u32) -> vec4<f32> {
    return vec4<f32>(pixel(plane, row, column, channel), pixel(plane, row, column + 1u, channel),
        pixel(plane, row, column + 2u, channel), pixel(plane, row, column + 3u, channel));
}

fn store(row: u32, d: vec4<f32>, at: u32) {
    let plane = p.batch * p.tiles_h * p.tiles_w * p.channels;
    let first = row * 4u * plane + at;
    v[first] = d.x - d.z;
    v[first + plane] = d.y + d.z;
    v[first + 2u * plane] = d.z - d.y;
    v[first + 3u * plane] = d.y - d.w;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let channel = i % p.channels;
    let tile = i / p.channels;
    let line = tile / p.tiles_w;
    let sample = line / p.tiles_h;
    if (sample >= p.batch) { return; }
    let row = (line - sample * p.tiles_h) * 2u - p.before_h;
    let column = (tile - line * p.tiles_w) * 2u - p.before_w;
    let plane = sample * p.in_h;
    let a = pixels(plane, row, column, channel);
    let b = pixels(plane, row + 1u, column, channel);
    let c = pixels(plane, row + 2u, column, channel);
    let d = pixels(plane, row + 3u, column, channel);
    store(0u, a - c, i);
    store(1u, b + c, i);
    store(2u, c - b, i);
    store(3u, b - d, i);
}
