//! `degrain export`: a run's network for other frameworks.

use super::console::Console;
use super::run::{RunFlags, SavedRun};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use degrain::Result;
use degrain::interop::{Part, onnx, portable_weights};
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
    let SavedRun { preset, weights, weights_name } = SavedRun::read(&flags.run)?;
    let object = |format: &str, parameters: Option<usize>| {
        json!({
            "output": flags.output.display().to_string(),
            "format": format,
            "part": flags.part.to_string(),
            "weights": weights_name,
            "parameters": parameters,
            "opset": (flags.format == Format::Onnx).then_some(onnx::OPSET),
            "ir_version": (flags.format == Format::Onnx).then_some(onnx::IR_VERSION),
        })
    };
    let name = flags.output.display();
    let portable = portable_weights(&preset, weights.clone(), flags.part)?;
    let parameters = portable.tensors.values().map(|array| array.data.len()).sum();
    match flags.format {
        Format::Safetensors => {
            portable.write(&flags.output)?;
            let line = format!("{} tensors, {parameters} values ({}) -> {name}", portable.tensors.len(), flags.part);
            console.result(&object("safetensors", Some(parameters)), line)
        }
        Format::Onnx => {
            onnx::write(&flags.output, &preset, weights, flags.part)?;
            let line = format!("ONNX model, opset {}, {parameters} values ({}) -> {name}", onnx::OPSET, flags.part);
            console.result(&object("onnx", Some(parameters)), line)
        }
    }
}
