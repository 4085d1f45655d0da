// Nadam (Dozat 2016): as Adam, with the gradient weighted into the first moment anew. The two weights are the same for
// all elements and come from nadam_schedule.wgsl. Joined with optimizer.wgsl.
@group(0) @binding(7) var<storage, read> weights: array<f32>;

fn update(i: u32, correction: vec2<f32>) {
    let g = gradient[i];
    let m = parameters.beta1 * first_moment[i] + (1.0 - parameters.beta1) * g;
    let v = parameters.beta2 * second_moment[i] + (1.0 - parameters.beta2) * g * g;
    let corrected = weights[0] * m + weights[1] * g;
    parameter[i] -= learning_rate[0] * corrected / (sqrt(v) / sqrt(correction.y) + parameters.epsilon);
    first_moment[i] = m;
    second_moment[i] = v;
}
