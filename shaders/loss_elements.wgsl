// Element by element for loss_gradient.wgsl.
const WIDTH: u32 = 1u;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> target_: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

fn taken(i: u32) -> f32 {
    if (i >= parameters.elements) { return 0.0; }
    let value = x[i];
    let wanted = target_[i];
    dx[i] = slope(value, wanted);
    return term(value, wanted);
}
