//! Which samples train and which are held out.

use super::Labels;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashMap};

/// How the held-out samples are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitKind {
    /// At random, the same for the same seed on every machine; groups stay whole.
    Seeded(u64),
    /// The last rows in file order, as Keras's `validation_split` does. Groups are not looked at. Where the samples
    /// stand class by class ([`super::Labels::are_sorted`]) this holds out classes that never train.
    Last,
}

/// Indices of samples, each list in rising order; together they are all samples, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Samples to train on.
    pub train: Vec<u32>,
    /// Samples to validate and test on.
    pub held_out: Vec<u32>,
}

/// Splits `n` samples so that n - floor(n (1 - `fraction`)) are held out: Keras's number, and scikit-learn's but for
/// rounding. With `groups` (one number per sample) a seeded split moves whole groups and comes as close to that number as
/// they let it.
///
/// # Errors
/// A fraction outside [0, 1), or one that leaves nothing to train on or to hold out.
pub fn split(n: usize, groups: Option<&[u32]>, fraction: f64, kind: SplitKind) -> Result<Split> {
    let fail = |problem: String| Err(Error::setting("--val", problem));
    if !(0.0..1.0).contains(&fraction) {
        return fail(format!("wanted a fraction of at least 0 and less than 1, got {fraction}"));
    }
    let Ok(count) = u32::try_from(n) else {
        return fail(format!("{n} samples are more than a split can number"));
    };
    if groups.is_some_and(|g| g.len() != n) {
        return fail(format!("{} group numbers for {n} samples", groups.map_or(0, <[u32]>::len)));
    }
    if fraction == 0.0 {
        return Ok(Split { train: (0..count).collect(), held_out: Vec::new() });
    }
    let wanted = n - (n as f64 * (1.0 - fraction)).floor() as usize;
    let is_held_out = match kind {
        SplitKind::Last => (0..n).map(|i| i >= n - wanted).collect(),
        SplitKind::Seeded(seed) => match groups {
            Some(groups) => hold_out_groups(groups, wanted, seed),
            None => hold_out_samples(count, wanted, seed),
        },
    };
    let (held_out, train): (Vec<u32>, Vec<u32>) = (0..count).partition(|&i| is_held_out[i as usize]);
    if train.is_empty() || held_out.is_empty() {
        let left = if train.is_empty() { "train on" } else { "hold out" };
        let why = if groups.is_some() { " (pictures of one group stay together)" } else { "" };
        return fail(format!("{fraction} of {n} pictures leaves nothing to {left}{why}"));
    }
    Ok(Split { train, held_out })
}

/// Splits label by label, so that of each the same `fraction` is held out, rounded up; at random, the same for the same
/// seed on every machine. A label of one picture only trains. With `groups` (one number per sample) whole groups move, under
/// the label of their first sample.
///
/// # Errors
/// A fraction that is not inside (0, 1), groups of another length, or labels that leave nothing to train on or to hold out.
pub fn stratified_split(labels: &Labels, groups: Option<&[u32]>, fraction: f64, seed: u64) -> Result<Split> {
    let fail = |problem: String| Err(Error::setting("--val", problem));
    if !(fraction > 0.0 && fraction < 1.0) {
        return fail(format!("wanted a fraction above 0 and less than 1, got {fraction}"));
    }
    let n = labels.ids.len();
    if let Some(groups) = groups.filter(|groups| groups.len() != n) {
        return fail(format!("{} group numbers for {n} samples", groups.len()));
    }
    let mut first: HashMap<u32, u32> = HashMap::new();
    let mut strata: BTreeMap<u32, (Vec<u32>, Vec<u32>)> = BTreeMap::new();
    for (row, &id) in (0_u32..).zip(&labels.ids) {
        let group = groups.and_then(|groups| groups.get(row as usize)).copied().unwrap_or(row);
        let (rows, units) = strata.entry(*first.entry(group).or_insert(id)).or_default();
        rows.push(row);
        units.push(group);
    }
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for (rows, units) in strata.into_values() {
        let wanted =
            if rows.len() < 2 { 0 } else { rows.len() - (rows.len() as f64 * (1.0 - fraction)).floor() as usize };
        for (row, is_held_out) in rows.into_iter().zip(hold_out_groups(&units, wanted, seed)) {
            if is_held_out { held_out.push(row) } else { train.push(row) }
        }
    }
    if train.is_empty() || held_out.is_empty() {
        return fail(format!("{fraction} of each label of {n} pictures leaves nothing to train on or to hold out"));
    }
    train.sort_unstable();
    held_out.sort_unstable();
    Ok(Split { train, held_out })
}

fn hold_out_samples(count: u32, wanted: usize, seed: u64) -> Vec<bool> {
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_by_key(|&i| (random_key(seed, i), i));
    let mut held_out = vec![false; order.len()];
    for &i in order.iter().take(wanted) {
        held_out[i as usize] = true;
    }
    held_out
}

/// Takes groups in random order while they fit, then one more if the smallest overshoot is nearer than the shortfall.
fn hold_out_groups(groups: &[u32], wanted: usize, seed: u64) -> Vec<bool> {
    let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
    for &g in groups {
        *sizes.entry(g).or_default() += 1;
    }
    let mut order: Vec<(u32, usize)> = sizes.into_iter().collect();
    order.sort_by_key(|&(g, _)| (random_key(seed, g), g));
    let mut missing = wanted;
    let (mut taken, left): (Vec<_>, Vec<_>) = order.into_iter().partition(|&(_, size)| {
        let fits = size <= missing;
        missing -= if fits { size } else { 0 };
        fits
    });
    let nearest =
        left.iter().min_by_key(|&&(_, size)| size).filter(|&&(_, size)| left.len() > 1 && size - missing < missing);
    taken.extend(nearest);
    let taken: std::collections::BTreeSet<u32> = taken.into_iter().map(|(g, _)| g).collect();
    groups.iter().map(|g| taken.contains(g)).collect()
}

/// SplitMix64 (Steele, Lea and Flood 2014) of the seed and a number: a sort key that no library's version can change.
fn random_key(seed: u64, number: u32) -> u64 {
    mix(mix(seed) ^ u64::from(number))
}

/// One step of SplitMix64.
pub(super) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn is_partition(split: &Split, n: usize) -> bool {
        let mut all = [split.train.clone(), split.held_out.clone()].concat();
        all.sort_unstable();
        all == (0..n as u32).collect::<Vec<_>>() && split.train.is_sorted() && split.held_out.is_sorted()
    }

    #[test]
    fn last_is_keras_validation_split() {
        for (n, fraction, first) in [(10, 0.2, 8), (7, 0.3, 4), (100_000, 0.2, 80_000), (13_233, 0.1, 11_909)] {
            let split = split(n, None, fraction, SplitKind::Last).unwrap();
            assert_eq!(split.held_out.first(), Some(&first));
            assert!(is_partition(&split, n));
        }
    }

    #[test]
    fn seeded_is_disjoint_complete_and_deterministic() {
        let one = split(1000, None, 0.1, SplitKind::Seeded(7)).unwrap();
        assert!(is_partition(&one, 1000));
        assert_eq!(one.held_out.len(), 100);
        assert_eq!(one, split(1000, None, 0.1, SplitKind::Seeded(7)).unwrap());
        assert_ne!(one, split(1000, None, 0.1, SplitKind::Seeded(8)).unwrap());
        let mean = one.held_out.iter().sum::<u32>() / 100;
        assert!((400..600).contains(&mean), "held-out samples lie everywhere, their mean index is {mean}");
        assert_eq!(
            split(9, None, 0.3, SplitKind::Seeded(1)).unwrap().held_out,
            [0, 6, 8],
            "the split of a seed never changes"
        );
    }

    #[test]
    fn groups_are_kept_whole_and_the_fraction_is_met() {
        let groups: Vec<u32> = (0..500).map(|i| if i < 200 { i / 20 } else { i }).collect();
        for seed in 0..50 {
            let split = split(500, Some(&groups), 0.1, SplitKind::Seeded(seed)).unwrap();
            assert!(is_partition(&split, 500));
            assert_eq!(split.held_out.len(), 50);
            let group =
                |list: &[u32]| list.iter().map(|&i| groups[i as usize]).collect::<std::collections::BTreeSet<_>>();
            assert!(group(&split.train).is_disjoint(&group(&split.held_out)));
        }
        // Groups of 4 only: of 3 wanted, 4 is nearer than 0; of 1 wanted, 0 would be, and is an error.
        let fours: Vec<u32> = (0..12).map(|i| i / 4).collect();
        assert_eq!(split(12, Some(&fours), 0.25, SplitKind::Seeded(3)).unwrap().held_out.len(), 4);
        assert!(split(12, Some(&fours), 0.05, SplitKind::Seeded(3)).is_err());
    }

    #[test]
    fn each_label_is_split_alike() {
        let names: Vec<&str> = (0..130)
            .map(|i| {
                if i < 100 {
                    "a"
                } else if i < 129 {
                    "b"
                } else {
                    "alone"
                }
            })
            .collect();
        let labels = Labels::from_names(&names);
        let one = stratified_split(&labels, None, 0.2, 5).unwrap();
        assert!(is_partition(&one, 130));
        let held_out = |from: u32, to: u32| one.held_out.iter().filter(|&&row| (from..to).contains(&row)).count();
        assert_eq!((held_out(0, 100), held_out(100, 129), held_out(129, 130)), (20, 6, 0));
        assert_eq!(one, stratified_split(&labels, None, 0.2, 5).unwrap());
        assert_ne!(one, stratified_split(&labels, None, 0.2, 6).unwrap());
        let groups: Vec<u32> = (0..130).map(|i| i / 4).collect();
        let grouped = stratified_split(&labels, Some(&groups), 0.2, 5).unwrap();
        assert!(is_partition(&grouped, 130));
        let of = |rows: &[u32]| rows.iter().map(|&row| groups[row as usize]).collect::<std::collections::BTreeSet<_>>();
        assert!(of(&grouped.train).is_disjoint(&of(&grouped.held_out)));
        for fraction in [0.0, 1.0, -0.5, f64::NAN] {
            assert!(stratified_split(&labels, None, fraction, 1).is_err(), "{fraction}");
        }
        assert!(stratified_split(&labels, Some(&[1]), 0.5, 1).is_err());
        let alone = Labels::from_names(&["a", "b"]);
        assert!(stratified_split(&alone, None, 0.5, 1).unwrap_err().to_string().contains("leaves nothing"));
    }

    #[test]
    fn bad_fractions_are_errors() {
        for fraction in [-0.1, 1.0, 2.0, f64::NAN] {
            assert!(split(10, None, fraction, SplitKind::Last).unwrap_err().to_string().starts_with("--val: "));
        }
        assert_eq!(split(3, None, 0.0, SplitKind::Last).unwrap().train, [0, 1, 2]);
        let one = split(1, None, 0.1, SplitKind::Seeded(0)).unwrap_err().to_string();
        assert!(one.contains("nothing to train on"), "{one}");
        assert!(split(5, Some(&[1; 5]), 0.5, SplitKind::Seeded(0)).unwrap_err().to_string().contains("one group"));
        assert!(split(5, Some(&[1; 4]), 0.5, SplitKind::Seeded(0)).is_err());
    }
}
