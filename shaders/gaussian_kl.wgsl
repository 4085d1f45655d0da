// KL divergence of one element: x holds the mean, target_ the logarithm of the variance. Joined with mean_sum.wgsl.
fn term(i: u32) -> f32 {
    let l = target_[i];
    return 0.5 * (x[i] * x[i] + (exp(l) - 1.0 - l));
}
