//! Faults of kernels that take one element after the other: activations, losses' gradients, optimisers,
//! batches.

use super::faults::{FileFaults, Kind, arithmetic, boundary, index, of, of_without};

const GUARDED_ELSEWHERE: (Kind, &str) = (Kind::Boundary, "the file that it is joined with has the guard");

/// Of one file each.
pub(crate) static FAULTS: &[FileFaults] = &[
    of(
        "activate",
        &[
            index("activate(x[i])", "activate(x[i ^ 1u])"),
            boundary("i < parameters.elements", "i <= parameters.elements"),
            arithmetic("y[i] = activate", "y[i] = -activate"),
        ],
    ),
    of(
        "activate_backward",
        &[
            index("activation_slope(y[i])", "activation_slope(y[i ^ 1u])"),
            boundary("i < parameters.elements", "i <= parameters.elements"),
            arithmetic("dy[i] * activation", "dy[i] + activation"),
        ],
    ),
    of(
        "activate_backward_quads",
        &[
            index("activation_slope(z.w)", "activation_slope(z.z)"),
            index("reals(y[i])", "reals(y[i ^ 1u])"),
            boundary("i * 4u >= parameters", "i * 4u > parameters"),
            arithmetic("* vec4<f32>(activation", "* -vec4<f32>(activation"),
        ],
    ),
    of_without(
        "activation",
        &[(Kind::Index, "functions of one number")],
        &[
            boundary("max(x, 0.0); }", "max(x, 1.0); }"),
            boundary("-87.0)) - 1.0), x, x > 0.0)", "-87.0)) - 1.0), x, x > 1.0)"),
            boundary("clamp(x, -15.0, 15.0)", "clamp(x, -1.5, 1.5)"),
            // Its tanh(100) is NaN. No driver here shows what the clamps of exp are for.
            boundary("clamp(x, -15.0, 15.0)", "x").on("SwiftShader"),
            boundary("select(0.0, 1.0, y > 0.0)", "select(0.0, 1.0, y >= 0.0)"),
            boundary("y < 0.5)", "y < 50.0)"),
            arithmetic("coefficient * (exp", "-coefficient * (exp"),
            arithmetic("exp(-clamp(x, -87.0, 87.0))", "exp(clamp(x, -87.0, 87.0))"),
            arithmetic("select(coefficient * x, x,", "select(x, x,"),
            arithmetic("max(x, 0.0) + log_of", "max(x, 0.0) - log_of"),
            arithmetic("1.0 / 3.0", "1.0 / 2.0"),
            arithmetic("y + coefficient", "y - coefficient"),
            arithmetic("y * (1.0 - y); }", "y * (1.0 + y); }"),
            arithmetic("1.0 - y * y", "1.0 + y * y"),
            arithmetic("select(coefficient, 1.0", "select(1.0, 1.0"),
            arithmetic("1.0 - y / 2.0", "1.0 + y / 2.0"),
        ],
    ),
    of_without(
        "adam",
        &[GUARDED_ELSEWHERE],
        &[
            index("* old.first", "* old.second"),
            index("g, m, v)", "g, v, m)"),
            arithmetic("(1.0 - parameters.beta2) * g * g", "(1.0 - parameters.beta2) * g"),
            index("(parameters.log_beta2)", "(parameters.log_beta1)"),
            arithmetic("step.root * m", "m"),
            arithmetic("old.parameter - change", "old.parameter + change"),
            arithmetic("(sqrt(v) + parameters.epsilon)", "sqrt(v)"),
            arithmetic("sqrt(v) / step.root + parameters.epsilon", "sqrt(v) / step.root"),
            arithmetic("sqrt(v) / step.root + parameters", "sqrt(v) * step.root + parameters"),
        ],
    ),
    of_without(
        "adamax",
        &[GUARDED_ELSEWHERE],
        &[
            index("* old.second", "* old.first"),
            index("parameters.log_beta1", "parameters.log_beta2"),
            arithmetic("max(decayed, abs(g));", "max(decayed, g);"),
            arithmetic("u + parameters.epsilon", "u"),
            arithmetic("abs(g) + parameters.epsilon", "abs(g)"),
            arithmetic("+ (1.0 - parameters.beta1)", "- (1.0 - parameters.beta1)"),
            arithmetic("rate * m / u,", "rate * g / u,"),
        ],
    ),
    of(
        "add",
        &[
            index("b[i]; }", "b[i ^ 1u]; }"),
            boundary("i < parameters.elements", "i <= parameters.elements"),
            arithmetic("a[i] + b[i]", "a[i] - b[i]"),
        ],
    ),
    of(
        "batch_norm",
        &[
            index("mean[c]", "mean[0u]"),
            index("i % parameters.columns", "i / parameters.columns"),
            boundary("i >= parameters.elements", "i > parameters.elements"),
            arithmetic("+ parameters.epsilon", "- parameters.epsilon"),
            arithmetic("+ bias[c]", "- bias[c]"),
        ],
    ),
    of(
        "batch_norm_quads",
        &[
            index("reals(weight[c])", "reals(weight[0u])"),
            index("activate(z.w)", "activate(z.z)"),
            boundary("i * 4u >= parameters", "i * 4u > parameters"),
            arithmetic("+ parameters.epsilon", "- parameters.epsilon"),
            arithmetic("+ reals(bias[c])", "- reals(bias[c])"),
        ],
    ),
    of(
        "batch_norm_dx",
        &[
            index("variance[c]", "variance[0u]"),
            boundary("i >= parameters.elements", "i > parameters.elements"),
            arithmetic("dy[i] * (", "-dy[i] * ("),
        ],
    ),
    of(
        "batch_norm_dx_quads",
        &[
            index("weight[c]", "weight[0u]"),
            boundary("i * 4u >= parameters", "i * 4u > parameters"),
            arithmetic("+ parameters.epsilon", ""),
        ],
    ),
    of(
        "bias_correction",
        &[
            index("f32(clock[0])", "f32(clock[1])"),
            boundary("x > -0.5", "x > -50.0"),
            arithmetic("4294967296.0 + 1.0", "4294967296.0"),
            arithmetic("f32(clock[1]) * 4294967296.0", "f32(clock[1])"),
            arithmetic("-x * (1.0 + x / 2.0", "-x * (1.0 - x / 2.0"),
        ],
    ),
    of(
        "clip_norm",
        &[
            index("x[i] * (", "x[0u] * ("),
            boundary("i < parameters.elements", "i <= parameters.elements"),
            boundary("max(parameters.limit, sqrt(square[0]))", "sqrt(square[0])"),
            arithmetic("sqrt(square[0])", "square[0]"),
            arithmetic("max(parameters", "min(parameters"),
            arithmetic("(parameters.limit / max", "(1.0 / max"),
        ],
    ),
    of(
        "fill",
        &[
            index("y[i] =", "y[i / 2u] ="),
            boundary("i < parameters.elements", "i <= parameters.elements"),
            arithmetic("= parameters.value", "= -parameters.value"),
        ],
    ),
    of_without(
        "flushed",
        &[(Kind::Index, "nothing is indexed")],
        &[
            boundary("0x1p-126f", "0.05"),
            arithmetic("abs(x) < 0x1p-126f", "x < 0x1p-126f"),
            arithmetic("select(x, 0.0,", "select(0.0, x,"),
        ],
    ),
    of(
        "gather",
        &[
            index("(clock[2] + b) %", "b %"),
            index("return chunk_1[word]", "return chunk_0[word]"),
            index("return chunk_3[word]", "return chunk_2[word]"),
            index("number - parameters.first_chunk", "number"),
            index("(place - number * parameters.chunk_rows)", "place"),
            index("(i - b * quads)", "i"),
            index("select(row, position, RING)", "row"),
            index("select(row, position, RING)", "position"),
            index("rows[b] = row;", "rows[b] = number;"),
            index("load(chunk, start + c)", "load(chunk, start + column)"),
            boundary("(clock[2] + b) % parameters.order_rows", "clock[2] + b"),
            boundary("b >= parameters.batch", "b > parameters.batch"),
            boundary("min(column + 4u, parameters.columns)", "column + 4u"),
            boundary("number < parameters.first_chunk || ", ""),
            // One chunk too many is no fault: the next launch writes its rows again.
            boundary("number >= parameters.first_chunk + 4u", "number >= parameters.first_chunk + 3u"),
            arithmetic("/ 255.0", "/ 256.0"),
            arithmetic("+ parameters.offset", "- parameters.offset"),
            arithmetic("8u * (c - column)", "8u * (column + 3u - c)"),
            index("number - parameters.first_chunk", "number"),
            boundary("number < parameters.first_chunk", "number <= parameters.first_chunk"),
        ],
    ),
    of(
        "add_quads",
        &[
            index("b[i]", "b[0u]"),
            boundary("i * 4u < parameters.elements", "i * 4u <= parameters.elements"),
            arithmetic("+ reals", "- reals"),
        ],
    ),
    of(
        "optimizer_quads",
        &[
            index("= reals(gradient[i])", "= reals(gradient[0u])"),
            index("v.w), step", "v.z), step"),
            index("c.second, d.second", "d.second, c.second"),
            boundary("i * 4u >= parameters.elements", "i * 4u > parameters.elements"),
            boundary("k < 2u", "k < 1u"),
            arithmetic("(u64(bits.y) << 32u)", "(u64(bits.y) << 31u)"),
        ],
    ),
    of(
        "gather_noise",
        &[
            index("(clock[2] + b) %", "b %"),
            index("return chunk_1[word]", "return chunk_0[word]"),
            index("(place - chunk * p.chunk_rows)", "place"),
            index("(i - b * quads)", "i"),
            index("select(row, position, RING)", "row"),
            index("rows[b] = row;", "rows[b] = b;"),
            index("load(chunk, start + c)", "load(chunk, start + column)"),
            index("words[pixel % 4u]", "words[0u]"),
            index("words[c % 4u]", "words[0u]"),
            index("square_begin(words.y", "square_begin(words.x"),
            boundary("b >= p.batch", "b > p.batch"),
            boundary("min(column + 4u, p.columns)", "column + 4u"),
            boundary("down < p.side", "down <= p.side"),
            boundary("(bits >> 8u) < p.threshold", "(bits >> 8u) <= p.threshold"),
            boundary("- p.side + 1u", "- p.side"),
            arithmetic("/ 255.0", "/ 256.0"),
            arithmetic("+ p.offset", "- p.offset"),
            arithmetic("value += p.sigma", "value -= p.sigma"),
            arithmetic("select(p.low, p.high", "select(p.high, p.low"),
            arithmetic("if (KIND == 2u) { quad = 0u; }", ""),
        ],
    ),
    of(
        "lookup",
        &[
            index("table[clock[0]", "table[clock[1]"),
            boundary("clock[0] % parameters.capacity", "min(clock[0], parameters.capacity - 1u)"),
            boundary("% parameters.capacity", "% (parameters.capacity + 1u)"),
            arithmetic("y[0] = table", "y[0] = -table"),
        ],
    ),
    of(
        "moments_backward",
        &[
            index("mean[c]))", "mean[0u]))"),
            boundary("i >= parameters.elements", "i > parameters.elements"),
            arithmetic("2.0 * dvariance", "dvariance"),
            arithmetic("x[i] - mean", "x[i] + mean"),
        ],
    ),
    of(
        "moments_backward_quads",
        &[
            index("reals(dmean[c])", "reals(dmean[0u])"),
            boundary("i * 4u >= parameters", "i * 4u > parameters"),
            arithmetic("2.0 * reals", "reals"),
            arithmetic("* parameters.scale", ""),
        ],
    ),
    of(
        "moving_average",
        &[
            index("value[i]", "value[0u]"),
            boundary("i >= parameters.elements", "i > parameters.elements"),
            arithmetic("1.0 - parameters.momentum", "1.0 + parameters.momentum"),
            arithmetic("parameters.scale * ", ""),
        ],
    ),
    of(
        "loss_backward",
        &[
            index("target_[i]", "target_[0u]"),
            boundary("i < parameters.elements", "i <= parameters.elements"),
            arithmetic("dy[0] * ", ""),
            arithmetic("parameters.scale * ", ""),
        ],
    ),
    of_without(
        "nadam",
        &[GUARDED_ELSEWHERE],
        &[
            index("weights[1]", "weights[0]"),
            index("* old.first", "* old.second"),
            arithmetic("- parameters.beta2) * g * g", "- parameters.beta2) * g"),
            index("parameters.log_beta2", "parameters.log_beta1"),
            arithmetic("/ step.root", ""),
            arithmetic("+ parameters.epsilon", ""),
            arithmetic("old.parameter -", "old.parameter +"),
        ],
    ),
    of_without(
        "nadam_schedule",
        &[(Kind::Boundary, "one invocation without a loop")],
        &[
            index("product[0] * now", "weights[0] * now"),
            arithmetic("4294967296.0 + 1.0", "4294967296.0"),
            arithmetic("f32(clock[1]) * 4294967296.0", "f32(clock[1])"),
            arithmetic("next / (1.0 - all * next)", "next / (1.0 - all)"),
            arithmetic("(1.0 - now)", "(1.0 - next)"),
            arithmetic("0.5 * exp", "0.6 * exp"),
        ],
    ),
    of(
        "norm_penalty_backward",
        &[
            index("sign(x[i])", "sign(x[0u])"),
            index("parameters.l2 * x[i]", "parameters.l2 * x[0u]"),
            boundary("i < parameters.elements", "i <= parameters.elements"),
            boundary("sign(x[i])", "select(-1.0, 1.0, x[i] >= 0.0)"),
            arithmetic("= dy[0] * (", "= ("),
            arithmetic("sign(x[i])", "abs(x[i])"),
            arithmetic("sign(x[i]) + ", "sign(x[i]) - "),
        ],
    ),
    of(
        "optimizer",
        &[
            index("start + k * 64u", "start + k * 32u"),
            index("second_moment[i] = updated.second", "second_moment[i] = updated.first"),
            index("parameter[i], gradient[i]", "parameter[i], gradient[0u]"),
            index("first_moment[i] = updated.first", "first_moment[i] = updated.second"),
            boundary("i >= parameters.elements", "i > parameters.elements"),
            arithmetic("start = (", "start = 1u + ("),
        ],
    ),
    of(
        "optimizer_one_moment",
        &[
            index("start + k * 64u", "start + k * 32u"),
            index("parameter[i], gradient[i]", "parameter[i], gradient[0u]"),
            index("moment[i] = updated.moment", "moment[i ^ 1u] = updated.moment"),
            boundary("i >= parameters.elements", "i > parameters.elements"),
            arithmetic("start = (", "start = 1u + ("),
        ],
    ),
    of(
        "optimizer_one_moment_several",
        &[
            index("gradient_0[i], moment_0[i]", "moment_0[i], gradient_0[i]"),
            index("moment_0[i] = updated.moment", "moment_0[i] = updated.gradient"),
            index("own.first + k * 64u", "own.first + k * 32u"),
            boundary("i >= own.elements", "i > own.elements"),
            arithmetic("own.first + k", "own.first - k"),
        ],
    ),
    of(
        "optimizer_several",
        &[
            index("first_moment_0[i], second_moment_0[i]", "second_moment_0[i], first_moment_0[i]"),
            index("second_moment_0[i] = updated.second", "second_moment_0[i] = updated.first"),
            index("= updated.first", "= updated.gradient"),
            index("own.first + k * 64u", "own.first + k * 32u"),
            boundary("i >= own.elements", "i > own.elements"),
            arithmetic("own.first + k", "own.first - k"),
        ],
    ),
    of_without(
        "pairs",
        &[(Kind::Boundary, "one load")],
        &[index("u32(v.y >> 32u)", "u32(v.x >> 32u)"), arithmetic("u32(v.x >> 32u)", "u32(v.x >> 31u)")],
    ),
    of(
        "record",
        &[
            index("history[clock[0]", "history[clock[1]"),
            boundary("clock[0] % parameters.capacity", "min(clock[0], parameters.capacity - 1u)"),
            arithmetic("= value[0]", "= -value[0]"),
        ],
    ),
    of_without(
        "rmsprop",
        &[GUARDED_ELSEWHERE],
        &[
            index("* old.moment", "* old.gradient"),
            arithmetic("- parameters.decay) * g * g", "- parameters.decay) * g"),
            arithmetic("sqrt(s + parameters.epsilon)", "sqrt(s)"),
            arithmetic("sqrt(s) + parameters.epsilon", "sqrt(s)"),
            arithmetic("* g / root", "* g * root"),
        ],
    ),
    of(
        "scale",
        &[
            index("* x[i]", "* x[0u]"),
            boundary("i < parameters.elements", "i <= parameters.elements"),
            arithmetic("parameters.factor * x", "parameters.factor + x"),
        ],
    ),
    of(
        "sgd",
        &[
            index("gradient[i]", "gradient[0u]"),
            boundary("i < parameters.elements", "i <= parameters.elements"),
            arithmetic("-=", "+="),
        ],
    ),
    of_without(
        "sgd_momentum",
        &[GUARDED_ELSEWHERE],
        &[
            index("old.moment + push", "old.parameter + push"),
            arithmetic("-rate * old.gradient, KERAS", "rate * old.gradient, KERAS"),
            arithmetic("parameters.decay * m + push", "m + push"),
            arithmetic("-rate * way", "rate * way"),
        ],
    ),
    of(
        "sgd_several",
        &[
            index("* gradient_0[i]", "* gradient_0[0u]"),
            index("own.first + k * 64u", "own.first + k * 32u"),
            boundary("i < own.elements", "i <= own.elements"),
            arithmetic("parameter_0[i] -=", "parameter_0[i] +="),
        ],
    ),
    of(
        "tensor_share",
        &[
            index("let groups = (elements[tensor]", "let groups = (elements[0u]"),
            index("Share(tensor, left * 512u", "Share(0u, left * 512u"),
            index("left * 512u, elements[tensor])", "left * 512u, elements[0u])"),
            boundary("elements[tensor] + 511u", "elements[tensor] + 512u"),
            boundary("left < groups", "left <= groups"),
            arithmetic("left -= groups", "left += groups"),
            arithmetic("left * 512u", "left * 256u"),
        ],
    ),
    of(
        "tick",
        &[
            index("clock[2] = select", "clock[3] = select"),
            boundary("row < parameters.rows", "row <= parameters.rows"),
            arithmetic("clock[0] + 1u", "clock[0] + 2u"),
            arithmetic("low == 0u", "low == 1u"),
        ],
    ),
];
