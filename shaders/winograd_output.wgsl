// From sums in the sixteen points of Winograd's F(2x2, 3x3) (Lavin and Gray, 2016), m[point, tile, co], the tiles of 2x2
// outputs A^T m A, and what becomes of them. Joined with activation.wgsl, conv_positions.wgsl, whose parameters it takes, and
// conv_store.wgsl or conv_store_pooled.wgsl. Tiles go by sample, row and column. One invocation: four neighbouring channels
// of one tile, neighbouring ones neighbouring channels.
@group(0) @binding(1) var<storage, read> m: array<f32>;
// The kernel as it was given. Nothing reads it: outputs and bias have the numbers that they have in all these kernels.
@group(0) @binding(2) var<storage, read> w: array<f32>;

// The sums at one point: channels past the last one are those of the last.
fn point(number: u32, tiles: u32, tile: u32, channel: u32) -> vec4<f32> {
    let at = (number * tiles + tile) * p.out_c;
    let last = p.out_c - 1u;
    return vec4<f32>(m[at + channel], m[at + min(channel + 1u, last)], m[at + min(channel + 2u, last)],
        m[at + min(channel + 3u, last)]);
}

// Two rows of outputs of one column of points.
struct Pair { upper: vec4<f32>, lower: vec4<f32> }

fn column(number: u32, tiles: u32, tile: u32, channel: u32) -> Pair {
    let a = point(number, tiles, tile, channel);
    let b = point(number + 4u, tiles, tile, channel);
    let c = point(number + 8u, tiles, tile, channel);
    let d = point(number + 12u, tiles, tile, channel);
    return Pair(a + b + c, b - c - d);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let quads = (p.out_c + 3u) / 4u;
    let channel = (i % quads) * 4u;
    let tile = i / quads;
    let size = vec2<u32>((p.out_h + 1u) / 2u, (p.out_w + 1u) / 2u);
    let tiles = p.batch * size.x * size.y;
    if (tile >= tiles) { return; }
    let a = column(0u, tiles, tile, channel);
    let b = column(1u, tiles, tile, channel);
    let c = column(2u, tiles, tile, channel);
    let d = column(3u, tiles, tile, channel);
    let line = tile / size.y;
    let sample = line / size.x;
    let row = (line - sample * size.x) * 2u;
    let left = (tile - line * size.y) * 2u;
    // A pixel of y, or of its own plane where POOLED.
    let pixel = (select(sample, 0u, POOLED) * p.out_h + row) * p.out_w + left;
    let below = row + 1u < p.out_h;
    let right = left + 1u < p.out_w;
    var pixels = vec4<u32>(pixel, select(NONE, pixel + 1u, right), select(NONE, pixel + p.out_w, below),
        select(NONE, pixel + p.out_w + 1u, below & right));
    // Windows of a pooling have all their pixels, and their own numbers.
    if (POOLED && !(below & right)) { pixels = vec4<u32>(NONE); }
    let window = (sample * (p.out_h / 2u) + row / 2u) * (p.out_w / 2u) + left / 2u;
    var offsets = vec4<f32>(0.0);
    if (p.biased == 1u) {
        let channels = min(vec4<u32>(channel, channel + 1u, channel + 2u, channel + 3u), vec4<u32>(p.out_c - 1u));
        offsets = vec4<f32>(bias[channels.x], bias[channels.y], bias[channels.z], bias[channels.w]);
    }
    store_four(a.upper + b.upper + c.upper, b.upper - c.upper - d.upper, a.lower + b.lower + c.lower,
        b.lower - c.lower - d.lower, pixels, window * 4u, channel, offsets);
}
