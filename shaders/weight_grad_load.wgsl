// What conv2d_weight_grad_tiled.wgsl reads of dy.
@group(0) @binding(2) var<storage, read> dy: array<f32>;

fn load_dy(position: u32, channel: u32, valid: bool) -> f32 {
    var value = 0.0;
    if (valid & (channel < p.out_c)) { value = dy[position * p.out_c + channel]; }
    return value;
}
