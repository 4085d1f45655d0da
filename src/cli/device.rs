//! Which device a command computes on.

use super::console::Console;
use degrain::data::cache_folder;
use degrain::gpu::{Adapter, DeviceKind, adapters};
use degrain::kernel::Precision;
use degrain::profile::kept_tuning;
use degrain::session::Session;
use degrain::validate::in_half_precision;
use degrain::{Error, Result};

/// What the CPU executor is called in lists.
pub(super) const CPU_NAME: &str = "CPU executor";

/// What a choice goes by: a driver's name of a device and its kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) kind: DeviceKind,
}

impl Candidate {
    pub(super) fn of(adapter: &Adapter) -> Self {
        Self { name: adapter.name(), kind: adapter.kind() }
    }
}

/// A device by its place in the list of adapters, or the executor on this processor, which is listed after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Adapter(usize),
    Cpu,
}

/// Gives Mesa's drivers a folder to look for a Wayland display in, where the environment names none: without one they
/// complain on standard error, twice, though nothing is ever displayed. Call it before there is a second thread.
pub(super) fn quiet_drivers() {
    const VARIABLE: &str = "XDG_RUNTIME_DIR";
    if cfg!(target_os = "linux") && std::env::var_os(VARIABLE).is_none() {
        // SAFETY: the environment is only ever changed here, by the process's only thread.
        unsafe { std::env::set_var(VARIABLE, std::env::temp_dir()) };
    }
}

/// Opens what `--device` asks for.
///
/// # Errors
/// A device that is not there, with the list of those that are, or one that its driver does not open.
pub(super) fn open(wanted: &str, console: &Console) -> Result<Session> {
    // Kernels are tested with runtime checks on and off; a development build keeps them.
    let gpu = |adapter: &Adapter| {
        let mut gpu = adapter.open(cfg!(debug_assertions))?;
        if let Some(folder) = cache_folder() {
            gpu.keep_pipelines(&folder);
        }
        Ok(Session::gpu(gpu))
    };
    let mut session = open_with(wanted, console, Session::cpu, gpu)?;
    session.set_tuning(kept_tuning(&session));
    Ok(session)
}

/// As [`open`], in this precision where the device has it; tells what products are computed of where that is not `f32`.
///
/// # Errors
/// As [`open`].
pub(super) fn open_in(precision: Precision, wanted: &str, console: &Console) -> Result<Session> {
    let session = open(wanted, console)?;
    if precision == Precision::F32 {
        return Ok(session);
    }
    let (session, note) = in_half_precision(session);
    match note {
        Some(note) => console.warn(note),
        None => console.note(format_args!("products are computed in {}", session.products())),
    }
    Ok(session)
}

/// The device that the process of this place on its machine takes, where several processes take one each: of those that
/// are wanted, each the next one, and the first again where there are too few.
///
/// # Errors
/// A device that is not there, with the list of those that are.
pub(super) fn for_place(wanted: &str, place: usize) -> Result<String> {
    let candidates: Vec<Candidate> = adapters().iter().map(Candidate::of).collect();
    Ok(placed(wanted, place, &candidates)?.map_or_else(|| wanted.to_owned(), |index| index.to_string()))
}

/// As [`for_place`]: an index; none where what is wanted says it all.
fn placed(wanted: &str, place: usize, candidates: &[Candidate]) -> Result<Option<usize>> {
    let fitting: Vec<usize> = if is_auto(wanted) {
        automatic(candidates)
    } else if wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        Vec::new()
    } else {
        let first = named(wanted, candidates)?;
        let part = wanted.to_lowercase();
        let fits = |index: &usize| candidates[*index].name.to_lowercase().contains(&part);
        if first == Choice::Cpu { Vec::new() } else { (0..candidates.len()).filter(fits).collect() }
    };
    // Ranks that wait for each other are best served by equals.
    let Some(&first) = fitting.first() else { return Ok(None) };
    let alike: Vec<usize> = fitting.into_iter().filter(|&i| candidates[i].kind == candidates[first].kind).collect();
    Ok(Some(alike[place % alike.len()]))
}

/// As [`open`], in the caller's own way: `cpu` makes what stands for the CPU executor, `gpu` opens an adapter.
///
/// # Errors
/// As [`open`].
pub(super) fn open_with<T>(
    wanted: &str,
    console: &Console,
    cpu: impl FnOnce() -> T,
    gpu: impl Fn(&Adapter) -> Result<T>,
) -> Result<T> {
    if wanted.eq_ignore_ascii_case("cpu") {
        return Ok(cpu());
    }
    let adapters = adapters();
    let candidates: Vec<Candidate> = adapters.iter().map(Candidate::of).collect();
    let open_adapter = |index: usize| {
        let adapter = adapters.get(index).ok_or_else(|| problem("auto", "the device is gone"))?;
        gpu(adapter)
    };
    if !is_auto(wanted) {
        return match named(wanted, &candidates)? {
            Choice::Cpu => Ok(cpu()),
            Choice::Adapter(index) => open_adapter(index),
        };
    }
    let mut refusals = Vec::new();
    for index in automatic(&candidates) {
        match open_adapter(index) {
            Ok(opened) => return Ok(opened),
            Err(error) => refusals.push(error.to_string()),
        }
    }
    let why = if refusals.is_empty() { why_no_gpu(&candidates) } else { refusals.join("; ") };
    console.note(format_args!("computing on the CPU executor: {why}"));
    Ok(cpu())
}

pub(super) fn is_auto(wanted: &str) -> bool {
    wanted.is_empty() || wanted.eq_ignore_ascii_case("auto")
}

/// What `auto` tries, in this order, before the CPU executor: GPUs of their own, then those that share memory.
pub(super) fn automatic(candidates: &[Candidate]) -> Vec<usize> {
    let of_kind = |wanted: DeviceKind| {
        let indexed = candidates.iter().enumerate();
        indexed.filter(move |(_, candidate)| candidate.kind == wanted).map(|(index, _)| index)
    };
    of_kind(DeviceKind::Discrete).chain(of_kind(DeviceKind::Integrated)).collect()
}

/// Why `auto` has no GPU to take.
pub(super) fn why_no_gpu(candidates: &[Candidate]) -> String {
    match candidates {
        [] => "no GPU driver was found".to_owned(),
        [only] => format!("no GPU was found, only {} ({}), which has to be named", only.name, only.kind.name()),
        _ => {
            let names: Vec<&str> = candidates.iter().map(|candidate| candidate.name.as_str()).collect();
            format!("no GPU was found, only {}, which have to be named", names.join(", "))
        }
    }
}

/// The device of this index or name; of several whose name fits, the one that `auto` would take first.
pub(super) fn named(wanted: &str, candidates: &[Candidate]) -> Result<Choice> {
    let unknown = || problem(wanted, &format!("there is no such device; there are {}", list(candidates)));
    // Never part of a name: `9` would be found in the version of some driver.
    if wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        return match wanted.parse::<usize>() {
            Ok(index) if index < candidates.len() => Ok(Choice::Adapter(index)),
            Ok(index) if index == candidates.len() => Ok(Choice::Cpu),
            _ => Err(unknown()),
        };
    }
    let part = wanted.to_lowercase();
    let fits = |candidate: &Candidate| candidate.name.to_lowercase().contains(&part);
    let in_order = automatic(candidates).into_iter().chain(0..candidates.len());
    let mut fitting = in_order.filter(|&index| candidates.get(index).is_some_and(fits));
    match fitting.next() {
        Some(index) => Ok(Choice::Adapter(index)),
        None if CPU_NAME.to_lowercase().contains(&part) => Ok(Choice::Cpu),
        None => Err(unknown()),
    }
}

/// `0: NVIDIA H200, 1: cpu (CPU executor)`.
fn list(candidates: &[Candidate]) -> String {
    let names = candidates.iter().map(|candidate| candidate.name.as_str()).chain(["cpu (CPU executor)"]);
    names.enumerate().map(|(index, name)| format!("{index}: {name}")).collect::<Vec<_>>().join(", ")
}

pub(super) fn problem(name: &str, problem: &str) -> Error {
    Error::Device { name: name.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn candidates(list: &[(&str, DeviceKind)]) -> Vec<Candidate> {
        list.iter().map(|&(name, kind)| Candidate { name: name.to_owned(), kind }).collect()
    }

    fn laptop() -> Vec<Candidate> {
        candidates(&[
            ("llvmpipe (LLVM 19.1.7, 256 bits)", DeviceKind::Software),
            ("Intel(R) Iris Xe", DeviceKind::Integrated),
            ("NVIDIA GeForce RTX 4070", DeviceKind::Discrete),
            ("NVIDIA GeForce GT 710", DeviceKind::Discrete),
        ])
    }

    #[test]
    fn auto_takes_discrete_then_integrated_and_never_software() {
        assert_eq!(automatic(&laptop()), [2, 3, 1]);
        let unlisted = [("virtio", DeviceKind::Virtual), ("lavapipe", DeviceKind::Software), ("x", DeviceKind::Other)];
        assert_eq!(automatic(&candidates(&unlisted)), [0_usize; 0]);
        assert!(is_auto("") && is_auto("Auto") && !is_auto("cpu"));
    }

    #[test]
    fn names_fit_in_part_and_in_any_case() {
        let all = laptop();
        assert_eq!(named("LLVMpipe", &all).unwrap(), Choice::Adapter(0));
        assert_eq!(named("iris xe", &all).unwrap(), Choice::Adapter(1));
        assert_eq!(named("nvidia", &all).unwrap(), Choice::Adapter(2), "of two that fit, the first");
        assert_eq!(named("GT 710", &all).unwrap(), Choice::Adapter(3));
        let swapped: Vec<Candidate> = all.iter().rev().cloned().collect();
        assert_eq!(named("i", &swapped).unwrap(), Choice::Adapter(0), "of many that fit, what auto would take");
    }

    #[test]
    fn each_place_takes_the_next_of_what_is_wanted() {
        let all = laptop();
        let of = |wanted: &str| [0, 1, 2].map(|place| placed(wanted, place, &all).unwrap());
        assert_eq!(of("auto"), [Some(2), Some(3), Some(2)], "discrete ones alone");
        assert_eq!(of("nvidia"), [Some(2), Some(3), Some(2)]);
        assert_eq!(of("iris"), [Some(1); 3]);
        assert_eq!((of("cpu"), of("1")), ([None; 3], [None; 3]));
        assert_eq!(placed("auto", 1, &[]).unwrap(), None);
        assert!(placed("radeon", 0, &all).is_err());
    }

    #[test]
    fn an_index_is_one_of_the_list_and_the_cpu_comes_last() {
        assert_eq!(named("3", &laptop()).unwrap(), Choice::Adapter(3));
        assert_eq!(named("4", &laptop()).unwrap(), Choice::Cpu);
        assert_eq!(named("0", &[]).unwrap(), Choice::Cpu);
    }

    #[test]
    fn an_unknown_device_is_told_with_the_list() {
        for wanted in ["9", "4070", "radeon", "-1"] {
            let message = named(wanted, &laptop()).unwrap_err().to_string();
            assert!(message.starts_with(&format!("device {wanted}: there is no such device")), "{message}");
            assert!(message.contains("2: NVIDIA GeForce RTX 4070") && message.contains("4: cpu"), "{message}");
        }
    }
}
