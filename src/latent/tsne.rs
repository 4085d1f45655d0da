//! t-SNE: codes in the plane such that near ones stay near.

use super::{Codes, Projection};
use crate::error::{Error, Result};
use bhtsne::tSNE;

/// A point has this many neighbours per unit of perplexity, which sets how many codes there must be.
const NEIGHBOURS: usize = 3;
/// Standard deviation of the first places along the wider axis, as in scikit-learn.
const FIRST_DEVIATION: f64 = 1e-4;

/// t-distributed stochastic neighbour embedding (van der Maaten and Hinton 2008) with the repulsion interpolated on a
/// grid (Linderman et al. 2019), from the crate `bhtsne`, on Euclidean distances.
///
/// The points start at the first two principal components, which keeps the large arrangement from run to run (Kobak and
/// Berens 2019), and the work is done by one thread, as the crate's parallel sums depend on which thread took what: the
/// same codes give the same picture, bit by bit.
///
/// What lies close together is alike; distances between groups, their sizes and the axes have no meaning.
///
/// ```
/// use degrain::latent::{Codes, Tsne};
///
/// // Two far groups of codes.
/// let codes = Codes::new((0..60).map(|i| if i < 30 { 0.0 } else { 9.0 } + (i % 7) as f32 / 9.0).collect(), 2)?;
/// let settings = Tsne { epochs: 300, ..Tsne::default() };
/// let points = settings.embed(&codes, &mut |_| {})?;
/// assert_eq!(points.len(), 30);
/// assert_eq!(points, settings.embed(&codes, &mut |_| {})?);
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tsne {
    /// About how many neighbours of each code count; few codes get by with less, (N - 1) / 3.
    pub perplexity: f64,
    /// Steps of gradient descent.
    pub epochs: usize,
}

impl Default for Tsne {
    fn default() -> Self {
        Self { perplexity: 30.0, epochs: 1000 }
    }
}

impl Tsne {
    /// The place of each code in the plane; `advance` hears how many more steps are done.
    ///
    /// # Errors
    /// Fewer than four codes, a perplexity under 1, or no thread to be had.
    pub fn embed(&self, codes: &Codes, advance: &mut (dyn FnMut(usize) + Send)) -> Result<Vec<[f64; 2]>> {
        let most = codes.len().saturating_sub(1) / NEIGHBOURS;
        if most == 0 {
            let got = format!("{} codes", codes.len());
            return Err(Error::shape("t-SNE", format!("at least {} codes", NEIGHBOURS + 1), got));
        }
        if !(1.0..=1e6).contains(&self.perplexity) {
            return Err(Error::setting("perplexity", format!("cannot be {}: take 5 to 50", self.perplexity)));
        }
        let perplexity = self.perplexity.min(most as f64) as f32;
        let first = first_places(codes)?;
        let rows: Vec<&[f32]> = codes.iter().collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.map_err(|error| Error::setting("t-SNE", format!("cannot start a thread: {error}")))?;
        let places = pool.install(|| {
            let mut tsne: tSNE<'_, f32, &[f32]> = tSNE::new(&rows);
            tsne.perplexity(perplexity).epochs(self.epochs).initial_embedding(first);
            tsne.epoch_callback(|_, _| advance(1));
            tsne.fit_sne(|a, b| distance(a, b));
            tsne.embedding()
        });
        if places.iter().any(|place| !place.is_finite()) {
            return Err(Error::setting("t-SNE", "did not settle: take another perplexity or fewer epochs"));
        }
        Ok(places.chunks_exact(2).map(|place| [f64::from(place[0]), f64::from(place[1])]).collect())
    }
}

/// The first two principal components at the size at which t-SNE begins, (N, 2). Codes at one place are moved apart by a
/// hair each, else they would never part.
fn first_places(codes: &Codes) -> Result<Vec<f32>> {
    let points = Projection::pca(codes)?.points;
    let n = points.len().max(1) as f64;
    let deviation = |axis: usize| (points.iter().map(|point| point[axis] * point[axis]).sum::<f64>() / n).sqrt();
    let widest = deviation(0).max(deviation(1));
    let scale = if widest > 0.0 { FIRST_DEVIATION / widest } else { 0.0 };
    let apart = |i: usize| {
        let turn = i as f64 * 2.399_963;
        let radius = 1e-2 * FIRST_DEVIATION * ((i as f64 + 1.0) / n).sqrt();
        [radius * turn.cos(), radius * turn.sin()]
    };
    let place = |(i, point): (usize, &[f64; 2])| {
        let hair = apart(i);
        [(point[0] * scale + hair[0]) as f32, (point[1] * scale + hair[1]) as f32]
    };
    Ok(points.iter().enumerate().flat_map(place).collect())
}

/// Euclidean, in eight running sums that a processor can do side by side.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let (a, b) = (a.chunks(8), b.chunks(8));
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += (a - b) * (a - b);
        }
    }
    sums.iter().sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::latent::Gaussian;

    /// Three groups of `each` codes of 10 values, far apart.
    fn groups(each: usize) -> Codes {
        let noise = Gaussian::standard(10).sample(3 * each, 1.0, 4).unwrap();
        let shifted = noise.iter().enumerate().flat_map(|(i, code)| {
            code.iter().enumerate().map(move |(j, value)| value + if j == i / each { 12.0 } else { 0.0 })
        });
        Codes::new(shifted.collect(), 10).unwrap()
    }

    fn squared(a: [f64; 2], b: [f64; 2]) -> f64 {
        (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
    }

    #[test]
    fn groups_stay_together_and_the_picture_is_the_same_each_time() {
        let codes = groups(60);
        let settings = Tsne { epochs: 400, ..Tsne::default() };
        let mut steps = 0;
        let points = settings.embed(&codes, &mut |more| steps += more).unwrap();
        assert_eq!((points.len(), steps), (180, 400));
        for (i, &point) in points.iter().enumerate() {
            let mut others: Vec<usize> = (0..180).filter(|&j| j != i).collect();
            others.sort_by(|&a, &b| squared(point, points[a]).total_cmp(&squared(point, points[b])));
            assert!(others[..5].iter().all(|j| j / 60 == i / 60), "{i} lies beside {:?}", &others[..5]);
        }
        assert_eq!(settings.embed(&codes, &mut |_| {}).unwrap(), points);
    }

    #[test]
    fn few_and_equal_codes_have_places_too() {
        let quick = Tsne { epochs: 50, ..Tsne::default() };
        let embed = |codes: &Codes| quick.embed(codes, &mut |_| {});
        for n in [4, 5, 12, 91] {
            assert_eq!(embed(&Codes::new((0..3 * n).map(|i| i as f32).collect(), 3).unwrap()).unwrap().len(), n);
            assert_eq!(embed(&Codes::new(vec![0.5; 3 * n], 3).unwrap()).unwrap().len(), n);
            assert_eq!(embed(&Codes::new((0..n).map(|i| (i % 2) as f32).collect(), 1).unwrap()).unwrap().len(), n);
        }
        assert!(embed(&Codes::new(vec![0.5; 9], 3).unwrap()).unwrap_err().to_string().contains("at least 4 codes"));
        assert!(Tsne { perplexity: 0.5, epochs: 1 }.embed(&groups(5), &mut |_| {}).is_err());
        assert!(Tsne { perplexity: f64::NAN, epochs: 1 }.embed(&groups(5), &mut |_| {}).is_err());
    }

    #[test]
    fn the_distance_is_euclidean_at_any_length() {
        for len in [1, 7, 8, 9, 20] {
            let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let b: Vec<f32> = (0..len).map(|i| i as f32 + if i % 2 == 0 { 2.0 } else { 0.0 }).collect();
            assert_eq!(distance(&a, &b), (4.0 * ((len + 1) / 2) as f32).sqrt(), "{len}");
        }
    }
}
