//! How close restored pictures come to the originals: mean squared error, PSNR and SSIM.
//!
//! What is measured on what, everywhere in this crate:
//!
//! - the mean squared error is taken on the outputs as the network gives them, **unclipped**, over all elements of all
//!   pictures together;
//! - PSNR is 10 log10(L^2 / MSE) of that one **global**, unclipped error (not a mean over pictures), L being the width
//!   of the data's range: 1 for [-0.5, 0.5] and for [0, 1];
//! - SSIM is taken picture by picture on outputs **clipped** to the data's range, and averaged over the pictures. It is
//!   not invariant to an offset, so values are first shifted to [0, L], for which it was defined: pictures score the same
//!   in [-0.5, 0.5], in [0, 1] and in 0..255.
//!
//! All sums are f64.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

use crate::error::{Error, Result};

/// Taps of the SSIM window on each side.
const WINDOW: usize = 11;
/// Standard deviation of the SSIM window, in pixels.
const WINDOW_SIGMA: f64 = 1.5;

/// Mean squared error per element of two equally long slices. NaN where they are empty or differ in length.
pub fn mse<T: Copy + Into<f64>>(original: &[T], restored: &[T]) -> f64 {
    if original.len() != restored.len() {
        return f64::NAN;
    }
    squared_error(original, restored) / original.len() as f64
}

/// Mean squared error per element of each picture of `elements` values in turn; an incomplete last one is left out.
/// High where a picture is unlike what the network has learnt: an anomaly score.
pub fn picture_mses<T: Copy + Into<f64>>(original: &[T], restored: &[T], elements: usize) -> Vec<f64> {
    let elements = elements.max(1);
    original.chunks_exact(elements).zip(restored.chunks_exact(elements)).map(|(x, y)| mse(x, y)).collect()
}

/// Peak signal-to-noise ratio in dB, 10 log10(peak^2 / mse), where `peak` is the width L of the data's range. Infinite
/// where `mse` is 0.
pub fn psnr(mse: f64, peak: f64) -> f64 {
    10.0 * (peak * peak / mse).log10()
}

/// Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004) of two pictures (H, W, C), `size` = [H, W, C].
///
/// Gaussian window 11x11 with sigma 1.5, K = 0.01 and 0.03, biased covariance, mean over the positions where the window
/// lies wholly inside, per channel, then over the channels. Values are clipped to `range` and shifted so that it starts
/// at 0. None for pictures smaller than 11 pixels on a side, slices that do not fit `size`, and an empty range; NaN where
/// a value is NaN.
pub fn ssim<T: Copy + Into<f64>>(original: &[T], restored: &[T], size: [usize; 3], range: (f64, f64)) -> Option<f64> {
    let [height, width, channels] = size;
    let (low, high) = range;
    let elements = height.checked_mul(width)?.checked_mul(channels)?;
    let fits = original.len() == elements && restored.len() == elements && channels > 0 && low < high;
    if !fits || height < WINDOW || width < WINDOW {
        return None;
    }
    let shifted = |&value: &T| value.into().clamp(low, high) - low;
    let plane =
        |picture: &[T], channel| picture.iter().skip(channel).step_by(channels).map(shifted).collect::<Vec<_>>();
    let of_channel = |channel| plane_ssim(&plane(original, channel), &plane(restored, channel), width, high - low);
    Some((0..channels).map(of_channel).sum::<f64>() / channels as f64)
}

/// SSIM of one channel, (H, W), of values in [0, `peak`].
fn plane_ssim(x: &[f64], y: &[f64], width: usize, peak: f64) -> f64 {
    let (c1, c2) = ((0.01 * peak).powi(2), (0.03 * peak).powi(2));
    // The two variances occur only as their sum, so four filtered planes do.
    let squares: Vec<f64> = x.iter().zip(y).map(|(a, b)| a * a + b * b).collect();
    let products: Vec<f64> = x.iter().zip(y).map(|(a, b)| a * b).collect();
    let [x, y, squares, products] = [x, y, &squares, &products].map(|plane| blur(plane, width));
    let positions = x.len() as f64;
    let moments = x.into_iter().zip(y).zip(squares.into_iter().zip(products));
    let sum: f64 = moments
        .map(|((x, y), (squares, product))| {
            let (means, covariance) = (x * x + y * y, product - x * y);
            (2.0 * x * y + c1) * (2.0 * covariance + c2) / ((means + c1) * (squares - means + c2))
        })
        .sum();
    sum / positions
}

/// Gaussian window over the valid region: (H, W) to (H - 10, W - 10), one direction after the other.
fn blur(plane: &[f64], width: usize) -> Vec<f64> {
    let window = gaussian_window();
    let across: Vec<f64> = plane
        .chunks_exact(width)
        .flat_map(|row| row.windows(WINDOW).map(|values| values.iter().zip(&window).map(|(v, w)| v * w).sum::<f64>()))
        .collect();
    let width = width + 1 - WINDOW;
    let height = (across.len() / width + 1).saturating_sub(WINDOW);
    let mut down = vec![0.0; height * width];
    for (tap, weight) in window.iter().enumerate() {
        let rows = &across[tap * width..];
        down.iter_mut().zip(rows).for_each(|(sum, value)| *sum += weight * value);
    }
    down
}

/// exp(-i^2 / (2 sigma^2)) for i = -5..=5, of sum 1.
fn gaussian_window() -> [f64; WINDOW] {
    let weight = |tap: usize| {
        let offset = tap as f64 - (WINDOW / 2) as f64;
        (-0.5 * (offset / WINDOW_SIGMA).powi(2)).exp()
    };
    let window: [f64; WINDOW] = std::array::from_fn(weight);
    let sum: f64 = window.iter().sum();
    window.map(|weight| weight / sum)
}

fn squared_error<T: Copy + Into<f64>>(original: &[T], restored: &[T]) -> f64 {
    original.iter().zip(restored).map(|(&a, &b)| (a.into() - b.into()).powi(2)).sum()
}

/// The quality of a set of restored pictures; the module says what each figure is taken on.
///
/// In JSON a figure that is not finite is `null`, and `noisy_mse` is absent where nothing was noisy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Mean squared error per element, unclipped.
    #[serde(deserialize_with = "nan_from_null")]
    pub mse: f64,
    /// In dB, of `mse`. None where the error is 0 or not finite.
    pub psnr: Option<f64>,
    /// Mean over the pictures. None for pictures smaller than 11 pixels on a side.
    pub ssim: Option<f64>,
    /// Mean squared error per element of the noisy inputs themselves, unclipped: what doing nothing would give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noisy_mse: Option<f64>,
    /// Number of pictures.
    pub count: u64,
}

/// One line for each figure, as commands print them.
impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "test MSE    {:.6} ({} pictures)", self.mse, self.count)?;
        if let Some(noisy) = self.noisy_mse {
            writeln!(f, "noisy MSE   {noisy:.6} (the inputs as they are)")?;
        }
        if let Some(psnr) = self.psnr {
            writeln!(f, "PSNR        {psnr:.2} dB")?;
        }
        if let Some(ssim) = self.ssim {
            writeln!(f, "SSIM        {ssim:.4}")?;
        }
        Ok(())
    }
}

fn nan_from_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Adds pictures up to [`Metrics`], batch by batch.
#[derive(Clone, Debug)]
pub struct Meter {
    size: [usize; 3],
    range: (f64, f64),
    count: u64,
    squared_error: f64,
    noisy_squared_error: Option<f64>,
    ssim: Option<f64>,
}

impl Meter {
    /// For pictures of `size` [H, W, C] whose data lie in `range`, such as (-0.5, 0.5).
    ///
    /// # Errors
    /// Where the size has a zero or the range is empty.
    pub fn new(size: [usize; 3], range: (f32, f32)) -> Result<Self> {
        let range = (f64::from(range.0), f64::from(range.1));
        if size.contains(&0) || !(range.0 < range.1 && (range.1 - range.0).is_finite()) {
            return Err(Error::shape(
                "metrics",
                "pictures and a range with an extent",
                format!("{size:?} in {range:?}"),
            ));
        }
        Ok(Self { size, range, count: 0, squared_error: 0.0, noisy_squared_error: None, ssim: Some(0.0) })
    }

    /// Adds one or more whole pictures (N, H, W, C): the originals, what the network made of them and, where noise was
    /// added, its inputs.
    ///
    /// # Errors
    /// Where the slices differ in length or do not hold whole pictures, or where noisy inputs come with some pictures
    /// but not with all. The meter is then as before.
    pub fn add(&mut self, original: &[f32], restored: &[f32], noisy: Option<&[f32]>) -> Result<()> {
        let elements: usize = self.size.iter().product();
        let same = original.len() == restored.len() && noisy.is_none_or(|noisy| noisy.len() == original.len());
        if !same || !original.len().is_multiple_of(elements) {
            let got = [Some(original.len()), Some(restored.len()), noisy.map(<[f32]>::len)];
            let got: Vec<String> = got.iter().flatten().map(usize::to_string).collect();
            let wanted = format!("whole pictures of {elements} values, equally many of each kind");
            return Err(Error::shape("metrics", wanted, format!("{} values", got.join(", "))));
        }
        if self.count > 0 && noisy.is_some() != self.noisy_squared_error.is_some() {
            return Err(Error::shape("metrics", "noisy inputs with all pictures or with none", "some"));
        }
        self.count += (original.len() / elements) as u64;
        self.squared_error += squared_error(original, restored);
        if let Some(noisy) = noisy {
            *self.noisy_squared_error.get_or_insert(0.0) += squared_error(original, noisy);
        }
        for (x, y) in original.chunks_exact(elements).zip(restored.chunks_exact(elements)) {
            self.ssim = self.ssim.zip(ssim(x, y, self.size, self.range)).map(|(sum, value)| sum + value);
        }
        Ok(())
    }

    /// The figures of all pictures so far; None where there were none.
    pub fn metrics(&self) -> Option<Metrics> {
        if self.count == 0 {
            return None;
        }
        let pictures = self.count as f64;
        let elements = pictures * self.size.iter().map(|&extent| extent as f64).product::<f64>();
        let mse = self.squared_error / elements;
        Some(Metrics {
            mse,
            psnr: Some(psnr(mse, self.range.1 - self.range.0)).filter(|value| value.is_finite()),
            ssim: self.ssim.map(|sum| sum / pictures),
            noisy_mse: self.noisy_squared_error.map(|sum| sum / elements),
            count: self.count,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Two pictures of 0..255 that any language makes alike, from the element's index i:
    /// a = (31 i^2 + 17 i) mod 256, b = floor((3 a + 53 i mod 256) / 4).
    fn pictures(elements: usize) -> (Vec<u8>, Vec<u8>) {
        let a = |i: usize| (i * i * 31 + i * 17) % 256;
        let b = |i: usize| (a(i) * 3 + (i * 53) % 256) / 4;
        ((0..elements).map(|i| a(i) as u8).collect(), (0..elements).map(|i| b(i) as u8).collect())
    }

    /// To the range [-0.5, 0.5].
    fn centred(picture: &[u8]) -> Vec<f32> {
        picture.iter().map(|&value| f32::from(value) / 255.0 - 0.5).collect()
    }

    /// (size, SSIM, MSE, PSNR) of `pictures` by scikit-image 0.26.0 in float64: `structural_similarity(a, b,
    /// data_range=255, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`, which filters
    /// with a radius of 5 and itself leaves out a border of 5, so that its mean is that of the valid region;
    /// `mean_squared_error`; `peak_signal_noise_ratio(data_range=255)`.
    const SCIKIT_IMAGE: [([usize; 3], f64, f64, f64); 3] = [
        ([32, 32, 3], 0.9204087025863535, 686.25, 19.76598003409762),
        ([11, 11, 1], 0.9380744433673218, 651.0578512396694, 19.994607803521298),
        ([28, 19, 1], 0.9144750966562013, 678.4642857142857, 19.815533694844458),
    ];

    #[test]
    fn agrees_with_scikit_image_in_bytes_and_in_floats() {
        for (size, wanted, wanted_mse, wanted_psnr) in SCIKIT_IMAGE {
            let (a, b) = pictures(size.iter().product());
            let found = ssim(&a, &b, size, (0.0, 255.0)).unwrap();
            assert!((found - wanted).abs() <= 1e-12, "{size:?}: {found} for {wanted}");
            assert!((mse(&a, &b) - wanted_mse).abs() <= 1e-9);
            assert!((psnr(mse(&a, &b), 255.0) - wanted_psnr).abs() <= 1e-12);
            let found = ssim(&centred(&a), &centred(&b), size, (-0.5, 0.5)).unwrap();
            assert!((found - wanted).abs() <= 1e-6, "{size:?}: {found} for {wanted}");
        }
    }

    #[test]
    fn the_meter_adds_batches_up_to_the_figures_of_all_pictures() {
        let size = [32, 32, 3];
        let (a, b) = pictures(3 * 3072);
        let (a, b) = (centred(&a), centred(&b));
        let mut meter = Meter::new(size, (-0.5, 0.5)).unwrap();
        assert_eq!(meter.metrics(), None);
        meter.add(&a[..6144], &b[..6144], Some(&a[..6144])).unwrap();
        meter.add(&a[6144..], &b[6144..], Some(&b[6144..])).unwrap();
        let found = meter.metrics().unwrap();
        let mses = picture_mses(&a, &b, 3072);
        assert_eq!((found.count, mses.len()), (3, 3));
        assert!((found.mse - mses.iter().sum::<f64>() / 3.0).abs() <= 1e-15);
        assert!((found.noisy_mse.unwrap() - mses[2] / 3.0).abs() <= 1e-15);
        assert!((found.psnr.unwrap() - psnr(found.mse, 1.0)).abs() <= 1e-12);
        let pairs = a.chunks(3072).zip(b.chunks(3072));
        let mean = pairs.map(|(a, b)| ssim(a, b, size, (-0.5, 0.5)).unwrap()).sum::<f64>() / 3.0;
        assert!((found.ssim.unwrap() - mean).abs() <= 1e-12);
    }

    #[test]
    fn clipping_touches_ssim_and_not_the_error() {
        let size = [12, 12, 1];
        let (a, _) = pictures(144);
        let a = centred(&a);
        // White is the only thing above the middle, and every pixel overshoots there.
        let original: Vec<f32> = a.iter().map(|&v| if v > 0.0 { 0.5 } else { v }).collect();
        let restored: Vec<f32> = original.iter().map(|&v| if v == 0.5 { 0.8 } else { v }).collect();
        let mut meter = Meter::new(size, (-0.5, 0.5)).unwrap();
        meter.add(&original, &restored, None).unwrap();
        let found = meter.metrics().unwrap();
        assert!((found.ssim.unwrap() - 1.0).abs() <= 1e-12);
        assert!(found.mse > 0.01, "{}", found.mse);
    }

    #[test]
    fn perfect_small_and_broken_pictures() {
        let mut meter = Meter::new([2, 2, 1], (0.0, 1.0)).unwrap();
        meter.add(&[0.0, 0.1, 0.2, 0.3], &[0.0, 0.1, 0.2, 0.3], None).unwrap();
        let found = meter.metrics().unwrap();
        assert_eq!(found, Metrics { mse: 0.0, psnr: None, ssim: None, noisy_mse: None, count: 1 });
        assert_eq!(serde_json::to_string(&found).unwrap(), r#"{"mse":0.0,"psnr":null,"ssim":null,"count":1}"#);
        assert!(meter.add(&[0.0; 4], &[0.0; 4], Some(&[0.0; 4])).unwrap_err().to_string().contains("all pictures"));
        let lengths = meter.add(&[0.0; 4], &[0.0; 3], None).unwrap_err().to_string();
        assert!(lengths.contains("got 4, 3 values"), "{lengths}");
        assert!(meter.add(&[0.0; 5], &[0.0; 5], None).is_err());
        assert_eq!(meter.metrics().unwrap().count, 1);

        meter.add(&[0.0; 4], &[f32::NAN; 4], None).unwrap();
        let text = serde_json::to_string(&meter.metrics().unwrap()).unwrap();
        let back: Metrics = serde_json::from_str(&text).unwrap();
        assert!(back.mse.is_nan() && back.psnr.is_none() && back.count == 2, "{text}");

        assert!(Meter::new([0, 2, 1], (0.0, 1.0)).is_err() && Meter::new([2, 2, 1], (1.0, 1.0)).is_err());
        assert!(mse(&[1.0f32], &[1.0, 2.0]).is_nan() && psnr(0.0, 1.0).is_infinite());
        assert_eq!(ssim(&[0u8; 110], &[0u8; 110], [11, 10, 1], (0.0, 255.0)), None);
        let nan = [f32::NAN; 121];
        assert!(ssim(&[0.0f32; 121], &nan, [11, 11, 1], (0.0, 1.0)).unwrap().is_nan());
        assert_eq!(ssim(&[0.5f32; 121], &[0.5; 121], [11, 11, 1], (0.0, 1.0)), Some(1.0));
    }
}
