// As conv_load.wgsl, where x is the gradient of a 2x2 max-pooling of stride 2 that is never written: each pixel has the
// pooled gradient where the maximum was, h * W + w, and zero elsewhere; also a last row or column without a window.
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(5) var<storage, read> argmax: array<u32>;

fn load_x(place: Place, shift: vec2<u32>, channel: u32, valid: bool) -> f32 {
    let row = place.row + shift.x;
    let column = place.column + shift.y;
    let height = p.in_h / 2u;
    let width = p.in_w / 2u;
    var value = 0.0;
    if (valid & (place.pixel != NONE) & (row < height * 2u) & (column < width * 2u)) {
        let sample = place.plane / (p.in_h * p.in_w);
        let at = ((sample * height + row / 2u) * width + column / 2u) * p.in_c + channel;
        value = select(0.0, x[at], argmax[at] == row * p.in_w + column);
    }
    return value;
}
