//! `encode` and `decode`: codes of pictures and back, with the bits of going through the whole network at once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use degrain::data::npy;
use degrain::model::Preset;
use degrain::train::{Inference, Weights};
use degrain::validate::{Open, device_trials};
use lab::{Lab, open_picture, save_png};
use libtest_mimic::{Arguments, Trial};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// 8x8 grey pictures, code 4.
const TINY: &str = r#"
name = "tiny"
description = "for tests"
[data]
height = 8
width = 8
channels = 1
offset = -0.5
[model]
code = 4
encoder = [{ layer = "flatten" }, { layer = "dense", units = "code", activation = "tanh" }]
decoder = [{ layer = "dense", units = 64 }, { layer = "reshape", shape = [8, 8, 1] }]
[train]
loss = "mse"
optimizer = "adam"
lr = 0.01
epochs = 1
batch = 5
val = 0.2
"#;
const PICTURES: usize = 13;

fn main() -> ExitCode {
    let trial = |name: &'static str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let mut trials = vec![
        trial("codes_and_back_are_the_whole_network", codes_and_back_are_the_whole_network),
        trial("names_come_back", names_come_back),
        trial("sources_of_any_kind_have_the_same_codes", sources_of_any_kind_have_the_same_codes),
        trial("wrong_input_gets_one_clear_line", wrong_input_gets_one_clear_line),
    ];
    trials.extend(device_trials([(
        "decoding_the_codes_is_reconstructing_for_every_preset",
        decoding_the_codes_is_reconstructing_for_every_preset as fn(&Open),
    )]));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn decoding_the_codes_is_reconstructing_for_every_preset(open: &Open) {
    for name in Preset::names() {
        let preset = Preset::load(name).unwrap();
        let mut network = Inference::new(open(), &preset, Weights::initial(&preset).unwrap(), 2).unwrap();
        // Three pictures: a full batch and a short one.
        let low = preset.data.offset as f32;
        let x: Vec<f32> = (0..3 * network.sample_len()).map(|i| (i * i % 251) as f32 / 250.0 + low).collect();
        let codes = network.encode(&x).unwrap();
        assert_eq!(codes.len(), 3 * preset.model.code, "{name}");
        let whole = network.reconstruct(&x).unwrap();
        let decoded = network.decode(&codes).unwrap();
        let same = whole.iter().zip(&decoded).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same && whole.len() == decoded.len() && whole.iter().all(|y| y.is_finite()), "{name}");
        assert!(whole.iter().any(|y| *y != whole[0]), "{name}: one value shows nothing");
    }
}

impl Lab {
    /// A folder with pictures and a run of the tiny preset.
    fn prepared() -> Self {
        let lab = Self::empty();
        fs::write(lab.path("tiny.toml"), TINY).unwrap();
        fs::create_dir_all(lab.path("pictures/more")).unwrap();
        for i in 0..PICTURES as u32 {
            let folder = if i < 9 { "pictures" } else { "pictures/more" };
            let picture = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * 20 + y * 9 * i + i * 5) as u8]));
            save_png(picture, lab.path(&format!("{folder}/p{i:02}.png")));
        }
        lab.json(&["train", "tiny.toml", "--data=pictures", "--out=run", "--no-pca"]);
        lab
    }
}

fn codes_and_back_are_the_whole_network() {
    let lab = Lab::prepared();
    let encoded = lab.json(&["encode", "run", "--data=pictures", "-o", "codes.npy"]);
    assert_eq!((&encoded["count"], &encoded["shape"]), (&PICTURES.into(), &serde_json::json!([PICTURES, 4])));
    assert_eq!(npy::read(&lab.path("codes.npy")).unwrap().0, [PICTURES, 4]);
    let decoded = lab.json(&["decode", "run", "codes.npy", "-o", "decoded.npy"]);
    assert_eq!((&decoded["count"], &decoded["shape"]), (&PICTURES.into(), &serde_json::json!([8, 8, 1])));
    lab.json(&["denoise", "run", "pictures", "-o", "whole.npy"]);
    assert_eq!(npy::read(&lab.path("decoded.npy")).unwrap().0, [PICTURES, 8, 8, 1]);
    assert!(lab.read("decoded.npy") == lab.read("whole.npy"), "not the same bits");
    // The run's own pictures, all of them, and the first few.
    lab.json(&["encode", "run", "-o", "own.npy"]);
    assert!(lab.read("own.npy") == lab.read("codes.npy"));
    let few = lab.json(&["encode", "run", "--limit=7", "-o", "few.npy"]);
    assert_eq!(few["count"], 7);
    let (codes, few) = (npy::read(&lab.path("codes.npy")).unwrap().1, npy::read(&lab.path("few.npy")).unwrap().1);
    assert_eq!(few, codes[..28]);
}

fn names_come_back() {
    let lab = Lab::prepared();
    lab.json(&["encode", "run", "--data=pictures", "-o", "codes.npy", "--names", "names.txt"]);
    let names = fs::read_to_string(lab.path("names.txt")).unwrap();
    assert_eq!((names.lines().count(), names.lines().last()), (PICTURES, Some("p08.png")), "in file order");
    lab.json(&["decode", "run", "codes.npy", "-o", "decoded", "--names", "names.txt"]);
    lab.json(&["denoise", "run", "pictures", "-o", "whole"]);
    for name in ["p00.png", "p08.png", "more/p12.png"] {
        assert!(lab.read(&format!("decoded/{name}")) == lab.read(&format!("whole/{name}")), "{name}");
    }
    let plain = lab.json(&["decode", "run", "codes.npy", "-o", "rows"]);
    assert_eq!(plain["outputs"][12], Path::new("rows").join("row-12.png").to_str().unwrap());
    fs::write(lab.path("names.txt"), "one\ntwo\n").unwrap();
    let error = lab.error(&["decode", "run", "codes.npy", "-o", "decoded", "--names", "names.txt"]);
    assert!(error.contains("names.txt: has 2 names for 13 codes"), "{error}");
}

fn sources_of_any_kind_have_the_same_codes() {
    let lab = Lab::prepared();
    lab.json(&["encode", "run", "--data=pictures", "-o", "codes.npy"]);
    let mut archive = tar::Builder::new(fs::File::create(lab.path("pictures.tar")).unwrap());
    archive.append_dir_all(".", lab.path("pictures")).unwrap();
    archive.finish().unwrap();
    lab.json(&["denoise", "run", "pictures", "-o", "whole.npy"]);
    let encoded = lab.json(&["encode", "run", "--data=pictures.tar", "-o", "archive.npy"]);
    assert_eq!(encoded["count"], PICTURES);
    assert!(lab.read("archive.npy") == lab.read("codes.npy"));
    // Floats as they are: pictures as the network sees them.
    let pixels = open_picture(lab.path("pictures/p03.png")).into_luma8();
    let floats: Vec<f32> = pixels.as_raw().iter().map(|&byte| f32::from(byte) / 255.0 - 0.5).collect();
    npy::write(&lab.path("one.npy"), &[1, 8, 8, 1], &floats).unwrap();
    lab.json(&["encode", "run", "--data=one.npy", "-o", "array.npy"]);
    lab.json(&["encode", "run", "--data=pictures/p03.png", "-o", "file.npy"]);
    let code = |name: &str| npy::read(&lab.path(name)).unwrap();
    assert_eq!(code("array.npy"), code("file.npy"));
    // Four pictures of `more` come before it in file order.
    assert_eq!((code("file.npy").0, &code("file.npy").1[..]), (vec![1, 4], &code("codes.npy").1[28..32]));
}

fn wrong_input_gets_one_clear_line() {
    let lab = Lab::prepared();
    let error = lab.error(&["encode", "run", "--data=pictures", "-o", "codes.png"]);
    assert!(error.contains("codes.png: codes are written as .npy"), "{error}");
    assert!(lab.error(&["encode", "nowhere", "-o", "c.npy"]).contains("nowhere: is no run folder"));
    assert!(lab.error(&["encode", "run", "--data=missing", "-o", "c.npy"]).contains("missing"));
    assert!(lab.error(&["encode", "run", "--limit=0", "-o", "c.npy"]).contains("--limit: must be at least 1"));
    npy::write(&lab.path("wide.npy"), &[2, 5], &[0.0; 10]).unwrap();
    let error = lab.error(&["decode", "run", "wide.npy", "-o", "out"]);
    assert!(error.contains("wide.npy: holds codes of 5 values, but this network's have 4"), "{error}");
    npy::write(&lab.path("nan.npy"), &[1, 4], &[0.0, 1.0, f32::NAN, 0.0]).unwrap();
    assert!(lab.error(&["decode", "run", "nan.npy", "-o", "out"]).contains("nan.npy: "));
    npy::write(&lab.path("two.npy"), &[2, 4], &[0.0; 8]).unwrap();
    let error = lab.error(&["decode", "run", "two.npy", "-o", "out.png"]);
    assert!(error.contains("out.png: 2 pictures go in: name a folder"), "{error}");
    assert!(lab.error(&["decode", "run", "two.npy", "-o", "two.npy"]).contains("is one of the inputs"));
    assert!(lab.error(&["decode", "run", "tiny.toml", "-o", "out"]).contains("tiny.toml"));
}
