// Convolution or transposed convolution with bias and activation as an implicit matrix product on matrix units: rows are
// output positions of one phase, columns output channels, the inner extent (tap, ci). NHWC, any window (dilation 1 where
// TRANSPOSED), any number of channels; also dense layers, as pictures of one pixel. Joined with activation.wgsl,
// conv_positions.wgsl and what matrix_product.wgsl names. Neighbouring lanes load neighbouring numbers of x and of w.
// Where SLOPED, y = sum * activation_slope(z) instead, z what the activation gave at the same places, bound as the bias.
const SLOPED: bool = false;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

struct Tile { phase: Phase, position0: u32, channel0: u32, tap_columns: u32, begin: u32, end: u32 }

var<workgroup> places: array<Place, TILE>;

fn tile_of(number: u32) -> Tile {
    let tiles = (p.out_c + TILE - 1u) / TILE;
    let phase = phase_of(number / tiles);
    var block = number / tiles;
    if (TRANSPOSED) { block /= p.stride_h * p.stride_w; }
    let step = tap_step();
    // A phase may have no taps at all: the sums stay zero.
    let taps = (vec2<u32>(max(p.kernel_h, phase.tap_h), max(p.kernel_w, phase.tap_w))
        - vec2<u32>(phase.tap_h, phase.tap_w) + step - vec2<u32>(1u)) / step;
    return Tile(phase, block * TILE, number % tiles * TILE, taps.y, 0u, taps.x * taps.y * p.in_c);
}

fn prepare(tile: Tile, lane: u32) {
    for (var i = lane; i < TILE; i += INVOCATIONS) { places[i] = locate(tile.phase, tile.position0 + i); }
}

fn load_w(tile: Tile, k: u32, column: u32) -> f32 {
    let tap = k / p.in_c;
    let in_channel = k - tap * p.in_c;
    let step = tap_step();
    let from_tap = (tile.phase.tap_h + tap / tile.tap_columns * step.x) * p.kernel_w
        + tile.phase.tap_w + tap % tile.tap_columns * step.y;
    let channel = tile.channel0 + column;
    var value = 0.0;
    if ((k < tile.end) & (channel < p.out_c)) {
        let plain = (from_tap * p.in_c + in_channel) * p.out_c + channel;
        value = w[select(plain, (from_tap * p.out_c + channel) * p.in_c + in_channel, TRANSPOSED)];
    }
    return nearest_half(value);
}

fn stage(tile: Tile, k0: u32, lane: u32) {
    let k = lane % DEPTH;
    let tap = (k0 + k) / p.in_c;
    let channel = k0 + k - tap * p.in_c;
    let shift = vec2<u32>(tap / tile.tap_columns, tap % tile.tap_columns) * tap_move();
    for (var row = lane / DEPTH; row < TILE; row += INVOCATIONS / DEPTH) {
        let place = places[row];
        let source = vec2<u32>(place.row, place.column) + shift;
        var value = 0.0;
        if ((k0 + k < tile.end) & (place.pixel != NONE) & (source.x < p.in_h) & (source.y < p.in_w)) {
            value = x[(place.plane + source.x * p.in_w + source.y) * p.in_c + channel];
        }
        left[row * LEFT_STRIDE + k] = f16(nearest_half(value));
    }
    if (TRANSPOSED) {
        for (var column = lane / DEPTH; column < TILE; column += INVOCATIONS / DEPTH) {
            right[k * RIGHT_STRIDE + column] = f16(load_w(tile, k0 + k, column));
        }
    } else {
        let column = lane % TILE;
        for (var i = lane / TILE; i < DEPTH; i += INVOCATIONS / TILE) {
            right[i * RIGHT_STRIDE + column] = f16(load_w(tile, k0 + i, column));
        }
    }
}

fn finish(tile: Tile, row: u32, column: u32, sum: f32) {
    let pixel = places[row].pixel;
    let channel = tile.channel0 + column;
    if (pixel != NONE && channel < p.out_c) {
        var z = sum;
        if (p.biased == 1u) { z += bias[channel]; }
        let at = pixel * p.out_c + channel;
        if (SLOPED) { y[at] = z * activation_slope(bias[at]); } else { y[at] = activate(z); }
    }
}
