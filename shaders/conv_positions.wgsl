// Positions and taps of convolutions. A transposed convolution is taken apart by phase, (o + padding) mod stride: the
// outputs of one phase are reached by the same taps, every stride-th one, and within them it is a plain convolution.
// Assumes dilation 1 where TRANSPOSED.
// Where POOLED, four positions that follow one another are a 2x2 window of the output, and the windows do not overlap; a
// last row or column that has no partner is left out.
const TRANSPOSED: bool = false;
const POOLED: bool = false;

struct Parameters {
    batch: u32, in_h: u32, in_w: u32, in_c: u32, out_h: u32, out_w: u32, out_c: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    dilation_h: u32, dilation_w: u32, padding_h: u32, padding_w: u32,
    biased: u32, // whether there is a bias: 1 or 0
}
@group(0) @binding(0) var<uniform> p: Parameters;

// One kind of output positions: the first tap that reaches it, and how many rows and columns there are at most.
struct Phase { tap_h: u32, tap_w: u32, rows: u32, columns: u32 }

// An output position: its pixel of y, of its own plane where POOLED (NONE past the last), the plane of its sample in x, and the row and the column of x
// that the first tap meets; numbers below zero wrap and so are outside as well.
struct Place { pixel: u32, plane: u32, row: u32, column: u32 }
const NONE: u32 = 0xffffffffu;

fn phase_of(number: u32) -> Phase {
    if (POOLED) { return Phase(0u, 0u, p.out_h / 2u, p.out_w / 2u); }
    if (!TRANSPOSED) { return Phase(0u, 0u, p.out_h, p.out_w); }
    let phase = number % (p.stride_h * p.stride_w);
    return Phase(phase / p.stride_w, phase % p.stride_w,
        (p.out_h + p.stride_h - 1u) / p.stride_h, (p.out_w + p.stride_w - 1u) / p.stride_w);
}

// From one tap of a phase to its next, and how far that moves in x.
fn tap_step() -> vec2<u32> { return select(vec2<u32>(1u), vec2<u32>(p.stride_h, p.stride_w), TRANSPOSED); }
fn tap_move() -> vec2<u32> {
    return select(vec2<u32>(p.dilation_h, p.dilation_w), vec2<u32>(0xffffffffu), TRANSPOSED);
}

fn locate(phase: Phase, position: u32) -> Place {
    let place = select(position, position / 4u, POOLED);
    let line = place / phase.columns;
    let column = place - line * phase.columns;
    let sample = line / phase.rows;
    let row = line - sample * phase.rows;
    var out = vec2<u32>(row, column);
    if (POOLED) { out = out * 2u + vec2<u32>((position / 2u) % 2u, position % 2u); }
    let stride = vec2<u32>(p.stride_h, p.stride_w);
    let padding = vec2<u32>(p.padding_h, p.padding_w);
    var at = out * stride - padding;
    if (TRANSPOSED) {
        at = out + padding / stride;
        out = at * stride + vec2<u32>(phase.tap_h, phase.tap_w) - padding;
        // The phase's first output is one later where the division above rounded down past it.
        let before = out >= vec2<u32>(0x80000000u);
        let size = vec2<u32>(phase.rows, phase.columns);
        at += select(vec2<u32>(0u), size, before);
        out += select(vec2<u32>(0u), size * stride, before);
    }
    let inside = sample < p.batch && out.x < p.out_h && out.y < p.out_w;
    let pixel = (select(sample, 0u, POOLED) * p.out_h + out.x) * p.out_w + out.y;
    return Place(select(NONE, pixel, inside), sample * p.in_h * p.in_w, at.x, at.y);
}
