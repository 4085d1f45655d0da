// Adamax (Kingma and Ba 2015), the second moment an infinity norm. Joined with optimizer.wgsl or optimizer_several.wgsl.
// KERAS: epsilon beside u; otherwise inside the maximum, as PyTorch has it.
const KERAS: bool = true;

struct Step { rate: f32 }

fn this_step() -> Step { return Step(learning_rate[0] / bias_correction(parameters.log_beta1)); }

fn update(old: Element, step: Step) -> Element {
    let g = old.gradient;
    let m = flushed(parameters.beta1 * old.first + (1.0 - parameters.beta1) * g);
    let decayed = flushed(parameters.beta2 * old.second);
    if (KERAS) {
        let u = max(decayed, abs(g));
        return Element(old.parameter - step.rate * m / (u + parameters.epsilon), g, m, u);
    }
    let u = max(decayed, abs(g) + parameters.epsilon);
    return Element(old.parameter - step.rate * m / u, g, m, u);
}
