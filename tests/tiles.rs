//! Photos of any size: patches to train on, and tiles to denoise by.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use degrain::model::Preset;
use degrain::session::Session;
use degrain::train::{Inference, TileOptions, Weights, denoise_tiled};
use lab::{Lab, open_picture, save_png};
use std::fs;

/// Fully convolutional, for colour patches of 8x8.
const TINY: &str = r#"
name = "tiny"
description = "for tests"
[data]
height = 8
width = 8
channels = 3
offset = -0.5
patches = 5
[model]
code = 192
init = "he-normal"
encoder = [{ layer = "conv2d", channels = 12, kernel = 4, stride = 2, activation = "relu" }]
decoder = [{ layer = "conv_transpose2d", channels = 3, kernel = 4, stride = 2 }]
[train]
loss = "mse"
noise = "gaussian:0.1"
optimizer = "adam"
lr = 0.01
epochs = 2
batch = 8
val = 0.2
"#;

/// Soft waves.
fn wave(x: usize, y: usize, c: usize) -> f32 {
    0.5 + 0.4 * ((x * (3 + c)) as f32 * 0.05 + y as f32 * 0.08).sin()
}

#[test]
fn tiles_are_the_whole_picture_where_overlaps_reach_over_what_a_kernel_sees() {
    let mut preset = Preset::load("denoise-patch").unwrap();
    // A network that begins by giving back its picture does so at borders too.
    preset.set("model.init=he-normal").unwrap();
    let weights = Weights::initial(&preset).unwrap();
    let (height, width) = (150, 250);
    let picture: Vec<f32> = (0..height * width * 3).map(|i| wave(i / 3 % width, i / 3 / width, i % 3) - 0.5).collect();
    let network = |height, width| {
        let preset = preset.for_size(height, width).unwrap();
        Inference::new(Session::cpu(), &preset, weights.clone(), 2).unwrap()
    };
    let whole = network(height, width).reconstruct(&picture).unwrap();
    let worst = |overlap: usize| {
        let options = TileOptions { overlap };
        let tiled = denoise_tiled(&mut network(96, 96), &picture, [height, width, 3], &options).unwrap();
        assert_eq!(tiled.len(), whole.len());
        // At the picture's own border the whole run has seen zeros, and the tiles a mirrored picture.
        let inside = |i: &usize| {
            let (y, x) = (i / 3 / width, i / 3 % width);
            (16..height - 16).contains(&y) && (16..width - 16).contains(&x)
        };
        (0..whole.len()).filter(inside).map(|i| (whole[i] - tiled[i]).abs()).fold(0.0, f32::max)
    };
    let scale = whole.iter().fold(0.0, |most: f32, y| most.max(y.abs()));
    assert!(scale > 0.1, "{scale}");
    // Half a tile: its outer quarter, 12 pixels, is more than the 11 that the border of a tile changes.
    let (far, near) = (worst(48), worst(0));
    assert!(far <= 1e-5 * scale, "{far} of {scale}");
    assert!(near > 1e-2 * scale, "without an overlap there are seams: {near} of {scale}");
}

impl Lab {
    /// A folder with a preset and photos of several sizes.
    fn prepared() -> Self {
        let lab = Self::empty();
        fs::write(lab.path("tiny.toml"), TINY).unwrap();
        fs::create_dir_all(lab.path("photos/more")).unwrap();
        for i in 0..10u32 {
            let photo = image::RgbImage::from_fn(30 + 3 * i, 20 + i, |x, y| {
                image::Rgb([0, 1, 2].map(|c| (wave((x + i) as usize, y as usize, c) * 255.0) as u8))
            });
            let folder = if i < 8 { "photos" } else { "photos/more" };
            save_png(photo, lab.path(&format!("{folder}/p{i}.png")));
        }
        lab
    }

    fn trained() -> Self {
        let lab = Self::prepared();
        lab.json(&["train", "tiny.toml", "--data=photos", "--out=run"]);
        lab
    }
}

#[test]
fn a_run_trains_on_patches_and_keeps_those_of_a_photo_on_one_side() {
    let lab = Lab::prepared();
    let first = lab.run(&["train", "tiny.toml", "--data=photos", "--out=one"]).stderr;
    assert!(first.contains("50 patches of 8x8x3"), "{first}");
    // Out of the cache the second time.
    let run = lab.json(&["train", "tiny.toml", "--data=photos", "--out=two"]);
    assert_eq!((&run["train_pictures"], &run["held_out_pictures"]), (&40.into(), &10.into()));
    assert!(run["pca_mse"].is_null(), "a PCA of as many components as values is no bar");
    let read = |name: &str| fs::read(lab.path(name)).unwrap();
    assert!(read("one/last.safetensors") == read("two/last.safetensors"), "the same patches, the same run");
    let seeded =
        lab.json(&["train", "tiny.toml", "--data=photos", "--out=three", "--limit=4", "--seed=2", "--val=0.25"]);
    assert_eq!((&seeded["train_pictures"], &seeded["held_out_pictures"]), (&15.into(), &5.into()), "4 photos");
    save_png(image::RgbImage::new(7, 30), lab.path("photos/a-small.png"));
    let told = lab.run(&["train", "tiny.toml", "--data=photos", "--out=four", "--steps=1"]).stderr;
    assert!(told.contains("skipped a-small.png: 7x30 is smaller than the patches of 8x8"), "{told}");
    let error = lab.error(&["train", "tiny.toml", "--data=photos", "--set=data.patches=0"]);
    assert!(error.contains("data.patches: must be 1 to"), "{error}");
    let error = lab.error(&["train", "tiny.toml", "--data=photos", "--labels=x.csv"]);
    assert!(error.contains("--labels: lists pictures, but"), "{error}");
}

#[test]
fn photos_keep_their_names_sizes_and_colours() {
    let lab = Lab::trained();
    let grey = image::GrayImage::from_fn(33, 9, |x, y| image::Luma([(x * 7 + y * 3) as u8]));
    save_png(grey, lab.path("photos/grey.png"));
    let many = lab.json(&["denoise", "run", "photos", "-o", "out", "--noise=gaussian:0.1"]);
    assert_eq!((&many["count"], many["outputs"].as_array().unwrap().len()), (&11.into(), 11));
    let noisy = many["noisy_mse"].as_f64().unwrap();
    assert!((noisy - 0.01).abs() < 0.001, "sigma 0.1 gives {noisy}");
    assert!(many["mse"].as_f64().unwrap() > 0.0 && many["peak_rss_bytes"].as_u64().unwrap() > 0);
    for name in ["p0.png", "p7.png", "more/p9.png", "grey.png"] {
        let [before, after] = ["photos", "out"].map(|folder| open_picture(lab.path(&format!("{folder}/{name}"))));
        assert_eq!((before.width(), before.height(), before.color()), (after.width(), after.height(), after.color()));
        assert!(before != after, "{name} is as it was");
    }
    let mut archive = tar::Builder::new(fs::File::create(lab.path("photos.tar")).unwrap());
    archive.append_dir_all(".", lab.path("photos")).unwrap();
    archive.finish().unwrap();
    lab.json(&["denoise", "run", "photos", "-o", "files"]);
    lab.json(&["denoise", "run", "photos.tar", "-o", "unpacked"]);
    let read = |name: String| fs::read(lab.path(&name)).unwrap();
    for name in ["p0.png", "p7.png", "more/p9.png", "grey.png"] {
        assert!(read(format!("files/{name}")) == read(format!("unpacked/{name}")), "{name}");
    }
    let one = lab.json(&["denoise", "run", "photos/p3.png", "-o", "one.png", "--tile-size=16", "--overlap=6"]);
    assert_eq!(
        (&one["tile"], &one["overlap"], &one["shapes"][0]),
        (&serde_json::json!([16, 16]), &6.into(), &serde_json::json!([23, 39, 3]))
    );
    assert!(one["mse"].is_null(), "of a noisy photo nothing clean is known");
}

#[test]
fn arrays_and_what_is_in_the_binary_are_of_the_networks_size() {
    let lab = Lab::trained();
    let whole = lab.json(&["denoise", "run", "photos", "-o", "out.npy"]);
    assert_eq!((&whole["count"], &whole["shape"]), (&10.into(), &serde_json::json!([8, 8, 3])));
    let drawings = lab.json(&["denoise", "run", "bundled:quickdraw", "-o", "drawings"]);
    assert_eq!(drawings["count"], 1000);
}

#[test]
fn a_network_for_one_size_resizes_unless_tiles_are_asked_for() {
    let lab = Lab::prepared();
    let words = ["train", "lfw-linear", "--data=photos", "--set=data.channels=1", "--set=data.height=8"];
    let decoder = "--set=model.decoder=[{layer=\"dense\",units=64},{layer=\"reshape\",shape=[8,8,1]}]";
    let more = ["--set=data.width=8", decoder, "--code=4", "--out=run", "--epochs=1", "--no-pca"];
    lab.json(&[&words[..], &more].concat());
    let small = lab.json(&["denoise", "run", "photos/p0.png", "-o", "small.png"]);
    assert_eq!(small["shape"], serde_json::json!([8, 8, 1]));
    assert_eq!(open_picture(lab.path("small.png")).into_luma8().dimensions(), (8, 8));
    let tiled = lab.json(&["denoise", "run", "photos/p0.png", "-o", "large.png", "--tiles"]);
    assert_eq!((&tiled["tile"], &tiled["shapes"][0]), (&serde_json::json!([8, 8]), &serde_json::json!([20, 30, 3])));
    assert!(tiled["mse"].as_f64().is_some(), "trained without noise, it is to give back its input");
    // Each colour went through the network for grey pictures.
    let large = open_picture(lab.path("large.png"));
    assert_eq!((large.width(), large.height(), large.color()), (30, 20, image::ColorType::Rgb8));
    let error = lab.error(&["denoise", "run", "photos/p0.png", "-o", "x.png", "--tile-size=16"]);
    assert!(error.contains("--tile-size: lfw-linear takes pictures of 8x8 alone"), "{error}");
}

#[test]
fn wrong_input_gets_one_clear_line() {
    let lab = Lab::trained();
    let denoise = |words: &[&str]| lab.error(&[&["denoise", "run"][..], words].concat());
    let error = denoise(&["photos/p0.png", "-o", "x.png", "--overlap=100"]);
    assert!(error.contains("--overlap: must be at most"), "{error}");
    let error = denoise(&["photos/p0.png", "-o", "x.png", "--tile-size=17"]);
    assert!(error.contains("--tile-size: tiny cannot take pictures of 17x17"), "{error}");
    assert!(denoise(&["photos", "-o", "x.npy", "--tiles"]).contains("x.npy: photos have sizes of their own"));
    assert!(denoise(&["bundled:emoji", "-o", "x", "--tiles"]).contains("bundled:emoji: tiles are for photos"));
    assert!(denoise(&["photos/p0.png", "-o", "photos/p0.png"]).contains("is one of the inputs"));
    fs::write(lab.path("broken.png"), b"\x89PNG\r\n\x1a\nbroken").unwrap();
    assert!(denoise(&["broken.png", "-o", "x.png"]).contains("broken.png"));
    assert!(denoise(&["missing.jpg", "-o", "x.png"]).contains("missing.jpg"));
    fs::create_dir(lab.path("empty")).unwrap();
    assert!(denoise(&["empty", "-o", "x"]).contains("empty: "));
}
