// Squared error of one element, and its derivative by x. Joined with mean_sum.wgsl, loss_backward.wgsl or
// loss_gradient.wgsl.
fn term(x: f32, t: f32) -> f32 {
    let d = x - t;
    return d * d;
}

fn term_slope(x: f32, t: f32) -> f32 { return 2.0 * (x - t); }
