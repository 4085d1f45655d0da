//! The subcommands, one file each, and what they share.

mod anomaly;
mod attribute;
mod bench;
mod console;
mod data;
mod denoise;
mod denoise_tiles;
mod device;
mod devices;
mod encode;
mod eval;
mod export;
mod finish;
mod gallery;
mod import;
mod interrupt;
mod job;
mod latent;
mod morph;
mod neighbours;
mod network;
mod outputs;
mod pca;
mod pictures;
mod places;
mod presets;
mod probe;
mod profile;
mod profile_kernel;
mod profile_step;
mod progress;
mod report;
mod run;
mod sample;
mod scale_model;
mod search;
mod sheets;
mod signals;
mod summary;
mod sweep;
mod tensorboard;
mod train;
mod train_flags;
mod tune;
mod validate;
mod vectors;
mod words;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use console::Console;
use degrain::{Error, Result};
use job::Job;
use std::process::ExitCode;
use std::time::Instant;

/// Trains autoencoders on any Vulkan, Metal or DX12 GPU, or on the CPU.
#[derive(Parser)]
#[command(name = "degrain", version, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags that may stand before or after the subcommand.
#[derive(Args)]
struct Global {
    /// Where to compute: auto, cpu, an index or a part of a name from `degrain devices`
    #[arg(long, global = true, env = "DEGRAIN_DEVICE", default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// Print one JSON object as the only thing on standard output
    #[arg(long, global = true)]
    json: bool,
    /// No progress, logs or notes on standard error
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// The devices that can compute, and which one `auto` takes
    Devices,
    /// The presets, one line each
    Presets,
    /// Layers, parameters, FLOPs and memory of a preset, preset file or run
    Summary(summary::Flags),
    /// Train a preset; without one, the default denoising preset on the bundled pictures
    Train(Box<train_flags::Flags>),
    /// Metrics of a run on its held-out pictures, or on other data
    Eval(eval::Flags),
    /// Put pictures through a run's network: pictures in, pictures out
    #[command(alias = "reconstruct")]
    Denoise(denoise::Flags),
    /// Pictures to codes, as an array
    Encode(encode::EncodeFlags),
    /// Codes to pictures
    Decode(encode::DecodeFlags),
    /// The pictures whose codes are the nearest to a picture's
    Search(search::Flags),
    /// The way from one picture to another through code space
    Morph(morph::Flags),
    /// New pictures, drawn in code space
    Sample(sample::Flags),
    /// Codes in the plane, coloured by label, and the manifold of the decoder
    Latent(latent::Flags),
    /// What pictures with a label have in code space, added to a picture
    Attribute(attribute::Flags),
    /// A run's network for other frameworks: safetensors or ONNX
    Export(export::Flags),
    /// Weights that PyTorch or Keras trained, as a run
    Import(import::Flags),
    /// What folders, archives and arrays hold: count, size, labels, a sheet of samples
    Data(data::Flags),
    /// Exact PCA, the baseline of every autoencoder
    Pca(pca::Flags),
    /// How well a linear classifier tells labels from codes, beside the same from pixels
    Probe(probe::Flags),
    /// Which pictures a run's network restores worst
    Anomaly(anomaly::Flags),
    /// Held-out error against the size of the code, of autoencoders and of exact PCA
    Sweep(sweep::Flags),
    /// Write the page of a run anew, or set several runs side by side
    Report(report::Flags),
    /// Training steps per second of the standard workloads, on random pictures
    Bench(bench::Flags),
    /// Where the time of a step goes, launch by launch; how fast a lone WGSL kernel is
    Profile(Box<profile::Flags>),
    /// How long a step takes on up to 1,024 GPUs, foretold from what one takes
    ScaleModel(Box<scale_model::Flags>),
    /// Measure which kernels are the fastest on this device, and take them from now on
    Tune(tune::Flags),
    /// Hold every kernel on this device against the CPU reference
    Validate(validate::Flags),
}

/// How a command ended, if not with an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Done,
    /// Stopped by Ctrl-C, everything saved.
    Interrupted,
}

/// Exit code of a process that Ctrl-C stopped: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let started = Instant::now();
    device::quiet_drivers();
    signals::survive_file_limits();
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches);
    let Cli { global, command } = cli.unwrap_or_else(|error| error.format(&mut Cli::command()).exit());
    let console = Console::new(global.json, global.quiet, started);
    let job = match Job::enter() {
        Ok(job) => job,
        Err(error) => {
            console.error(&error);
            return ExitCode::FAILURE;
        }
    };
    let console = if job.speaks() { console } else { Console::silent(started) };
    match places::check(&matches).and_then(|()| run(command, &global.device, &job, &console)) {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Interrupted) => ExitCode::from(INTERRUPTED),
        // Whoever reads standard output has seen enough, as in `degrain presets | head -1`.
        Err(error) if console::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if job.tells(&error) {
                console.error_of(job.name(), &error);
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, device: &str, job: &Job, console: &Console) -> Result<Ending> {
    let done = |()| Ending::Done;
    if !job.ranks().is_alone() && !matches!(command, Command::Train(_) | Command::Encode(_)) {
        let problem = "only train and encode work on several ranks: start other commands by themselves";
        return job.ranks().agree(Err(Error::setting("mpirun", problem)));
    }
    match command {
        Command::Devices => devices::run(console).map(done),
        Command::Presets => presets::run(console).map(done),
        Command::Summary(flags) => summary::run(&flags, device, console).map(done),
        Command::Train(flags) => train::run(&flags, device, job, console),
        Command::Eval(flags) => eval::run(&flags, device, console).map(done),
        Command::Denoise(flags) => denoise::run(&flags, device, console).map(done),
        Command::Encode(flags) => encode::encode(&flags, device, job, console).map(done),
        Command::Decode(flags) => encode::decode(&flags, device, console).map(done),
        Command::Search(flags) => search::run(&flags, device, console).map(done),
        Command::Morph(flags) => morph::run(&flags, device, console).map(done),
        Command::Sample(flags) => sample::run(&flags, device, console).map(done),
        Command::Latent(flags) => latent::run(&flags, device, console).map(done),
        Command::Attribute(flags) => attribute::run(&flags, device, console).map(done),
        Command::Export(flags) => export::run(&flags, console).map(done),
        Command::Import(flags) => import::run(&flags, console).map(done),
        Command::Data(flags) => data::run(&flags, console).map(done),
        Command::Pca(flags) => pca::run(&flags, console).map(done),
        Command::Probe(flags) => probe::run(&flags, device, console).map(done),
        Command::Anomaly(flags) => anomaly::run(&flags, device, console).map(done),
        Command::Sweep(flags) => sweep::run(&flags, device, console),
        Command::Report(flags) => report::run(&flags, console).map(done),
        Command::Bench(flags) => bench::run(&flags, device, console).map(done),
        Command::Profile(flags) => profile::run(&flags, device, console).map(done),
        Command::ScaleModel(flags) => scale_model::run(&flags, device, console).map(done),
        Command::Tune(flags) => tune::run(&flags, device, console).map(done),
        Command::Validate(flags) => validate::run(&flags, device, console).map(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
