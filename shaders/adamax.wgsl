// Adamax (Kingma and Ba 2015), the second moment an infinity norm. Joined with optimizer.wgsl.
// KERAS: epsilon beside u; otherwise inside the maximum, as PyTorch has it.
const KERAS: bool = true;

fn update(i: u32, correction: vec2<f32>) {
    let g = gradient[i];
    let m = parameters.beta1 * first_moment[i] + (1.0 - parameters.beta1) * g;
    let decayed = parameters.beta2 * second_moment[i];
    let rate = learning_rate[0] / correction.x;
    var u: f32;
    if (KERAS) {
        u = max(decayed, abs(g));
        parameter[i] -= rate * m / (u + parameters.epsilon);
    } else {
        u = max(decayed, abs(g) + parameters.epsilon);
        parameter[i] -= rate * m / u;
    }
    first_moment[i] = m;
    second_moment[i] = u;
}
