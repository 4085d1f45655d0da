// Adam (Kingma and Ba 2015). Joined with optimizer.wgsl or optimizer_several.wgsl.
// KERAS: epsilon beside sqrt(v) as it stands; otherwise beside the corrected one, as PyTorch has it.
const KERAS: bool = true;

fn update(old: Element, correction: vec2<f32>) -> Element {
    let g = old.gradient;
    let m = parameters.beta1 * old.first + (1.0 - parameters.beta1) * g;
    let v = parameters.beta2 * old.second + (1.0 - parameters.beta2) * g * g;
    let rate = learning_rate[0] / correction.x;
    let root = sqrt(correction.y);
    var change = rate * m / (sqrt(v) / root + parameters.epsilon);
    if (KERAS) { change = rate * root * m / (sqrt(v) + parameters.epsilon); }
    return Element(old.parameter - change, g, m, v);
}
