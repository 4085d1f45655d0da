//! Labels from files, the choice by label, attributes, and channels as samples.

use super::arrays::{gzip, npy};
use super::*;

const ATTRIBUTES: &str = "# lfw_attributes.txt\r\n# two comment lines\n\
    #\tperson\timagenum\tMale\tNo Beard\r\n\
    Ann Lee\t1\t-1.5\t0.25\r\n\
    Bob\t12\t2\t-3e-1\t\n\
    Carl\t3\t0\t1\n\n";

fn labels(data: &Dataset) -> Vec<&str> {
    let labels = data.labels.as_ref().unwrap();
    (0..data.len()).map(|i| labels.name(i).unwrap()).collect()
}

/// Four 1x1 pictures in two folders.
fn pictures(root: &Path) -> Dataset {
    for (name, level) in [("a/x.png", 1), ("a/y.png", 2), ("b/x.png", 3), ("b/z.png", 4)] {
        write(root.join(name), png(1, [level; 3]));
    }
    read(root, &Target::new(1, 1, 1)).unwrap()
}

fn named(names: &[&str], shape: [usize; 3]) -> Dataset {
    let numbers = names.len() * shape.iter().product::<usize>();
    let values = Values::U8((0..numbers).map(|i| i as u8).collect());
    Dataset::new(shape, values, names.iter().map(|name| (*name).to_string()).collect())
}

#[test]
fn folders_and_nested_archives_are_labelled_by_class() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(&folder.path().join("set"));
    assert_eq!(labels(&data), ["a", "a", "b", "b"]);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all("top/set", folder.path().join("set")).unwrap();
    let packed = write(folder.path().join("set.tgz"), gzip(&builder.into_inner().unwrap()));
    let archived = read(&packed, &Target::new(1, 1, 1)).unwrap();
    assert_eq!((labels(&archived), bytes(&archived)), (labels(&data), bytes(&data)));
}

#[test]
fn a_list_of_paths_labels_every_picture() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(&folder.path().join("set"));
    let csv = |text: &str| write(folder.path().join("labels.csv"), text);
    let list = "path,label\r\nb/z.png,late\n./a/x.png, early\na/y.png,\"so, so\"\nb/x.png,late\nother.png,early\n";
    let (labelled, left_out) = data.clone().with_labels(&csv(list)).unwrap();
    assert_eq!((labels(&labelled), left_out), (vec!["early", "so, so", "late", "late"], 0));
    assert_eq!(bytes(&labelled), bytes(&data));
    // By the end of the path, and without a header or a name of CSV.
    let plain = write(folder.path().join("labels.txt"), "x.png,1\ny.png,2\nz.png,3\n");
    assert_eq!(labels(&data.clone().with_labels(&plain).unwrap().0), ["1", "2", "1", "3"]);
    for (text, reason) in [
        ("a/x.png,1\na/y.png,2\n", "2 of the 4 pictures have no label here; the first is b/x.png"),
        ("a/x.png,1\na/y.png\n", "line 2 has 1 fields; wanted path,label"),
        ("a/x.png,1\na/y.png,2,3\n", "line 2 has 3 fields"),
        ("a/x.png,1\na/y.png,\n", "line 2: a path or label is missing"),
        ("a/x.png,1\na/x.png,2\n", "line 2: a/x.png is \"2\" here and \"1\" before"),
        ("", "4 of the 4 pictures have no label"),
    ] {
        let message = data.clone().with_labels(&csv(text)).unwrap_err().to_string();
        assert!(message.contains(reason) && message.contains("labels.csv"), "wanted “{reason}”: {message}");
    }
}

#[test]
fn labels_in_file_order_must_be_as_many_as_the_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let data = named(&["#0", "#1", "#2"], [1, 1, 1]);
    let with = |name: &str, bytes: Vec<u8>| data.clone().with_labels(&write(folder.path().join(name), bytes));
    assert_eq!(labels(&with("l.txt", b"5\n0\n5\n".to_vec()).unwrap().0), ["5", "0", "5"]);
    assert_eq!(labels(&with("l.npy", npy("|u1", "(3,)", &[7, 8, 7])).unwrap().0), ["7", "8", "7"]);
    let idx = [&[0, 0, 8, 1, 0, 0, 0, 3][..], &[1, 2, 3]].concat();
    assert_eq!(labels(&with("l.gz", gzip(&idx)).unwrap().0), ["1", "2", "3"]);
    for (name, bytes, reason) in [
        ("few.txt", b"5\n0\n".to_vec(), "2 labels for the 3 pictures"),
        ("cut.npy", npy("|u1", "(3,)", &[7, 8]), "truncated"),
        ("cut.gz", gzip(&idx)[..12].to_vec(), "truncated"),
        ("half.npy", npy("<f4", "(3,)", &[0, 0, 0x20, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0]), "whole numbers or text"),
        ("other.bin", vec![0xff, 0xfe, 0xfd], "wanted .npy, IDX"),
    ] {
        let message = with(name, bytes).unwrap_err().to_string();
        assert!(message.contains(reason), "wanted “{reason}”: {message}");
    }
    let message = data.with_labels(&folder.path().join("absent.csv")).unwrap_err().to_string();
    assert!(message.contains("absent.csv"), "{message}");
}

#[test]
fn a_choice_of_labels_keeps_order_and_forgets_the_others() {
    let mut data = named(&["p", "q", "r", "s", "t"], [1, 2, 1]);
    let kept =
        |data: &Dataset, labels: &[&str]| data.keep_labels(&labels.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert!(kept(&data, &["0"]).unwrap_err().to_string().contains("have no labels to choose by"));
    data.set_labels(Labels::from_names(&["5", "1", "0", "5", "10"]), "here").unwrap();
    let chosen = kept(&data, &["0", "5"]).unwrap();
    assert_eq!((chosen.names.join(""), bytes(&chosen)), ("prs".into(), &[0, 1, 4, 5, 6, 7][..]));
    assert_eq!(chosen.labels.unwrap(), Labels { names: vec!["0".into(), "5".into()], ids: vec![1, 0, 1] });
    let message = kept(&data, &["0", "cat"]).unwrap_err().to_string();
    assert!(message.contains("no label \"cat\"; there are 0, 1, 5, 10"), "{message}");
    // A class of which the limit left none.
    data.limit(2);
    assert!(kept(&data, &["0"]).unwrap_err().to_string().contains("no picture of  has the label 0"));
}

#[test]
fn attributes_choose_the_listed_pictures_and_label_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path().join("lfw_attributes.txt"), ATTRIBUTES);
    let data = named(&["lfw/Bob/Bob_0012.jpg", "lfw/Bob/Bob_0001.jpg", "lfw/Ann_Lee/Ann_Lee_0001.jpg"], [1, 1, 1]);
    let (joined, left_out) = data.clone().with_labels(&path).unwrap();
    assert_eq!((bytes(&joined), left_out, joined.names.len()), (&[0, 2][..], 1, 2));
    let attributes = joined.attributes.as_ref().unwrap();
    assert_eq!(attributes.names, ["Male", "No Beard"]);
    assert_eq!(
        (attributes.of(0), attributes.of(1), attributes.of(2)),
        (Some(&[2.0, -0.3][..]), Some(&[-1.5, 0.25][..]), None)
    );
    let mut labelled = joined.clone();
    labelled.label_by_attribute("male").unwrap();
    assert_eq!(labels(&labelled), ["Male", "not Male"]);
    labelled.label_by_attribute("No Beard").unwrap();
    assert_eq!(labels(&labelled), ["not No Beard", "No Beard"]);
    assert!(
        labelled.label_by_attribute("Hat").unwrap_err().to_string().contains("no \"Hat\"; there are Male, No Beard")
    );
    assert!(data.clone().label_by_attribute("Male").unwrap_err().to_string().contains("have no attributes"));
    // They stay with their pictures.
    assert_eq!(labelled.select(&[1]).attributes.unwrap().values, [-1.5, 0.25]);
    let mut first = labelled.clone();
    first.limit(1);
    assert_eq!(first.attributes.as_ref().unwrap().values, [2.0, -0.3]);
    let twice = Dataset::concat(vec![first.clone(), joined]).unwrap();
    assert_eq!(twice.attributes.unwrap().values, [2.0, -0.3, 2.0, -0.3, -1.5, 0.25]);
    assert_eq!(Dataset::concat(vec![first, data]).unwrap().attributes, None, "not all have them");
}

#[test]
fn the_header_of_attributes_may_stand_bare() {
    let folder = tempfile::tempdir().unwrap();
    let data = named(&["Bob_0012.jpg"], [1, 1, 1]);
    let with = |text: &str| data.clone().with_labels(&write(folder.path().join("a.txt"), text));
    let (joined, _) = with("# one\n# two\nperson\timagenum\tMale\nBob\t12\t1\n").unwrap();
    assert_eq!(joined.attributes.unwrap().values, [1.0]);
    let header = "#\tperson\timagenum\tMale\tHat\n";
    for (rest, reason) in [
        ("Bob\t12\t1\n", "line 2 has 1 attributes, the header 2"),
        ("Bob\t12\t1\t2\t3\n", "line 2 has 3 attributes"),
        ("Bob\ttwelve\t1\t2\n", "line 2: \"twelve\" is no number of a picture"),
        ("Bob\t12\t1\tnan\n", "line 2: \"nan\" is no finite number"),
        ("Bob\t12\t1\t?\n", "line 2: \"?\" is no finite number"),
        ("Bob\n", "line 2 has one field"),
        ("Bob\t12\t1\t2\nBob\t12\t1\t2\n", "line 3 lists Bob_0012.jpg again"),
        ("Eve\t1\t1\t2\n", "lists none of the 1 pictures"),
        ("", "lists no pictures"),
    ] {
        let message = with(&format!("{header}{rest}")).unwrap_err().to_string();
        assert!(message.contains(reason) && message.contains("a.txt"), "wanted “{reason}”: {message}");
    }
}

#[test]
fn channels_become_samples_of_one_group() {
    let mut data = named(&["a/x.png", "#1"], [1, 2, 3]);
    data.set_labels(Labels::from_names(&["grass", "fire"]), "here").unwrap();
    let rows = data.clone().channel_rows();
    assert_eq!((rows.shape, rows.len()), ([1, 2, 1], 6));
    assert_eq!(bytes(&rows), [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    assert_eq!(rows.names, ["a/x.red.png", "a/x.green.png", "a/x.blue.png", "#1.red", "#1.green", "#1.blue"]);
    assert_eq!(rows.groups.as_deref(), Some(&[0, 0, 0, 1, 1, 1][..]));
    assert_eq!(labels(&rows), ["grass", "grass", "grass", "fire", "fire", "fire"]);
    let split = split(rows.len(), rows.groups.as_deref(), 0.5, SplitKind::Seeded(3)).unwrap();
    assert_eq!(split.train.len(), 3, "the channels of a picture are never parted");
    data.groups = Some(vec![8, 8]);
    assert_eq!(data.channel_rows().groups.unwrap(), [8; 6]);
    let grey = named(&["g"], [2, 2, 1]);
    assert_eq!(grey.clone().channel_rows(), grey);
}

#[test]
fn probes_tell_sizes_without_decoding() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, side) in [("set/a.png", 3), ("set/b.png", 5), ("set/c.png", 5)] {
        write(root.join(name), png(side, [9; 3]));
    }
    write(root.join("set/grey.png"), encode(image::GrayImage::new(2, 7), ImageFormat::Png));
    write(root.join("set/bad.png"), "no picture");
    let sizes = vec![([5, 5, 3], 2), ([3, 3, 3], 1), ([7, 2, 1], 1)];
    assert_eq!(probe(&root.join("set")).unwrap(), Probe { kind: "folder", sizes: sizes.clone() });
    assert_eq!(probe(&root.join("set")).unwrap().target(), Target::new(5, 5, 3));
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all("set", root.join("set")).unwrap();
    let packed = write(root.join("set.tar"), builder.into_inner().unwrap());
    assert_eq!(probe(&packed).unwrap(), Probe { kind: "tar", sizes });
    let kinds = |path: PathBuf| probe(&path).map(|p| (p.kind, p.sizes));
    assert_eq!(kinds(root.join("set/grey.png")).unwrap(), ("picture", vec![([7, 2, 1], 1)]));
    for (shape, natural) in [
        ("(4, 784)", [28, 28, 1]),
        ("(4, 3072)", [32, 32, 3]),
        ("(4, 10)", [1, 10, 1]),
        ("(4, 5, 6)", [5, 6, 1]),
        ("(4, 5, 6, 3)", [5, 6, 3]),
    ] {
        let path = write(root.join("x.npy"), npy("|u1", shape, &[]));
        assert_eq!(kinds(path).unwrap(), ("npy", vec![(natural, 4)]), "{shape}");
    }
    assert_eq!(kinds(write(root.join("l.gz"), gzip(b"1,2,3,4\n"))).unwrap(), ("lines", vec![([2, 2, 1], 0)]));
    let idx = write(root.join("i"), [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 6]);
    assert_eq!(kinds(idx).unwrap(), ("idx", vec![([5, 6, 1], 2)]));
    let many = write(root.join("x.npy"), npy("|u1", "(4,)", &[]));
    assert!(kinds(many).unwrap_err().to_string().contains("(N, H, W, C)"));
}
