#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::super::layer::Padding;
use super::super::layer::{Conv2d, ConvTranspose2d, Dense, Pool2d, Units};
use super::*;
use crate::model::Preset;
use proptest::prelude::*;

fn layers(text: &str) -> Vec<Layer> {
    #[derive(serde::Deserialize)]
    struct List {
        layers: Vec<Layer>,
    }
    toml::from_str::<List>(&format!("layers = [{text}]")).unwrap().layers
}

/// Resolves an encoder alone, with a decoder that always fits.
fn encoder(input: [usize; 3], code: usize, text: &str) -> Result<Vec<ResolvedLayer>> {
    let [h, w, c] = input;
    let decoder = format!(
        r#"{{ layer = "dense", units = {} }}, {{ layer = "reshape", shape = [{h}, {w}, {c}] }}"#,
        volume(&input).unwrap()
    );
    Architecture::resolve(input, code, &layers(text), &layers(&decoder)).map(|architecture| architecture.encoder)
}

fn problem(input: [usize; 3], text: &str) -> String {
    encoder(input, 4, text).unwrap_err().to_string()
}

fn params(layers: &[ResolvedLayer]) -> usize {
    layers.iter().map(ResolvedLayer::parameter_count).sum()
}

#[test]
fn presets_have_the_parameters_of_the_originals() {
    let cases = [
        ("lfw-linear", 98_336, 101_376),
        ("lfw-conv", 421_216, 421_955),
        ("lfw-denoise", 913_216, 913_475),
        ("emoji-denoise", 913_216, 913_475),
        ("quickdraw-simple", 25_120, 25_872),
        ("quickdraw-deep", 110_816, 111_568),
        ("quickdraw-conv", 1_904, 2_481),
        // Kernels count for the encoder alone; five batch normalisations of 300, 100 and 50 features come on top.
        ("mnist-dae", 270_200 + 450 + 900, 1_184 + 800),
        ("pokemon-mlp", 2_295_552, 2_296_896),
        ("pokemon-conv", 5_088, 5_059),
        ("stacked", 242_112, 242_832),
        ("vae", 784 * 256 + 256 + 2 * (256 * 16 + 16), 16 * 256 + 256 + 256 * 784 + 784),
        ("sparse", 784 * 196 + 196, 196 * 784 + 784),
        ("contractive", 784 * 128 + 128, 128 * 784 + 784),
    ];
    for (name, in_encoder, in_decoder) in cases {
        let architecture = Preset::load(name).unwrap().architecture().unwrap();
        assert_eq!((params(&architecture.encoder), params(&architecture.decoder)), (in_encoder, in_decoder), "{name}");
    }
}

#[test]
fn totals_are_those_of_the_originals() {
    let total = |name: &str, changes: &[&str]| {
        let mut preset = Preset::load(name).unwrap();
        preset.set_all(changes).unwrap();
        let summary = crate::model::Summary::of(&preset).unwrap();
        (summary.total_params, summary.batch_norm_params)
    };
    assert_eq!(total("quickdraw-simple", &[]), (50_992, 0));
    assert_eq!(total("quickdraw-deep", &[]), (222_384, 0));
    assert_eq!(total("quickdraw-conv", &[]), (4_385, 0));
    assert_eq!(total("stacked", &[]), (484_944, 0));
    assert_eq!(total("stacked", &["model.tie=true"]), (243_280, 0));
    assert_eq!(total("mnist-dae", &[]), (271_834, 1_700));
    assert_eq!(total("mnist-dae", &["model.tie=false"]), (542_034, 1_700));
    assert_eq!(total("mnist-dae", &["model.batch_norm=tensor"]), (271_834, 10));
    assert_eq!(total("mnist-dae", &["model.batch_norm=none"]), (271_834, 0));
    assert_eq!(total("pokemon-mlp", &[]), (4_592_448, 0));
    assert_eq!(total("pokemon-conv", &[]), (10_147, 0));
}

#[test]
fn the_heads_of_a_variational_encoder_are_its_last_layer() {
    let architecture = Preset::load("vae").unwrap().architecture().unwrap();
    let names: Vec<&str> = architecture.encoder.iter().flat_map(|l| &l.parameters).map(|p| p.name.as_str()).collect();
    let heads = ["mean.weight", "mean.bias", "log_variance.weight", "log_variance.bias"];
    assert!(names[2..].iter().zip(heads).all(|(name, head)| *name == format!("encoder.{head}")), "{names:?}");
    let message = problem([2, 2, 1], r#"{ layer = "flatten" }, { layer = "gaussian_code" }, { layer = "flatten" }"#);
    assert_eq!(message, "encoder.gaussian_code_1: can only be the last layer of the encoder");
}

#[test]
fn kernels_that_cannot_be_tied_are_named() {
    let tied = |changes: &[&str]| {
        let mut preset = Preset::load("mnist-dae").unwrap();
        preset.set_all(changes).unwrap_err().to_string()
    };
    let message = tied(&["model.decoder.0.units=99"]);
    assert!(message.starts_with("decoder.dense_1: its kernel is 50x99, which is not the transpose of"), "{message}");
    let message = tied(&[r#"model.decoder.1={ layer = "dense", units = 100 }"#]);
    assert_eq!(message, "model.tie: needs as many dense layers on both sides, but the encoder has 3 and the decoder 4");
}

#[test]
fn a_code_may_be_a_picture_of_as_many_values() {
    let convolution = layers(r#"{ layer = "conv2d", channels = 2, kernel = 3 }"#);
    let decoder = layers(r#"{ layer = "avg_pool2d", size = 2 }, { layer = "upsample2d", factor = 2 }"#);
    let architecture = Architecture::resolve([4, 4, 2], 32, &convolution, &decoder).unwrap();
    assert_eq!(architecture.decoder[0].input, [4, 4, 2]);
    assert_eq!(architecture.decoder[0].output, [2, 2, 2]);
    let message = Architecture::resolve([4, 4, 2], 31, &convolution, &decoder).unwrap_err().to_string();
    assert_eq!(message.split(':').next(), Some("decoder.avg_pool2d_1"), "{message}");
}

#[test]
fn flops_agree_with_a_count_by_hand() {
    let architecture = Preset::load("lfw-conv").unwrap().architecture().unwrap();
    let convolutions = 32 * 32 * 3 * 32 + 16 * 16 * 32 * 64 + 8 * 8 * 64 * 128 + 4 * 4 * 128 * 256;
    let transposed = 2 * 2 * 256 * 128 + 4 * 4 * 128 * 64 + 8 * 8 * 64 * 32 + 16 * 16 * 32 * 3;
    let forward = 2 * (9 * (convolutions + transposed) + 2 * 1024 * 32);
    assert_eq!(architecture.forward_flops(), forward);
    assert_eq!(architecture.training_flops(), 3 * forward - 2 * 9 * 32 * 32 * 3 * 32);
    assert_eq!(architecture.training_flops() / 1_000, 111_427);
    assert_eq!(architecture.largest_activation(), 32 * 32 * 32);
}

#[test]
fn names_shapes_and_fans_follow_the_weight_files() {
    let architecture = Preset::load("lfw-conv").unwrap().architecture().unwrap();
    let shape = |name: &str| {
        let parameter = architecture.parameters().find(|parameter| parameter.name == name);
        parameter.map(|parameter| (parameter.shape.clone(), parameter.fans)).unwrap()
    };
    let fans = |input, output| Some(Fans { input, output });
    assert_eq!(shape("encoder.conv2d_1.weight"), (vec![3, 3, 3, 32], fans(27, 288)));
    assert_eq!(shape("encoder.conv2d_4.bias"), (vec![256], None));
    assert_eq!(shape("encoder.dense_1.weight"), (vec![1024, 32], fans(1024, 32)));
    assert_eq!(shape("decoder.dense_1.weight"), (vec![32, 1024], fans(32, 1024)));
    // (kh, kw, out, in), and Keras counts the fan in from the out channels.
    assert_eq!(shape("decoder.conv2d_transpose_1.weight"), (vec![3, 3, 128, 256], fans(9 * 128, 9 * 256)));
    assert_eq!(shape("decoder.conv2d_transpose_4.bias"), (vec![3], None));
    assert_eq!(architecture.parameters().count(), 20);
    let names: Vec<&str> = architecture.layers().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names[..3], ["conv2d_1", "max_pool2d_1", "conv2d_2"]);
    assert_eq!(
        names[8..],
        [
            "flatten_1",
            "dense_1",
            "dense_1",
            "reshape_1",
            "conv2d_transpose_1",
            "conv2d_transpose_2",
            "conv2d_transpose_3",
            "conv2d_transpose_4",
        ]
    );
}

#[test]
fn every_code_size_builds() {
    for name in ["lfw-linear", "lfw-conv", "lfw-denoise"] {
        for code in [1, 8, 32, 128, 512] {
            let mut preset = Preset::load(name).unwrap();
            preset.set(&format!("model.code={code}")).unwrap();
            let architecture = preset.architecture().unwrap();
            assert_eq!(architecture.encoder.last().unwrap().output, [code], "{name}");
            assert_eq!(architecture.decoder.last().unwrap().output, [32, 32, 3], "{name}");
        }
    }
}

#[test]
fn pooling_same_rounds_up() {
    let text = r#"{ layer = "max_pool2d", size = 2, padding = "same" }, { layer = "max_pool2d", size = 2 },
                  { layer = "flatten" }, { layer = "dense", units = "code" }"#;
    let resolved = encoder([7, 9, 2], 4, text).unwrap();
    assert_eq!((resolved[0].output.as_slice(), resolved[1].output.as_slice()), (&[4, 5, 2][..], &[2, 2, 2][..]));
}

proptest! {
    /// Any layer settings end in a value or an error, never in a panic or an overflow.
    #[test]
    fn no_setting_panics(a in any::<usize>(), b in any::<usize>(), c in any::<usize>(), small in 0_usize..5) {
        use super::super::layer::Reshape;
        for padding in [Padding::Same, Padding::Valid] {
            for (kernel, stride, channels) in [(a, b, c), (small, b, c), (small, small, c), (small, 2, small), (1024, 1024, 9)] {
                let activation = Default::default();
                let stack = [
                    Layer::Conv2d(Conv2d { channels, kernel, stride, padding, activation }),
                    Layer::ConvTranspose2d(ConvTranspose2d { channels, kernel, stride, padding, activation }),
                    Layer::MaxPool2d(Pool2d { size: kernel, stride, padding }),
                    Layer::Reshape(Reshape { shape: [a, b, c] }),
                    Layer::Flatten {},
                    Layer::Dense(Dense { units: Units::Count(c), activation }),
                ];
                for layer in stack {
                    let error = Architecture::resolve([small + 1, 7, 3], 4, &[layer], &[Layer::Flatten {}]).is_err();
                    prop_assert!(error, "a decoder of one flatten never gives back a picture");
                }
            }
        }
        let flattens = Architecture::resolve([a, b, c], small, &[Layer::Flatten {}], &[Layer::Flatten {}]);
        prop_assert!(flattens.is_err());
    }
}

#[test]
fn layers_that_do_not_fit_are_named() {
    let end = r#"{ layer = "flatten" }, { layer = "dense", units = "code" }"#;
    let cases = [
        (
            [8, 8, 1],
            r#"{ layer = "conv2d", channels = 0, kernel = 3 }"#,
            "encoder.conv2d_1: channels must be at least 1",
        ),
        (
            [8, 8, 1],
            r#"{ layer = "conv2d", channels = 4, kernel = 0 }"#,
            "encoder.conv2d_1: kernel must be 1 to 1024, not 0",
        ),
        (
            [8, 8, 1],
            r#"{ layer = "conv2d", channels = 4, kernel = 3, stride = 0 }"#,
            "encoder.conv2d_1: stride must be",
        ),
        (
            [2, 8, 1],
            r#"{ layer = "conv2d", channels = 4, kernel = 3, padding = "valid" }"#,
            "3x3 kernel does not fit into its input of 2x8x1",
        ),
        (
            [1, 1, 1],
            r#"{ layer = "max_pool2d", size = 2 }"#,
            "encoder.max_pool2d_1: its 2x2 window does not fit into its input of 1x1x1",
        ),
        ([8, 8, 1], r#"{ layer = "max_pool2d", size = 0 }"#, "encoder.max_pool2d_1: size must be"),
        (
            [8, 8, 1],
            r#"{ layer = "dense", units = 5 }"#,
            "encoder.dense_1: takes one row of values but gets 8x8x1: put a flatten before it",
        ),
        (
            [8, 8, 1],
            r#"{ layer = "flatten" }, { layer = "dense", units = 0 }"#,
            "encoder.dense_1: units must be at least 1",
        ),
        (
            [8, 8, 1],
            r#"{ layer = "flatten" }, { layer = "conv2d", channels = 4, kernel = 3 }"#,
            "encoder.conv2d_1: takes (height, width, channels) but gets one row of 64 values: put a reshape",
        ),
        (
            [8, 8, 1],
            r#"{ layer = "flatten" }, { layer = "reshape", shape = [4, 4, 3] }"#,
            "encoder.reshape_1: 4x4x3 does not hold the 64 values",
        ),
        (
            [8, 8, 1],
            r#"{ layer = "conv2d", channels = 9999999, kernel = 1000 }"#,
            "encoder.conv2d_1: its kernel is 1000x1000x1x9999999: at most 268435456 weights",
        ),
        (
            [1024, 1024, 1],
            r#"{ layer = "conv2d", channels = 128, kernel = 1 }"#,
            "encoder.conv2d_1: puts out 1024x1024x128: at most 67108864 values",
        ),
    ];
    for (input, text, wanted) in cases {
        let message = problem(input, &format!("{text}, {end}"));
        assert!(message.contains(wanted), "{message}\n{wanted}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn ends_must_meet() {
    let wrong_code = problem([8, 8, 1], r#"{ layer = "flatten" }, { layer = "dense", units = 3 }"#);
    assert!(wrong_code.starts_with("encoder.dense_1: the encoder ends in 3, but the code is 4"), "{wrong_code}");
    let unflattened = problem([2, 2, 1], r#"{ layer = "conv2d", channels = 1, kernel = 3 }"#);
    assert!(unflattened.starts_with("decoder.dense_1: takes one row of values but gets 2x2x1"), "{unflattened}");
    let too_many = problem([3, 2, 1], r#"{ layer = "conv2d", channels = 1, kernel = 3 }"#);
    assert!(too_many.starts_with("encoder.conv2d_1: the encoder ends in 3x2x1, but the code is 4"), "{too_many}");
    let code = layers(r#"{ layer = "flatten" }, { layer = "dense", units = "code" }"#);
    let decoder = layers(r#"{ layer = "dense", units = 9 }, { layer = "reshape", shape = [3, 3, 1] }"#);
    let message = Architecture::resolve([3, 3, 2], 4, &code, &decoder).unwrap_err().to_string();
    assert_eq!(message, "decoder.reshape_1: the decoder ends in 3x3x1, but must give back the picture, 3x3x2");
    let message = Architecture::resolve([3, 3, 1], 4, &[], &decoder).unwrap_err().to_string();
    assert_eq!(message, "model.encoder: must list 1 to 256 layers, not 0");
}

#[test]
fn the_sum_of_parameters_is_bounded() {
    let text = r#"{ layer = "flatten" }, { layer = "dense", units = 16000 }, { layer = "dense", units = 16000 },
                  { layer = "dense", units = 16000 }, { layer = "dense", units = "code" }"#;
    assert_eq!(problem([8, 8, 1], text), "model: has more than 268435456 parameters in all");
}
