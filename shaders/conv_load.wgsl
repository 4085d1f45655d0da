// What conv_tiled.wgsl reads of x. Joined with conv_positions.wgsl.
@group(0) @binding(1) var<storage, read> x: array<f32>;

// One branch: `||` and early returns are a branch for each condition, and SwiftShader compiled those for 30 s.
fn load_x(place: Place, shift: vec2<u32>, channel: u32, valid: bool) -> f32 {
    let row = place.row + shift.x;
    let column = place.column + shift.y;
    var value = 0.0;
    if (valid & (place.pixel != NONE) & (row < p.in_h) & (column < p.in_w)) {
        value = x[(place.plane + row * p.in_w + column) * p.in_c + channel];
    }
    return value;
}
