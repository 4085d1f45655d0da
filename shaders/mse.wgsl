// Squared error of one element. Joined with mean_sum.wgsl.
fn term(i: u32) -> f32 {
    let d = x[i] - target_[i];
    return d * d;
}
