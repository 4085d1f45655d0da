//! `degrain encode` and `degrain decode`: pictures to codes, and codes to pictures.

use super::console::{Console, count};
use super::network::{DataFlags, Network};
use super::outputs::Outputs;
use super::run::RunFlags;
use clap::Args;
use degrain::latent::Codes;
use degrain::{Error, Result};
use serde_json::json;
use std::path::PathBuf;

/// Codes decoded and written at once: pictures of many codes need not fit into memory.
const PIECE: usize = 1024;

/// Flags of `degrain encode`.
#[derive(Args)]
pub(super) struct EncodeFlags {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    data: DataFlags,
    /// The codes, (N, code) of f32 in file order
    #[arg(short, long, value_name = "CODES.npy")]
    output: PathBuf,
}

/// Flags of `degrain decode`.
#[derive(Args)]
pub(super) struct DecodeFlags {
    #[command(flatten)]
    run: RunFlags,
    /// Codes (N, code) as `degrain encode` writes them
    #[arg(value_name = "CODES.npy")]
    codes: PathBuf,
    /// Folder for PNG files; for one code also a file such as out.png; or all as one out.npy, scaled as in training
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

pub(super) fn encode(flags: &EncodeFlags, device: &str, console: &Console) -> Result<()> {
    if flags.output.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("npy")) {
        return Err(Error::file(&flags.output, "codes are written as .npy: choose a name such as codes.npy"));
    }
    let mut network = Network::open(&flags.run, device, console)?;
    let data = flags.data.load(&mut network.preset, console)?;
    let codes = network.codes(&data, console)?;
    codes.write(&flags.output)?;
    let shape = [codes.len(), codes.dim()];
    let object = json!({
        "count": codes.len(),
        "shape": shape,
        "output": flags.output.display().to_string(),
        "skipped": data.skipped,
    });
    let line = format!("{} of {} values -> {}", count(codes.len(), "code"), codes.dim(), flags.output.display());
    console.result(&object, line)
}

pub(super) fn decode(flags: &DecodeFlags, device: &str, console: &Console) -> Result<()> {
    let mut network = Network::open(&flags.run, device, console)?;
    let codes = Codes::read(&flags.codes)?;
    let wanted = network.inference.code_len();
    if codes.dim() != wanted {
        let problem = format!("holds codes of {} values, but this network's have {wanted}", codes.dim());
        return Err(Error::file(&flags.codes, problem));
    }
    let settings = &network.preset.data;
    let (shape, offset) = ([settings.height, settings.width, settings.channels], settings.offset as f32);
    let names: Vec<String> = (0..codes.len()).map(|row| format!("#{row}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let outputs = Outputs::plan(&flags.output, &names, std::slice::from_ref(&flags.codes))?;
    let bar = console.bar(codes.len() as u64, "decoding [{bar:30}] {pos}/{len} codes  ETA {eta}");
    let mut pieces = codes.values().chunks(PIECE * wanted).map(|piece| {
        bar.inc((piece.len() / wanted) as u64);
        network.inference.decode(piece)
    });
    let written = outputs.write(&mut pieces, codes.len(), shape, offset)?;
    bar.finish_and_clear();
    let object = json!({ "outputs": written, "count": codes.len(), "shape": shape });
    console.result(&object, format!("{} -> {}", count(codes.len(), "picture"), flags.output.display()))
}
