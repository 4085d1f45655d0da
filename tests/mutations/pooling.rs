//! Faults of pooling, up-sampling and their gradients.

use super::faults::{FileFaults, arithmetic, boundary, index, of};

/// Of one file each.
pub(crate) static FAULTS: &[FileFaults] = &[
    of(
        "avg_pool2d",
        &[
            index("* p.channels + channel]", "* p.channels]"),
            boundary("row >= p.in_h", "row > p.in_h"),
            boundary("column >= p.in_w", "column > p.in_w"),
            boundary("sample >= p.batch", "sample > p.batch"),
            arithmetic("- p.padding_h", "+ p.padding_h"),
            arithmetic("out_x * p.stride_w", "out_x"),
            arithmetic("a * p.dilation_h", "a"),
            arithmetic("inside += 1u", "inside = p.kernel_h * p.kernel_w"),
            arithmetic("select(inside, p.kernel_h * p.kernel_w, COUNT_PADDING)", "inside"),
        ],
    ),
    of(
        "avg_pool2d_quads",
        &[
            index("(i - pixel * quads)])", "0u])"),
            boundary("row >= p.in_h", "row > p.in_h"),
            boundary("column >= p.in_w", "column > p.in_w"),
            boundary("sample >= p.batch", "sample > p.batch"),
            arithmetic("- p.padding_w", "+ p.padding_w"),
            arithmetic("b * p.dilation_w", "b"),
            arithmetic("select(inside, p.kernel_h * p.kernel_w, COUNT_PADDING)", "inside"),
        ],
    ),
    of(
        "avg_pool2d_backward",
        &[
            index("* p.channels + channel]", "* p.channels]"),
            index("window_count(out_y, out_x)", "window_count(out_x, out_y)"),
            boundary("out_y >= p.out_h", "out_y > p.out_h"),
            boundary("out_x >= p.out_w", "out_x > p.out_w"),
            boundary("sample >= p.batch", "sample > p.batch"),
            arithmetic("row % p.stride_h != 0u || ", ""),
            arithmetic("+ p.padding_w", "- p.padding_w"),
            arithmetic("a * p.dilation_h", "a"),
        ],
    ),
    of(
        "avg_pool2d_backward_quads",
        &[
            index("* quads + (i - pixel * quads);", "* quads;"),
            boundary("out_y >= p.out_h", "out_y > p.out_h"),
            boundary("out_x >= p.out_w", "out_x > p.out_w"),
            boundary("sample >= p.batch", "sample > p.batch"),
            arithmetic("column % p.stride_w != 0u || ", ""),
            arithmetic("+ p.padding_h", "- p.padding_h"),
            arithmetic("b * p.dilation_w", "b"),
        ],
    ),
    of(
        "max_pool2d",
        &[
            index("* p.channels + channel]", "* p.channels]"),
            index("place = row * p.in_w + column", "place = row * p.in_h + column"),
            boundary("row >= p.in_h", "row > p.in_h"),
            boundary("column >= p.in_w", "column > p.in_w"),
            boundary("sample >= p.batch", "sample > p.batch"),
            // Ties go to the first maximum, and windows below zero have one as well.
            boundary("value > best", "value >= best"),
            arithmetic("place == 0xffffffffu || ", ""),
            arithmetic("value > best", "value < best"),
            arithmetic("- p.padding_h", "+ p.padding_h"),
            arithmetic("out_x * p.stride_w", "out_x"),
            arithmetic("a * p.dilation_h", "a"),
        ],
    ),
    of(
        "max_pool2d_quads",
        &[
            index("+ (i - pixel * quads)])", "])"),
            boundary("row >= p.in_h", "row > p.in_h"),
            boundary("column >= p.in_w", "column > p.in_w"),
            boundary("sample >= p.batch", "sample > p.batch"),
            boundary("value > best", "value >= best"),
            arithmetic("(place == vec4<u32>(0xffffffffu)) | ", ""),
            arithmetic("- p.padding_w", "+ p.padding_w"),
            arithmetic("b * p.dilation_w", "b"),
        ],
    ),
    of(
        "max_pool2d_backward",
        &[
            index("argmax[o] == place", "argmax[i] == place"),
            // One window more is never the one whose maximum is here.
            boundary("row / p.stride_h >= p.out_h", "row / p.stride_h + 1u >= p.out_h"),
            boundary("sample >= p.batch", "sample > p.batch"),
            arithmetic("column % p.stride_w != 0u || ", ""),
            arithmetic("+ p.padding_h", "- p.padding_h"),
            arithmetic("a * p.dilation_h", "a"),
            arithmetic("sum += select", "sum = select"),
        ],
    ),
    of(
        "max_pool2d_pick",
        &[
            index("argmax[i])", "argmax[0u])"),
            index("i % parameters.channels", "i / parameters.channels"),
            boundary("sample >= parameters.batch", "sample > parameters.batch"),
            arithmetic("* parameters.plane +", "* parameters.out_plane +"),
        ],
    ),
    of(
        "max_pool2d_backward_windows",
        &[
            index("vec4<u32>(here)", "vec4<u32>(here + 1u)"),
            boundary("row >= p.in_h", "row > p.in_h"),
            boundary("column >= p.in_w", "column > p.in_w"),
            boundary("sample >= p.batch", "sample > p.batch"),
            arithmetic("select(vec4<f32>(0.0), gradient", "select(vec4<f32>(0.0), -gradient"),
        ],
    ),
    of(
        "pool_count",
        &[
            index("taps_inside(out_x, p.kernel_w", "taps_inside(out_x, p.kernel_h"),
            boundary("extent + padding - start + dilation - 1u", "extent + padding - start"),
            boundary("max(padding, start) - start + dilation - 1u", "max(padding, start) - start"),
            boundary("extent + padding - start", "extent - start"),
            arithmetic("return f32(p.kernel_h * p.kernel_w)", "return f32(p.kernel_h + p.kernel_w)"),
            arithmetic("p.in_h)\n        *", "p.in_h)\n        +"),
        ],
    ),
    of(
        "upsample2d",
        &[
            index("+ i % p.channels]", "]"),
            boundary("row >= p.batch * p.in_h", "row + 1u >= p.batch * p.in_h"),
            arithmetic("line / p.factor_h", "line % p.factor_h"),
            arithmetic("* p.factor_w)) / p.factor_w", "* p.factor_w)) % p.factor_w"),
        ],
    ),
    of(
        "upsample2d_quads",
        &[
            index("+ (i - pixel * quads)]", "]"),
            boundary("row >= p.batch * p.in_h", "row + 1u >= p.batch * p.in_h"),
            arithmetic("* p.factor_w)) / p.factor_w", "* p.factor_w)) % p.factor_w"),
        ],
    ),
    of(
        "upsample2d_backward",
        &[
            index("+ i % p.channels]", "]"),
            boundary("row >= p.batch * p.in_h", "row > p.batch * p.in_h"),
            boundary("a < p.factor_h", "a <= p.factor_h"),
            boundary("b < p.factor_w", "b + 1u < p.factor_w"),
            arithmetic("sum += dy", "sum -= dy"),
        ],
    ),
    of(
        "upsample2d_backward_quads",
        &[
            index("* quads + (i - pixel * quads)]", "* quads]"),
            boundary("row >= p.batch * p.in_h", "row > p.batch * p.in_h"),
            boundary("a < p.factor_h", "a + 1u < p.factor_h"),
            boundary("b < p.factor_w", "b <= p.factor_w"),
            arithmetic("sum += reals", "sum -= reals"),
        ],
    ),
];
