//! The bundled pictures: Google's Noto Emoji (Apache License 2.0), see `data/emoji/README.md`.

use crate::data::bundled::cells;
use crate::data::{Dataset, Labels, Values};
use crate::error::{Error, Result};

const SHEET: &[u8] = include_bytes!("../../data/emoji/emoji.png");
const LIST: &str = include_str!("../../data/emoji/emoji.csv");
const SIDE: usize = 32;
const COLUMNS: usize = 62;

/// The 3,786 bundled emoji at 32x32x3, labelled by Unicode's categories. Variants of one emoji (skin tone, sex, age,
/// direction) share a group. Names are the code points and the short name: `1F600 grinning`.
///
/// # Errors
/// None, unless the binary was built from damaged files.
pub fn bundled_emoji() -> Result<Dataset> {
    let damaged = |problem: String| Error::file("data/emoji", format!("the bundled data is damaged: {problem}"));
    let (mut names, mut categories, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    for row in csv::Reader::from_reader(LIST.as_bytes()).deserialize() {
        let (code_points, name, category, group): (String, String, String, u32) =
            row.map_err(|e| damaged(e.to_string()))?;
        names.push(format!("{code_points} {name}"));
        categories.push(category);
        groups.push(group);
    }
    let sheet =
        image::load_from_memory_with_format(SHEET, image::ImageFormat::Png).map_err(|e| damaged(e.to_string()))?;
    let sheet = sheet.into_rgb8();
    if sheet.width() as usize != COLUMNS * SIDE || (sheet.height() as usize) < names.len().div_ceil(COLUMNS) * SIDE {
        return Err(damaged(format!("the sheet is {}x{}", sheet.width(), sheet.height())));
    }
    Ok(Dataset {
        groups: Some(groups),
        labels: Some(Labels::from_names(&categories)),
        origin: "bundled Noto Emoji".into(),
        ..Dataset::new(
            [SIDE, SIDE, 3],
            Values::U8(cells(sheet.as_raw(), COLUMNS, [SIDE, SIDE, 3], names.len()).into()),
            names,
        )
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::data::{SplitKind, split};

    #[test]
    fn all_pictures_and_groups_are_there() {
        let emoji = bundled_emoji().unwrap();
        assert_eq!((emoji.len(), emoji.shape, emoji.values.len()), (3786, [32, 32, 3], 3786 * 3072));
        let groups = emoji.groups.as_ref().unwrap();
        let of = |name: &str| groups[emoji.names.iter().position(|n| n.split(' ').nth(1) == Some(name)).unwrap()];
        assert_eq!(groups.iter().collect::<std::collections::BTreeSet<_>>().len(), 1675);
        for [a, b] in [
            ["+1", "+1:1F3FF"],
            ["prince", "princess"],
            ["male-doctor:1F3FD", "health_worker"],
            ["man_running_facing_right", "runner"],
            ["boy", "older_woman:1F3FB"],
            ["woman-heart-man", "couple_with_heart:1F3FB-1F3FF"],
            ["family_adult_child", "woman-girl-boy"],
            ["us", "flag-um"],
        ] {
            assert_eq!(of(a), of(b), "{a} and {b}");
        }
        assert_ne!(of("grinning"), of("smiley"));
        assert_ne!(of("male-doctor"), of("male-pilot"));
        assert_eq!(emoji.labels.as_ref().unwrap().names.len(), 10);
    }

    #[test]
    fn pictures_are_in_their_cells_and_on_white() {
        let emoji = bundled_emoji().unwrap();
        let mut pixels = vec![0.0; emoji.sample_len()];
        let at = |pixels: &[f32], y: usize, x: usize| [0, 1, 2].map(|c| pixels[(y * 32 + x) * 3 + c]);
        assert!(emoji.sample_f32(0, 0.0, &mut pixels));
        assert_eq!(at(&pixels, 0, 0), [1.0; 3]);
        let [r, g, b] = at(&pixels, 12, 16);
        assert!(r > 0.9 && g > 0.6 && b < 0.5, "a smiling face is yellow, not {r} {g} {b}");
        let heart = emoji.names.iter().position(|n| n.ends_with(" heart")).unwrap();
        assert!(emoji.sample_f32(heart, 0.0, &mut pixels));
        let [r, g, b] = at(&pixels, 14, 16);
        assert!(r > 0.8 && g < 0.5 && b < 0.5, "a heart is red, not {r} {g} {b}");
    }

    #[test]
    fn a_split_meets_the_fraction() {
        let emoji = bundled_emoji().unwrap();
        for seed in 0..20 {
            let split = split(emoji.len(), emoji.groups.as_deref(), 0.1, SplitKind::Seeded(seed)).unwrap();
            assert_eq!(split.held_out.len(), 379);
        }
    }
}
