// Gradient of a convolution's kernel on matrix units: dw[run, (a, ci), co] = sum of x dy over the positions of the run; the
// runs are added afterwards, in order. Rows are (tap, ci), columns output channels, the inner extent positions. NHWC, any
// window, any number of channels; also weights of dense layers, as pictures of one pixel. Joined with what
// matrix_product.wgsl names. Neighbouring lanes load neighbouring channels.
struct Parameters {
    batch: u32, in_h: u32, in_w: u32, in_c: u32, out_h: u32, out_w: u32, out_c: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    dilation_h: u32, dilation_w: u32, padding_h: u32, padding_w: u32,
    runs: u32, run_rows: u32, // positions (sample, y, x) are dealt to runs
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;

struct Tile { run: u32, row0: u32, channel0: u32, begin: u32, end: u32 }

fn tile_of(number: u32) -> Tile {
    let tiles = (p.out_c + TILE - 1u) / TILE;
    let blocks = (p.kernel_h * p.kernel_w * p.in_c + TILE - 1u) / TILE;
    let block = number / tiles;
    let run = block / blocks;
    let begin = run * p.run_rows;
    let end = min(begin + p.run_rows, p.batch * p.out_h * p.out_w);
    return Tile(run, block % blocks * TILE, number % tiles * TILE, begin, end);
}

fn prepare(tile: Tile, lane: u32) {}

fn stage(tile: Tile, k0: u32, lane: u32) {
    let column = lane % TILE;
    let row = tile.row0 + column;
    let tap = row / p.in_c;
    let is_row = tap < p.kernel_h * p.kernel_w;
    let down = (tap / p.kernel_w) * p.dilation_h - p.padding_h;
    let right_by = (tap % p.kernel_w) * p.dilation_w - p.padding_w;
    let channel = tile.channel0 + column;
    for (var k = lane / TILE; k < DEPTH; k += INVOCATIONS / TILE) {
        let position = k0 + k;
        let line = position / p.out_w;
        let sample = line / p.out_h;
        // What is before the picture wraps to numbers past it.
        let source = vec2<u32>((line - sample * p.out_h) * p.stride_h + down, (position - line * p.out_w) * p.stride_w + right_by);
        var value = 0.0;
        if ((position < tile.end) & is_row & (source.x < p.in_h) & (source.y < p.in_w)) {
            value = x[((sample * p.in_h + source.x) * p.in_w + source.y) * p.in_c + row - tap * p.in_c];
        }
        left[column * LEFT_STRIDE + k] = f16(nearest_half(value));
        var gradient = 0.0;
        if ((position < tile.end) & (channel < p.out_c)) { gradient = dy[position * p.out_c + channel]; }
        right[k * RIGHT_STRIDE + column] = f16(nearest_half(gradient));
    }
}

fn finish(tile: Tile, row: u32, column: u32, sum: f32) {
    let rows = p.kernel_h * p.kernel_w * p.in_c;
    let to_row = tile.row0 + row;
    let channel = tile.channel0 + column;
    if (tile.run < p.runs && to_row < rows && channel < p.out_c) {
        dw[(tile.run * rows + to_row) * p.out_c + channel] = sum;
    }
}
