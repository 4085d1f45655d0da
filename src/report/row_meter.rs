//! The figures of pictures that come row by row, as large ones do.

use super::metrics::{Metrics, psnr, ssim};
use crate::error::{Error, Result};

/// Rows that the SSIM window of 11 needs from before.
const KEPT: usize = 10;

/// Adds pictures of any sizes up to [`Metrics`], each from the top down: the same figures as a [`Meter`](super::Meter)'s
/// but for rounding, while memory holds a few rows. Errors are means over the values of all pictures, so that a large one
/// counts more; SSIM is a mean over the pictures.
///
/// ```
/// use degrain::report::RowMeter;
///
/// let mut meter = RowMeter::new((0.0, 1.0))?;
/// meter.begin([2, 3, 1])?;
/// meter.add(&[0.0, 0.5, 1.0], &[0.0, 0.5, 0.5], None)?;
/// meter.add(&[1.0, 0.5, 0.0], &[1.0, 0.5, 0.5], None)?;
/// let metrics = meter.metrics().unwrap();
/// assert_eq!((metrics.count, metrics.mse), (1, 0.5 / 6.0));
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RowMeter {
    range: (f64, f64),
    count: u64,
    elements: u64,
    squared_error: f64,
    noisy_squared_error: Option<f64>,
    ssim: Option<f64>,
    picture: Option<Picture>,
}

/// The picture whose rows are coming.
#[derive(Clone, Debug)]
struct Picture {
    size: [usize; 3],
    rows: usize,
    /// The last rows of both pictures, at most [`KEPT`].
    last: [Vec<f32>; 2],
    /// SSIM summed over the rows of windows; none where the window does not fit.
    ssim: Option<f64>,
}

impl RowMeter {
    /// For pictures whose data lie in `range`, such as (-0.5, 0.5).
    ///
    /// # Errors
    /// Where the range is empty.
    pub fn new(range: (f32, f32)) -> Result<Self> {
        let range = (f64::from(range.0), f64::from(range.1));
        if !(range.0 < range.1 && (range.1 - range.0).is_finite()) {
            return Err(Error::shape("metrics", "a range with an extent", format!("{range:?}")));
        }
        let ssim = Some(0.0);
        Ok(Self { range, count: 0, elements: 0, squared_error: 0.0, noisy_squared_error: None, ssim, picture: None })
    }

    /// The rows of a picture of `size` [H, W, C] are coming.
    ///
    /// # Errors
    /// Where the size has a zero, or rows of the last picture are missing.
    pub fn begin(&mut self, size: [usize; 3]) -> Result<()> {
        if size.contains(&0) {
            return Err(Error::shape("metrics", "a picture with pixels", format!("{size:?}")));
        }
        if let Some(picture) = &self.picture {
            let wanted = format!("all {} rows of a picture", picture.size[0]);
            return Err(Error::shape("metrics", wanted, format!("{} rows", picture.rows)));
        }
        self.picture = Some(Picture { size, rows: 0, last: [Vec::new(), Vec::new()], ssim: Some(0.0) });
        Ok(())
    }

    /// The next rows (n, W, C): of the original, of what the network made of it and, where noise was added, of its input.
    ///
    /// # Errors
    /// Where the slices differ in length, do not hold whole rows, or hold more than the picture has; where noisy inputs
    /// come with some rows but not with all.
    pub fn add(&mut self, original: &[f32], restored: &[f32], noisy: Option<&[f32]>) -> Result<()> {
        let fail = |wanted: &str, got: String| Err(Error::shape("metrics", wanted, got));
        let Some(picture) = &mut self.picture else { return fail("a picture that was begun", "rows".to_owned()) };
        let [height, width, channels] = picture.size;
        let same = original.len() == restored.len() && noisy.is_none_or(|noisy| noisy.len() == original.len());
        let rows = original.len() / (width * channels);
        if !same || !original.len().is_multiple_of(width * channels) || picture.rows + rows > height {
            return fail("whole rows of the picture, equally many of each kind", format!("{} values", original.len()));
        }
        if self.elements > 0 && noisy.is_some() != self.noisy_squared_error.is_some() {
            return fail("noisy inputs with all rows or with none", "some".to_owned());
        }
        let error = |other: &[f32]| -> f64 {
            original.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
        };
        self.elements += original.len() as u64;
        self.squared_error += error(restored);
        if let Some(noisy) = noisy {
            *self.noisy_squared_error.get_or_insert(0.0) += error(noisy);
        }
        picture.add(original, restored, self.range);
        picture.rows += rows;
        if picture.rows == height {
            let windows = (height + 1).saturating_sub(KEPT + 1).max(1) as f64;
            self.ssim = self.ssim.zip(picture.ssim).map(|(sum, of_picture)| sum + of_picture / windows);
            self.count += 1;
            self.picture = None;
        }
        Ok(())
    }

    /// The figures of all whole pictures so far; None where there were none.
    pub fn metrics(&self) -> Option<Metrics> {
        if self.count == 0 {
            return None;
        }
        let elements = self.elements as f64;
        let mse = self.squared_error / elements;
        Some(Metrics {
            mse,
            psnr: Some(psnr(mse, self.range.1 - self.range.0)).filter(|value| value.is_finite()),
            ssim: self.ssim.map(|sum| sum / self.count as f64),
            noisy_mse: self.noisy_squared_error.map(|sum| sum / elements),
            count: self.count,
        })
    }
}

impl Picture {
    /// Adds the SSIM of the windows that end in these rows.
    fn add(&mut self, original: &[f32], restored: &[f32], range: (f64, f64)) {
        let [height, width, channels] = self.size;
        let line = width * channels;
        if height <= KEPT || width <= KEPT {
            self.ssim = None;
            return;
        }
        for (last, new) in self.last.iter_mut().zip([original, restored]) {
            last.extend_from_slice(new);
        }
        let [x, y] = &self.last;
        let rows = x.len() / line;
        if rows > KEPT {
            let mean = ssim(x, y, [rows, width, channels], range);
            self.ssim = self.ssim.zip(mean).map(|(sum, mean)| sum + mean * (rows - KEPT) as f64);
            for last in &mut self.last {
                last.drain(..(rows - KEPT) * line);
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::Meter;
    use super::*;

    fn picture(elements: usize, factor: usize) -> Vec<f32> {
        (0..elements).map(|i| ((i * i * 31 + i * factor) % 256) as f32 / 255.0 - 0.5).collect()
    }

    #[test]
    fn rows_add_up_to_the_figures_of_whole_pictures() {
        let size = [40, 23, 3];
        let (a, b, c) = (picture(40 * 69, 17), picture(40 * 69, 18), picture(40 * 69, 19));
        let mut whole = Meter::new(size, (-0.5, 0.5)).unwrap();
        whole.add(&a, &b, Some(&c)).unwrap();
        whole.add(&b, &c, Some(&a)).unwrap();
        let wanted = whole.metrics().unwrap();
        for rows in [1, 7, 11, 40] {
            let mut meter = RowMeter::new((-0.5, 0.5)).unwrap();
            for [x, y, noisy] in [[&a, &b, &c], [&b, &c, &a]] {
                meter.begin(size).unwrap();
                let pieces = x.chunks(rows * 69).zip(y.chunks(rows * 69)).zip(noisy.chunks(rows * 69));
                pieces.for_each(|((x, y), noisy)| meter.add(x, y, Some(noisy)).unwrap());
            }
            let found = meter.metrics().unwrap();
            // The sums have another order.
            assert!((found.mse - wanted.mse).abs() <= 1e-12 && found.count == 2, "{rows} rows");
            assert!((found.ssim.unwrap() - wanted.ssim.unwrap()).abs() <= 1e-12, "{rows} rows");
            assert!((found.noisy_mse.unwrap() - wanted.noisy_mse.unwrap()).abs() <= 1e-12);
        }
    }

    #[test]
    fn small_unfinished_and_broken_pictures() {
        let mut meter = RowMeter::new((0.0, 1.0)).unwrap();
        assert!(meter.add(&[0.0], &[0.0], None).is_err() && meter.metrics().is_none());
        meter.begin([2, 2, 1]).unwrap();
        assert!(meter.add(&[0.0; 3], &[0.0; 3], None).is_err() && meter.add(&[0.0; 6], &[0.0; 6], None).is_err());
        meter.add(&[0.0; 2], &[0.5; 2], None).unwrap();
        assert!(meter.begin([2, 2, 1]).unwrap_err().to_string().contains("all 2 rows"));
        assert!(meter.add(&[0.0; 2], &[0.5; 2], Some(&[0.0; 2])).is_err());
        meter.add(&[0.0; 2], &[0.5; 2], None).unwrap();
        let found = meter.metrics().unwrap();
        assert_eq!((found.mse, found.ssim, found.count), (0.25, None, 1));
        assert!(meter.begin([0, 2, 1]).is_err() && RowMeter::new((1.0, 1.0)).is_err());
    }
}
