// As weight_grad_load.wgsl, where dy is the gradient of a 2x2 max-pooling of stride 2 that is never written; see
// conv_load_unpooled.wgsl.
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read> argmax: array<u32>;

fn load_dy(position: u32, channel: u32, valid: bool) -> f32 {
    let line = position / p.out_w;
    let column = position - line * p.out_w;
    let sample = line / p.out_h;
    let row = line - sample * p.out_h;
    let height = p.out_h / 2u;
    let width = p.out_w / 2u;
    var value = 0.0;
    if (valid & (channel < p.out_c) & (row < height * 2u) & (column < width * 2u)) {
        let at = ((sample * height + row / 2u) * width + column / 2u) * p.out_c + channel;
        value = select(0.0, dy[at], argmax[at] == row * p.out_w + column);
    }
    return value;
}
