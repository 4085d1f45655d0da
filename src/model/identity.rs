//! First kernels with which a network of convolutions and ReLUs gives back its picture.

use super::shapes::Parameter;

/// Channels from here on carry features, not the picture's colours.
const FEATURES: usize = 4;

/// Puts a path for the picture into a kernel (kh, kw, ., .) of a convolution or a transposed one, in place of its first
/// `random` values.
///
/// Half of the channels between the layers carry the picture, channels 2n and 2n + 1 its value n and the negative of it, of
/// which ReLUs pass one; the others keep their random kernels. A kernel of odd size passes values on at its centre; one of
/// even size, of stride 2, takes the four pixels of a square apart on the way in, and puts them together on the way out.
/// Nothing random goes into what carries the picture, so that a network whose values all have their channels begins as the
/// identity: what training adds to it are corrections, as with a residual connection. Kernels of other shapes are left.
pub(super) fn lay_path(parameter: &Parameter, random: &mut [f32]) {
    let &[height, width, third, last] = parameter.shape.as_slice() else { return };
    let is_transposed = parameter.name.contains("transpose");
    let (inputs, outputs) = if is_transposed { (last, third) } else { (third, last) };
    let (from_picture, to_picture) = (inputs < FEATURES, outputs < FEATURES);
    let carried = |channels: usize| channels / 4 * 2;
    for (i, value) in random.iter_mut().enumerate() {
        let (tap, third_at, last_at) = (i / (third * last), i / last % third, i % last);
        let (input, output) = if is_transposed { (last_at, third_at) } else { (third_at, last_at) };
        if !to_picture && output >= carried(outputs) {
            continue;
        }
        let place = [(tap / width, height), (tap % width, width)];
        // Which of the four pixels of a square this tap is at; none but the first for an odd kernel.
        let pixel = |(at, size): (usize, usize)| match size % 2 {
            0 => at.checked_sub(size / 2 - 1).filter(|&pixel| pixel < 2),
            _ => (at == size / 2).then_some(0),
        };
        let squares = |colour: usize, colours: usize| {
            let [y, x] = place.map(pixel);
            Some((2 * y? + x?) * colours + colour)
        };
        // The value that comes in here, and the one that goes out, each with its sign.
        let signed = |channel: usize| (channel / 2, if channel.is_multiple_of(2) { 1.0 } else { -1.0 });
        let of_picture = |colour, colours| squares(colour, colours).map(|value| (value, 1.0));
        let of_channel = |channel: usize, channels| (channel < carried(channels)).then(|| signed(channel));
        let centre = place.map(pixel) == [Some(0), Some(0)];
        let ends = match (from_picture, to_picture) {
            (true, true) => centre.then_some(((input, 1.0), (output, 1.0))),
            (true, false) => of_picture(input, inputs).zip(of_channel(output, outputs)),
            (false, true) => of_channel(input, inputs).zip(of_picture(output, outputs)),
            (false, false) if centre => of_channel(input, inputs).zip(of_channel(output, outputs)),
            (false, false) => None,
        };
        *value = match ends {
            Some(((a, a_sign), (b, b_sign))) if a == b => a_sign * b_sign,
            _ => 0.0,
        };
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use crate::model::Preset;
    use crate::session::Session;
    use crate::train::{Inference, Weights};

    #[test]
    fn a_network_of_convolutions_begins_by_giving_back_its_picture() {
        let conv = |channels: usize, kernel: usize| {
            format!("{{ layer = \"conv2d\", channels = {channels}, kernel = {kernel}, activation = \"relu\" }}")
        };
        let strided = "{ layer = \"conv2d\", channels = 48, kernel = 4, stride = 2, activation = \"relu\" }";
        let back = "{ layer = \"conv_transpose2d\", channels = 3, kernel = 4, stride = 2 }";
        let flat = "{ layer = \"conv2d\", channels = 3, kernel = 3 }";
        for (code, encoder, decoder) in [
            (3072, format!("{strided}, {}", conv(48, 3)), back.to_owned()),
            (4096, format!("{}, {}", conv(12, 3), conv(16, 5)), flat.to_owned()),
        ] {
            let text = format!(
                "name = \"path\"\ndescription = \"for tests\"\n[data]\nheight = 16\nwidth = 16\nchannels = 3\n\
                 offset = -0.5\n[model]\ncode = {code}\ninit = \"identity\"\nencoder = [{encoder}]\ndecoder = [{decoder}]\n\
                 [train]\nloss = \"mse\"\noptimizer = \"sgd\"\nlr = 0.1\nepochs = 1\nbatch = 1\n"
            );
            let preset = Preset::from_toml(&text, "path.toml".as_ref()).unwrap();
            let weights = Weights::initial(&preset).unwrap();
            let mut network = Inference::new(Session::cpu(), &preset, weights, 1).unwrap();
            let x: Vec<f32> = (0..768).map(|i| (i * 37 % 101) as f32 / 100.0 - 0.5).collect();
            let y = network.reconstruct(&x).unwrap();
            let worst = x.iter().zip(&y).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-6, "{worst}");
            let codes = network.encode(&x).unwrap();
            let is_pixel = |code: f32| x.iter().any(|x| (x.abs() - code.abs()).abs() <= 1e-6);
            let random = codes.iter().filter(|code| **code != 0.0 && !is_pixel(**code)).count();
            assert!(random * 8 > codes.len(), "the other channels have random kernels: {random}");
        }
    }
}
