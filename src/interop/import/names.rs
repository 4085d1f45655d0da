//! What the names that people give to tensors say.

use super::slots::{Head, Role};
use crate::model::Side;

/// What ends the name of a tensor in PyTorch (`weight`) and in Keras (`kernel`, `gamma`).
const ROLES: [(&str, Role); 9] = [
    ("weight", Role::Weight),
    ("kernel", Role::Weight),
    ("gamma", Role::Weight),
    ("bias", Role::Bias),
    ("beta", Role::Bias),
    ("running_mean", Role::RunningMean),
    ("moving_mean", Role::RunningMean),
    ("running_var", Role::RunningVar),
    ("moving_variance", Role::RunningVar),
];

/// A tensor's name, taken apart: `encoder.0` and `weight`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    /// The layer.
    pub(super) key: &'a str,
    pub(super) role: Option<Role>,
}

impl<'a> Name<'a> {
    pub(super) fn of(name: &'a str) -> Self {
        // Older Keras ends every name so.
        let name = name.strip_suffix(":0").unwrap_or(name);
        let split = ROLES.iter().find_map(|(ending, role)| {
            let key = name.strip_suffix(ending)?.strip_suffix(['.', '/', '_'])?;
            Some(Self { key, role: Some(*role) })
        });
        split.unwrap_or(Self { key: name, role: None })
    }
}

/// Whether a name is one that Keras gives.
pub(super) fn is_of_keras(name: &str) -> bool {
    let name = name.strip_suffix(":0").unwrap_or(name);
    let endings = ["kernel", "gamma", "beta", "moving_mean", "moving_variance"];
    endings.iter().any(|ending| name.ends_with(ending))
}

/// Whether it is a name that `numpy.savez` gives to arrays without names.
pub(super) fn is_numpys(name: &str) -> bool {
    name.strip_prefix("arr_").is_some_and(|number| number.chars().all(|c| c.is_ascii_digit()))
}

/// The side that a layer's name tells of: one of its words is `enc`, `encoder`, `dec`, `decoder` or the like.
pub(super) fn side(key: &str) -> Option<Side> {
    key.split(|c: char| !c.is_ascii_alphabetic()).find_map(|word| match word.to_ascii_lowercase().as_str() {
        "enc" | "encode" | "encoder" => Some(Side::Encoder),
        "dec" | "decode" | "decoder" => Some(Side::Decoder),
        _ => None,
    })
}

/// Whether a layer's name tells of the other head than this one: `fc_mu`, `z_mean`, `logvar`, `z_log_var`.
pub(super) fn is_other_head(key: &str, head: Head) -> bool {
    let last = key.rsplit(['.', '/']).next().unwrap_or(key).to_ascii_lowercase();
    let named = if last.contains("var") {
        Some(Head::LogVariance)
    } else if last.contains("mu") || last.contains("mean") {
        Some(Head::Mean)
    } else {
        None
    };
    named.is_some_and(|named| named != head)
}

/// Whether the names of two layers say which of them comes first: they differ in their numbers alone, or in their side.
pub(super) fn are_ordered(one: &str, other: &str) -> bool {
    are_numbered(one, other) || matches!((side(one), side(other)), (Some(one), Some(other)) if one != other)
}

/// Whether two names differ in their numbers alone; Keras's first layer of a kind has none.
pub(super) fn are_numbered(one: &str, other: &str) -> bool {
    let letters = |name: &str| name.chars().filter(|c| !c.is_ascii_digit() && *c != '_').collect::<String>();
    letters(one) == letters(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let cases = [
            ("encoder.0.weight", "encoder.0", Some(Role::Weight)),
            ("conv2d_1/kernel:0", "conv2d_1", Some(Role::Weight)),
            ("bn.running_mean", "bn", Some(Role::RunningMean)),
            ("batch_normalization/moving_variance", "batch_normalization", Some(Role::RunningVar)),
            ("out_bias", "out", Some(Role::Bias)),
            ("decoder_bias.2", "decoder_bias.2", None),
            ("arr_0", "arr_0", None),
            ("weight", "weight", None),
        ];
        for (name, key, role) in cases {
            assert_eq!(Name::of(name), Name { key, role }, "{name}");
        }
    }

    #[test]
    fn names_tell_of_sides_heads_and_order() {
        assert_eq!(side("model/Encoder/conv2d"), Some(Side::Encoder));
        assert_eq!(side("dec2"), Some(Side::Decoder));
        assert_eq!(side("deconv2"), None);
        assert!(is_other_head("z_log_var", Head::Mean) && is_other_head("enc.fc_mu", Head::LogVariance));
        assert!(!is_other_head("fc21", Head::Mean) && !is_other_head("enc.logvar", Head::LogVariance));
        assert!(are_ordered("conv2d", "conv2d_1") && are_ordered("encoder.4", "decoder.0") && are_ordered("c1", "c12"));
        assert!(!are_ordered("first", "second") && !are_ordered("conv1", "deconv1"));
        assert!(is_numpys("arr_12") && !is_numpys("arr_x") && is_of_keras("dense/kernel:0") && !is_of_keras("w"));
    }
}
