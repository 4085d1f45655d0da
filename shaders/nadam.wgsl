// Nadam (Dozat 2016): as Adam, with the gradient weighted into the first moment anew. The two weights are the same for
// all elements and come from nadam_schedule.wgsl. Joined with optimizer.wgsl or optimizer_several.wgsl.
fn update(old: Element, correction: vec2<f32>) -> Element {
    let g = old.gradient;
    let m = parameters.beta1 * old.first + (1.0 - parameters.beta1) * g;
    let v = parameters.beta2 * old.second + (1.0 - parameters.beta2) * g * g;
    let corrected = weights[0] * m + weights[1] * g;
    let root = sqrt(v) / sqrt(correction.y) + parameters.epsilon;
    return Element(old.parameter - learning_rate[0] * corrected / root, g, m, v);
}
