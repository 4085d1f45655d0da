// Nadam's momentum: mu(t) = beta1 (1 - 0.5 * 0.96^(psi t)), product *= mu(t), and the weights of m and of the gradient
// in the update, mu(t + 1) / (1 - product mu(t + 1)) and (1 - mu(t)) / (1 - product). One invocation: all tensors of a
// step share them.
struct Parameters {
    beta1: f32,
    rate: f32, // psi ln 0.96, rounded from double precision
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> clock: array<u32>;
@group(0) @binding(2) var<storage, read_write> product: array<f32>;
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;

fn mu(t: f32) -> f32 { return parameters.beta1 * (1.0 - 0.5 * exp(max(parameters.rate * t, -87.0))); }

@compute @workgroup_size(1)
fn main() {
    let t = f32(clock[0]) + f32(clock[1]) * 4294967296.0 + 1.0;
    let now = mu(t);
    let next = mu(t + 1.0);
    let all = product[0] * now;
    product[0] = all;
    weights[0] = next / (1.0 - all * next);
    weights[1] = (1.0 - now) / (1.0 - all);
}
