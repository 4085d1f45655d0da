// Activations and their derivatives, shared by every kernel that has an activation as its epilogue.
// 0 linear, 1 ReLU, 2 ELU (alpha 1), 3 sigmoid, 4 tanh.
const ACTIVATION: u32 = 0u;

// Arguments of exp and tanh are clamped: some drivers turn tanh(100.0) or 1/(1+exp(100.0)) into NaN.
fn activate(x: f32) -> f32 {
    switch ACTIVATION {
        case 1u: { return max(x, 0.0); }
        case 2u: { return select(exp(max(min(x, 0.0), -87.0)) - 1.0, x, x > 0.0); }
        case 3u: { return 1.0 / (1.0 + exp(-clamp(x, -87.0, 87.0))); }
        case 4u: { return tanh(clamp(x, -15.0, 15.0)); }
        default: { return x; }
    }
}

// d activate(x) / dx, from y = activate(x).
fn activation_slope(y: f32) -> f32 {
    switch ACTIVATION {
        case 1u: { return select(0.0, 1.0, y > 0.0); }
        case 2u: { return select(y + 1.0, 1.0, y > 0.0); }
        case 3u: { return y * (1.0 - y); }
        case 4u: { return 1.0 - y * y; }
        default: { return 1.0; }
    }
}
