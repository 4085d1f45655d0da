// Nadam (Dozat 2016): as Adam, with the gradient weighted into the first moment anew. The two weights are the same for
// all elements and come from nadam_schedule.wgsl. Joined with optimizer.wgsl or optimizer_several.wgsl.
struct Step { rate: f32, of_first: f32, of_gradient: f32, root: f32 }

fn this_step() -> Step {
    return Step(learning_rate[0], weights[0], weights[1], sqrt(bias_correction(parameters.log_beta2)));
}

fn update(old: Element, step: Step) -> Element {
    let g = old.gradient;
    let m = flushed(parameters.beta1 * old.first + (1.0 - parameters.beta1) * g);
    let v = flushed(parameters.beta2 * old.second + (1.0 - parameters.beta2) * g * g);
    let corrected = step.of_first * m + step.of_gradient * g;
    return Element(old.parameter - step.rate * corrected / (sqrt(v) / step.root + parameters.epsilon), g, m, v);
}
