// Binary cross-entropy of one element from its logit, and its derivative. Joined with mean_sum.wgsl, loss_backward.wgsl or
// loss_gradient.wgsl.
// log1p(u) for u in 0..1 without a log1p: u * log(1 + u) / ((1 + u) - 1) cancels the rounding of 1 + u.
fn log1p(u: f32) -> f32 {
    let v = 1.0 + u;
    return select(log(v) * (u / (v - 1.0)), u, v == 1.0);
}

fn term(x: f32, t: f32) -> f32 { return max(x, 0.0) - x * t + log1p(exp(-min(abs(x), 87.0))); }

fn term_slope(x: f32, t: f32) -> f32 { return 1.0 / (1.0 + exp(-clamp(x, -87.0, 87.0))) - t; }
