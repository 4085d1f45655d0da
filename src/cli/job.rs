//! This process among those that `mpirun` or `srun` started with it. Rank 0 speaks for all: it alone prints, and the run
//! folder is its. Each other rank keeps a copy of that folder, which goes when it ends.

use super::console::Console;
use super::interrupt::Guard;
use super::{device, words};
use degrain::data::{Dataset, Split, Values};
use degrain::exchange::Ranks;
use degrain::kernel::Precision;
use degrain::model::Preset;
use degrain::session::Session;
use degrain::train::{RunDir, run_dir};
use degrain::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What starters of MPI jobs tell each process of how many there are.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"];
/// What they tell each of which it is, where they keep how many there are to themselves.
#[cfg(feature = "mpi")]
const RANKS: [&str; 2] = ["PMIX_RANK", "PMI_RANK"];
/// Files of a run that going on with it takes.
const FILES: [&str; 7] =
    [run_dir::CONFIG, run_dir::STATE, run_dir::STEPS, run_dir::METRICS, run_dir::BEST, run_dir::LAST, run_dir::SUMMARY];

/// The ranks of a command, and this one's place among them.
pub(super) struct Job {
    ranks: Ranks,
    /// The number of this rank among those of its machine, from 0.
    place: usize,
    /// How many ranks the machine has.
    places: usize,
    /// Where a rank that does not speak keeps its files.
    scratch: Option<PathBuf>,
}

impl Job {
    /// Enters the job that this process was started in, if it was.
    ///
    /// # Errors
    /// If there are several ranks and this build cannot join them.
    pub(super) fn enter() -> Result<Self> {
        let mut job = Self::join()?;
        if job.ranks.rank() > 0 {
            let name = format!("degrain-{}-rank-{}", std::process::id(), job.ranks.rank());
            let scratch = std::env::temp_dir().join(name);
            fs::create_dir_all(&scratch).map_err(Error::io(&scratch, "create the folder"))?;
            job.scratch = Some(scratch);
        }
        Ok(job)
    }

    /// No others.
    pub(super) fn alone() -> Self {
        Self { ranks: Ranks::alone(), place: 0, places: 1, scratch: None }
    }

    #[cfg(not(feature = "mpi"))]
    fn join() -> Result<Self> {
        let size = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
        match SIZES.into_iter().filter_map(size).max() {
            Some(ranks) if ranks > 1 => {
                let problem = format!(
                    "this is one of {ranks} processes of a job, and this degrain does not know MPI: build it with \
                     cargo build --release --features mpi"
                );
                Err(Error::setting("mpirun", problem))
            }
            _ => Ok(Self::alone()),
        }
    }

    #[cfg(feature = "mpi")]
    fn join() -> Result<Self> {
        if SIZES.iter().chain(&RANKS).all(|name| std::env::var_os(name).is_none()) {
            return Ok(Self::alone());
        }
        let mpi = degrain::exchange::Mpi::start()?;
        let (place, places) = (mpi.rank_on_host(), mpi.ranks_on_host().max(1));
        let job = Self { ranks: Ranks::of(mpi), place, places, scratch: None };
        if job.ranks.count() > 1 {
            share_processors(places);
            // The others would wait for it for ever.
            let tell = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                tell(panic);
                degrain::exchange::Mpi::abort(101);
            }));
        }
        Ok(job)
    }

    /// Those that work together.
    pub(super) fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Whether this rank prints and writes what the user asked for.
    pub(super) fn speaks(&self) -> bool {
        self.ranks.rank() == 0
    }

    /// Whether `error` is to be told here: each is told by one rank.
    pub(super) fn tells(&self, error: &Error) -> bool {
        !matches!(error, Error::Rank { .. }) || self.ranks.is_alone()
    }

    /// What this rank takes of what `--device` names.
    ///
    /// # Errors
    /// A device that is not there.
    pub(super) fn device(&self, wanted: &str) -> Result<String> {
        if self.places > 1 { device::for_place(wanted, self.place) } else { Ok(wanted.to_owned()) }
    }

    /// A device of this rank's own, in this precision.
    ///
    /// # Errors
    /// As [`device::open_in`], on any rank.
    pub(super) fn open(&self, precision: Precision, wanted: &str, console: &Console) -> Result<Session> {
        let opened = self.device(wanted).and_then(|own| device::open_in(precision, &own, console));
        let mut session = self.ranks.agree(opened)?;
        session.set_ranks(self.ranks.clone());
        Ok(session)
    }

    /// The settings that rank 0 has.
    ///
    /// # Errors
    /// The error of any rank.
    pub(super) fn preset(&self, own: Result<Preset>) -> Result<Preset> {
        let preset = self.ranks.agree(own)?;
        if self.ranks.is_alone() {
            return Ok(preset);
        }
        let text = self.ranks.from_first(preset.to_toml()?.as_bytes())?;
        Preset::from_toml(&String::from_utf8_lossy(&text), Path::new("rank 0's settings"))
    }

    /// Pictures that all ranks have read.
    ///
    /// # Errors
    /// The error of any rank, and pictures that are not those of rank 0.
    pub(super) fn pictures(&self, own: Result<(Dataset, Split)>) -> Result<(Dataset, Split)> {
        let (data, split) = self.ranks.agree(own)?;
        if !self.ranks.is_alone() {
            self.ranks.same(fingerprint(&data, &split), "what --data holds")?;
        }
        Ok((data, split))
    }

    /// A new run folder: the user's, or this rank's own.
    ///
    /// # Errors
    /// The error of any rank.
    pub(super) fn new_run(&self, create: impl FnOnce() -> Result<RunDir>) -> Result<RunDir> {
        self.ranks.agree(match &self.scratch {
            None => create(),
            Some(scratch) => RunDir::create(&scratch.join("run")),
        })
    }

    /// An earlier run's folder: the user's, or this rank's copy of it.
    ///
    /// # Errors
    /// If rank 0 cannot read it.
    pub(super) fn earlier_run(&self, path: &Path) -> Result<PathBuf> {
        if self.ranks.is_alone() {
            return Ok(path.to_owned());
        }
        let files = self.ranks.agree(if self.speaks() { files(path) } else { Ok(Vec::new()) })?;
        let names: Vec<&str> = files.iter().filter_map(|file| file.to_str()).collect();
        let names = String::from_utf8_lossy(&self.ranks.from_first(names.join("\n").as_bytes())?).into_owned();
        let own = self.scratch.as_ref().map(|scratch| scratch.join("run"));
        for name in names.lines() {
            let bytes = if self.speaks() { read(&path.join(name)) } else { Ok(Vec::new()) };
            let bytes = self.ranks.from_first(&self.ranks.agree(bytes)?)?;
            self.ranks.agree(own.as_ref().map_or(Ok(()), |own| write(&own.join(name), &bytes)))?;
        }
        Ok(own.unwrap_or_else(|| path.to_owned()))
    }

    /// The result of what all ranks do together; where it fails on this one, the others are ended: they wait for it.
    pub(super) fn together<T>(&self, result: Result<T>, console: &Console) -> Result<T> {
        #[cfg(feature = "mpi")]
        if let (Err(error), false) = (&result, self.ranks.is_alone()) {
            console.error_of(self.name(), error);
            degrain::exchange::Mpi::abort(1);
        }
        let _ = console;
        result
    }

    /// What makes Ctrl-C a request while the run in this folder trains.
    ///
    /// # Errors
    /// Where the system lets no handler be set.
    pub(super) fn guard(&self, run: &Path) -> Result<Guard> {
        let guard = Guard::new()?;
        if self.speaks() && !self.ranks.is_alone() {
            let resume = words::line(&["degrain", "train", "--resume", &run.display().to_string()]);
            guard.set_last_words(format!(
                "error: the job was ended while its ranks trained: the last checkpoint is whole, go on with: {resume}"
            ));
        }
        Ok(guard)
    }

    /// The command line that repeats what all ranks do.
    pub(super) fn command(&self, own: String) -> String {
        if self.ranks.is_alone() { own } else { format!("mpirun -n {} {own}", self.ranks.count()) }
    }

    /// What stands before an error of this rank; nothing where there are no others.
    pub(super) fn name(&self) -> Option<String> {
        (!self.ranks.is_alone()).then(|| format!("rank {} of {}", self.ranks.rank(), self.ranks.count()))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(scratch) = &self.scratch {
            // A copy that stays in the system's folder for such things harms nobody.
            drop(fs::remove_dir_all(scratch));
        }
    }
}

/// Gives the ranks of one machine their part of its processors, unless the user or the job's starter did.
#[cfg(feature = "mpi")]
fn share_processors(places: usize) {
    if std::env::var_os("RAYON_NUM_THREADS").is_some() {
        return;
    }
    // A starter that binds each rank to processors of its own has divided them already.
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = allowed.min(processors().unwrap_or(allowed) / places).max(1);
    // Only ever fails where the pool is there already.
    drop(rayon::ThreadPoolBuilder::new().num_threads(threads).build_global());
}

/// Processors of this machine, whether this process may run on them or not.
#[cfg(feature = "mpi")]
fn processors() -> Option<usize> {
    #[cfg(unix)]
    {
        use nix::unistd::{SysconfVar, sysconf};
        usize::try_from(sysconf(SysconfVar::_NPROCESSORS_ONLN).ok()??).ok()
    }
    #[cfg(not(unix))]
    None
}

/// Files of a run and of its stages, relative to its folder.
fn files(run: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![PathBuf::new()];
    for entry in fs::read_dir(run).map_err(Error::io(run, "read"))? {
        let name = PathBuf::from(entry.map_err(Error::io(run, "read"))?.file_name());
        if run.join(&name).join(run_dir::CONFIG).is_file() {
            folders.push(name);
        }
    }
    let all = folders.iter().flat_map(|folder| FILES.map(|name| folder.join(name)));
    Ok(all.filter(|file| run.join(file).is_file()).collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io(path, "read"))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder, "create the folder"))?;
    }
    fs::write(path, bytes).map_err(Error::io(path, "write"))
}

/// A word that differs where pictures or their split differ.
fn fingerprint(data: &Dataset, split: &Split) -> u32 {
    let bytes: u32 = match &data.values {
        Values::U8(values) => crc32c::crc32c(values),
        Values::F32(values) => crc32c::crc32c(bytemuck::cast_slice(values)),
    };
    let split = [&split.train, &split.held_out].map(|rows| crc32c::crc32c(bytemuck::cast_slice(rows)));
    let lengths = [data.len() as u64, data.shape[0] as u64, data.shape[1] as u64, data.shape[2] as u64];
    let sum = crc32c::crc32c_append(bytes, bytemuck::cast_slice(&split));
    crc32c::crc32c_append(sum, bytemuck::cast_slice(&lengths))
}
