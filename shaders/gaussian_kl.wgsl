// KL divergence of one element from its mean and the logarithm of its variance. Joined with mean_sum.wgsl.
fn term(mean: f32, l: f32) -> f32 { return 0.5 * (mean * mean + (exp(l) - 1.0 - l)); }
