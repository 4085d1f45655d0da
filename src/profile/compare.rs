//! Two profiles of one thing, before and after a change.

use super::launches::LaunchProfile;
use super::step::StepProfile;
use serde::Serialize;

/// A difference counts when it is larger than this part of the old time, and than three times what both scatter.
const LEAST: f64 = 0.02;

/// What became of a launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It takes less time than before.
    Faster,
    /// It takes more.
    Slower,
    /// The difference is within the noise.
    Same,
    /// There was none of this name.
    New,
    /// There is none of this name any more.
    Gone,
}

impl Change {
    /// The word used in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Same => "",
            Self::New => "new",
            Self::Gone => "gone",
        }
    }
}

/// A launch, or the whole step, in both profiles.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ComparedLaunch {
    /// Its name.
    pub name: String,
    /// Median time before, in microseconds.
    pub old_us: Option<f64>,
    /// Median time now, in microseconds.
    pub new_us: Option<f64>,
    /// What became of it.
    pub change: Change,
}

impl ComparedLaunch {
    fn of(name: &str, old: Option<(f64, f64)>, new: Option<(f64, f64)>) -> Self {
        let change = match (old, new) {
            (Some((old, old_mad)), Some((new, new_mad))) => {
                let noise = (LEAST * old).max(3.0 * (old_mad + new_mad));
                match new - old {
                    more if more > noise => Change::Slower,
                    more if more < -noise => Change::Faster,
                    _ => Change::Same,
                }
            }
            (None, _) => Change::New,
            (_, None) => Change::Gone,
        };
        Self { name: name.to_owned(), old_us: old.map(|t| t.0), new_us: new.map(|t| t.0), change }
    }

    /// New time by old time.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.new_us? / self.old_us.filter(|&old| old > 0.0)?)
    }

    fn difference(&self) -> f64 {
        self.new_us.unwrap_or(0.0) - self.old_us.unwrap_or(0.0)
    }
}

impl StepProfile {
    /// The whole step first, then its launches, those first whose time changed the most. Launches are the same where their
    /// names are; those of equal names are told apart by their order.
    pub fn compared_with(&self, old: &Self) -> Vec<ComparedLaunch> {
        let times = |launch: &LaunchProfile| (launch.us, launch.mad_us);
        let find = |launches: &[LaunchProfile], name: &str| launches.iter().find(|l| l.name == name).map(times);
        let gone = old.launches.iter().filter(|launch| find(&self.launches, &launch.name).is_none());
        let mut rows: Vec<ComparedLaunch> = self
            .launches
            .iter()
            .chain(gone)
            .map(|l| ComparedLaunch::of(&l.name, find(&old.launches, &l.name), find(&self.launches, &l.name)))
            .collect();
        rows.sort_by(|a, b| b.difference().abs().total_cmp(&a.difference().abs()));
        let step = |profile: &Self| Some((profile.step.median, profile.step.mad));
        rows.insert(0, ComparedLaunch::of("step", step(old), step(self)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_no_change() {
        let change = |old, new| ComparedLaunch::of("x", old, new).change;
        assert_eq!(change(Some((100.0, 1.0)), Some((105.0, 1.0))), Change::Same, "within three times the scatter");
        assert_eq!(change(Some((100.0, 1.0)), Some((107.0, 1.0))), Change::Slower);
        assert_eq!(change(Some((100.0, 0.0)), Some((99.0, 0.0))), Change::Same, "within 2 %");
        assert_eq!(change(Some((100.0, 0.1)), Some((50.0, 0.1))), Change::Faster);
        assert_eq!(change(None, Some((50.0, 0.1))), Change::New);
        assert_eq!(change(Some((50.0, 0.1)), None), Change::Gone);
        assert_eq!(ComparedLaunch::of("x", Some((4.0, 0.0)), Some((6.0, 0.0))).ratio(), Some(1.5));
    }
}
