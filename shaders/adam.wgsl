// Adam (Kingma and Ba 2015). Joined with optimizer.wgsl or optimizer_several.wgsl.
// KERAS: epsilon beside sqrt(v) as it stands; otherwise beside the corrected one, as PyTorch has it.
const KERAS: bool = true;

struct Step { rate: f32, root: f32 }

fn this_step() -> Step {
    return Step(learning_rate[0] / bias_correction(parameters.log_beta1), sqrt(bias_correction(parameters.log_beta2)));
}

fn update(old: Element, step: Step) -> Element {
    let g = old.gradient;
    let m = flushed(parameters.beta1 * old.first + (1.0 - parameters.beta1) * g);
    let v = flushed(parameters.beta2 * old.second + (1.0 - parameters.beta2) * g * g);
    var change = step.rate * m / (sqrt(v) / step.root + parameters.epsilon);
    if (KERAS) { change = step.rate * step.root * m / (sqrt(v) + parameters.epsilon); }
    return Element(old.parameter - change, g, m, v);
}
