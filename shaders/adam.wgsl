// Adam (Kingma and Ba 2015). Joined with optimizer.wgsl.
// KERAS: epsilon beside sqrt(v) as it stands; otherwise beside the corrected one, as PyTorch has it.
const KERAS: bool = true;

fn update(i: u32, correction: vec2<f32>) {
    let g = gradient[i];
    let m = parameters.beta1 * first_moment[i] + (1.0 - parameters.beta1) * g;
    let v = parameters.beta2 * second_moment[i] + (1.0 - parameters.beta2) * g * g;
    let rate = learning_rate[0] / correction.x;
    let root = sqrt(correction.y);
    if (KERAS) {
        parameter[i] -= rate * root * m / (sqrt(v) + parameters.epsilon);
    } else {
        parameter[i] -= rate * m / (sqrt(v) / root + parameters.epsilon);
    }
    first_moment[i] = m;
    second_moment[i] = v;
}
