//! Faults of the kernels that search for nearest codes.

use super::faults::{FileFaults, arithmetic, barrier, boundary, index, of};

/// Of one file each.
pub(crate) static FAULTS: &[FileFaults] = &[
    of(
        "nearest",
        &[
            index("group % parameters.slices", "0u"),
            index("code_tile[at + 8u * PITCH]", "code_tile[at + 16u * PITCH]"),
            index("= indices[list + place - 1u];", "= indices[list + place];"),
            boundary("min(begin + parameters.slice_len, range[1])", "begin + parameters.slice_len"),
            boundary("depth + c < parameters.dim", "depth + c <= parameters.dim"),
            boundary("lane < TILE && query", "lane + 1u < TILE && query"),
            boundary("min(TILE, end - first)", "TILE"),
            boundary("place > 0u", "place > 1u"),
            boundary("distance < farthest", "distance <= farthest"),
            arithmetic("before <= distance", "before < distance"),
            arithmetic("var farthest = FAR", "var farthest = 1.0"),
            arithmetic("x - query_tile", "x + query_tile"),
            arithmetic("+= difference * difference", "+= abs(difference)"),
            arithmetic("range[0] + first + j", "first + j"),
            barrier("workgroupBarrier();\n            for", "for"),
            barrier("workgroupBarrier();\n        }", "}"),
            barrier("workgroupBarrier();\n        if (keeps)", "if (keeps)"),
        ],
    ),
    of(
        "nearest_merge",
        &[
            index("slice_indices[list + i]", "slice_indices[list]"),
            index("indices[place] = indices[place - 1u]", "indices[place] = indices[place]"),
            boundary("slice < parameters.slices", "slice + 1u < parameters.slices"),
            boundary("i < parameters.kept", "i + 1u < parameters.kept"),
            boundary("place > first &&", "place > first + 1u &&"),
            arithmetic("distance < near[place]", "distance <= near[place]"),
            arithmetic("index < indices[place]", "index > indices[place]"),
        ],
    ),
];
