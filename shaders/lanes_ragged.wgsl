// As lanes_even.wgsl, for an x whose rows are no multiple of four reals: each is read alone, and is zero past the end.
// Joined with pairs.wgsl.
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<vec2<u64>>;

fn x_one(at: u32, end: u32) -> f32 {
    var value = 0.0;
    if (at < end) { value = x[at]; }
    return value;
}

fn x_four(row: u32, columns: u32, i: u32) -> vec4<f32> {
    let at = row * columns + i * 4u;
    let end = (row + 1u) * columns;
    return vec4<f32>(x_one(at, end), x_one(at + 1u, end), x_one(at + 2u, end), x_one(at + 3u, end));
}

fn w_four(row: u32, columns: u32, i: u32) -> vec4<f32> { return reals(w[row * (columns / 4u) + i]); }
