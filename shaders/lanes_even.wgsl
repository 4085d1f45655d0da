// Operands of the kernels that share what they load over the eight lanes of a subgroup. Joined with pairs.wgsl.
@group(0) @binding(1) var<storage, read> x: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read> w: array<vec2<u64>>;

// Reals 4 i .. 4 i + 3 of row `row` of x, whose rows have `columns` reals, a multiple of four.
fn x_four(row: u32, columns: u32, i: u32) -> vec4<f32> { return reals(x[row * (columns / 4u) + i]); }

// The same of w.
fn w_four(row: u32, columns: u32, i: u32) -> vec4<f32> { return reals(w[row * (columns / 4u) + i]); }
