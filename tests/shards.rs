//! Data sets and codes in shards, and a search through codes that do not fit: the bits of doing all of it at once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use degrain::data::{self, CacheMode, Dataset, Patches, Shard, Target, npy};
use degrain::latent::search::{ExactSearch, Limits, Metric};
use degrain::latent::{CodeFiles, CodeSource, Codes};
use degrain::model::Preset;
use degrain::session::Session;
use degrain::train::{Inference, Weights};
use degrain::validate::{Open, device_trials};
use lab::{Lab, PICTURES};
use libtest_mimic::{Arguments, Trial};
use rand::{RngExt, SeedableRng};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let trial = |name: &'static str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let mut trials = vec![
        trial("shards_of_any_source_are_the_whole", shards_of_any_source_are_the_whole),
        trial("damaged_pictures_are_dealt_like_the_others", damaged_pictures_are_dealt_like_the_others),
        trial("codes_in_files_are_those_in_memory", codes_in_files_are_those_in_memory),
        trial("encoded_shards_are_the_whole", encoded_shards_are_the_whole),
        trial("search_reads_shards_as_one", search_reads_shards_as_one),
        trial("codes_alone_can_be_searched", codes_alone_can_be_searched),
        trial("wrong_words_get_one_line", wrong_words_get_one_line),
    ];
    trials.extend(device_trials([
        ("a_code_does_not_depend_on_its_place_in_a_batch", a_code_does_not_depend_on_its_place_in_a_batch as fn(&Open)),
        ("codes_beyond_the_memory_are_found_all_the_same", codes_beyond_the_memory_are_found_all_the_same),
    ]));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Seeded numbers in -1..1.
fn uniform(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0_f32)).collect()
}

/// The array at `path` as the pictures of an archive.
fn write_npz(archive: &Path, path: &Path) {
    let mut file = zip::ZipWriter::new(fs::File::create(archive).unwrap());
    file.start_file("images.npy", zip::write::SimpleFileOptions::default()).unwrap();
    file.write_all(&fs::read(path).unwrap()).unwrap();
    file.finish().unwrap();
}

/// What the shards hold together, which must be what there is in one piece.
#[track_caller]
fn assert_whole(sources: &[PathBuf], target: &Target, cache: &CacheMode) {
    let whole = data::open(sources, target, None, cache, &()).unwrap();
    for count in [1, 2, 3, 7, whole.len() + 3] {
        let parts = (0..count)
            .map(|index| data::open_shard(sources, target, Shard::new(index, count).unwrap(), cache, &()).unwrap());
        let parts: Vec<Dataset> = parts.collect();
        let names: Vec<&String> = parts.iter().flat_map(|part| &part.names).collect();
        assert_eq!(names, whole.names.iter().collect::<Vec<_>>(), "{sources:?} in {count}");
        let skipped: usize = parts.iter().map(|part| part.skipped.len()).sum();
        assert_eq!(skipped, whole.skipped.len(), "{sources:?} in {count}");
        let floats = |data: &Dataset| data.floats(&(0..data.len() as u32).collect::<Vec<_>>(), 0.0);
        assert_eq!(parts.iter().flat_map(floats).collect::<Vec<f32>>(), floats(&whole), "{sources:?} in {count}");
        assert!(parts.iter().all(|part| part.labels.is_none() && part.shape == whole.shape));
    }
}

fn shards_of_any_source_are_the_whole() {
    let lab = Lab::new();
    let target = Target::new(8, 8, 1);
    let pictures = lab.path("pictures");
    // Bytes, reals, labels beside them, gzipped IDX, lines of text.
    let bytes: Vec<u8> = (0..11 * 64).map(|i| (i * 7 % 251) as u8).collect();
    let floats: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    fs::create_dir(lab.path("arrays")).unwrap();
    npy::write(&lab.path("arrays/reals.npy"), &[11, 8, 8], &floats).unwrap();
    npy::write(&lab.path("arrays/few.npy"), &[3, 64], &floats[..192]).unwrap();
    let lines: String = floats.chunks(64).map(|row| format!("{row:?}\n\n")).collect();
    fs::write(lab.path("arrays/text.txt"), lines).unwrap();
    write_npz(&lab.path("pair.npz"), &lab.path("arrays/reals.npy"));
    let mut idx = flate2::write::GzEncoder::new(fs::File::create(lab.path("idx3.gz")).unwrap(), Default::default());
    idx.write_all(&[0, 0, 8, 3, 0, 0, 0, 11, 0, 0, 0, 8, 0, 0, 0, 8]).unwrap();
    idx.write_all(&bytes).unwrap();
    idx.finish().unwrap();
    let mut archive = tar::Builder::new(fs::File::create(lab.path("pictures.tar")).unwrap());
    archive.append_dir_all(".", &pictures).unwrap();
    archive.finish().unwrap();
    for name in
        ["arrays", "arrays/reals.npy", "arrays/text.txt", "pair.npz", "idx3.gz", "pictures.tar", "pictures/07.png"]
    {
        assert_whole(&[lab.path(name)], &target, &CacheMode::Off);
    }
    // Several sources, and pictures without and with a cache, which the whole of them fills.
    let both = [pictures.clone(), lab.path("idx3.gz")];
    assert_whole(&both, &target, &CacheMode::Off);
    assert_whole(&both, &target, &CacheMode::Folder(lab.path("own-cache")));
    let patches = Target { patches: Some(Patches { count: 3, seed: 5 }), ..Target::new(4, 4, 1) };
    for cache in [CacheMode::Off, CacheMode::Folder(lab.path("own-cache"))] {
        assert_whole(std::slice::from_ref(&pictures), &patches, &cache);
    }
}

fn damaged_pictures_are_dealt_like_the_others() {
    let lab = Lab::new();
    fs::write(lab.path("pictures/15.png"), "no picture").unwrap();
    fs::write(lab.path("pictures/39.png"), "").unwrap();
    let (target, sources) = (Target::new(8, 8, 1), [lab.path("pictures")]);
    assert_whole(&sources, &target, &CacheMode::Off);
    assert_whole(&sources, &target, &CacheMode::Folder(lab.path("own-cache")));
    // A shard does not so much as look at the files of the others.
    let open = |index, count| {
        data::open_shard(&sources, &target, Shard::new(index, count).unwrap(), &CacheMode::Off, &()).unwrap()
    };
    assert_eq!((open(0, 4).len(), open(0, 4).skipped.len()), (10, 0));
    assert_eq!((open(1, 4).len(), &*open(1, 4).skipped[0].path), (9, "15.png"));
    // One whose only file is damaged is empty, and tells it.
    assert_eq!((open(39, 40).len(), open(39, 40).skipped.len()), (0, 1));
    fs::create_dir(lab.path("empty")).unwrap();
    let none = data::open_shard(&[lab.path("empty")], &target, Shard::WHOLE, &CacheMode::Off, &());
    assert!(none.unwrap_err().to_string().contains("empty: holds no files"));
}

/// `codes` as the shards of `codes.npy` in a folder.
fn write_shards(folder: &Path, codes: &Codes, count: usize) {
    for index in 0..count {
        let shard = Shard::new(index, count).unwrap();
        let part = codes.rows(shard.range(codes.len())).unwrap().into_owned();
        Codes::new(part, codes.dim()).unwrap().write(&shard.file(&folder.join("codes.npy"))).unwrap();
    }
}

fn codes_in_files_are_those_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let codes = Codes::new(uniform(50 * 3, 1), 3).unwrap();
    // Some shards are empty.
    for count in [1, 4, 60] {
        let inner = folder.path().join(count.to_string());
        fs::create_dir(&inner).unwrap();
        write_shards(&inner, &codes, count);
        let files = CodeFiles::open(&inner).unwrap();
        assert_eq!((files.len(), files.dim(), files.paths().count()), (50, 3, count));
        assert_eq!(files.max_magnitude(), codes.max_magnitude());
        for range in [0..50, 11..14, 0..0, 50..50, 12..13, 24..26] {
            assert_eq!(files.rows(range.clone()).unwrap(), codes.rows(range.clone()).unwrap(), "{range:?} of {count}");
        }
        assert!(files.rows(49..51).is_err() && codes.rows(49..51).is_err());
        assert_eq!(files.load().unwrap(), codes);
    }
    let path = folder.path().join("bad.npy");
    npy::write(&path, &[2, 2], &[0.0, 1.0, 2.0, f32::INFINITY]).unwrap();
    let problem = CodeFiles::open(&path).err().unwrap().to_string();
    assert!(problem.ends_with("bad.npy: inf in code 1: all numbers must be finite"), "{problem}");
    npy::write(&path, &[0, 2], &[]).unwrap();
    assert!(CodeFiles::open(&path).err().unwrap().to_string().contains("holds no codes"));
}

fn a_code_does_not_depend_on_its_place_in_a_batch(open: &Open) {
    for name in Preset::names() {
        let preset = Preset::load(name).unwrap();
        let mut network = Inference::new(open(), &preset, Weights::initial(&preset).unwrap(), 3).unwrap();
        let (len, low) = (network.sample_len(), preset.data.offset as f32);
        let x: Vec<f32> = (0..4 * len).map(|i| (i * i % 251) as f32 / 250.0 + low).collect();
        let all = network.encode(&x).unwrap();
        let dim = network.code_len();
        for first in 1..4 {
            let some = network.encode(&x[first * len..]).unwrap();
            let same = some.iter().zip(&all[first * dim..]).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same && some.len() == (4 - first) * dim, "{name} from {first}");
        }
    }
}

fn codes_beyond_the_memory_are_found_all_the_same(open: &Open) {
    let (count, dim, k) = (9000, 10, 7);
    // Whole numbers among reals: ties within and across blocks.
    let mut values = uniform(count * dim, 3);
    values.iter_mut().take(count * dim / 2).for_each(|value| *value = (*value * 1.2).round());
    let codes = Codes::new(values, dim).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_shards(folder.path(), &codes, 5);
    let files = CodeFiles::open(folder.path()).unwrap();
    let mut queries = uniform(dim * 130, 4);
    queries[..dim * 60].copy_from_slice(&codes.values()[dim * 40..dim * 100]);
    for metric in [Metric::Euclidean, Metric::Cosine] {
        let mut search = ExactSearch::new(open(), &codes, metric).unwrap();
        assert_eq!(search.parts(), 1);
        let whole = search.nearest(&queries, k).unwrap();
        let ten = search.nearest(&queries[..dim * 10], 3 * k).unwrap();
        for limit in [32 << 10, 100 << 10] {
            let mut search = ExactSearch::with_limits(open(), &files, metric, Limits::within(limit)).unwrap();
            assert!(search.parts() as u64 >= (count * dim * 4) as u64 / limit, "{} parts", search.parts());
            assert_eq!(search.nearest(&queries, k).unwrap(), whole, "{metric:?} within {limit}");
            // Other numbers of queries and of neighbours take the place of those before.
            assert_eq!(search.nearest(&queries[..dim * 10], 3 * k).unwrap(), ten);
            assert_eq!(search.nearest(&queries[..dim], k).unwrap(), whole[..1]);
            assert!(search.device_bytes() as u64 <= limit, "{} bytes within {limit}", search.device_bytes());
        }
    }
    // A file that shrinks meanwhile is told, not survived by chance.
    let mut search = ExactSearch::with_limits(open(), &files, Metric::Euclidean, Limits::within(32 << 10)).unwrap();
    let last = files.paths().last().unwrap().to_owned();
    fs::OpenOptions::new().write(true).open(&last).unwrap().set_len(500).unwrap();
    let problem = search.nearest(&queries, k).unwrap_err().to_string();
    assert!(problem.contains("codes.4-of-5.npy: the array is truncated"), "{problem}");
}

/// A lab with a trained run.
fn trained() -> Lab {
    let lab = Lab::new();
    lab.train("run", &["--epochs=1", "--no-pca"]).ok();
    lab
}

fn encoded_shards_are_the_whole() {
    let lab = trained();
    fs::write(lab.path("pictures/04.png"), "damaged").unwrap();
    for (name, more) in [("plain", &[][..]), ("few", &["--limit=17"]), ("own", &["--data=pictures/11.png"])] {
        let words = |out: &str, more: &[&str]| -> Vec<String> {
            let names = format!("--names={out}.txt");
            let fixed = ["encode", "run", "-o", &format!("{out}.npy"), &names].map(str::to_owned);
            fixed.into_iter().chain(more.iter().map(|&word| word.to_owned())).collect()
        };
        let json = |words: Vec<String>| lab.json(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let whole = json(words(name, more));
        let wanted = npy::read(&lab.path(&format!("{name}.npy"))).unwrap();
        let (mut codes, mut names) = (Vec::new(), String::new());
        for index in 0..3 {
            let shard = format!("--shard={index}/3");
            let part = json(words(name, &[more, &[&shard]].concat()));
            assert_eq!(part["output"], format!("{name}.{index}-of-3.npy"));
            assert_eq!(part["shard"], serde_json::json!({ "index": index, "count": 3 }));
            let (shape, values) = npy::read(&lab.path(&format!("{name}.{index}-of-3.npy"))).unwrap();
            assert_eq!((part["count"].as_u64(), shape[1]), (Some(shape[0] as u64), 4));
            codes.extend(values);
            names += &lab.text(&format!("{name}.{index}-of-3.txt"));
        }
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&codes), bits(&wanted.1), "{name}");
        assert_eq!((names, whole.get("shard")), (lab.text(&format!("{name}.txt")), None));
    }
    assert_eq!(npy::read(&lab.path("plain.npy")).unwrap().0, [PICTURES - 1, 4]);
    // One picture for three processes: two of them write that they have none.
    assert_eq!(npy::read(&lab.path("own.0-of-3.npy")).unwrap().0, [0, 4]);
}

fn search_reads_shards_as_one() {
    let lab = trained();
    lab.json(&["encode", "run", "-o", "whole.npy"]);
    fs::create_dir(lab.path("parts")).unwrap();
    for index in 0..4 {
        lab.json(&["encode", "run", "-o", "parts/codes.npy", &format!("--shard={index}/4")]);
    }
    let search = |codes: &str, more: &[&str]| {
        let words = ["search", "run", "--query=#33", "--query=pictures/02.png", "-k=6", "--codes", codes];
        lab.json(&[&words[..], more].concat())
    };
    let whole = search("whole.npy", &[]);
    assert_eq!((&whole["neighbours"][0]["index"], &whole["neighbours"][0]["path"]), (&33.into(), &"33.png".into()));
    for codes in ["parts", "parts/codes.npy", "parts/codes.2-of-4.npy"] {
        assert_eq!(search(codes, &[]), whole, "{codes}");
    }
    assert_eq!(search("parts", &["--device-memory=1M"]), whole);
    assert_eq!(search("parts", &["--index=hnsw"])["recall"], 1.0);
    fs::rename(lab.path("parts/codes.1-of-4.npy"), lab.path("parts/kept")).unwrap();
    let error = |codes: &str| lab.error(&["search", "run", "--query=#1", "--codes", codes]);
    for codes in ["parts", "parts/codes.npy", "parts/codes.3-of-4.npy"] {
        assert!(error(codes).ends_with("1 of its 4 shards is missing: codes.1-of-4.npy"), "{}", error(codes));
    }
    npy::write(&lab.path("parts/codes.1-of-4.npy"), &[10, 5], &[0.0; 50]).unwrap();
    assert!(error("parts").contains("codes.1-of-4.npy: holds codes of 5 values, but"), "{}", error("parts"));
    fs::rename(lab.path("parts/kept"), lab.path("parts/codes.1-of-4.npy")).unwrap();
    fs::copy(lab.path("whole.npy"), lab.path("parts/codes.0-of-4.npy")).unwrap();
    assert!(
        error("parts").contains("parts: holds 70 codes of 4 values, but the data has 40 pictures"),
        "{}",
        error("parts")
    );
}

fn codes_alone_can_be_searched() {
    let lab = trained();
    for index in 0..3 {
        lab.json(&["encode", "run", "-o", "codes.npy", "--names=names.txt", &format!("--shard={index}/3")]);
    }
    let queries = ["search", "run", "--codes=codes.npy", "--query=#33", "--query=pictures/02.png", "-k=6"];
    let with_data = lab.json(&queries);
    fs::rename(lab.path("pictures"), lab.path("gone")).unwrap();
    let queries = queries.map(|word| word.replace("pictures/", "gone/"));
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    let alone = lab.json(&[&queries[..], &["--no-data", "--names=names.txt"]].concat());
    assert_eq!((&alone["neighbours"], &alone["count"]), (&with_data["neighbours"], &with_data["count"]));
    let unnamed = lab.json(&[&queries[..], &["--no-data"]].concat());
    assert_eq!(unnamed["neighbours"][0], serde_json::json!({ "index": 33, "distance": 0.0 }));
    let error = lab.error(&["search", "run", "--codes=codes.npy", "--no-data", "--query=#40"]);
    assert!(error.contains("#40: there is no such code: there are 40, counted from #0"), "{error}");
    fs::write(lab.path("names.1-of-3.txt"), "one\n").unwrap();
    let error = lab.error(&[&queries[..], &["--no-data", "--names=names.txt"]].concat());
    assert!(error.contains("names.txt: has 28 names for 40 codes"), "{error}");
}

fn wrong_words_get_one_line() {
    let lab = trained();
    for shard in ["4/4", "1", "x/4", "-1/4", "0/0"] {
        let ended = lab.run(&["encode", "run", "-o", "c.npy", &format!("--shard={shard}")]);
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{shard}");
        assert!(ended.stderr.contains("--shard <I/N>") && !lab.path("c.npy").exists(), "{}", ended.stderr);
    }
    let usage = ["search", "run", "--query=#1"];
    for more in [&["--no-data"][..], &["--codes=c.npy", "--names=n"], &["--codes=c.npy", "--no-data", "--limit=3"]] {
        assert_eq!(lab.run(&[&usage[..], more].concat()).code, Some(2), "{more:?}");
    }
    let error = lab.error(&["search", "run", "--query=#1", "--codes=c.npy"]);
    assert!(error.contains("c.npy: no such file, and no shards of it such as c.0-of-1.npy"), "{error}");
    let error = lab.error(&["search", "run", "--query=#1", "--device-memory=1000"]);
    assert!(error.contains("--device-memory: must be at least 1M"), "{error}");
    let error = lab.error(&["search", "run", "--query=#1", "--codes=pictures"]);
    assert!(error.contains("pictures: holds no arrays in shards such as codes.0-of-4.npy"), "{error}");
    // The session stands for any device here: none of the codes are searched.
    assert!(ExactSearch::new(Session::cpu(), &Codes::new(Vec::new(), 2).unwrap(), Metric::Cosine).is_err());
}
