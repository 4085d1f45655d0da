//! Faults of kernels that sum: losses, columns, moments.

use super::faults::{FileFaults, Kind, arithmetic, barrier, boundary, index, of, of_without};

/// Of one file each.
pub(crate) static FAULTS: &[FileFaults] = &[
    of(
        "batch_norm_sums",
        &[
            index("mean[column]", "mean[0u]"),
            index("r * parameters.columns + column", "r * parameters.columns"),
            boundary("run >= parameters.runs", "run > parameters.runs"),
            boundary("min((run + 1u) * parameters.run_rows, parameters.rows)", "(run + 1u) * parameters.run_rows"),
            arithmetic("x[at] - middle", "x[at] + middle"),
            arithmetic("sum += dy", "sum -= dy"),
        ],
    ),
    of(
        "batch_norm_sums_quads",
        &[
            index("mean[quad]", "mean[0u]"),
            boundary("run >= parameters.runs", "run > parameters.runs"),
            boundary("min((run + 1u) * parameters.run_rows, parameters.rows)", "(run + 1u) * parameters.run_rows"),
            arithmetic("- middle", "+ middle"),
        ],
    ),
    of(
        "batch_norm_totals",
        &[
            index("products[run * parameters.columns + i]", "products[i]"),
            index("variance[i] + parameters", "variance[0u] + parameters"),
            boundary("i >= parameters.columns", "i > parameters.columns"),
            boundary("run < parameters.runs", "run + 1u < parameters.runs"),
            arithmetic("-0.5 * weight", "0.5 * weight"),
            arithmetic("= -weight", "= weight"),
            arithmetic("product * root;", "product;"),
        ],
    ),
    of_without(
        "bce_logits",
        &[(Kind::Index, "one element; the file that it is joined with has the index")],
        &[
            boundary("v == 1.0", "v == 2.0"),
            boundary("min(abs(x), 87.0)", "min(abs(x), 1.0)"),
            boundary("clamp(x, -87.0, 87.0)", "clamp(x, -1.0, 1.0)"),
            arithmetic("- x * t", "+ x * t"),
            arithmetic("exp(-min", "exp(min"),
            arithmetic("exp(-clamp", "exp(clamp"),
            arithmetic(") - t; }", ") + t; }"),
        ],
    ),
    of(
        "dense_update",
        &[
            index("return x_0[at]", "return x_0[at / 2u]"),
            index("return dz_0[at]", "return dz_0[at / 2u]"),
            index("weight_first_0[at], weight_second_0[at])", "weight_second_0[at], weight_first_0[at])"),
            index("bias_second_0[at] = updated.second", "bias_second_0[at] = updated.first"),
            index("place / 32u;", "place % 32u;"),
            index("number % max(grid.y, 1u)", "number % max(grid.x, 1u)"),
            index("within.y + 1u]", "within.y]"),
            index("column, update(bias(layer, column,", "column, update(bias(layer, 0u,"),
            index("row * extent.y + column", "row + column * extent.x"),
            boundary("extent.x + 32u", "extent.x + 31u"),
            boundary("extent.y + 31u", "extent.y"),
            boundary("number >= grid.x * grid.y", "number > grid.x * grid.y"),
            boundary("k0 < rows", "k0 + 32u < rows"),
            boundary("k < rows", "k + 1u < rows"),
            boundary("at.x < extent.x", "at.x + 1u < extent.x"),
            boundary("column >= extent.y", "column > extent.y"),
            boundary("k < 32u", "k < 31u"),
            arithmetic("of_x = 1.0", "of_x = 0.0"),
            arithmetic("sums += u", "sums -= u"),
            arithmetic("u.xxyy * v.xyxy", "u.xyxy * v.xxyy"),
            barrier("workgroupBarrier(); // the tiles are written", ""),
            barrier("workgroupBarrier(); // the tiles are read", ""),
        ],
    ),
    of(
        "loss_gradient",
        &[
            index("sums[number]", "sums[0u]"),
            index("k * 64u + lane", "k * 64u"),
            index("total += partial[i]", "total += partial[0]"),
            boundary("k < 8u / WIDTH", "k + 1u < 8u / WIDTH"),
            boundary("i < 64u", "i < 63u"),
            arithmetic("* activation_slope(value)", ""),
            arithmetic("parameters.scale * ", ""),
            barrier("workgroupBarrier();\n", "\n"),
        ],
    ),
    of(
        "loss_elements",
        &[
            index("target_[i]", "target_[0u]"),
            boundary("i >= parameters.elements", "i > parameters.elements"),
            arithmetic("return term(", "return -term("),
        ],
    ),
    of(
        "loss_quads",
        &[
            index("reals(target_[i])", "reals(target_[0u])"),
            index("slope(value.y, wanted.y)", "slope(value.y, wanted.x)"),
            index("term(value.w, wanted.w)", "term(value.z, wanted.w)"),
            boundary("i * 4u >= parameters.elements", "i * 4u > parameters.elements"),
            arithmetic("+ (term(value.z", "- (term(value.z"),
        ],
    ),
    of(
        "mean",
        &[
            index("total += partial[i]", "total += partial[0]"),
            boundary("i < parameters.runs", "i + 1u < parameters.runs"),
            boundary("i < 64u", "i < 63u"),
            arithmetic("total * parameters.scale", "total"),
            barrier("workgroupBarrier();\n", "\n"),
        ],
    ),
    of(
        "mean_sum",
        &[
            index("sums[run] = sum", "sums[0] = sum"),
            boundary("run >= parameters.runs", "run > parameters.runs"),
            boundary(
                "min((run + 1u) * parameters.run_elements, parameters.elements)",
                "(run + 1u) * parameters.run_elements",
            ),
            index("target_[i]", "target_[0u]"),
            arithmetic("sum += term", "sum -= term"),
        ],
    ),
    of(
        "moments",
        &[
            index("let shift = x[column]", "let shift = x[0]"),
            index("sum += x[r * parameters.columns + column]", "sum += x[r * parameters.columns]"),
            boundary("run >= parameters.runs", "run > parameters.runs"),
            boundary("min(start + parameters.run_rows, parameters.rows)", "start + parameters.run_rows"),
            arithmetic("square += d * d", "square += d"),
            arithmetic("mean + rest / count", "mean + rest"),
            arithmetic("f32(end - start)", "f32(parameters.run_rows)"),
        ],
    ),
    of(
        "moments_quads",
        &[
            index("let shift = reals(x[quad])", "let shift = reals(x[0])"),
            // Not in the first pass: the second corrects the mean of the first.
            index("let d = (reals(x[r * quads + quad])", "let d = (reals(x[r * quads])"),
            boundary("run >= parameters.runs", "run > parameters.runs"),
            boundary("min(start + parameters.run_rows, parameters.rows)", "start + parameters.run_rows"),
            arithmetic("square += d * d", "square += d"),
            arithmetic("f32(end - start)", "f32(parameters.run_rows)"),
        ],
    ),
    of(
        "moments_total",
        &[
            index("means[run * parameters.columns + i] - middle", "means[i] - middle"),
            index("squares[run * parameters.columns + i]", "squares[i]"),
            boundary("i >= parameters.columns", "i > parameters.columns"),
            boundary("min((run + 1u) * parameters.run_rows, parameters.rows)", "((run + 1u) * parameters.run_rows)"),
            arithmetic("square / rows", "square / (rows - 1.0)"),
            arithmetic("x[i] + middle", "middle"),
            arithmetic("rows_of(run) * d * d", "d * d"),
        ],
    ),
    of_without(
        "mse",
        &[
            (Kind::Index, "one element; the file that it is joined with has the index"),
            (Kind::Boundary, "one term; the file that it is joined with has the loop"),
        ],
        &[arithmetic("d = x - t", "d = x + t"), arithmetic("2.0 * (x - t)", "2.0 * (x + t)")],
    ),
    of(
        "norm_penalty",
        &[
            index("sums[run] = sum", "sums[0] = sum"),
            index("abs(x[i])", "abs(x[run])"),
            boundary("run >= parameters.runs", "run > parameters.runs"),
            boundary(
                "min((run + 1u) * parameters.run_elements, parameters.elements)",
                "(run + 1u) * parameters.run_elements",
            ),
            boundary("i < end", "i + 1u < end"),
            arithmetic("abs(x[i])", "x[i]"),
            arithmetic("half_l2 * size)", "half_l2)"),
            arithmetic("parameters.l1 + ", "parameters.l1 - "),
            arithmetic("sum += ", "sum -= "),
        ],
    ),
    of(
        "sum_rows",
        &[
            index("r * parameters.columns + column", "r * parameters.columns"),
            boundary("run >= parameters.runs", "run > parameters.runs"),
            boundary("min((run + 1u) * parameters.run_rows, parameters.rows)", "(run + 1u) * parameters.run_rows"),
            arithmetic("sum += x", "sum -= x"),
        ],
    ),
    of(
        "sum_rows_quads",
        &[
            index("r * quads + quad", "r * quads"),
            boundary("run >= parameters.runs", "run > parameters.runs"),
            boundary("min((run + 1u) * parameters.run_rows, parameters.rows)", "(run + 1u) * parameters.run_rows"),
            arithmetic("sum += reals", "sum -= reals"),
        ],
    ),
];
