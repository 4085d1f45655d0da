//! `degrain scale-model`: how long a step takes on many ranks, foretold from what one takes.

use super::console::{Console, count};
use super::run::load_preset;
use super::train_flags::parse_bytes;
use super::{device, profile};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use degrain::model::{Preset, Summary};
use degrain::profile::{Ceilings, StepOptions, profile_graph};
use degrain::report::{Curve, Plot};
use degrain::scale::{Bucket, Cluster, Formula, LINKS, Limit, Link, Node, Step, bucketed, messages, simulate};
use degrain::train::synthetic_step;
use degrain::{Error, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// Messages that are followed one by one; of more there is the formula alone.
const MOST_MESSAGES: usize = 30_000_000;
/// Ranks at most: the time that the formulas take grows with their square.
const MAX_RANKS: usize = 1 << 14;
/// What is compared where nothing is asked for.
const DEFAULT_LINKS: [&str; 3] = ["ethernet-10g", "ethernet-100g", "infiniband-ndr"];

/// Bytes of a bucket on a GPU.
const BUCKET_BYTES: u64 = 1 << 20;
/// 10^9 bytes a second between a GPU and its host.
const COPY_GBYTE: f64 = 10.0;
/// What the model takes for granted.
const ASSUMPTIONS: &str = concat!(
    "Each rank computes as long as one rank alone does. Then, or on a GPU bucket by bucket during the backward pass, all ",
    "gradients are exchanged: from and to every other rank a message of an N-th of the bucket, summed in rank order at ",
    "10 GB/s, and the sums in the same way back. A message takes the latency and its bytes at the link's rate; both ",
    "directions and all nodes send at once, and nobody else does. However short they are, all messages are sent: an MPI ",
    "library may do better.\n\n",
    "The formula is Hockney's model of messages, as Thakur, Rabenseifner and Gropp (2005) use it for pairwise exchanges. ",
    "Up to 30 million messages are followed one by one as well, with what they wait for where ranks share a node and ",
    "buckets leave early. Measure a few ranks before you believe it of many."
);

/// Flags of `degrain scale-model`.
#[derive(Args)]
#[command(after_help = ASSUMPTIONS)]
pub(super) struct Flags {
    /// A preset's name, a preset file or a run's folder
    #[arg(value_name = "PRESET|FILE.toml|RUN", default_value = "lfw-conv")]
    model: String,
    /// Pictures of one rank [default: as the preset says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Change any setting of the preset, such as model.code=512
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// A whole step of one rank, such as `degrain bench` measures it [default: measured now, on --device]
    #[arg(long, value_name = "MS", value_parser = positive)]
    step_ms: Option<f64>,
    /// Of that the update [default: measured now; 0 with --step-ms]
    #[arg(long, value_name = "MS", value_parser = not_negative, requires = "step_ms")]
    update_ms: Option<f64>,
    /// Measure for about this long
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = profile::seconds)]
    budget: f64,
    /// What connects the nodes; may be repeated [default: ethernet-10g, ethernet-100g and infiniband-ndr]
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(LINKS.map(|link| link.0)))]
    link: Vec<String>,
    /// A link of your own: 10^9 bits per second in each direction
    #[arg(long, value_name = "GBIT", value_parser = positive, requires = "latency_us", conflicts_with = "link")]
    bandwidth_gbit: Option<f64>,
    /// A link of your own: what a message takes besides its bytes
    #[arg(long, value_name = "US", value_parser = not_negative, requires = "bandwidth_gbit")]
    latency_us: Option<f64>,
    /// Ranks that share a node and its link to the others
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    ranks_per_node: u32,
    /// What connects the ranks of a node
    #[arg(long, value_name = "NAME", default_value = "nvlink", value_parser = PossibleValuesParser::new(LINKS.map(|link| link.0)))]
    node_link: String,
    /// What the ranks compute on [default: cpu where a step is measured on the CPU executor, else gpu]
    #[arg(long, value_enum, value_name = "gpu|cpu")]
    ranks_on: Option<RanksOn>,
    /// Exchange all gradients after the backward pass
    #[arg(long)]
    no_overlap: bool,
    /// Gradients are exchanged in buckets of at least this size [default: 1M on a GPU, all at once on a CPU]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    bucket: Option<u64>,
    /// 10^9 bytes that a rank carries between device and host in a second; 0 where they need not be carried [default: 10 on a
    /// GPU, 0 on a CPU]
    #[arg(long, value_name = "GB", value_parser = not_negative)]
    copy_gbyte: Option<f64>,
    /// How much longer a rank takes than it could, on average, in percent; the slowest holds up all
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = not_negative)]
    noise: f64,
    /// The most ranks to look at
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=MAX_RANKS as i64))]
    max_ranks: u32,
    /// Draw the efficiency
    #[arg(short, long, value_name = "SCALE.png")]
    output: Option<PathBuf>,
}

/// What ranks compute on, and with that how gradients leave.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RanksOn {
    /// In buckets during the backward pass, by way of the host
    Gpu,
    /// All at once, from where they are
    Cpu,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    model: String,
    /// Pictures of one rank.
    batch: usize,
    gradient_bytes: f64,
    /// Of one rank alone.
    step_ms: f64,
    update_ms: f64,
    /// Where that was measured; none if it was given.
    device: Option<String>,
    overlap: bool,
    buckets: Vec<BucketRow>,
    clusters: Vec<ClusterReport>,
}

#[derive(Serialize)]
struct BucketRow {
    bytes: f64,
    ready_ms: f64,
}

#[derive(Serialize)]
struct ClusterReport {
    link: String,
    #[serde(skip)]
    title: String,
    latency_us: f64,
    bandwidth_gbit: f64,
    ranks_per_node: usize,
    rows: Vec<Row>,
    /// The first number of ranks at which less than half of their time goes into what one rank alone would do.
    half_at: Option<usize>,
    /// What takes the most of the rest there.
    half_because: Option<&'static str>,
    /// The number of ranks with the most pictures per second.
    fastest_at: usize,
    most_images_per_s: f64,
}

#[derive(Serialize)]
struct Row {
    ranks: usize,
    /// As simulated, or by the formula where there would be too many messages.
    step_ms: f64,
    simulated: bool,
    formula_ms: f64,
    images_per_s: f64,
    /// Of N ranks that did not wait for each other.
    efficiency: f64,
    /// What the most of a step is spent on.
    limit: &'static str,
    /// What the most of the time is lost to that one rank alone would not need.
    loss: &'static str,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let mut preset = load_preset(&flags.model)?;
    let batch = flags.batch.map(|batch| format!("train.batch={batch}"));
    let settings: Vec<String> = batch.into_iter().chain(flags.settings.iter().cloned()).collect();
    preset.set_all(&settings)?;
    if let Some(path) = &flags.output
        && path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("png"))
    {
        return Err(Error::file(path, "plots are written as PNG: choose a name such as scale.png"));
    }
    let network = Summary::of(&preset)?;
    let (step_ms, update_ms, device) = match flags.step_ms {
        Some(step_ms) => (step_ms, flags.update_ms.unwrap_or(0.0), None),
        None => measure(&preset, flags.budget, device, console)?,
    };
    let measured_on = match &device {
        Some(device) if device == device::CPU_NAME => RanksOn::Cpu,
        _ => RanksOn::Gpu,
    };
    let on = flags.ranks_on.unwrap_or(measured_on);
    let overlap = on == RanksOn::Gpu && !flags.no_overlap;
    let bucket_bytes = flags.bucket.unwrap_or(if on == RanksOn::Gpu { BUCKET_BYTES } else { u64::MAX });
    let copy_gbyte = flags.copy_gbyte.unwrap_or(if on == RanksOn::Gpu { COPY_GBYTE } else { 0.0 });
    let copy_bytes_per_s = if copy_gbyte > 0.0 { copy_gbyte * 1e9 } else { f64::INFINITY };
    if update_ms >= step_ms {
        return Err(Error::setting("--update-ms", format!("{update_ms} must be less than the {step_ms} of --step-ms")));
    }
    let compute_s = (step_ms - update_ms) / 1e3;
    let buckets = bucketed(&network, compute_s, bucket_bytes as f64, overlap);
    let step = Step { batch: preset.train.batch, compute_s, update_s: update_ms / 1e3, buckets };
    let clusters = links(flags).into_iter().map(|(name, title, link)| {
        let cluster = Cluster { copy_bytes_per_s, ..cluster(flags, link) };
        report_of(&step, &cluster, flags.max_ranks as usize, name, title)
    });
    let bucket = |bucket: &Bucket| BucketRow { bytes: bucket.bytes, ready_ms: 1e3 * bucket.ready_s };
    let report = Report {
        model: preset.name.clone(),
        batch: step.batch,
        gradient_bytes: step.bytes(),
        step_ms,
        update_ms,
        device,
        overlap,
        buckets: step.buckets.iter().map(bucket).collect(),
        clusters: clusters.collect(),
    };
    if let Some(path) = &flags.output {
        report.plot().write_png(path)?;
    }
    let drawn = flags.output.iter().map(|path| format!("plot -> {}\n", path.display()));
    console.result(&report, report.text() + &drawn.collect::<String>())
}

/// Milliseconds of a step and of its update, and the device.
fn measure(preset: &Preset, budget: f64, device: &str, console: &Console) -> Result<(f64, f64, Option<String>)> {
    let mut session = device::open_in(preset.train.precision, device, console)?;
    console.note(format_args!("measuring a step of {} on {}", preset.name, session.device()));
    let peaks = Ceilings::cached(&mut session)?;
    let step = synthetic_step(preset, preset.train.batch, session.target())?;
    let options = StepOptions { budget: Duration::from_secs_f64(budget), ..StepOptions::default() };
    let profile = profile_graph(&mut session, &step.graph, &step.values, &peaks, &options)?;
    let sum = |only: Option<&str>| -> f64 {
        profile.launches.iter().filter(|launch| only.is_none_or(|name| launch.layer == name)).map(|l| l.us).sum()
    };
    let share = sum(Some("optimizer")) / sum(None).max(f64::MIN_POSITIVE);
    let step_ms = profile.step_us / 1e3;
    Ok((step_ms, step_ms * share, Some(session.device().to_owned())))
}

/// Name, title and link of each network to look at.
fn links(flags: &Flags) -> Vec<(String, String, Link)> {
    if let (Some(gigabits), Some(latency_us)) = (flags.bandwidth_gbit, flags.latency_us) {
        let title = format!("{gigabits} Gb/s, {latency_us} us a message");
        return vec![("own".to_owned(), title, Link::new(latency_us, gigabits))];
    }
    let default = DEFAULT_LINKS.map(str::to_owned).to_vec();
    let names = if flags.link.is_empty() { &default } else { &flags.link };
    let found = names.iter().filter_map(|name| LINKS.iter().find(|link| link.0 == name));
    let of = |&(name, title, latency_us, gigabits): &(&str, &str, f64, f64)| {
        (name.to_owned(), format!("{title}, {latency_us} us a message"), Link::new(latency_us, gigabits))
    };
    found.map(of).collect()
}

/// What connects the ranks.
fn cluster(flags: &Flags, network: Link) -> Cluster {
    let ranks = flags.ranks_per_node as usize;
    let node = Link::named(&flags.node_link).filter(|_| ranks > 1).map(|link| Node { ranks, link });
    Cluster { node, noise: flags.noise / 100.0, ..Cluster::flat(network) }
}

fn report_of(step: &Step, cluster: &Cluster, max: usize, link: String, title: String) -> ClusterReport {
    let alone_s = Formula::of(step, cluster, 1).seconds();
    let efficiency = |seconds: f64| alone_s / seconds;
    let mut counts: Vec<usize> = (0..usize::BITS).map(|power| 1 << power).take_while(|&ranks| ranks < max).collect();
    counts.push(max);
    let row = |ranks: usize| {
        let formula = Formula::of(step, cluster, ranks);
        // Of noise the mean is told, not one step.
        let simulated = messages(step, ranks) <= MOST_MESSAGES && cluster.noise == 0.0;
        let seconds = if simulated { simulate(step, cluster, ranks, 1) } else { formula.seconds() };
        Row {
            ranks,
            step_ms: 1e3 * seconds,
            simulated,
            formula_ms: 1e3 * formula.seconds(),
            images_per_s: (ranks * step.batch) as f64 / seconds,
            efficiency: efficiency(seconds),
            limit: formula.limit().name(),
            loss: loss(ranks, &formula),
        }
    };
    let rows = counts.into_iter().map(row).collect();
    let formulas = || (1..=max).map(|ranks| (ranks, Formula::of(step, cluster, ranks)));
    let half = formulas().find(|(_, formula)| efficiency(formula.seconds()) < 0.5);
    let speed = |(ranks, formula): (usize, Formula)| (ranks, (ranks * step.batch) as f64 / formula.seconds());
    let fastest = formulas().map(speed).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((1, 0.0));
    ClusterReport {
        link,
        title,
        latency_us: 1e6 * cluster.network.latency_s,
        bandwidth_gbit: 8e-9 * cluster.network.bytes_per_s,
        ranks_per_node: cluster.node.map_or(1, |node| node.ranks),
        rows,
        half_at: half.map(|(ranks, _)| ranks),
        half_because: half.map(|(ranks, formula)| loss(ranks, &formula)),
        fastest_at: fastest.0,
        most_images_per_s: fastest.1,
    }
}

fn loss(ranks: usize, formula: &Formula) -> &'static str {
    if ranks == 1 { Limit::Compute.name() } else { formula.loss().name() }
}

impl Report {
    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let whose =
            self.device.as_ref().map_or_else(|| "as given".to_owned(), |device| format!("measured on {device}"));
        let _ = writeln!(
            text,
            "{}: {} a rank, {:.1} MB of gradients in {}{}\none rank: {:.3} ms a step, {:.3} ms of it the update, {whose}",
            self.model,
            count(self.batch, "picture"),
            self.gradient_bytes / 1e6,
            count(self.buckets.len(), "bucket"),
            if self.overlap { ", exchanged during the backward pass" } else { "" },
            self.step_ms,
            self.update_ms,
        );
        for cluster in &self.clusters {
            cluster.text(&mut text);
        }
        text + "\nforetold, not measured: `degrain scale-model --help` says what is taken for granted\n"
    }

    fn plot(&self) -> Plot {
        let curve = |cluster: &ClusterReport| Curve {
            label: cluster.link.clone(),
            points: cluster.rows.iter().map(|row| (row.ranks as f64, row.efficiency)).collect(),
        };
        Plot {
            title: format!("{}: {} a rank, as foretold", self.model, count(self.batch, "picture")),
            x_label: "ranks".to_owned(),
            y_label: "efficiency".to_owned(),
            curves: self.clusters.iter().map(curve).collect(),
            baseline: Some(("half of the ideal".to_owned(), 0.5)),
            log_x: true,
        }
    }
}

impl ClusterReport {
    fn text(&self, text: &mut String) {
        let nodes =
            if self.ranks_per_node > 1 { format!(", {} ranks a node", self.ranks_per_node) } else { String::new() };
        let _ = writeln!(text, "\n{}{nodes}", self.title);
        let _ = writeln!(text, "  ranks     step ms  formula ms      images/s  efficiency  most of the loss");
        for row in &self.rows {
            let Row { ranks, step_ms, formula_ms, images_per_s, efficiency, loss, simulated, .. } = row;
            let mark = if *simulated { ' ' } else { '*' };
            let loss = if *ranks == 1 { "" } else { loss };
            let line = format!(
                "{ranks:>7} {step_ms:>11.3}{mark} {formula_ms:>10.3}  {images_per_s:>12.0} {:>10.1} %  {loss}",
                100.0 * efficiency
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if self.rows.iter().any(|row| !row.simulated) {
            let _ = writeln!(text, "  * by the formula, not simulated");
        }
        let _ = match (self.half_at, self.half_because) {
            (Some(ranks), Some(why)) => writeln!(text, "  less than half of the ideal from {ranks} ranks on: {why}"),
            _ => writeln!(
                text,
                "  more than half of the ideal up to {} ranks",
                self.rows.last().map_or(1, |row| row.ranks)
            ),
        };
        let _ = writeln!(text, "  the most: {:.0} images/s, of {} ranks", self.most_images_per_s, self.fastest_at);
    }
}

/// A number above 0.
fn positive(text: &str) -> Result<f64, String> {
    not_negative(text).and_then(|number| if number > 0.0 { Ok(number) } else { Err("must be more than 0".to_owned()) })
}

/// A number of 0 or more.
fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("wanted a number of 0 or more".to_owned()),
    }
}
