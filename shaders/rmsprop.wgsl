// RMSProp (Tieleman and Hinton 2012): s = rho s + (1 - rho) g^2, then the parameter moves by rate g / sqrt(s), with
// epsilon inside the root (Keras, TensorFlow 1) or beside it (PyTorch). Joined with flushed.wgsl and optimizer_one_moment.wgsl or
// optimizer_one_moment_several.wgsl.
const INSIDE: bool = true;

fn update(old: Element) -> Element {
    let g = old.gradient;
    let s = flushed(parameters.decay * old.moment + (1.0 - parameters.decay) * g * g);
    let root = select(sqrt(s) + parameters.epsilon, sqrt(s + parameters.epsilon), INSIDE);
    return Element(old.parameter - learning_rate[0] * g / root, g, s);
}
