// Activations and their derivatives, shared by every kernel that has an activation as its epilogue.
// 0 linear, 1 ReLU, 2 ELU (COEFFICIENT is alpha), 3 sigmoid, 4 tanh, 5 leaky ReLU (COEFFICIENT is the slope on the
// left), 6 softplus.
const ACTIVATION: u32 = 0u;
const COEFFICIENT: f32 = 1.0;

// ln(1 + u) for u in 0..1, as 2 artanh(u / (2 + u)) by its series: the eighth term is below 2^-24 of the sum. A
// device's log may be off by 2^-21, which is more than all of ln(1 + u) where u is small.
fn log_of_one_plus(u: f32) -> f32 {
    let s = u / (2.0 + u);
    let q = s * s;
    let tail = 1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0 + q * (1.0 / 13.0)));
    return 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * tail)));
}

// 1 - exp(-y) for y >= 0: by its series (eight terms) where the difference would cancel.
fn one_minus_exp(y: f32) -> f32 {
    let tail = 1.0 - y / 5.0 * (1.0 - y / 6.0 * (1.0 - y / 7.0 * (1.0 - y / 8.0)));
    let series = y * (1.0 - y / 2.0 * (1.0 - y / 3.0 * (1.0 - y / 4.0 * tail)));
    return select(1.0 - exp(-min(y, 87.0)), series, y < 0.5);
}

// Arguments of exp and tanh are clamped: some drivers turn tanh(100.0) or 1/(1+exp(100.0)) into NaN.
fn activate_as(kind: u32, coefficient: f32, x: f32) -> f32 {
    switch kind {
        case 1u: { return max(x, 0.0); }
        case 2u: { return select(coefficient * (exp(max(min(x, 0.0), -87.0)) - 1.0), x, x > 0.0); }
        case 3u: { return 1.0 / (1.0 + exp(-clamp(x, -87.0, 87.0))); }
        case 4u: { return tanh(clamp(x, -15.0, 15.0)); }
        case 5u: { return select(coefficient * x, x, x > 0.0); }
        case 6u: { return max(x, 0.0) + log_of_one_plus(exp(-min(abs(x), 87.0))); }
        default: { return x; }
    }
}

// d activate_as(x) / dx, from y = activate_as(x).
fn slope_as(kind: u32, coefficient: f32, y: f32) -> f32 {
    switch kind {
        case 1u: { return select(0.0, 1.0, y > 0.0); }
        case 2u: { return select(y + coefficient, 1.0, y > 0.0); }
        case 3u: { return y * (1.0 - y); }
        case 4u: { return 1.0 - y * y; }
        case 5u: { return select(coefficient, 1.0, y > 0.0); }
        case 6u: { return one_minus_exp(y); }
        default: { return 1.0; }
    }
}

fn activate(x: f32) -> f32 { return activate_as(ACTIVATION, COEFFICIENT, x); }

fn activation_slope(y: f32) -> f32 { return slope_as(ACTIVATION, COEFFICIENT, y); }
