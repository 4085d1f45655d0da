//! Faults of random numbers and of the kernels that draw them.

use super::faults::{FileFaults, arithmetic, boundary, index, of};

/// Of one file each.
pub(crate) static FAULTS: &[FileFaults] = &[
    of(
        "dropout",
        &[
            index("(words[e]", "(words[0u]"),
            index("rows[b]", "rows[0u]"),
            index("clock[0], clock[1]", "clock[1], clock[0]"),
            index("* x[start + e]", "* x[start]"),
            boundary("b >= parameters.samples", "b > parameters.samples"),
            boundary("(parameters.elements + 3u) / 4u", "parameters.elements / 4u"),
            boundary("min(4u, parameters.elements - quad * 4u)", "4u"),
            boundary(">= parameters.threshold", "> parameters.threshold"),
            arithmetic(">> 8u", ">> 9u"),
            arithmetic("parameters.scale * ", ""),
            arithmetic("select(0.0,", "select(1.0,"),
        ],
    ),
    of(
        "gaussian_noise",
        &[
            index("words[e]", "words[0u]"),
            index("rows[b]", "rows[0u]"),
            index("clock[0], clock[1]", "clock[1], clock[0]"),
            boundary("b >= parameters.samples", "b > parameters.samples"),
            boundary("min(4u, parameters.elements - quad * 4u)", "4u"),
            arithmetic("+ parameters.sigma", "- parameters.sigma"),
        ],
    ),
    of(
        "philox",
        &[
            index("counter.w ^ key.y", "counter.y ^ key.y"),
            boundary("round < 10u", "round < 9u"),
            boundary("q <= 0.425", "q <= 0.49"),
            arithmetic("0xbb67ae85u", "0xbb67ae84u"),
            arithmetic("0xcd9e8d57u);", "0xcd9e8d56u);"),
            arithmetic(" + (carry >> 16u)", ""),
            arithmetic("(bits >> 31u) == 0u", "(bits >> 31u) == 1u"),
            arithmetic("0.17023821 * r + 1.3067285", "0.17023821 * r - 1.3067285"),
        ],
    ),
    of(
        "philox_words",
        &[
            index("words[e]", "words[0u]"),
            index("rows[b], clock[0]", "rows[0u], clock[0]"),
            boundary("b >= parameters.samples", "b > parameters.samples"),
            boundary("min(4u, parameters.elements - quad * 4u)", "4u"),
            arithmetic("parameters.seed, parameters.stream", "parameters.stream, parameters.seed"),
        ],
    ),
    of(
        "pixel_noise",
        &[
            index("rows[b]", "rows[0u]"),
            index("clock[0], clock[1]", "clock[1], clock[0]"),
            index("(words[e] >> 8u)", "(words[0u] >> 8u)"),
            index("words[e] & 1u", "words[0u] & 1u"),
            index("select(quad, 0u, KIND == 2u)", "quad"),
            index("square_begin(words.y", "square_begin(words.x"),
            index("pixel / parameters.width", "pixel / parameters.height"),
            index("select(x[start + c]", "select(x[start]"),
            boundary("b >= parameters.samples", "b > parameters.samples"),
            boundary("(pixels + 3u) / 4u", "pixels / 4u"),
            boundary("min(4u, pixels - quad * 4u)", "4u"),
            boundary("< parameters.threshold", "<= parameters.threshold"),
            boundary("max(extent, parameters.side)", "extent"),
            boundary("- parameters.side + 1u", "- parameters.side"),
            boundary("- parameters.side + 1u", "- parameters.side + 2u"),
            boundary("row >= top", "row > top"),
            boundary("row < top + parameters.side", "row <= top + parameters.side"),
            boundary("column >= left", "column > left"),
            boundary("column < left + parameters.side", "column <= left + parameters.side"),
            boundary("c < parameters.channels", "c + 1u < parameters.channels"),
            arithmetic(">> 8u", ">> 9u"),
            arithmetic("& 1u) == 1u", "& 1u) == 0u"),
            arithmetic("KIND == 1u && ", ""),
            arithmetic("value = parameters.low", "value = -parameters.low"),
            arithmetic("value = parameters.high", "value = -parameters.high"),
        ],
    ),
];
