// Gradient descent with momentum. KERAS: m = mu m - rate g, and the parameter moves by m; otherwise, as PyTorch has it,
// m = mu m + g, and it moves by -rate m. NESTEROV: it moves as if m had been advanced once more. Joined with
// flushed.wgsl and optimizer_one_moment.wgsl or optimizer_one_moment_several.wgsl.
const KERAS: bool = true;
const NESTEROV: bool = false;

fn update(old: Element) -> Element {
    let rate = learning_rate[0];
    let push = select(old.gradient, -rate * old.gradient, KERAS);
    let m = flushed(parameters.decay * old.moment + push);
    let way = select(m, parameters.decay * m + push, NESTEROV);
    return Element(old.parameter + select(-rate * way, way, KERAS), old.gradient, m);
}
