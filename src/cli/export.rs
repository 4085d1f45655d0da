//! `degrain export`: a run's network for other frameworks.

use super::console::{Console, count};
use super::run::{RunFlags, SavedRun};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use degrain::interop::{Part, onnx, portable_weights};
use degrain::{Error, Result};
use serde_json::json;
use std::path::PathBuf;
use std::str::FromStr as _;

/// Flags of `degrain export`.
#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    run: RunFlags,
    /// The tensors as safetensors, or the network as an ONNX model for any batch size
    #[arg(long, value_enum)]
    format: Format,
    /// How much of the network
    #[arg(long, value_name = "PART", default_value_t, value_parser = parts())]
    part: Part,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Safetensors,
    Onnx,
}

fn parts() -> impl clap::builder::TypedValueParser<Value = Part> {
    use clap::builder::TypedValueParser as _;
    PossibleValuesParser::new(["whole", "encoder", "decoder"]).try_map(|text| Part::from_str(&text))
}

pub(super) fn run(flags: &Flags, console: &Console) -> Result<()> {
    let other = match flags.format {
        Format::Safetensors => "onnx",
        Format::Onnx => "safetensors",
    };
    if flags.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(other)) {
        let problem = format!("is no name for this format: take another, or --format {other}");
        return Err(Error::file(&flags.output, problem));
    }
    let SavedRun { preset, weights, weights_name } = SavedRun::read(&flags.run)?;
    let (name, part) = (flags.output.display(), flags.part);
    let mut object = json!({
        "output": name.to_string(),
        "part": part.to_string(),
        "weights": weights_name,
    });
    let line = match flags.format {
        Format::Safetensors => {
            let portable = portable_weights(&preset, weights, part)?;
            portable.write(&flags.output)?;
            let values: usize = portable.tensors.values().map(|array| array.data.len()).sum();
            object["format"] = "safetensors".into();
            object["values"] = values.into();
            format!("{} of {values} values ({part}) -> {name}", count(portable.tensors.len(), "tensor"))
        }
        Format::Onnx => {
            onnx::write(&flags.output, &preset, weights, part)?;
            object["format"] = "onnx".into();
            object["opset"] = onnx::OPSET.into();
            object["ir_version"] = onnx::IR_VERSION.into();
            format!("ONNX model, opset {} ({part}) -> {name}", onnx::OPSET)
        }
    };
    console.result(&object, line)
}
