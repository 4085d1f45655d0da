//! Nearest neighbours: exact on every device, the approximate index and its file, and the command.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use degrain::latent::Codes;
use degrain::latent::search::{self, ExactSearch, HnswIndex, HnswSettings, Limits, Metric, Neighbour, Origin};
use degrain::session::Session;
use degrain::validate::{Open, device_trials};
use lab::{Lab, open_picture, save_png};
use libtest_mimic::{Arguments, Trial};
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    let trial = |name: &'static str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let mut trials = vec![
        trial("what_cannot_be_searched_is_refused", what_cannot_be_searched_is_refused),
        trial("the_index_finds_nearly_all", the_index_finds_nearly_all),
        trial("an_index_is_kept_until_its_codes_change", an_index_is_kept_until_its_codes_change),
        trial("purity_is_that_of_the_others", purity_is_that_of_the_others),
        trial("the_command_keeps_its_contract", the_command_keeps_its_contract),
        trial("codes_stand_in_for_the_network", codes_stand_in_for_the_network),
        trial("wrong_input_gets_one_line", wrong_input_gets_one_line),
    ];
    trials.extend(device_trials([
        ("search_is_exact", search_is_exact as fn(&Open)),
        ("equal_distances_rank_by_index", equal_distances_rank_by_index),
        ("close_and_far_codes_keep_their_digits", close_and_far_codes_keep_their_digits),
        ("cosine_is_exact", cosine_is_exact),
        ("codes_stream_through_small_buffers", codes_stream_through_small_buffers),
    ]));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Seeded numbers in -1..1.
fn uniform(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0_f32)).collect()
}

/// Every distance in f64 by its textbook formula, sorted, equal ones by index.
fn brute_force(codes: &Codes, query: &[f32], metric: Metric, k: usize) -> Vec<Neighbour> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let distance = |code: &[f32]| match metric {
        Metric::Euclidean => {
            let squares = code.iter().zip(query).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
            squares.sum::<f64>().sqrt()
        }
        Metric::Cosine => 1.0 - dot(code, query) / (dot(code, code) * dot(query, query)).sqrt(),
    };
    let mut all: Vec<Neighbour> =
        codes.iter().enumerate().map(|(index, code)| Neighbour { index, distance: distance(code) }).collect();
    all.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.index.cmp(&b.index)));
    all.truncate(k);
    all
}

/// Searches with several numbers of queries, which take different ways, and compares indices and distances.
#[track_caller]
fn assert_exact(open: &Open, codes: &Codes, queries: &[f32], metric: Metric, k: usize) {
    let mut search = ExactSearch::new(open(), codes, metric).unwrap();
    for count in [1, 3, queries.len() / codes.dim()] {
        let queries = &queries[..count * codes.dim()];
        let found = search.nearest(queries, k).unwrap();
        assert_eq!(found.len(), count);
        for (found, query) in found.iter().zip(queries.chunks_exact(codes.dim())) {
            assert_same(found, &brute_force(codes, query, metric, k));
        }
    }
}

#[track_caller]
fn assert_same(found: &[Neighbour], wanted: &[Neighbour]) {
    let indices = |list: &[Neighbour]| list.iter().map(|near| near.index).collect::<Vec<_>>();
    assert_eq!(indices(found), indices(wanted), "{found:?}\n{wanted:?}");
    for (found, wanted) in found.iter().zip(wanted) {
        // Sums in another order, and the cancellation of the textbook formula of cosines.
        let error = (found.distance - wanted.distance).abs();
        assert!(error <= 1e-12 * wanted.distance + 1e-15, "{found:?} for {wanted:?}");
    }
}

fn search_is_exact(open: &Open) {
    for (count, dim, k) in [(40, 1, 3), (700, 7, 10), (3000, 32, 10), (1100, 130, 25)] {
        let codes = Codes::new(uniform(count * dim, 1), dim).unwrap();
        // Strangers, and codes that find themselves.
        let queries = [&uniform(dim * 12, 2)[..], &codes.values()[5 * dim..12 * dim]].concat();
        assert_exact(open, &codes, &queries, Metric::Euclidean, k);
    }
    let codes = Codes::new(uniform(5 * 4, 3), 4).unwrap();
    let found = ExactSearch::new(open(), &codes, Metric::Euclidean).unwrap().nearest(&[0.0; 4], 99).unwrap();
    assert_eq!(found[0].len(), 5, "all codes, where k is more");
}

fn equal_distances_rank_by_index(open: &Open) {
    // Whole numbers: 3^3 places for 900 codes.
    let mut rng = rand_pcg::Pcg64::seed_from_u64(4);
    let values = (0..900 * 3).map(|_| f32::from(rng.random_range(0..3_u8))).collect();
    let codes = Codes::new(values, 3).unwrap();
    let queries: Vec<f32> = (0..27).flat_map(|i| [i % 3, i / 3 % 3, i / 9]).map(|i| i as f32).collect();
    assert_exact(open, &codes, &queries, Metric::Euclidean, 20);
    // All the same: the first ones.
    let codes = Codes::new(vec![0.5; 600 * 2], 2).unwrap();
    assert_exact(open, &codes, &[0.5; 20], Metric::Euclidean, 7);
}

fn close_and_far_codes_keep_their_digits(open: &Open) {
    let (count, dim) = (800, 16);
    // Far from zero for their distances, and copies that differ in the last digits.
    for (offset, spread) in [(1e4_f32, 1e-2_f32), (-300.0, 1.0), (0.0, 1e-9), (1e6, 1.0)] {
        let mut values: Vec<f32> = uniform(count * dim, 5).iter().map(|value| offset + spread * value).collect();
        for i in (0..count * dim).step_by(37) {
            values[i] = values[i % (2 * dim)];
        }
        for row in (dim..count * dim).step_by(9 * dim) {
            values.copy_within(row - dim..row, row);
            values[row] = values[row].next_up();
        }
        let codes = Codes::new(values, dim).unwrap();
        assert_exact(open, &codes, &codes.values()[..15 * dim], Metric::Euclidean, 10);
    }
    // Squares beyond f32.
    let values = uniform(300 * 4, 6).iter().map(|value| 1e30 * value).collect();
    let codes = Codes::new(values, 4).unwrap();
    assert_exact(open, &codes, &codes.values()[..40], Metric::Euclidean, 5);
}

fn cosine_is_exact(open: &Open) {
    let (count, dim) = (900, 12);
    let codes = Codes::new(uniform(count * dim, 7).iter().map(|value| value * 30.0 + 5.0).collect(), dim).unwrap();
    assert_exact(open, &codes, &uniform(dim * 11, 8), Metric::Cosine, 10);
    // Multiples point the same way; zeros are like nothing but zeros.
    let mut values = codes.values().to_vec();
    let first: Vec<f32> = values[..dim].to_vec();
    for (row, factor) in [(40, 3.0), (7, 0.1), (200, 1.0)] {
        values.splice(row * dim..(row + 1) * dim, first.iter().map(|value| value * factor));
    }
    values[300 * dim..302 * dim].fill(0.0);
    let codes = Codes::new(values, dim).unwrap();
    let queries = [&codes.values()[..dim], &vec![0.0; dim], &uniform(10 * dim, 9)].concat();
    let found = ExactSearch::new(open(), &codes, Metric::Cosine).unwrap().nearest(&queries, 5).unwrap();
    let pairs = |list: &[Neighbour]| list.iter().map(|near| (near.index, near.distance)).collect::<Vec<_>>();
    assert_eq!(pairs(&found[0])[..2], [(0, 0.0), (200, 0.0)]);
    // 3 and 0.1 times, each number rounded to f32.
    assert!(pairs(&found[0])[2..4].iter().all(|&(index, distance)| [7, 40].contains(&index) && distance < 1e-14));
    assert_eq!(pairs(&found[1]), [(300, 0.0), (301, 0.0), (0, 1.0), (1, 1.0), (2, 1.0)]);
}

fn codes_stream_through_small_buffers(open: &Open) {
    let (count, dim, k) = (2500, 6, 8);
    let codes = Codes::new(uniform(count * dim, 10), dim).unwrap();
    let queries = uniform(dim * 1100, 11);
    let whole = ExactSearch::new(open(), &codes, Metric::Euclidean).unwrap().nearest(&queries, k).unwrap();
    // Blocks of 300 codes: all nine on the device, and two at a time.
    for resident_bytes in [1 << 20, 2 * 300 * dim * 4] {
        let limits = Limits { block_bytes: 300 * dim * 4, resident_bytes, ..Limits::default() };
        let mut search = ExactSearch::with_limits(open(), &codes, Metric::Euclidean, limits).unwrap();
        assert_eq!(search.nearest(&queries, k).unwrap(), whole);
        assert_eq!(search.nearest(&queries[..dim], k).unwrap(), whole[..1]);
    }
    for (found, query) in whole.iter().zip(queries.chunks_exact(dim)).step_by(101) {
        assert_same(found, &brute_force(&codes, query, Metric::Euclidean, k));
    }
}

fn what_cannot_be_searched_is_refused() {
    let empty = Codes::new(Vec::new(), 3).unwrap();
    assert!(ExactSearch::new(Session::cpu(), &empty, Metric::Euclidean).is_err());
    assert!(HnswIndex::build(&empty, Metric::Euclidean, HnswSettings::default()).is_err());
    let codes = Codes::new(uniform(30, 1), 3).unwrap();
    let mut search = ExactSearch::new(Session::cpu(), &codes, Metric::Euclidean).unwrap();
    let index = HnswIndex::build(&codes, Metric::Euclidean, HnswSettings::default()).unwrap();
    for (query, k, says) in
        [(&[0.0; 4][..], 1, "whole queries"), (&[0.0; 3], 0, "at least 1"), (&[0.0, f32::NAN, 0.0], 1, "finite")]
    {
        assert!(search.nearest(query, k).unwrap_err().to_string().contains(says));
        assert!(index.nearest(query, k).unwrap_err().to_string().contains(says));
    }
    assert!(search::purity(&mut search, &[0; 9], &[0], 1).is_err(), "a label is missing");
    assert!(search::purity(&mut search, &[0; 10], &[10], 1).is_err(), "there is no such row");
}

/// Codes of `dim` numbers on a curved surface of 6 dimensions, as networks make them.
fn surface(count: usize, dim: usize, seed: u64) -> Codes {
    let weights = uniform(6 * dim, 77);
    let inner = uniform(count * 6, seed);
    let codes = inner.chunks_exact(6).flat_map(|inner| {
        let sum = |j: usize| inner.iter().enumerate().map(|(i, value)| value * weights[i * dim + j]).sum::<f32>();
        (0..dim).map(move |j| (2.0 * sum(j)).tanh()).collect::<Vec<_>>()
    });
    Codes::new(codes.collect(), dim).unwrap()
}

fn the_index_finds_nearly_all() {
    let codes = surface(6000, 32, 12);
    let rows = search::sample(codes.len(), 200, 1);
    for metric in [Metric::Euclidean, Metric::Cosine] {
        let index = HnswIndex::build(&codes, metric, HnswSettings::default()).unwrap();
        let mut exact = ExactSearch::new(Session::cpu(), &codes, metric).unwrap();
        let recall = search::recall_of(&index, &mut exact, &rows, 10).unwrap();
        assert!((0.95..=1.0).contains(&recall), "{recall}");
        // What it finds has the distances of the exact search.
        let query = codes.get(17).unwrap();
        let (near, all) = (index.nearest(query, 5).unwrap(), exact.nearest(query, 6000).unwrap());
        assert_eq!(near[0][0], Neighbour { index: 17, distance: 0.0 });
        assert!(near[0].iter().all(|near| all[0].contains(near)));
    }
    // Searching fewer candidates than are asked for gives fewer.
    let narrow = HnswSettings { ef_construction: 4, ef_search: 4, seed: 1 };
    let index = HnswIndex::build(&codes, Metric::Euclidean, narrow).unwrap();
    assert_eq!(index.nearest(codes.get(0).unwrap(), 9).unwrap()[0].len(), 4);
}

fn an_index_is_kept_until_its_codes_change() {
    let folder = tempfile::tempdir().unwrap();
    let (settings, codes) = (HnswSettings::default(), surface(500, 8, 13));
    let open = |codes, metric, settings| {
        let (index, origin) = HnswIndex::open_or_build(folder.path(), codes, metric, settings).unwrap();
        let query = surface(1, 8, 14);
        (index.nearest(query.values(), 10).unwrap(), origin)
    };
    let (found, built) = open(&codes, Metric::Euclidean, settings);
    let Origin::Built(path) = built else { panic!("{built:?}") };
    assert_eq!(open(&codes, Metric::Euclidean, settings), (found.clone(), Origin::Read(path.clone())));
    // Another metric, other settings, other codes: a file each.
    let mut values = codes.values().to_vec();
    values[100] = values[100].next_up();
    let changed = Codes::new(values, 8).unwrap();
    let wide = HnswSettings { ef_search: 50, ..settings };
    for (codes, metric, settings) in
        [(&codes, Metric::Cosine, settings), (&codes, Metric::Euclidean, wide), (&changed, Metric::Euclidean, settings)]
    {
        assert!(matches!(open(codes, metric, settings).1, Origin::Built(other) if other != path));
    }
    // A damaged file counts as none.
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&whole[..whole.len() / 2], &flipped, b"", b"degrain hnsw 1\n"] {
        fs::write(&path, damaged).unwrap();
        let (_, origin) = open(&codes, Metric::Euclidean, settings);
        assert_eq!(origin, Origin::Built(path.clone()));
        assert_eq!(open(&codes, Metric::Euclidean, settings).1, Origin::Read(path.clone()));
    }
}

fn purity_is_that_of_the_others() {
    // Two clouds of 30; one code of each stands in the other's.
    let noise = uniform(60 * 2, 15);
    let codes = noise.chunks_exact(2).enumerate().flat_map(|(i, xy)| [xy[0] + if i < 30 { 0.0 } else { 50.0 }, xy[1]]);
    let codes = Codes::new(codes.collect(), 2).unwrap();
    let mut labels: Vec<u32> = (0..60).map(|i| i / 30).collect();
    labels.swap(0, 59);
    let mut search = ExactSearch::new(Session::cpu(), &codes, Metric::Euclidean).unwrap();
    let rows: Vec<usize> = (0..60).collect();
    // Each cloud: 29 codes have 28 alike and the stranger none, of 29 neighbours each.
    let wanted = (29.0 * 28.0 + 0.0) / (30.0 * 29.0);
    let purity = search::purity(&mut search, &labels, &rows, 29).unwrap();
    assert!((purity - wanted).abs() < 1e-12, "{purity} for {wanted}");
}

/// 8x8 grey pictures, code 4.
const TINY: &str = r#"
name = "tiny"
description = "for tests"
[data]
height = 8
width = 8
channels = 1
[model]
code = 4
encoder = [ { layer = "flatten" }, { layer = "dense", units = "code" } ]
decoder = [ { layer = "dense", units = 64 }, { layer = "reshape", shape = [8, 8, 1] } ]
[train]
loss = "mse"
optimizer = "adam"
lr = 0.01
epochs = 2
batch = 5
val = 0.2
"#;

impl Lab {
    /// 16 pictures in `pictures/dark` and 16 in `pictures/light`; two of them, #3 and #4, are the same.
    fn prepared() -> Self {
        let lab = Self::empty();
        fs::write(lab.path("tiny.toml"), TINY).unwrap();
        for (folder, base) in [("dark", 0), ("light", 150)] {
            fs::create_dir_all(lab.path("pictures").join(folder)).unwrap();
            for i in 0..16_u32 {
                let picture = if folder == "dark" && i == 4 { 3 } else { i };
                let level = |x: u32, y: u32| (base + (x * (picture + 1) + 3 * y * (picture % 4)) % 90) as u8;
                let image = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([level(x, y)]));
                save_png(image, lab.path("pictures").join(folder).join(format!("{i:02}.png")));
            }
        }
        let train = ["train", "tiny.toml", "--data", "pictures", "--out", "run"];
        lab.run(&train).ok();
        lab
    }

    /// `degrain search` in the pictures, as JSON.
    #[track_caller]
    fn search(&self, more: &[&str]) -> Value {
        let ended = self.run(&[&["search", "run", "--data", "pictures", "--json"], more].concat()).ok();
        serde_json::from_str(&ended.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, more: &[&str], texts: &[&str]) {
        let ended = self.run(&[&["search", "run", "--data", "pictures"], more].concat());
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap();
        assert!(last.starts_with("error: ") && texts.iter().all(|text| last.contains(text)), "{last}");
    }
}

fn the_command_keeps_its_contract() {
    let lab = Lab::prepared();
    // Pictures 3 and 4 are the same: both are at distance 0, by index.
    let one = lab.search(&["--query", "#4", "-k", "5", "--sheet", "near.png"]);
    let neighbours = one["neighbours"].as_array().unwrap();
    let indices: Vec<u64> = neighbours.iter().map(|near| near["index"].as_u64().unwrap()).collect();
    assert_eq!((neighbours.len(), &indices[..2]), (5, &[3, 4][..]));
    assert_eq!((&neighbours[1]["distance"], &neighbours[1]["path"]), (&0.0.into(), &"dark/04.png".into()));
    assert_eq!(neighbours[0]["label"], "dark");
    assert!(neighbours.is_sorted_by_key(|near| near["distance"].as_f64().unwrap()));
    assert!(one.get("recall").is_none() && one.get("purity").is_none());
    // Five neighbours and the query, each of 96 pixels at least.
    assert!(open_picture(lab.path("near.png")).width() > 6 * 96);
    // A file of the data finds itself, and the order of queries is kept; the vote leaves a picture of the data out.
    let several = lab.search(&["--query", "pictures/light/07.png", "--query", "#0", "-k", "3", "--metric", "cosine"]);
    let queries = several["queries"].as_array().unwrap();
    assert_eq!((queries.len(), &queries[0]["neighbours"]), (2, &several["neighbours"]));
    assert_eq!((&queries[1]["query"], &queries[0]["query"]), (&"#0".into(), &"pictures/light/07.png".into()));
    assert_eq!((&queries[0]["neighbours"][0]["index"], &queries[0]["vote"]["of"]), (&23.into(), &3.into()));
    assert!(queries[0]["neighbours"][0]["distance"].as_f64().unwrap() < 1e-9);
    assert_eq!((&queries[1]["vote"]["of"], several["metric"].as_str()), (&2.into(), Some("cosine")));
    // The index: built, then read, with its recall.
    for says in ["built in", "index from"] {
        let words = ["search", "run", "--data", "pictures", "--query", "#4", "--index", "hnsw", "--json"];
        let ended = lab.run(&words).ok();
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
        let object: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!((object["recall"].as_f64(), object["neighbours"][0]["index"].as_u64()), (Some(1.0), Some(3)));
    }
    let purity = &lab.search(&["--purity", "-k", "4"])["purity"];
    for share in [&purity["codes"], &purity["pixels"]] {
        assert!((0.5..=1.0).contains(&share.as_f64().unwrap()), "{purity}");
    }
    let text = lab.run(&["search", "run", "--data", "pictures", "--query", "#20", "--purity"]).ok().stdout;
    assert!(text.starts_with("#20\n   1  #20           0.000000  light  light/04.png\n"), "{text}");
    assert!(text.contains("vote: light") && text.contains("purity@10 "), "{text}");
}

fn codes_stand_in_for_the_network() {
    let lab = Lab::prepared();
    lab.run(&["encode", "run", "--data", "pictures", "-o", "codes.npy"]).ok();
    let queries = ["--query", "#9", "--query", "pictures/dark/02.png"];
    let with_codes = lab.search(&[&queries[..], &["--codes", "codes.npy"]].concat());
    assert_eq!(with_codes, lab.search(&queries));
    lab.fails(&["--query", "#9", "--codes", "codes.npy", "--limit", "20"], &["codes.npy", "32 codes", "20 pictures"]);
    lab.fails(&["--query", "#9", "--codes", "nowhere.npy"], &["nowhere.npy"]);
}

fn wrong_input_gets_one_line() {
    let lab = Lab::prepared();
    lab.fails(&["--query", "#32"], &["#32", "32 pictures"]);
    lab.fails(&["--query", "missing.png"], &["missing.png"]);
    lab.fails(&["--query", "pictures"], &["pictures", "more than one picture"]);
    lab.fails(&["--query", "#1", "-k", "0"], &["-k", "at least 1"]);
    lab.fails(&["--query", "#1", "--sheet", "near.jpg"], &["near.jpg", "PNG"]);
    lab.fails(&["--purity", "--sheet", "near.png"], &["near.png", "--query"]);
    fs::create_dir(lab.path("plain")).unwrap();
    fs::copy(lab.path("pictures/dark/00.png"), lab.path("plain/00.png")).unwrap();
    let ended = lab.run(&["search", "run", "--data", "plain", "--purity"]);
    assert!(ended.code == Some(1) && ended.stderr.contains("--purity: needs labels"), "{}", ended.stderr);
    // Nothing to look for, and words that name no picture.
    for words in [&["search", "run"][..], &["search", "run", "--query", "#x"], &["search", "run", "--query", ""]] {
        assert_eq!(lab.run(words).code, Some(2), "{words:?}");
    }
}
