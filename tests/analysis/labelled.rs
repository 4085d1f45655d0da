//! A folder of labelled pictures, and `degrain` run in it.

use super::lab::{Lab, TINY, save_png};
use std::fs;

/// Sub-folders of `pictures`, each a label.
pub(crate) const LABELS: [&str; 3] = ["across", "down", "flat"];
/// Pictures of each label.
pub(crate) const EACH: usize = 20;

/// A folder with the tiny preset, without noise, and the pictures.
pub(crate) fn labelled() -> Lab {
    let lab = Lab::empty();
    fs::write(lab.path("tiny.toml"), TINY.replace("noise = \"gaussian:0.1\"\n", "")).unwrap();
    for label in LABELS {
        fs::create_dir_all(lab.path(&format!("pictures/{label}"))).unwrap();
        for i in 0..EACH {
            save_png(picture(label, i), lab.path(&format!("pictures/{label}/{i:02}.png")));
        }
    }
    lab
}

/// Grey stripes across or down, or one grey, a little different each.
fn picture(label: &str, seed: usize) -> image::GrayImage {
    image::GrayImage::from_fn(8, 8, |x, y| {
        let along = match label {
            "across" => y as usize * 30,
            "down" => x as usize * 30,
            _ => 100,
        };
        image::Luma([(along + seed * 7 % 40) as u8])
    })
}
