//! `.npy`, `.npz`, IDX, labels.

use super::*;
use std::io::Write;

pub(super) fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data].concat()
}

fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        writer.start_file(format!("{name}.npy"), ::zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn shapes_and_types() {
    let folder = tempfile::tempdir().unwrap();
    let path = |bytes: Vec<u8>| write(folder.path().join("a.npy"), bytes);
    let data = read(&path(npy("|u1", "(2, 1, 2, 3)", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])), &Target::new(1, 2, 3))
        .unwrap();
    assert_eq!(bytes(&data), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(data.names, ["#0", "#1"]);
    let rows = npy("|u1", "(2, 4)", &[0, 51, 102, 255, 1, 2, 3, 4]);
    let data = read(&path(rows), &Target::new(2, 2, 1)).unwrap();
    let mut sample = [0.0; 4];
    assert!(data.sample_f32(0, -0.5, &mut sample));
    assert_eq!(sample, [-0.5, 0.2 - 0.5, 0.4 - 0.5, 0.5]);
    assert!(!data.sample_f32(2, 0.0, &mut sample) && !data.sample_f32(0, 0.0, &mut [0.0; 3]));
    let big = [1.5f64, -2.0].iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<_>>();
    let data = read(&path(npy(">f8", "(2, 1, 1)", &big)), &Target::new(1, 1, 3)).unwrap();
    assert_eq!(data.values, Values::F32(vec![1.5, 1.5, 1.5, -2.0, -2.0, -2.0].into()));
    assert_eq!(data.range(), (-2.0, 1.5));
}

#[test]
fn other_sizes_are_resized_and_never_clipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path().join("a.npy"), npy("<f4", "(1, 1, 4)", &floats(&[-100.0, 200.0, 500.0, 1000.0])));
    let Values::F32(values) = read(&path, &Target::new(1, 2, 1)).unwrap().values else { panic!("wanted floats") };
    let expected = [(-300.0 + 600.0 + 500.0) / 7.0, (200.0 + 1500.0 + 3000.0) / 7.0];
    for (got, want) in values.iter().zip(expected) {
        assert!((got - want).abs() <= 1e-3, "{values:?}");
    }
}

#[test]
fn bad_arrays_are_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut infinite = vec![0.0; 48 * 3];
    infinite[100] = f32::INFINITY;
    infinite[140] = f32::NAN;
    for (bytes, reason) in [
        (npy("<f4", "(3, 48)", &floats(&infinite)), "row 2 holds NaN or infinity"),
        (npy("|u1", "(2, 48)", &[0; 95]), "truncated"),
        (npy("|u1", "(99999999999, 48)", &[0; 95]), "truncated"),
        (npy("|u1", "(2, 47)", &[0; 94]), "rows of 47 numbers; wanted 4x4x3 = 48"),
        (npy("|u1", "(0, 48)", &[]), "no samples"),
        (npy("|u1", "(48,)", &[0; 48]), "(N, H, W, C)"),
        (npy("|u1", "(4, 4, 3)", &[0; 48]), "looks like one picture"),
        (npy("|u1", "(1, 3, 4, 4)", &[0; 48]), "channels come last"),
        (npy("|u1", "(1, 4, 4, 4)", &[0; 64]), "4 channels"),
        (npy("|u1", "(1, 0, 4, 3)", &[]), "0x4 pixels"),
        (npy("<i8", "(1, 48)", &[0; 384]), "astype('uint8')"),
        (npy("|O", "(1, 48)", &[0; 384]), "Python objects"),
        (b"\x93NUMPY\x01".to_vec(), "truncated"),
        (b"just text".to_vec(), "not a .npy array"),
    ] {
        let message = problem(&write(folder.path().join("a.npy"), &bytes));
        assert!(message.contains(reason), "wanted “{reason}”: {message}");
    }
}

#[test]
fn npz_with_labels() {
    let folder = tempfile::tempdir().unwrap();
    let path = |bytes: Vec<u8>| write(folder.path().join("a.npz"), bytes);
    let images = npy("|u1", "(3, 4)", &[1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
    let labels = npy("<i8", "(3,)", &[10i64, 9, 10].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
    let target = Target::new(2, 2, 1);
    let data = read(&path(npz(&[("arr_1", labels.clone()), ("arr_0", images.clone())])), &target).unwrap();
    assert_eq!(bytes(&data).len(), 12);
    assert_eq!(data.labels.unwrap(), Labels { names: vec!["9".into(), "10".into()], ids: vec![1, 0, 1] });
    let text = npy("|S3", "(3,)", b"dogcatdog");
    let path_text = path(npz(&[("labels", text), ("images", images.clone())]));
    let first = open(&[path_text], &target, Some(2), &CacheMode::Off, &()).unwrap();
    assert_eq!(first.labels.unwrap(), Labels { names: vec!["cat".into(), "dog".into()], ids: vec![1, 0] });
    assert!(read(&path(npz(&[("anything", images.clone())])), &target).is_ok());
    for (arrays, reason) in [
        (vec![("arr_0", images.clone()), ("arr_1", npy("<i8", "(1,)", &[0; 8]))], "1 labels for 3 pictures"),
        (vec![("p", images.clone()), ("q", images.clone())], "it has \"p, q\""),
        (vec![("arr_0", npy("|u1", "(3, 4)", &[0; 11]))], "arr_0.npy: the array is truncated"),
        (vec![], "holds no arrays"),
    ] {
        let message = read(&path(npz(&arrays)), &target).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
    let whole = npz(&[("arr_0", images)]);
    assert!(problem(&path(whole[..60].to_vec())).contains("damaged"));
}

#[test]
fn idx_with_the_labels_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..], &[1, 2, 3, 4]].concat();
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 2][..], &[5, 0]].concat();
    let plain = write(root.join("train-images-idx3-ubyte"), &images);
    let target = Target::new(1, 2, 1);
    assert_eq!(read(&plain, &target).unwrap().labels, None);
    let beside = write(root.join("train-labels-idx1-ubyte.gz"), gzip(&labels));
    let gzipped = write(root.join("train-images-idx3-ubyte.gz"), gzip(&images));
    for path in [plain, gzipped] {
        let data = read(&path, &target).unwrap();
        assert_eq!(bytes(&data), [1, 2, 3, 4]);
        assert_eq!(data.labels.unwrap(), Labels { names: vec!["0".into(), "5".into()], ids: vec![1, 0] });
    }
    assert_eq!(read_labels(&beside).unwrap().ids, [1, 0]);
    let text = write(root.join("labels.txt"), "b\na\nb\n");
    assert_eq!(read_labels(&text).unwrap(), Labels { names: vec!["a".into(), "b".into()], ids: vec![1, 0, 1] });
    let cut = write(root.join("cut-idx3-ubyte"), &images[..19]);
    assert!(problem(&cut).contains("truncated"));
    let huge = write(root.join("huge-idx3-ubyte"), [&[0, 0, 8, 3][..], &[0xff; 12]].concat());
    assert!(problem(&huge).contains("a sample of 4294967295x4294967295 pixels"));
}

#[test]
fn data_sets_are_joined_selected_and_fitted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let a = write(
        root.join("a.npz"),
        npz(&[("images", npy("|u1", "(2, 1)", &[1, 2])), ("labels", npy("|S1", "(2,)", b"xy"))]),
    );
    let b = write(
        root.join("b.npz"),
        npz(&[("images", npy("|u1", "(2, 1)", &[3, 4])), ("labels", npy("|S1", "(2,)", b"wx"))]),
    );
    let c = write(root.join("c.npy"), npy("<f4", "(1, 1)", &floats(&[0.5])));
    let target = Target::new(1, 1, 1);
    let both = open(&[a.clone(), b], &target, None, &CacheMode::Off, &()).unwrap();
    assert_eq!(bytes(&both), [1, 2, 3, 4]);
    let labels = both.labels.as_ref().unwrap();
    assert_eq!((labels.names.join(""), labels.ids.clone()), ("wxy".into(), vec![1, 2, 0, 1]));
    let chosen = both.select(&[3, 1, 99]);
    assert_eq!(bytes(&chosen), [4, 2]);
    assert_eq!(chosen.labels.unwrap().ids, [1, 2]);
    assert_eq!(bytes(&chosen_fit(&both)), [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4]);
    let mixed = open(&[a, c], &target, None, &CacheMode::Off, &()).unwrap_err().to_string();
    assert!(mixed.contains("a.npz and ") && mixed.contains("cannot be mixed"), "{mixed}");
    let mut grouped = both.clone();
    grouped.groups = Some(vec![0, 0, 1, 1]);
    let joined = Dataset::concat(vec![grouped, both]).unwrap();
    assert_eq!(joined.groups.unwrap(), [0, 0, 1, 1, 2, 3, 4, 5]);
}

fn chosen_fit(data: &Dataset) -> Dataset {
    data.clone().fit(&Target::new(1, 2, 3)).unwrap()
}

#[test]
fn sorted_labels_are_told() {
    let sorted = |samples: &[&str]| Labels::from_names(samples).are_sorted();
    assert!(sorted(&["b", "b", "a", "a", "a"]));
    assert!(!sorted(&["b", "a", "b"]));
    assert!(!sorted(&["a", "a"]));
    assert!(!sorted(&["a", "b", "c"]), "each sample its own class");
    assert_eq!(Labels::from_names(&["10", "9"]).names, ["9", "10"]);
}

#[test]
fn classes_that_are_held_out_whole_are_told() {
    let held_out_whole = |samples: &[&str], first: u32| {
        let last = Split { train: (0..first).collect(), held_out: (first..samples.len() as u32).collect() };
        Labels::from_names(samples).held_out_whole(&last).join(" ")
    };
    let sorted = ["b", "b", "a", "a", "c", "c"];
    assert_eq!(held_out_whole(&sorted, 5), "", "a part of c is trained on");
    assert_eq!(held_out_whole(&sorted, 4), "c");
    assert_eq!(held_out_whole(&sorted, 2), "a c");
    assert_eq!(held_out_whole(&["a", "b", "a", "c", "d", "c"], 3), "c", "in any order, and d has one picture");
    assert_eq!(held_out_whole(&["a", "a"], 2), "");
}
