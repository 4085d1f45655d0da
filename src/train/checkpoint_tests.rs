#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use proptest::prelude::*;
use std::fs;

fn example() -> Weights {
    let mut weights = Weights::default();
    let values = vec![1.0, -0.0, f32::MIN_POSITIVE, 1e-45, 3.402_823_5e38, 0.1];
    weights.tensors.insert("encoder.dense_1.weight".into(), Array::f32([2, 3], values));
    weights.tensors.insert("encoder.dense_1.bias".into(), Array::f32([3], vec![1.5, 2.5, 3.5]));
    weights.tensors.insert("counter".into(), Array::u32([], vec![u32::MAX]));
    weights.tensors.insert("empty".into(), Array::f32([0, 3], vec![]));
    for (key, text) in [("preset", "name = \"ä\"\n"), ("step", "12"), ("epoch", "3"), ("a", ""), ("z", "\u{1}")] {
        weights.metadata.insert(key.into(), text.into());
    }
    weights
}

fn written(weights: &Weights) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    weights.write(&path).unwrap();
    (folder, path)
}

fn bits(array: &Array) -> Vec<u32> {
    match &array.data {
        Data::F32(values) => values.iter().map(|x| x.to_bits()).collect(),
        Data::U32(values) => values.clone(),
    }
}

#[test]
fn what_is_written_reads_back_bit_by_bit() {
    let weights = example();
    let (_folder, path) = written(&weights);
    let read = Weights::read(&path).unwrap();
    assert_eq!((&read.tensors, &read.metadata, &read.path), (&weights.tensors, &weights.metadata, &path));
    for (name, array) in &weights.tensors {
        assert_eq!(bits(&read.tensors[name]), bits(array), "{name}");
    }
}

#[test]
fn the_bytes_are_pinned() {
    let mut weights = Weights::default();
    weights.tensors.insert("b".into(), Array::u32([1], vec![7]));
    weights.tensors.insert("a".into(), Array::f32([1, 2], vec![1.0, -2.0]));
    weights.metadata.insert("step".into(), "3".into());
    weights.metadata.insert("epoch".into(), "1".into());
    let (_folder, path) = written(&weights);
    let header = r#"{"__metadata__":{"crc32c":"51164366","epoch":"1","step":"3"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"U32","shape":[1],"data_offsets":[8,12]}}"#;
    let padded = header.len().next_multiple_of(8);
    let mut wanted = (padded as u64).to_le_bytes().to_vec();
    wanted.extend(format!("{header:<padded$}").bytes());
    wanted.extend([0, 0, 128, 63, 0, 0, 0, 192, 7, 0, 0, 0]);
    assert_eq!(fs::read(&path).unwrap(), wanted);
}

#[test]
fn a_bit_that_changed_is_noticed() {
    let (_folder, path) = written(&example());
    let bytes = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for at in (header..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        let message = Weights::read(&path).unwrap_err().to_string();
        assert!(message.contains("is damaged: its values are not those that were written"), "byte {at}: {message}");
    }
    let text = String::from_utf8_lossy(&bytes[8..header]).into_owned();
    let epoch = 8 + text.find("epoch").unwrap() + "epoch\":\"".len();
    let mut damaged = bytes.clone();
    damaged[epoch] ^= 1;
    fs::write(&path, &damaged).unwrap();
    assert!(Weights::read(&path).is_err(), "a counter is a part of the checkpoint");
}

#[test]
fn the_same_contents_give_the_same_bytes() {
    let (_folder, path) = written(&example());
    let first = fs::read(&path).unwrap();
    for _ in 0..5 {
        Weights::read(&path).unwrap().write(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
    }
}

#[test]
fn tensors_longer_than_a_piece_are_written_whole() {
    let mut weights = Weights::default();
    let values: Vec<f32> = (0..50_001_u16).map(f32::from).collect();
    weights.tensors.insert("long".into(), Array::f32([50_001], values.clone()));
    let (_folder, path) = written(&weights);
    assert_eq!(Weights::read(&path).unwrap().take_f32("long", &[50_001]).unwrap(), values);
}

#[test]
fn taking_checks_name_type_shape_and_values() {
    let (_folder, path) = written(&example());
    let read = || Weights::read(&path).unwrap();
    let message = |result: Result<()>, tensor: &str, wanted: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        assert!(message.contains(tensor) && message.contains(wanted) && !message.contains('\n'), "{message}");
    };
    message(read().take_f32("encoder.conv2d_1.weight", &[3]).map(drop), "encoder.conv2d_1.weight", "is missing");
    message(
        read().take_f32("encoder.dense_1.weight", &[3, 2]).map(drop),
        "encoder.dense_1.weight",
        "has the shape [2, 3]: wanted [3, 2]",
    );
    message(read().take_f32("counter", &[]).map(drop), "counter", "holds U32: wanted F32");
    message(read().take_u32("encoder.dense_1.bias", &[3]).map(drop), "encoder.dense_1.bias", "holds F32: wanted U32");
    let mut weights = read();
    assert_eq!(weights.take_u32("counter", &[]).unwrap(), [u32::MAX]);
    assert_eq!(weights.take_f32("encoder.dense_1.bias", &[3]).unwrap(), [1.5, 2.5, 3.5]);
    weights.take_f32("empty", &[0, 3]).unwrap();
    message(weights.clone().finish(), "encoder.dense_1.weight", "is not part of this model");
    weights.take_f32("encoder.dense_1.weight", &[2, 3]).unwrap();
    assert_eq!(weights.text("step").unwrap(), "12");
    assert!(weights.text("seed").unwrap_err().to_string().contains("\"seed\""));
    weights.finish().unwrap();
}

#[test]
fn values_that_are_not_finite_are_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut weights = example();
        weights.tensors.insert("m".into(), Array::f32([2], vec![0.0, bad]));
        let (_folder, path) = written(&weights);
        let message = Weights::read(&path).unwrap().take_f32("m", &[2]).unwrap_err().to_string();
        assert!(message.contains("\"m\" has a value that is not finite: at index 1"), "{message}");
    }
}

#[test]
fn every_cut_is_noticed() {
    let (_folder, path) = written(&example());
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let message = Weights::read(&path).unwrap_err().to_string();
        assert!(message.contains("cut off") && !message.contains('\n'), "{len}: {message}");
    }
    let longer = [whole.as_slice(), &[0]].concat();
    fs::write(&path, longer).unwrap();
    assert!(Weights::read(&path).is_err());
}

#[test]
fn foreign_headers_are_refused_without_allocating_what_they_claim() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let cases = [
        r#"{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
        r#"{"a":{"dtype":"I64","shape":[0],"data_offsets":[0,0]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"a":"#,
        "[]",
    ];
    for header in cases {
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
        fs::write(&path, bytes).unwrap();
        let message = Weights::read(&path).unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()) && !message.contains('\n'), "{header}: {message}");
    }
    fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
    assert!(Weights::read(&path).is_err());
    assert!(Weights::read(folder.path()).unwrap_err().to_string().contains("is no file"));
    let missing = Weights::read(&folder.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("none: cannot read"), "{missing}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_is_no_weight_file() {
    assert!(Weights::read(Path::new("/dev/zero")).unwrap_err().to_string().contains("is no file"));
}

#[test]
fn a_tensor_that_does_not_fill_its_shape_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    for array in [Array::f32([2], vec![1.0]), Array::f32([usize::MAX, 2], vec![]), Array::u32([0], vec![1])] {
        let weights = Weights { tensors: [("t".to_owned(), array)].into(), ..Weights::default() };
        assert!(weights.write(&path).unwrap_err().to_string().contains("tensor \"t\" of shape"));
        assert!(!path.exists());
    }
}

proptest! {
    #[test]
    fn damaged_files_never_panic(at in 0_usize..400, byte in any::<u8>()) {
        let (_folder, path) = written(&example());
        let mut bytes = fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = Weights::read(&path) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}
