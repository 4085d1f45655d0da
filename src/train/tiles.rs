//! Pictures larger than a network's input: put through it in tiles that overlap and are blended.
//!
//! The tiles reach over the border of the picture, which is mirrored there, by half the overlap. Neighbours share at least
//! the overlap; of it each leaves out the outer quarter, where a convolution has seen the zeros around its tile, and over
//! the middle half its weight rises along a raised cosine, sin^2, as the other's falls: the weights of a pixel add up to
//! one, and no edge of a tile is an edge of the result. Tiles of a fully convolutional network begin at multiples of its
//! stride from each other, so that all of them see the picture in one phase.

use super::inference::Inference;
use crate::error::{Error, Result};
use crate::model::Preset;

/// How a picture is cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileOptions {
    /// Pixels that neighbouring tiles share, at least: 0 to half the side of a tile.
    pub overlap: usize,
}

impl TileOptions {
    /// A quarter of the shorter side of the tiles, which are of the size of the network's pictures.
    pub fn of(network: &Inference) -> Self {
        let data = &network.preset().data;
        Self { overlap: data.height.min(data.width) / 4 }
    }
}

/// What the network makes of a picture (H, W, C) of any size, `size` = [H, W, C], normalised as in training: the same
/// size, by tiles of the size of the network's own pictures. Each colour goes by itself through a network for grey
/// pictures; a grey picture goes through one for colours as three equal ones, of whose results the mean is taken.
///
/// ```
/// use degrain::model::Preset;
/// use degrain::session::Session;
/// use degrain::train::{Inference, TileOptions, Weights, denoise_tiled};
///
/// let preset = Preset::load("denoise-patch")?;
/// let weights = Weights::initial(&preset)?; // of a run: Weights::read(Path::new("runs/denoise-patch-1/best.safetensors"))?
/// let mut network = Inference::new(Session::cpu(), &preset, weights, 2)?;
/// let photo = vec![0.25; 60 * 100 * 3];
/// let options = TileOptions::of(&network);
/// let restored = denoise_tiled(&mut network, &photo, [60, 100, 3], &options)?;
/// assert_eq!(restored.len(), photo.len());
/// # Ok::<(), degrain::Error>(())
/// ```
///
/// # Errors
/// A picture that `size` does not fit, of channels that the network cannot take, an overlap of more than half a tile, or
/// a device that is lost.
pub fn denoise_tiled(
    network: &mut Inference,
    picture: &[f32],
    size: [usize; 3],
    options: &TileOptions,
) -> Result<Vec<f32>> {
    let line = size[1].saturating_mul(size[2]).max(1);
    if size[0].checked_mul(line) != Some(picture.len()) {
        return Err(Error::shape("tiles", format!("a picture of {size:?}"), format!("{} numbers", picture.len())));
    }
    let mut restored = Vec::with_capacity(picture.len());
    let mut read = |row: usize, values: &mut [f32]| {
        values.copy_from_slice(&picture[row * line..(row + 1) * line]);
    };
    denoise_rows(network, size, options, &mut read, &mut |rows| {
        restored.extend_from_slice(rows);
        Ok(())
    })?;
    Ok(restored)
}

/// As [`denoise_tiled`], but holding no more than a row of tiles: `read` fills in a row (W, C) of the picture when it is
/// wanted, some of them twice, and `write` gets the finished rows, one or more at a time, from the top down.
///
/// # Errors
/// As [`denoise_tiled`], or as `write` fails.
pub fn denoise_rows(
    network: &mut Inference,
    size: [usize; 3],
    options: &TileOptions,
    read: &mut dyn FnMut(usize, &mut [f32]),
    write: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    let tiling = Tiling::new(network, size, options)?;
    let [height, width, channels] = size;
    let line = width * channels;
    let mut strip = vec![0.0; tiling.down.tile * line];
    // Rows from `done` on that some row of tiles has added to.
    let (mut open, mut done) = (Vec::new(), 0);
    for (number, &top) in tiling.down.starts.iter().enumerate() {
        for (at, values) in (top..).zip(strip.chunks_exact_mut(line)) {
            read(mirrored(at, height), values);
        }
        let tiles = network.reconstruct(&tiling.cut(&strip))?;
        let bottom = height.min((top + tiling.down.tile as isize).max(0) as usize);
        open.resize(bottom.saturating_sub(done) * line, 0.0);
        tiling.blend(&tiles, number, done, &mut open);
        let next = tiling.down.starts.get(number + 1).map_or(height, |&next| next.max(0) as usize);
        let finished: Vec<f32> = open.drain(..next.saturating_sub(done) * line).collect();
        done = next.max(done);
        if !finished.is_empty() {
            write(&finished)?;
        }
    }
    Ok(())
}

/// A picture's tiles.
struct Tiling {
    /// Width and channels of the picture.
    line: [usize; 2],
    down: Axis,
    across: Axis,
    /// Channels that the network takes.
    channels: usize,
}

/// Where the tiles begin along one side of the picture, and what the pixels of each count.
struct Axis {
    tile: usize,
    starts: Vec<isize>,
    /// Of each tile, 0 outside of the picture; those of a pixel of the picture add up to 1.
    weights: Vec<Vec<f32>>,
}

impl Tiling {
    fn new(network: &Inference, [height, width, channels]: [usize; 3], options: &TileOptions) -> Result<Self> {
        let data = &network.preset().data;
        if [height, width, channels].contains(&0) {
            return Err(Error::shape("tiles", "a picture with pixels", format!("{height}x{width}x{channels}")));
        }
        if channels != data.channels && channels != 1 && data.channels != 1 {
            let wanted = format!("a picture of 1 or {} channels", data.channels);
            return Err(Error::shape("tiles", wanted, format!("{channels} channels")));
        }
        let most = data.height.min(data.width) / 2;
        if options.overlap > most {
            let problem = format!("must be at most {most}, half of a tile, not {}", options.overlap);
            return Err(Error::setting("overlap", problem));
        }
        let [down, across] = strides(network.preset())?;
        Ok(Self {
            line: [width, channels],
            down: Axis::new(height, data.height, options.overlap, down),
            across: Axis::new(width, data.width, options.overlap, across),
            channels: data.channels,
        })
    }

    /// How often each tile goes through the network: once for each colour where it takes one channel.
    fn passes(&self) -> usize {
        if self.channels == 1 { self.line[1] } else { 1 }
    }

    /// The picture's channel that channel `channel` of the network's picture is in this pass.
    fn source(&self, pass: usize, channel: usize) -> usize {
        match (self.channels, self.line[1]) {
            (1, _) => pass,
            (_, 1) => 0,
            _ => channel,
        }
    }

    /// The tiles of a strip as high as they are, from the left, each with its passes.
    fn cut(&self, strip: &[f32]) -> Vec<f32> {
        let [width, channels] = self.line;
        let pixels = self.down.tile * self.across.tile;
        let mut tiles = Vec::with_capacity(self.across.starts.len() * self.passes() * pixels * self.channels);
        for &left in &self.across.starts {
            let columns: Vec<usize> =
                (left..).take(self.across.tile).map(|at| mirrored(at, width) * channels).collect();
            for pass in 0..self.passes() {
                let sources: Vec<usize> = (0..self.channels).map(|channel| self.source(pass, channel)).collect();
                for row in strip.chunks_exact(width * channels) {
                    tiles.extend(columns.iter().flat_map(|x| sources.iter().map(move |source| row[x + source])));
                }
            }
        }
        tiles
    }

    /// Adds row `number` of tiles to the rows of the picture from `first` on.
    fn blend(&self, tiles: &[f32], number: usize, first: usize, rows: &mut [f32]) {
        let [width, channels] = self.line;
        let (tile_line, passes) = (self.across.tile * self.channels, self.passes());
        // Several channels of the network are the picture's only one.
        let share = if channels == 1 { 1.0 / self.channels as f32 } else { 1.0 };
        let (top, down) = (self.down.starts[number], &self.down.weights[number]);
        let of_tile = tiles.chunks_exact(tile_line * self.down.tile).enumerate();
        for (index, tile) in of_tile {
            let (column, pass) = (index / passes, index % passes);
            let (left, across) = (self.across.starts[column], &self.across.weights[column]);
            for ((y, down), values) in (top..).zip(down).zip(tile.chunks_exact(tile_line)) {
                if *down == 0.0 {
                    continue;
                }
                let row = (y as usize - first) * width * channels;
                for ((x, across), values) in (left..).zip(across).zip(values.chunks_exact(self.channels)) {
                    if *across == 0.0 {
                        continue;
                    }
                    let pixel = row + x as usize * channels;
                    for (channel, value) in values.iter().enumerate() {
                        rows[pixel + self.source(pass, channel)] += down * across * share * value;
                    }
                }
            }
        }
    }
}

/// Pixels of a picture, down and across, that fall on one of the smallest layer of a fully convolutional network.
fn strides(preset: &Preset) -> Result<[usize; 2]> {
    if !preset.is_fully_convolutional() {
        return Ok([1, 1]);
    }
    let architecture = preset.architecture()?;
    let least = |axis: usize| architecture.layers().filter_map(|layer| layer.output.get(axis)).min().copied();
    Ok([0, 1].map(|axis| (architecture.input[axis] / least(axis).unwrap_or(1).max(1)).max(1)))
}

impl Axis {
    /// Tiles for a side of `len` pixels, about evenly spread, at multiples of `stride` from the first.
    fn new(len: usize, tile: usize, overlap: usize, stride: usize) -> Self {
        let border = (overlap / 2).next_multiple_of(stride) as isize;
        let reach = len + border as usize + overlap / 2;
        let spare = reach.saturating_sub(tile);
        let gaps = spare.div_ceil((tile - overlap + 1).saturating_sub(stride).max(1));
        let even = |number: usize| (number * spare).checked_div(gaps).unwrap_or(0);
        let start = |number: usize| even(number).next_multiple_of(stride) as isize - border;
        let starts: Vec<isize> = (0..=gaps).map(start).collect();
        let mut sums = vec![0.0; len];
        let inside = |at: isize| usize::try_from(at).ok().filter(|&at| at < len);
        let raw: Vec<f32> = (0..tile).map(|i| rise(i, overlap) * rise(tile - 1 - i, overlap)).collect();
        for &start in &starts {
            for (at, weight) in (start..).zip(&raw) {
                if let Some(sum) = inside(at).and_then(|at| sums.get_mut(at)) {
                    *sum += weight;
                }
            }
        }
        let weight =
            |(at, weight): (isize, &f32)| inside(at).and_then(|at| sums.get(at)).map_or(0.0, |sum| weight / sum);
        let weights = starts.iter().map(|&start| (start..).zip(&raw).map(weight).collect()).collect();
        Self { tile, starts, weights }
    }
}

/// The weight of the pixel that lies `i` pixels from the edge of its tile.
fn rise(i: usize, overlap: usize) -> f32 {
    if overlap == 0 {
        return 1.0;
    }
    let overlap = overlap as f64;
    let share = ((i as f64 + 0.5 - overlap / 4.0) / (overlap / 2.0)).clamp(0.0, 1.0);
    (share * std::f64::consts::FRAC_PI_2).sin().powi(2) as f32
}

/// The pixel of a side of `len` that lies at `at` where the side is mirrored at its first and last pixel, again and again.
fn mirrored(at: isize, len: usize) -> usize {
    let period = (2 * len.saturating_sub(1)).max(1);
    let at = at.rem_euclid(period as isize) as usize;
    if at < len { at } else { period - at }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::session::Session;
    use crate::train::{Array, Weights};

    #[test]
    fn a_side_is_mirrored_without_its_last_pixel() {
        let at = |len| (-4..9).map(|at| mirrored(at, len)).collect::<Vec<_>>();
        assert_eq!(at(4), [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]);
        assert_eq!(at(2), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]);
        assert_eq!(at(1), [0; 13]);
    }

    #[test]
    fn weights_add_up_to_one_and_rise_smoothly() {
        let sides = [
            (100, 32, 8, 1),
            (33, 32, 16, 4),
            (5, 32, 8, 2),
            (64, 32, 0, 8),
            (1, 16, 7, 2),
            (500, 48, 13, 2),
            (501, 144, 36, 16),
        ];
        for (len, tile, overlap, stride) in sides {
            let axis = Axis::new(len, tile, overlap, stride);
            assert!(axis.starts.iter().all(|start| (start - axis.starts[0]) % stride as isize == 0));
            let mut sums = vec![0.0; len];
            let mut last = axis.starts[0];
            for (&start, weights) in axis.starts.iter().zip(&axis.weights) {
                assert!(start == last || start - last <= (tile - overlap) as isize, "{len} {tile} {overlap}");
                last = start;
                for (at, weight) in (start..).zip(weights) {
                    match usize::try_from(at).ok().and_then(|at| sums.get_mut(at)) {
                        Some(sum) => *sum += weight,
                        None => assert_eq!(*weight, 0.0),
                    }
                }
            }
            assert!(sums.iter().all(|sum| (sum - 1.0).abs() <= 1e-6), "{len} {tile} {overlap}: {sums:?}");
        }
        let rises: Vec<f32> = (0..16).map(|i| rise(i, 16)).collect();
        assert!(rises[..4].iter().all(|&rise| rise == 0.0) && rises[12..].iter().all(|&rise| rise == 1.0));
        assert!(rises.windows(2).all(|pair| pair[1] - pair[0] <= 0.2), "{rises:?}");
    }

    /// A network of one 1x1 convolution, which gives back `factor` times its picture.
    fn scaling(channels: usize, factor: f32) -> Inference {
        let text = format!(
            "name = \"scale\"\ndescription = \"for tests\"\n[data]\nheight = 8\nwidth = 8\nchannels = {channels}\n\
             [model]\ncode = {0}\nencoder = [{{ layer = \"conv2d\", channels = {channels}, kernel = 1 }}]\n\
             decoder = [{{ layer = \"conv2d\", channels = {channels}, kernel = 1 }}]\n[train]\nloss = \"mse\"\n\
             optimizer = \"sgd\"\nlr = 0.1\nepochs = 1\nbatch = 4\n",
            64 * channels
        );
        let preset = Preset::from_toml(&text, "scale.toml".as_ref()).unwrap();
        let mut weights = Weights::default();
        for parameter in preset.architecture().unwrap().saved() {
            let diagonal = |i: usize| if i / channels == i % channels { factor.sqrt() } else { 0.0 };
            let of = |i| if parameter.shape.len() == 4 { diagonal(i) } else { 0.0 };
            let values = (0..parameter.len()).map(of).collect();
            weights.tensors.insert(parameter.name.clone(), Array::f32(parameter.shape.clone(), values));
        }
        Inference::new(Session::cpu(), &preset, weights, 3).unwrap()
    }

    #[test]
    fn every_pixel_comes_back_in_its_place() {
        for (network_channels, size) in
            [(3, [21, 30, 3]), (1, [21, 30, 3]), (3, [9, 40, 1]), (1, [3, 5, 1]), (3, [1, 1, 3])]
        {
            let mut network = scaling(network_channels, 0.5);
            let picture: Vec<f32> =
                (0..size.iter().product::<usize>()).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
            for overlap in [0, 1, 2, 4] {
                let options = TileOptions { overlap };
                let restored = denoise_tiled(&mut network, &picture, size, &options).unwrap();
                assert_eq!(restored.len(), picture.len());
                let worst = picture.iter().zip(&restored).map(|(x, y)| (x * 0.5 - y).abs()).fold(0.0, f32::max);
                assert!(worst <= 1e-6, "{network_channels} channels, {size:?}, overlap {overlap}: off by {worst}");
            }
        }
    }

    #[test]
    fn what_cannot_be_tiled_is_told() {
        let mut network = scaling(3, 1.0);
        let mut message = |len: usize, size, overlap| {
            denoise_tiled(&mut network, &vec![0.0; len], size, &TileOptions { overlap }).unwrap_err().to_string()
        };
        assert!(message(11, [2, 2, 3], 2).contains("11 numbers"));
        assert!(message(8, [2, 2, 2], 2).contains("1 or 3 channels"));
        assert!(message(0, [0, 2, 3], 2).contains("with pixels"));
        assert!(message(12, [2, 2, 3], 5).contains("at most 4"));
    }
}
