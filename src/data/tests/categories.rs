//! Lines of numbers, and one file per category: QuickDraw as it comes.

use super::arrays::{gzip, npy};
use super::*;

fn floats(data: &Dataset) -> &[f32] {
    match &data.values {
        Values::F32(v) => v,
        Values::U8(_) => panic!("wanted floats"),
    }
}

fn labels(data: &Dataset) -> Vec<&str> {
    let labels = data.labels.as_ref().unwrap();
    (0..data.len()).map(|i| labels.name(i).unwrap()).collect()
}

fn all(sources: &[PathBuf], target: &Target) -> Dataset {
    open(sources, target, None, &CacheMode::Off, &()).unwrap()
}

#[test]
fn lines_of_numbers_in_all_their_spellings() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::new(2, 2, 1);
    for text in [
        "[0,0.25,1,0.5]\r\n[1,0,0,1e-1]\r\n",
        "0 0.25 1 0.5\n\n1 0 0 0.1",
        "0, .25, 1, .5\n  1, 0, 0, +0.1  \n\n",
        "0;0.25;1;0.5\n1;0;0;0.1",
        "[[0,0.25,1,0.5],\n[1,0,0,0.1]]\n",
    ] {
        let plain = write(folder.path().join("cat.txt"), text);
        let packed = write(folder.path().join("cat.ndjson.gz"), gzip(text.as_bytes()));
        for path in [plain, packed] {
            let data = read(&path, &target).unwrap();
            assert_eq!(floats(&data), [0.0, 0.25, 1.0, 0.5, 1.0, 0.0, 0.0, 0.1], "{text:?}");
            assert_eq!(
                (data.labels, data.category.as_deref()),
                (None, Some("cat")),
                "one category tells nothing apart"
            );
        }
    }
}

#[test]
fn square_rows_are_resized_and_limits_hold() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..5000).map(|i| format!("{i},{i},{i},{i}\n")).collect();
    let path = write(folder.path().join("ramp.txt"), text);
    let data = read(&path, &Target::new(1, 1, 3)).unwrap();
    assert_eq!(data.len(), 5000);
    assert!(floats(&data).chunks(3).enumerate().all(|(i, p)| p == [i as f32; 3]));
    let first = open(&[path], &Target::new(2, 2, 1), Some(3), &CacheMode::Off, &()).unwrap();
    assert_eq!(floats(&first), [0., 0., 0., 0., 1., 1., 1., 1., 2., 2., 2., 2.]);
}

#[test]
fn bad_lines_are_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::new(1, 2, 1);
    let problem = |path: PathBuf| read(&path, &target).unwrap_err().to_string();
    let of = |text: &str| problem(write(folder.path().join("a.txt"), text));
    for (text, reason) in [
        ("1,2\n1,2\n1\n", "line 3 has 1 numbers, those before it 2"),
        ("1,2\r\n\r\n1,2,3\r\n", "line 3 has 3 numbers"),
        ("1,2\n1,1e99\n", "line 2: \"1e99\" is no finite number"),
        ("1,2\n1,--3\n", "line 2: \"--3\" is no finite number"),
        ("1,2,3\n", "rows of 3 numbers; wanted 1x2x1 = 2, or a square"),
        ("", "the file is empty"),
        ("Dear 1, or 2", "wanted a folder"),
    ] {
        let message = of(text);
        assert!(message.contains(reason) && message.contains("a.txt"), "wanted “{reason}”: {message}");
    }
    let long: String = (0..2000).map(|i| format!("{},{}\n", i * 7919, i * 104_729)).collect();
    let whole = gzip(long.as_bytes());
    let cut = problem(write(folder.path().join("b.ndjson.gz"), &whole[..whole.len() / 2]));
    assert!(cut.contains("damaged or truncated") && cut.contains("b.ndjson.gz"), "{cut}");
    let stub = problem(write(folder.path().join("c.ndjson.gz"), &whole[..9]));
    assert!(stub.contains("damaged or truncated"), "{stub}");
    let empty = problem(write(folder.path().join("d.ndjson.gz"), gzip(b"")));
    assert!(empty.contains("gzipped, and empty inside"), "{empty}");
    let blank = problem(write(folder.path().join("e.txt"), "[]\n0\n"));
    assert!(blank.contains("line 2 has 1 numbers, those before it 0"), "{blank}");
}

#[test]
fn several_files_are_labelled_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let target = Target::new(1, 2, 1);
    let dog = write(root.join("full_numpy_bitmap_dog.npy"), npy("|u1", "(2, 2)", &[1, 2, 3, 4]));
    let cat = write(root.join("full_numpy_bitmap_cat.npy"), npy("|u1", "(1, 2)", &[5, 6]));
    let data = all(&[dog.clone(), cat.clone()], &target);
    assert_eq!((bytes(&data), labels(&data)), (&[1, 2, 3, 4, 5, 6][..], vec!["dog", "dog", "cat"]));
    assert_eq!(data.labels.as_ref().unwrap().names, ["cat", "dog"]);

    // A folder of them: in order of their names, each row named by its file.
    write(root.join("notes.txt"), "made by hand");
    write(root.join("full_numpy_bitmap_eel.npy"), npy("|u1", "(1, 2)", &[7]));
    let data = read(root, &target).unwrap();
    assert_eq!((bytes(&data), labels(&data)), (&[5, 6, 1, 2, 3, 4][..], vec!["cat", "dog", "dog"]));
    assert_eq!(
        data.names,
        ["full_numpy_bitmap_cat.npy#0", "full_numpy_bitmap_dog.npy#0", "full_numpy_bitmap_dog.npy#1"]
    );
    assert_eq!((data.ignored, data.skipped.len()), (1, 1));
    assert!(data.skipped[0].path.contains("eel") && data.skipped[0].reason.contains("truncated"), "{:?}", data.skipped);
    let first = open(&[root.to_path_buf()], &target, Some(2), &CacheMode::Off, &()).unwrap();
    assert_eq!(labels(&first), ["cat", "dog"]);

    let lines = write(root.join("eel.txt"), "0,1\n");
    let mixed = open(&[dog, lines], &target, None, &CacheMode::Off, &()).unwrap_err().to_string();
    assert!(mixed.contains("cannot be mixed") && mixed.contains("eel.txt"), "{mixed}");
}

#[test]
fn folders_without_one_good_array_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::new(1, 2, 1);
    write(folder.path().join("a.npy"), npy("|u1", "(1, 3)", &[1, 2, 3]));
    let message = read(folder.path(), &target).unwrap_err().to_string();
    assert!(message.contains("none of its 1 arrays can be used; the first, a.npy: rows of 3 numbers"), "{message}");
    let other = tempfile::tempdir().unwrap();
    write(other.path().join("b.md"), "text");
    let message = read(other.path(), &target).unwrap_err().to_string();
    assert!(message.contains("holds no pictures, only 1 other files such as b.md"), "{message}");
}

#[test]
fn a_folder_of_mnist_is_read_with_its_labels() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let images = |pixels: [u8; 2]| [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1][..], &pixels].concat();
    let classes = |classes: [u8; 2]| [&[0, 0, 8, 1, 0, 0, 0, 2][..], &classes].concat();
    write(root.join("t10k-images-idx3-ubyte.gz"), gzip(&images([1, 2])));
    write(root.join("t10k-labels-idx1-ubyte.gz"), gzip(&classes([9, 0])));
    write(root.join("train-images-idx3-ubyte"), images([3, 4]));
    let train = write(root.join("train-labels-idx1-ubyte"), classes([0, 5]));
    let target = Target::new(1, 1, 1);
    let data = read(root, &target).unwrap();
    assert_eq!((bytes(&data), labels(&data), data.ignored), (&[1, 2, 3, 4][..], vec!["9", "0", "0", "5"], 0));
    let message = read(&train, &target).unwrap_err().to_string();
    assert!(message.contains("holds labels: name the file of pictures"), "{message}");
    let message = read(&root.join("mnist/train-images-idx3-ubyte"), &target).unwrap_err().to_string();
    assert!(message.contains("no such file") && message.contains("https://ossci-datasets"), "{message}");
    assert!(!read(&root.join("absent"), &target).unwrap_err().to_string().contains("https"), "not of MNIST");
    write(root.join("t10k-labels-idx1-ubyte.gz"), &gzip(&classes([9, 0]))[..20]);
    let damaged = read(root, &target).unwrap();
    assert!(damaged.skipped[0].path.contains("t10k-images"), "{:?}", damaged.skipped);
}
