//! The error against the code size, of autoencoders and of exact PCA.

use super::{Curve, Plot};
use std::fmt::Write as _;

/// Held-out errors of autoencoders that differ in the size of their code, each beside an exact PCA with as many components.
///
/// ```
/// use degrain::data::{self, SplitKind};
/// use degrain::latent::pca_errors;
/// use degrain::model::{Noise, Preset};
/// use degrain::report::{Meter, Sweep, SweepPoint};
/// use degrain::session::Session;
/// use degrain::train::{Event, Inference, Observer, RunDir, TrainOptions, Trainer, Weights};
///
/// struct Silent;
/// impl Observer for Silent {
///     fn event(&mut self, _: &Event<'_>) {}
/// }
///
/// # let folder = tempfile::tempdir().expect("a temporary folder");
/// # let folder = folder.path();
/// let mut drawings = data::bundled_quickdraw()?;
/// drawings.limit(60);
/// let split = data::split(drawings.len(), None, 0.5, SplitKind::Seeded(1))?;
/// let mut preset = Preset::load("quickdraw-simple")?;
/// preset.set_all(&["train.steps=2"])?;
/// let mut sweep = Sweep::default();
/// for code in [2, 8] {
///     preset.set(&format!("model.code={code}"))?;
///     let run = RunDir::create(&folder.join(format!("code-{code}")))?;
///     let options = TrainOptions::default();
///     let mut trainer = Trainer::start(&preset, &drawings, &split, Session::cpu(), run, &options)?;
///     trainer.run(&mut Silent)?;
///     let (session, run) = trainer.into_parts();
///     let weights = Weights::read(&run.file("last.safetensors"))?;
///     let mut network = Inference::new(session, &preset, weights, 32)?;
///     let mut meter = Meter::new(drawings.shape, (0.0, 1.0))?;
///     network.evaluate(&drawings, &split.held_out, Noise::None, 1, &mut |seen| {
///         meter.add(seen.clean, seen.restored, None).expect("pictures of one size");
///     })?;
///     let pca_mse = pca_errors(&preset, &drawings, &split, &[code])?[0];
///     sweep.points.push(SweepPoint { code, mse: meter.metrics().map(|test| test.mse), pca_mse: Some(pca_mse) });
/// }
/// assert_eq!(sweep.csv().lines().count(), 3);
/// sweep.plot("quickdraw-simple").write_png(folder.join("sweep.png"))?;
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sweep {
    /// By rising code size.
    pub points: Vec<SweepPoint>,
}

/// The errors at one code size.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct SweepPoint {
    /// Values in a code.
    pub code: usize,
    /// Mean squared error of the autoencoder on the held-out pictures; none where it is not trained yet.
    pub mse: Option<f64>,
    /// That of an exact PCA with as many components.
    pub pca_mse: Option<f64>,
}

impl Sweep {
    /// Both errors over the code size.
    pub fn plot(&self, title: &str) -> Plot {
        let curve = |label: &str, of: fn(&SweepPoint) -> Option<f64>| Curve {
            label: label.to_owned(),
            points: self.points.iter().filter_map(|point| Some((point.code as f64, of(point)?))).collect(),
        };
        Plot {
            title: title.to_owned(),
            x_label: "values in a code".to_owned(),
            y_label: "held-out MSE".to_owned(),
            curves: vec![curve("autoencoder", |point| point.mse), curve("exact PCA", |point| point.pca_mse)],
            baseline: None,
            log_x: true,
        }
    }

    /// A table `code,mse,pca_mse`, in digits that read back exactly; empty where nothing is known.
    pub fn csv(&self) -> String {
        let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let mut text = "code,mse,pca_mse\n".to_owned();
        for SweepPoint { code, mse, pca_mse } in &self.points {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{code},{},{}", optional(*mse), optional(*pca_mse));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_empty() {
        let point = |code, mse, pca_mse| SweepPoint { code, mse, pca_mse };
        let sweep = Sweep { points: vec![point(2, Some(0.1), Some(0.30000000000000004)), point(4, None, None)] };
        assert_eq!(sweep.csv(), "code,mse,pca_mse\n2,0.1,0.30000000000000004\n4,,\n");
        let plot = sweep.plot("errors");
        assert_eq!(plot.curves.iter().map(|curve| curve.points.len()).collect::<Vec<_>>(), [1, 1]);
    }
}
