// Binary cross-entropy of one element, from its logit. Joined with mean_sum.wgsl.
// log1p(u) for u in 0..1 without a log1p: u * log(1 + u) / ((1 + u) - 1) cancels the rounding of 1 + u.
fn log1p(u: f32) -> f32 {
    let v = 1.0 + u;
    return select(log(v) * (u / (v - 1.0)), u, v == 1.0);
}

fn term(i: u32) -> f32 {
    let logit = x[i];
    return max(logit, 0.0) - logit * target_[i] + log1p(exp(-min(abs(logit), 87.0)));
}
