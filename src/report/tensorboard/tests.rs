#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

/// Records that the writer of the Python package `tensorboard` 2.21 makes of the same events.
#[test]
fn records_have_the_bytes_that_tensorboard_writes() {
    let file_version = What::FileVersion(FILE_VERSION.to_owned());
    let start = What::SessionLog(SessionLog { status: messages::START });
    let summary = |value| What::Summary(Summary { value });
    let scalars = vec![tagged("loss/train", Value::Scalar(0.25), None), tagged("zero", Value::Scalar(0.0), None)];
    let image = Image { height: 2, width: 3, colorspace: 3, encoded_image_string: b"png".to_vec() };
    let text = Tensor {
        dtype: messages::DT_STRING,
        tensor_shape: Some(TensorShape { dim: vec![Dim { size: 1 }] }),
        string_val: vec![b"hi".to_vec()],
    };
    let cases = [
        (1.5, 0, file_version, "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"),
        (2.5, 9, start, "0f000000000000006d532b0909000000000000044010093a0208019a59759b"),
        (
            3.5,
            300,
            summary(scalars),
            "2e00000000000000c5cb57fa090000000000000c4010ac022a200a110a0a6c6f73732f747261696e150000803e0a0b0a047a65726f\
             1500000000320945f8",
        ),
        (
            4.5,
            1,
            summary(vec![tagged("a", Value::Image(image), None)]),
            "1f00000000000000514b441809000000000000124010012a120a100a0161220b0802100318032203706e67881b6547",
        ),
        (
            5.5,
            1,
            summary(vec![tagged("c", Value::Tensor(text), Some("text"))]),
            "2a00000000000000ae8d91f509000000000000164010012a1d0a1b0a0163420c0807120412020801420268694a080a060a0474657874\
             b9eba6a3",
        ),
    ];
    for (wall_time, step, what, expected) in cases {
        let mut record = Vec::new();
        frame(&mut record, &Event { wall_time, step, what: Some(what) });
        assert_eq!(record.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), expected);
    }
}

#[test]
fn a_folder_s_files_sort_in_the_order_of_their_making() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!has_event_files(folder.path()) && !has_event_files(&folder.path().join("none")));
    fs::write(folder.path().join("events.out.tfevents.broken"), "").unwrap();
    fs::write(folder.path().join("steps.csv"), "").unwrap();
    assert!(!has_event_files(folder.path()));
    let names = || {
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("events.out.tfevents.1")).collect();
        names.sort();
        names
    };
    let mut before = Vec::new();
    for _ in 0..3 {
        EventWriter::create(folder.path()).unwrap();
        let now = names();
        assert_eq!(now[..now.len() - 1], before, "the new one is the last");
        before = now;
    }
    assert_eq!(before.len(), 3);
    assert!(before[0].ends_with(&format!(".{}", std::process::id())), "{before:?}");
    assert!(has_event_files(folder.path()));
    let message = EventWriter::create(&folder.path().join("none")).unwrap_err().to_string();
    assert!(message.contains("none: cannot write an event file: "), "{message}");
}
