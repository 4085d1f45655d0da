//! `degrain encode` and `degrain decode`: pictures to codes, and codes to pictures.

use super::console::{Console, count};
use super::job::Job;
use super::network::{DataFlags, Network};
use super::outputs::Outputs;
use super::run::RunFlags;
use clap::Args;
use degrain::atomic_file::write_bytes;
use degrain::data::{Shard, Skipped};
use degrain::latent::Codes;
use degrain::{Error, Result};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Codes decoded and written at once: pictures of many codes need not fit into memory.
const PIECE: usize = 1024;

/// Flags of `degrain encode`.
#[derive(Args)]
pub(super) struct EncodeFlags {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    data: DataFlags,
    /// The codes, (N, code) of f32 in file order; of a shard CODES.I-of-N.npy
    #[arg(short, long, value_name = "CODES.npy")]
    output: PathBuf,
    /// Write the names of the pictures there too, one a line, for `degrain decode --names`
    #[arg(long, value_name = "NAMES.txt")]
    names: Option<PathBuf>,
    /// Encode part I of N alone, counted from 0 as the tasks of an array of jobs are; `degrain search` reads all parts as one
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
}

/// Flags of `degrain decode`.
#[derive(Args)]
pub(super) struct DecodeFlags {
    #[command(flatten)]
    run: RunFlags,
    /// Codes (N, code) as `degrain encode` writes them
    #[arg(value_name = "CODES.npy")]
    codes: PathBuf,
    /// Names of the pictures, one a line, as `degrain encode --names` writes them [default: row-0, row-1, …]
    #[arg(long, value_name = "NAMES.txt")]
    names: Option<PathBuf>,
    /// Folder for PNG files; for one code also a file such as out.png; or all as one out.npy, scaled as in training
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

pub(super) fn encode(flags: &EncodeFlags, device: &str, job: &Job, console: &Console) -> Result<()> {
    let shard = flags.shard.or((!job.ranks().is_alone()).then(|| job.ranks().shard()));
    let Encoded { codes, dim, output, skipped } = job.ranks().agree(encode_part(flags, shard, device, job, console))?;
    let mut object = json!({
        "count": codes,
        "shape": [codes, dim],
        "output": output.display().to_string(),
        "skipped": skipped,
    });
    if let (Some(shard), Some(object)) = (shard, object.as_object_mut()) {
        object.insert("shard".to_owned(), json!({ "index": shard.index(), "count": shard.count() }));
    }
    let line = format!("{} of {dim} values -> {}", count(codes, "code"), output.display());
    let ranks = job.ranks().count();
    let more = if ranks > 1 { format!(", the first of {ranks} parts") } else { String::new() };
    console.result(&object, line + &more)
}

/// Codes in a file.
struct Encoded {
    codes: usize,
    dim: usize,
    output: PathBuf,
    skipped: Vec<Skipped>,
}

fn encode_part(
    flags: &EncodeFlags,
    shard: Option<Shard>,
    device: &str,
    job: &Job,
    console: &Console,
) -> Result<Encoded> {
    if flags.output.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("npy")) {
        return Err(Error::file(&flags.output, "codes are written as .npy: choose a name such as codes.npy"));
    }
    let mut network = Network::open(&flags.run, &job.device(device)?, console)?;
    let data = match shard {
        Some(shard) => flags.data.load_shard(&mut network.preset, shard, console)?,
        None => flags.data.load(&mut network.preset, console)?,
    };
    let file = |path: &Path| shard.map_or_else(|| path.to_owned(), |shard| shard.file(path));
    let codes = network.codes(&data, console)?;
    // Before the codes, so that what has its codes has its names too.
    if let Some(path) = &flags.names {
        let lines: String = data.names.iter().flat_map(|name| [name.as_str(), "\n"]).collect();
        write_bytes(&file(path), lines.as_bytes())?;
    }
    let output = file(&flags.output);
    codes.write(&output)?;
    Ok(Encoded { codes: codes.len(), dim: codes.dim(), output, skipped: data.skipped })
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
    let names = match &flags.names {
        Some(path) => read_names(path, codes.len())?,
        None => (0..codes.len()).map(|row| format!("#{row}")).collect(),
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let read: Vec<PathBuf> = std::iter::once(&flags.codes).chain(&flags.names).cloned().collect();
    let outputs = Outputs::plan(&flags.output, &names, &read)?;
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

/// One name a line, as many as there are codes.
fn read_names(path: &Path, wanted: usize) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    let names: Vec<String> = text.lines().map(str::to_owned).collect();
    if names.len() != wanted {
        let problem = format!("has {} for {}", count(names.len(), "name"), count(wanted, "code"));
        return Err(Error::file(path, problem));
    }
    Ok(names)
}
