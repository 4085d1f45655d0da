//! Patches of a picture: cut at its own size, never resized, from places that a seed tells.

use crate::data::cache::Stamp;
use crate::data::{Patches, Target, fit, split};

/// The patches of one picture, one after the other, each of the target's size and channels. They depend on the picture
/// and its name alone, not on the others or on their order.
pub(super) fn cut(
    name: &str,
    pixels: &[u8],
    shape: [usize; 3],
    target: &Target,
    patches: Patches,
) -> Result<Vec<u8>, String> {
    let [h, w, _] = shape;
    let (Some(down), Some(across)) = (h.checked_sub(target.height), w.checked_sub(target.width)) else {
        return Err(format!("{w}x{h} is smaller than the patches of {}x{}", target.width, target.height));
    };
    let whole = Target { height: h, width: w, patches: None, ..target.clone() };
    let pixels = fit::fit(pixels, shape, &whole);
    let mut stamp = Stamp::default();
    stamp.add(name.as_bytes());
    let channels = target.channels;
    let mut all = Vec::with_capacity(patches.count * target.sample_len());
    for patch in 0..patches.count as u64 {
        let place = |axis: u64, room: usize| {
            let key = split::mix(split::mix(patches.seed ^ stamp.value()) ^ (2 * patch + axis));
            (key % (room as u64 + 1)) as usize
        };
        let (top, left) = (place(0, down), place(1, across));
        for row in pixels.chunks_exact(w * channels).skip(top).take(target.height) {
            all.extend_from_slice(&row[left * channels..(left + target.width) * channels]);
        }
    }
    Ok(all)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn patches_are_pieces_of_the_picture_at_seeded_places() {
        // Of a picture of 1..=200 by rows of 20, a patch is known by its first pixel.
        let pixels: Vec<u8> = (1..=200).collect();
        let target = Target::new(3, 4, 1);
        let of = |name: &str, seed| {
            let patches = Patches { count: 300, seed };
            cut(name, &pixels, [10, 20, 1], &target, patches).unwrap()
        };
        let all = of("a.png", 1);
        assert_eq!(all.len(), 300 * 12);
        let mut starts = std::collections::BTreeSet::new();
        for patch in all.chunks(12) {
            let first = patch[0];
            let wanted: Vec<u8> = (0..3).flat_map(|y| (0..4).map(move |x| first + 20 * y + x)).collect();
            assert_eq!(patch, wanted);
            starts.insert(((first - 1) / 20, (first - 1) % 20));
        }
        assert!(starts.len() > 80, "only {} of 136 places", starts.len());
        assert!(starts.contains(&(7, 16)) || starts.iter().any(|&(y, x)| y == 7 || x == 16), "the last are reached");
        assert!(starts.iter().all(|&(y, x)| y <= 7 && x <= 16));
        assert_eq!(all, of("a.png", 1));
        assert!(all != of("b.png", 1) && all != of("a.png", 2));
    }

    #[test]
    fn channels_are_those_of_the_target_and_small_pictures_are_told() {
        let patches = Patches { count: 2, seed: 0 };
        let grey = cut("a", &[9; 12], [3, 4, 1], &Target::new(3, 4, 3), patches).unwrap();
        assert_eq!(grey, [9; 72]);
        let luma = cut("a", &[255, 0, 0], [1, 1, 3], &Target::new(1, 1, 1), patches).unwrap();
        assert_eq!(luma, [76, 76]);
        let problem = cut("a", &[0; 12], [3, 4, 1], &Target::new(4, 4, 1), patches).unwrap_err();
        assert_eq!(problem, "4x3 is smaller than the patches of 4x4");
    }
}
