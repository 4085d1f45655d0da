// The bias correction of Adam and its family. The file joined after this one declares the clock.
// 1 - beta^t. The difference cancels for small t log(beta), where its series (eight terms) is exact to rounding.
fn bias_correction(log_beta: f32) -> f32 {
    let t = f32(clock[0]) + f32(clock[1]) * 4294967296.0 + 1.0;
    let x = t * log_beta;
    let tail = 1.0 + x / 5.0 * (1.0 + x / 6.0 * (1.0 + x / 7.0 * (1.0 + x / 8.0)));
    let series = -x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * tail)));
    return select(1.0 - exp(max(x, -87.0)), series, x > -0.5);
}
