//! What is done with codes on the command line: morphs, samples, scatters, manifolds and attributes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use degrain::data::npy;
use image::AnimationDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegEncoder;
use lab::{Lab, open_picture, save_png};
use serde_json::Value;
use std::fs;

/// 8x8 grey pictures, code 4.
const PLAIN: &str = r#"
name = "plain"
description = "for tests"

[data]
height = 8
width = 8
channels = 1
offset = -0.5

[model]
code = 4
encoder = [
    { layer = "conv2d", channels = 4, kernel = 3, padding = "same", activation = "elu" },
    { layer = "max_pool2d", size = 2 },
    { layer = "flatten" },
    { layer = "dense", units = "code" },
]
decoder = [
    { layer = "dense", units = 64 },
    { layer = "reshape", shape = [4, 4, 4] },
    { layer = "conv_transpose2d", channels = 1, kernel = 3, stride = 2, padding = "same" },
]

[train]
loss = "mse"
optimizer = "adamax"
lr = 0.01
epochs = 3
batch = 5
val = 0.2
"#;
/// The same pictures, a variational code of 2.
const VARIATIONAL: &str = r#"
name = "variational"
description = "for tests"

[data]
height = 8
width = 8
channels = 1
offset = 0.0

[model]
code = 2
encoder = [{ layer = "flatten" }, { layer = "dense", units = 16, activation = "relu" }, { layer = "gaussian_code" }]
decoder = [{ layer = "dense", units = 64 }, { layer = "reshape", shape = [8, 8, 1] }]

[train]
loss = "bce"
kl = 0.1
optimizer = "adam"
lr = 0.01
epochs = 3
batch = 5
val = 0.2
"#;
/// Pictures in a lab, half of them in folder `dark` and half in folder `light`; 32 are trained on.
const PICTURES: usize = 40;
const PIXELS: usize = 64;

impl Lab {
    /// With `run`, trained on the pictures.
    fn prepared(preset: &str) -> Self {
        let lab = Self::empty();
        fs::write(lab.path("preset.toml"), preset).unwrap();
        for i in 0..PICTURES {
            let folder = if i < PICTURES / 2 { "dark" } else { "light" };
            fs::create_dir_all(lab.path("pictures").join(folder)).unwrap();
            let base = if i < PICTURES / 2 { 20 } else { 150 };
            let picture = image::GrayImage::from_fn(8, 8, |x, y| {
                image::Luma([base + ((x as usize * (i % 7 + 1) + y as usize * (i % 5 + 1) + i * 3) % 100) as u8])
            });
            save_png(picture, lab.path(&format!("pictures/{folder}/{i:02}.png")));
        }
        lab.run(&["train", "preset.toml", "--data", "pictures", "--out", "run"]).ok();
        lab
    }

    /// The rows of an array, as bits, so that equal means equal.
    fn rows(&self, name: &str) -> Vec<Vec<u32>> {
        let (shape, values) = npy::read(&self.path(name)).unwrap();
        let len = shape[1..].iter().product();
        values.chunks_exact(len).map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
    }

    /// Codes of all pictures, in file order.
    fn codes(&self) -> Vec<Vec<f32>> {
        self.run(&["encode", "run", "-o", "codes.npy"]).ok();
        self.rows("codes.npy").into_iter().map(|row| row.into_iter().map(f32::from_bits).collect()).collect()
    }

    /// The pictures of these codes, as bits.
    fn decoded(&self, codes: &[Vec<f32>]) -> Vec<Vec<u32>> {
        npy::write(&self.path("to-decode.npy"), &[codes.len(), codes[0].len()], &codes.concat()).unwrap();
        self.run(&["decode", "run", "to-decode.npy", "-o", "decoded.npy"]).ok();
        self.rows("decoded.npy")
    }

    /// What the whole network makes of all pictures, as bits.
    fn reconstructions(&self) -> Vec<Vec<u32>> {
        self.run(&["reconstruct", "run", "pictures", "-o", "reconstructed.npy"]).ok();
        self.rows("reconstructed.npy")
    }

    fn size(&self, name: &str) -> (u32, u32) {
        open_picture(self.path(name)).into_luma8().dimensions()
    }
}

fn near(found: &[u32], wanted: &[u32], tolerance: f32) -> bool {
    found.iter().zip(wanted).all(|(&a, &b)| (f32::from_bits(a) - f32::from_bits(b)).abs() <= tolerance)
}

#[test]
fn a_morph_ends_in_the_plain_reconstructions_to_the_bit() {
    let lab = Lab::prepared(PLAIN);
    // File order: dark/00 … dark/19, light/20 … light/39.
    let pairs = ["#3", "#27", "pictures/light/39.png", "#0"];
    let words = |more: &[&'static str]| [&["morph", "run"][..], &pairs, more].concat();
    let json = lab.json(&words(&["--steps", "5", "-o", "way.npy"]));
    assert_eq!(json["alphas"], serde_json::json!([0.0, 0.25, 0.5, 0.75, 1.0]));
    assert_eq!((json["output"].as_str(), &json["pairs"][1][0]), (Some("way.npy"), &pairs[2].into()));
    let (way, plain) = (lab.rows("way.npy"), lab.reconstructions());
    assert_eq!((way.len(), way[0].len()), (10, PIXELS));
    for (step, picture) in [(0, 3), (4, 27), (5, 39), (9, 0)] {
        assert_eq!(way[step], plain[picture], "step {step} is picture {picture}");
    }
    let codes = lab.codes();
    let quarter = (0..4).map(|i| (0.75 * f64::from(codes[3][i]) + 0.25 * f64::from(codes[27][i])) as f32).collect();
    assert_eq!(lab.decoded(&[quarter])[0], way[1]);

    lab.json(&words(&["--steps", "5", "--path", "spherical", "-o", "arc.npy"]));
    let arc = lab.rows("arc.npy");
    assert_eq!((&arc[0], &arc[4]), (&way[0], &way[4]));
    assert_ne!(arc[2], way[2]);
}

#[test]
fn a_morph_is_a_sheet_an_animation_or_files() {
    let lab = Lab::prepared(PLAIN);
    let text = lab.run(&["morph", "run", "#0", "#1", "#2", "#3", "-o", "sheet.png"]).ok().stdout;
    assert_eq!(text, "14 pictures -> sheet.png\n");
    // Seven steps and two originals, 72 pixels and 6 of margin each, beside the titles of the rows.
    let (width, height) = lab.size("sheet.png");
    assert!((9 * 78..9 * 78 + 120).contains(&width) && (2 * 78..2 * 78 + 40).contains(&height), "{width}x{height}");
    let bytes = lab.read("sheet.png");
    lab.run(&["morph", "run", "#0", "#1", "#2", "#3", "-o", "sheet.png"]).ok();
    assert_eq!(lab.read("sheet.png"), bytes);

    lab.run(&["morph", "run", "#0", "#39", "--steps", "5", "-o", "way.gif"]).ok();
    let file = std::io::BufReader::new(fs::File::open(lab.path("way.gif")).unwrap());
    let frames = GifDecoder::new(file).unwrap().into_frames().collect_frames().unwrap();
    // Six times each end, and three in between there and back.
    assert_eq!(frames.len(), 18);
    assert!(frames[0].buffer() == frames[5].buffer() && frames[6].buffer() == frames[17].buffer());
    assert!(frames[5].buffer() != frames[6].buffer());

    let json = lab.json(&["morph", "run", "#0", "#1", "#2", "#3", "--steps", "2", "-o", "frames"]);
    assert_eq!(json["outputs"][3], "frames/pair-2/step-01.png");
    assert_eq!(lab.size("frames/pair-1/step-00.png"), (8, 8));
}

#[test]
fn a_variational_network_is_sampled_from_its_prior_and_by_seed() {
    let lab = Lab::prepared(VARIATIONAL);
    let sample = |more: &[&str]| lab.json(&[&["sample", "run", "-n", "6"], more].concat());
    let json = sample(&["-o", "a.npy"]);
    assert_eq!(
        (json["distribution"].as_str(), &json["count"], &json["seed"]),
        (Some("the prior N(0, I)"), &6.into(), &1.into())
    );
    sample(&["-o", "again.npy"]);
    assert_eq!(lab.read("a.npy"), lab.read("again.npy"));
    sample(&["--seed", "2", "-o", "other.npy"]);
    assert_ne!(lab.read("a.npy"), lab.read("other.npy"));
    // Without deviations the mean alone is left, the zero code.
    sample(&["--temperature", "0", "-o", "mean.npy"]);
    let zero = lab.decoded(&[vec![0.0; 2]]);
    assert!(lab.rows("mean.npy").iter().all(|picture| *picture == zero[0]));
    assert!(lab.rows("a.npy").iter().all(|picture| *picture != zero[0]));
    sample(&["-o", "sheet.png"]);
    assert!(lab.size("sheet.png").0 > 4 * 78);
    assert_eq!(sample(&["-o", "files"])["outputs"][5], "files/sample-005.png");
}

#[test]
fn another_network_is_sampled_from_a_gaussian_fitted_to_its_codes() {
    let lab = Lab::prepared(PLAIN);
    let json = lab.json(&["sample", "run", "-n", "2", "-o", "own.npy"]);
    assert_eq!(json["distribution"], "a Gaussian fitted to the codes of 32 training pictures");
    let words = ["sample", "run", "-n", "2", "--data", "pictures", "--temperature", "0", "-o", "mean.npy"];
    let text = lab.run(&words).ok().stdout;
    assert!(text.contains("drawn from a Gaussian fitted to the codes of 40 pictures"), "{text}");
    let codes = lab.codes();
    let mean = |i: usize| (codes.iter().map(|code| f64::from(code[i])).sum::<f64>() / codes.len() as f64) as f32;
    let wanted = lab.decoded(&[(0..4).map(mean).collect()]);
    assert!(near(&lab.rows("mean.npy")[1], &wanted[0], 1e-5));
}

#[test]
fn pictures_near_one_begin_at_its_reconstruction() {
    let lab = Lab::prepared(PLAIN);
    let plain = lab.reconstructions();
    let near_it =
        |sigma: &str, out: &str| lab.json(&["sample", "run", "-n", "3", "--near", "#7", "--sigma", sigma, "-o", out]);
    assert_eq!(near_it("0", "same.npy")["near"], "#7");
    assert!(lab.rows("same.npy").iter().all(|picture| *picture == plain[7]));
    let json = near_it("0.2", "near.npy");
    assert_eq!((&json["sigma"], &json["temperature"]), (&0.2.into(), &Value::Null));
    near_it("2", "far.npy");
    let distance = |name: &str| -> f32 {
        let pixels = lab.rows(name).concat().into_iter().zip(plain[7].repeat(3));
        pixels.map(|(a, b)| (f32::from_bits(a) - f32::from_bits(b)).powi(2)).sum()
    };
    assert!(0.0 < distance("near.npy") && distance("near.npy") < distance("far.npy"));
    lab.run(&["sample", "run", "-n", "3", "--near", "pictures/dark/07.png", "--sigma", "0.2", "-o", "file.npy"]).ok();
    assert_eq!(lab.read("file.npy"), lab.read("near.npy"));
    near_it("0.2", "sheet.png");
}

#[test]
fn codes_of_two_values_are_their_own_plane_and_have_a_manifold() {
    let lab = Lab::prepared(VARIATIONAL);
    let json = lab.json(&["latent", "run", "--csv", "places.csv", "--grid", "5", "-o", "plane.png"]);
    assert_eq!((json["method"].as_str(), &json["pictures"]), (Some("code"), &40.into()));
    assert_eq!(json["labels"][1], serde_json::json!({ "name": "light", "count": 20 }));
    assert_eq!(lab.size("plane.png"), (1600, 1200));
    let text = String::from_utf8(lab.read("places.csv")).unwrap();
    let codes = lab.codes();
    assert_eq!(text.lines().next(), Some("index,name,label,x,y"));
    assert_eq!(text.lines().nth(24).unwrap(), format!("23,light/23.png,light,{},{}", codes[23][0], codes[23][1]));
    assert_eq!(json["manifold"], "plane-manifold.png");
    assert_eq!(lab.size("plane-manifold.png"), (6 + 5 * 78, 6 + 5 * 78));
}

#[test]
fn longer_codes_come_into_the_plane_by_pca_or_t_sne() {
    let lab = Lab::prepared(PLAIN);
    let latent = |more: &[&str]| lab.json(&[&["latent", "run"], more].concat());
    let json = latent(&["-o", "pca.png", "--csv", "pca.csv"]);
    let shares: Vec<f64> = json["explained"].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).collect();
    assert!(shares.len() == 2 && shares[0] >= shares[1] && shares.iter().sum::<f64>() <= 1.0 + 1e-9, "{shares:?}");
    assert_eq!((json["method"].as_str(), &json["manifold"]), (Some("pca"), &Value::Null));
    assert!(!lab.path("pca-manifold.png").exists());

    for out in ["tsne.png", "again.png"] {
        latent(&["--method", "tsne", "--manifold", "--grid", "3", "-o", out]);
    }
    assert_eq!(lab.read("tsne.png"), lab.read("again.png"));
    assert_ne!(lab.read("tsne.png"), lab.read("pca.png"));
    assert_eq!(lab.size("tsne-manifold.png"), (6 + 3 * 78, 6 + 3 * 78));
    latent(&["--thumbnails", "-o", "pictures.png"]);
    assert_ne!(lab.read("pictures.png"), lab.read("pca.png"));

    let sampled = latent(&["--sample", "10", "--seed", "3", "--csv", "some.csv", "-o", "some.png"]);
    assert_eq!(sampled["pictures"], 10);
    let text = String::from_utf8(lab.read("some.csv")).unwrap();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        assert!(fields[1].ends_with(&format!("/{:02}.png", fields[0].parse::<usize>().unwrap())), "{line}");
    }
    assert_eq!(text.lines().count(), 11);
}

#[test]
fn an_attribute_is_the_difference_of_the_mean_codes() {
    let lab = Lab::prepared(PLAIN);
    let words =
        ["attribute", "run", "--label", "light", "--picture", "#2", "#30", "--strengths", "-1,0,1.5", "-o", "a.npy"];
    let json = lab.json(&words);
    assert_eq!(
        (&json["with"], &json["without"], &json["strengths"]),
        (&20.into(), &20.into(), &serde_json::json!([-1.0, 0.0, 1.5]))
    );
    let (changed, plain, codes) = (lab.rows("a.npy"), lab.reconstructions(), lab.codes());
    assert_eq!((&changed[1], &changed[4]), (&plain[2], &plain[30]));
    let mean = |codes: &[Vec<f32>], i: usize| codes.iter().map(|code| f64::from(code[i])).sum::<f64>() / 20.0;
    let code = (0..4).map(|i| codes[30][i] + 1.5 * (mean(&codes[20..], i) - mean(&codes[..20], i)) as f32).collect();
    assert!(near(&changed[5], &lab.decoded(&[code])[0], 1e-5));
    lab.run(&["attribute", "run", "--label", "light", "--picture", "#2", "-o", "sheet.png"]).ok();
    assert_eq!(lab.size("sheet.png").1, 6 + 15 + 3 + 78);
    let files =
        lab.json(&["attribute", "run", "--label", "dark", "--picture", "#2", "--strengths", "0.5", "-o", "files"]);
    assert_eq!(files["outputs"][0], "files/strength_0.5.png");
}

#[test]
fn attributes_of_faces_are_labels_too() {
    let lab = Lab::prepared(PLAIN);
    fs::create_dir_all(lab.path("people/A_B")).unwrap();
    let mut table = "person\timagenum\tMale\tSmiling\n".to_owned();
    for (i, smiling) in [0.5, -0.5, 2.0, -0.1].into_iter().enumerate() {
        let picture = open_picture(lab.path(&format!("pictures/dark/{i:02}.png")));
        let mut bytes = Vec::new();
        picture.write_with_encoder(JpegEncoder::new(&mut bytes)).unwrap();
        fs::write(lab.path(&format!("people/A_B/A_B_{:04}.jpg", i + 1)), bytes).unwrap();
        table.push_str(&format!("A B\t{}\t1.0\t{smiling}\n", i + 1));
    }
    fs::write(lab.path("attributes.txt"), table).unwrap();
    let words = ["attribute", "run", "--data", "people", "--labels", "attributes.txt", "--attribute"];
    let json = lab.json(&[&words[..], &["smiling", "--picture", "#1", "-o", "a.png"]].concat());
    assert_eq!((json["label"].as_str(), &json["with"], &json["without"]), (Some("Smiling"), &2.into(), &2.into()));
    let every = lab.run(&[&words[..], &["Male", "--picture", "#1", "-o", "b.png"]].concat());
    every.fails(&["--label: every picture has \"Male\""]);
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let lab = Lab::prepared(PLAIN);
    let fails = |words: &[&str], texts: &[&str]| lab.run(words).fails(texts);
    fails(&["morph", "run", "#0", "#40", "-o", "a.png"], &["#40: there is no such picture: the data has 40 pictures"]);
    fails(&["morph", "run", "#0", "#1", "#2", "-o", "a.png"], &["3 pictures make no pairs"]);
    fails(&["morph", "run", "#0", "no.png", "-o", "a.png"], &["no.png"]);
    fails(&["morph", "run", "#0", "#1", "-o", "a.jpg"], &["a.jpg: sheets of pictures are written as .png"]);
    fails(&["morph", "run", "#0", "#1", "-o", "no/such/a.png"], &["a.png: cannot write"]);
    fails(&["morph", "nowhere", "#0", "#1", "-o", "a.png"], &["nowhere: is no run folder"]);
    fails(&["sample", "run", "-o", "a.gif"], &["a.gif: sheets of pictures are written as .png"]);
    fails(&["sample", "run", "--temperature=-1", "-o", "a.png"], &["--temperature: cannot be -1"]);
    fails(&["sample", "run", "--near", "#3", "--sigma", "nan", "-o", "a.png"], &["--sigma: cannot be NaN"]);
    fails(&["latent", "run", "--method", "code", "-o", "a.png"], &["this network's have 4: take pca or tsne"]);
    fails(&["latent", "run", "-o", "folder"], &["folder: wanted a file such as out.png"]);
    fails(&["latent", "run", "--perplexity", "0", "-o", "a.png"], &["--perplexity: cannot be 0"]);
    fails(&["latent", "run", "--limit", "3", "--method", "tsne", "-o", "a.png"], &["t-SNE", "at least 4 codes, got 3"]);
    fails(
        &["attribute", "run", "--picture", "#0", "-o", "a.png"],
        &["--label: name the one to add: there are dark, light"],
    );
    fails(
        &["attribute", "run", "--label", "grey", "--picture", "#0", "-o", "a.png"],
        &["there is no \"grey\": there are dark, light"],
    );
    let strengths = ["attribute", "run", "--label", "dark", "--picture", "#0", "--strengths", "1,inf", "-o", "a.png"];
    fails(&strengths, &["--strengths: cannot be inf"]);
    let unlabelled = ["attribute", "run", "--data", "pictures/dark", "--label", "x", "--picture", "#0", "-o", "a.png"];
    fails(&unlabelled, &["have no labels: name a file by --data and --labels"]);
    assert!(!lab.path("a.png").exists());
    for words in
        [&["morph", "run", "#0", "-o", "a.png"][..], &["morph", "run", "#x", "#1", "-o", "a.png"], &["sample", "run"]]
    {
        assert_eq!(lab.run(words).code, Some(2), "{words:?}");
    }
}
