//! Faults of kernels in half precision. Those for matrix units run with the cooperative operations emulated.

use super::faults::{FileFaults, Kind, arithmetic, barrier, boundary, index, of, of_without};

/// The types of matrices stand in these files, which devices with such units alone can run: the size is what is left.
const TYPES_ALONE: &[(Kind, &str)] = &[(Kind::Index, "nothing is indexed"), (Kind::Boundary, "nothing has an edge")];

/// Of one file each.
pub(crate) static FAULTS: &[FileFaults] = &[
    of_without(
        "half",
        &[(Kind::Index, "nothing is indexed")],
        &[
            boundary("select(v, 65504.0, v > 65504.0)", "v"),
            boundary("select(below, -65504.0, below < -65504.0)", "below"),
            boundary("abs(inside) < 6.103515625e-5", "inside < 6.103515625e-5"),
            arithmetic("0xfffu", "0x1fffu"),
            arithmetic("((bits >> 13u) & 1u)", "((bits >> 12u) & 1u)"),
            arithmetic("& 0xffffe000u", "& 0xfffff000u"),
            arithmetic("16777216.0", "8388608.0"),
        ],
    ),
    of(
        "round_half",
        &[
            index("nearest_half(x[i])", "nearest_half(x[max(i, 1u) - 1u])"),
            // One too many would go into a scratch buffer, which is nobody's result.
            boundary("i < p.elements", "i + 1u < p.elements"),
            arithmetic("nearest_half(x[i])", "x[i]"),
        ],
    ),
    of_without("matrix_8", TYPES_ALONE, &[arithmetic("MATRIX: u32 = 8u", "MATRIX: u32 = 16u")]),
    of_without("matrix_16", TYPES_ALONE, &[arithmetic("MATRIX: u32 = 16u", "MATRIX: u32 = 8u")]),
    of(
        "matrix_product",
        &[
            index("&left[(row + MATRIX) * LEFT_STRIDE + k]", "&left[row * LEFT_STRIDE + k]"),
            index("&right[k * RIGHT_STRIDE + column + MATRIX]", "&right[k * RIGHT_STRIDE + column]"),
            index("coopStoreT(r, &sums[at + MATRIX * TILE]", "coopStoreT(r, &sums[at + MATRIX]"),
            index("(lane / LANES) % 2u", "(lane / LANES) / 2u"),
            index("i / TILE, i % TILE, sums[i]", "i % TILE, i / TILE, sums[i]"),
            boundary("k0 < tile.end", "k0 + DEPTH < tile.end"),
            boundary("k < DEPTH", "k + MATRIX < DEPTH"),
            boundary("i < TILE * TILE; i += INVOCATIONS) { finish", "i + 1u < TILE * TILE; i += INVOCATIONS) { finish"),
            arithmetic("sums[i] = 0.0", "sums[i] = 1.0"),
            arithmetic("coopMultiplyAdd(b, d, s)", "coopMultiplyAdd(b, d, p)"),
            barrier("workgroupBarrier();\n    let row", "let row"),
            barrier("workgroupBarrier(); // the slice is there", ""),
            barrier("workgroupBarrier(); // the slice is read", ""),
            barrier("workgroupBarrier(); // the sums are there", ""),
        ],
    ),
    of(
        "conv_matrix",
        &[
            index("* p.in_c + channel];", "* p.in_c];"),
            index("left[row * LEFT_STRIDE + k] =", "left[row * LEFT_STRIDE] ="),
            index("right[k * RIGHT_STRIDE + column] =", "right[k * RIGHT_STRIDE] ="),
            index("bias[channel]", "bias[column]"),
            index("bias[at]", "bias[0u]"),
            arithmetic("z * activation_slope", "z + activation_slope"),
            boundary("source.x < p.in_h", "source.x <= p.in_h"),
            boundary("source.y < p.in_w", "source.y <= p.in_w"),
            // A store without the pixel's guard goes 2^32 words away, which drivers with half precision here drop.
            boundary("channel < p.out_c) {\n        var z", "channel <= p.out_c) {\n        var z"),
            arithmetic("z += bias", "z -= bias"),
            arithmetic("* step.x) * p.kernel_w", ") * p.kernel_w"),
            arithmetic("f16(nearest_half(value))", "f16(value * 1.001)"),
        ],
    ),
    of(
        "conv2d_weight_grad_matrix",
        &[
            index("+ row - tap * p.in_c]", "]"),
            index("left[column * LEFT_STRIDE + k]", "left[column * LEFT_STRIDE]"),
            index("dy[position * p.out_c + channel]", "dy[position * p.out_c]"),
            boundary("min(begin + p.run_rows, p.batch * p.out_h * p.out_w)", "begin + p.run_rows"),
            boundary("source.x < p.in_h", "source.x <= p.in_h"),
            boundary("to_row < rows", "to_row <= rows"),
            boundary("channel < p.out_c) {\n        dw", "channel <= p.out_c) {\n        dw"),
            arithmetic("* p.dilation_h - p.padding_h", "* p.dilation_h + p.padding_h"),
            arithmetic("* p.stride_w + right_by", "+ right_by"),
        ],
    ),
];
