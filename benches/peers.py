#!/usr/bin/env python3
"""Runs other frameworks and degrain in turn on one device, and prints medians and ratios.

    benches/peers.py --peers DIR --python V/bin/python --keras-python K/bin/python            # this processor
    benches/peers.py --peers DIR --device llvmpipe                                            # a Vulkan device
    benches/peers.py --peers DIR --python V/bin/python --device H200 --cuda                   # an NVIDIA card

DIR holds the peers' programs: torch_peer.py, keras_peer.py and burn/ (built, or --burn names its program). Each prints one
JSON object with steps_per_s, first_step_s and peak_rss_mib, and takes --workload w1..w5, --batch, --windows. A peer that is
not there or fails is named in the table, with the reason. Needs Python 3.9 and nothing else.

Every round runs every entrant once. Caches of kernels and shaders start empty in a folder that is removed at the end, so the
first round shows a cold start and the others a warm one, unless --keep-caches. Ctrl-C prints what there is. Figures of one invocation can be compared; machines drift too much
for more.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

# degrain's names of the workloads and the peers'.
WORKLOADS = {"lfw-conv": "w1", "mnist-dae": "w2", "quickdraw-simple": "w3", "quickdraw-deep": "w4", "quickdraw-conv": "w5"}
BATCHES = {"lfw-conv": 64, "mnist-dae": 50, "quickdraw-simple": 64, "quickdraw-deep": 64, "quickdraw-conv": 32}
KERAS_HAS = ("lfw-conv", "quickdraw-deep")
BURN_HAS = ("lfw-conv", "quickdraw-simple", "quickdraw-deep")
WINDOWS = 3
LONGEST_S = 900


@dataclass
class Entrant:
    """A program that runs a workload."""

    name: str
    command: list
    is_degrain: bool = False
    results: list = field(default_factory=list)
    failure: str = ""


@dataclass
class Contest:
    """Entrants that do the same work."""

    workload: str
    batch: int
    entrants: list


def options():
    here = pathlib.Path(__file__).resolve().parent.parent
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--degrain", default=str(here / "target/release/degrain"), help="degrain's program")
    p.add_argument("--peers", type=pathlib.Path, default=os.environ.get("DEGRAIN_PEERS"), help="folder with the peers' programs")
    p.add_argument("--python", default=os.environ.get("DEGRAIN_TORCH_PYTHON"), help="an interpreter that has PyTorch")
    p.add_argument("--keras-python", default=os.environ.get("DEGRAIN_KERAS_PYTHON"), help="an interpreter that has Keras")
    p.add_argument("--burn", help="burn's program (default: PEERS/burn/target/release/burn_peer)")
    p.add_argument("--device", default="cpu", help="as degrain's --device: cpu, an index or a part of a name")
    p.add_argument("--cuda", action="store_true", help="the device is an NVIDIA card: PyTorch runs on it through CUDA")
    p.add_argument("--workload", action="append", choices=WORKLOADS, help="only this one; repeatable")
    p.add_argument("--torch-mode", action="append", choices=["eager", "compile"], help="on the processor (default: eager)")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=2.0, help="length of each of a run's windows")
    p.add_argument("--keep-caches", action="store_true", help="leave the caches where they are: no round is a cold start")
    p.add_argument("--json", type=pathlib.Path, help="write all results here as well")
    args = p.parse_args()
    # The programs run in a folder of their own.
    args.degrain, args.python, args.keras_python, args.burn = map(
        lambda program: program and os.path.abspath(program), (args.degrain, args.python, args.keras_python, args.burn)
    )
    args.peers = args.peers and pathlib.Path(args.peers).resolve()
    return args


def degrain(args, workload, batch, *more):
    budget = str(WINDOWS * args.seconds)
    command = [args.degrain, "bench", workload, "--device", args.device, "--batch", str(batch), "--budget", budget, "--json"]
    return Entrant(" ".join(["degrain", *more]), [*command, *more], is_degrain=True)


def peer(name, program, workload, batch, *more):
    arguments = ["--workload", WORKLOADS[workload], "--batch", str(batch), "--windows", str(WINDOWS), *more]
    return Entrant(name, [*program, *arguments])


def torch(args, name, workload, batch, *more):
    threads = str(len(os.sched_getaffinity(0)))
    program = [args.python, str(args.peers / "torch_peer.py"), "--seconds", str(args.seconds), "--threads", threads]
    return peer(name, program, workload, batch, *more)


def keras(args, workload, batch):
    return peer("Keras", [args.keras_python, str(args.peers / "keras_peer.py")], workload, batch)


def burn(args, workload, batch):
    return peer("burn wgpu", [burn_program(args)], workload, batch, "--device", "wgpu", "--seconds", str(args.seconds))


def burn_program(args):
    return args.burn or str(args.peers / "burn/target/release/burn_peer")


def has_module(python, module):
    find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{module}') is None)"
    try:
        return subprocess.run([python, "-c", find], capture_output=True).returncode == 0
    except OSError:
        return False


def absent(args):
    """Peers that are not there, and why."""
    missing = {}

    def needs(name, module, python, option):
        program = args.peers / f"{name}_peer.py" if args.peers else None
        if not args.peers:
            missing[name] = "no --peers"
        elif not program.is_file():
            missing[name] = f"there is no {program}"
        elif not python:
            missing[name] = f"no {option}"
        elif not has_module(python, module):
            missing[name] = f"{python} has no {module}"

    on_processor = args.device == "cpu"
    if on_processor or args.cuda:
        needs("torch", "torch", args.python, "--python")
    if on_processor:
        needs("keras", "keras", args.keras_python, "--keras-python")
    if on_processor or args.cuda:
        return missing
    if not args.burn and not args.peers:
        missing["burn"] = "no --peers and no --burn"
    elif not os.access(burn_program(args), os.X_OK):
        missing["burn"] = f"there is no program {burn_program(args)}"
    return missing


def processor_contests(args, missing):
    for workload, batch in BATCHES.items():
        entrants = [degrain(args, workload, batch)]
        if "torch" not in missing:
            modes = args.torch_mode or ["eager"]
            entrants += [torch(args, f"PyTorch {mode}", workload, batch, "--mode", mode) for mode in modes]
        if "keras" not in missing and workload in KERAS_HAS:
            entrants.append(keras(args, workload, batch))
        yield Contest(workload, batch, entrants)


def vulkan_contests(args, missing):
    for workload in BURN_HAS:
        batch = BATCHES[workload]
        rival = [] if "burn" in missing else [burn(args, workload, batch)]
        yield Contest(workload, batch, [degrain(args, workload, batch), *rival])


def cuda_contests(args, missing):
    """The same steps on one NVIDIA card, through Vulkan and through CUDA; data stays on the device in both."""

    def rivals(workload, batch, *flags):
        on_card = ["--device", "cuda", "--input", "resident"]
        named = [] if "torch" in missing else flags
        return [torch(args, f"PyTorch CUDA {name}", workload, batch, *on_card, *more) for name, more in named]

    eager, graph = ("eager", []), ("graph", ["--mode", "cudagraph"])
    for workload, batch in BATCHES.items():
        yield Contest(workload, batch, [degrain(args, workload, batch), *rivals(workload, batch, eager, graph)])
    large = [eager, graph]
    large += [("eager TF32", ["--tf32"]), ("graph TF32", ["--mode", "cudagraph", "--tf32"])]
    large += [("eager autocast f16", ["--amp", "fp16"]), ("eager channels-last TF32", ["--channels-last", "--tf32"])]
    ours = [degrain(args, "lfw-conv", 1024), degrain(args, "lfw-conv", 1024, "--precision", "f16")]
    yield Contest("lfw-conv", 1024, [*ours, *rivals("lfw-conv", 1024, *large)])


def run(entrant, environment, folder):
    """One run; what it measured goes to the entrant, or why it did not."""
    try:
        done = subprocess.run(entrant.command, env=environment, cwd=folder, capture_output=True, text=True, timeout=LONGEST_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        entrant.failure = str(error)
        return
    lines = done.stdout.strip()
    try:
        # degrain's object spans lines, a peer's is the last line.
        found = json.loads(lines) if entrant.is_degrain else json.loads(lines.splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        entrant.failure = f"exit code {done.returncode}: {last[:120]}"
        return
    mib = found["peak_rss_mib"] if "peak_rss_mib" in found else (found.get("peak_rss_bytes") or 0) / (1 << 20)
    first = found.get("first_step_s", found.get("seconds_to_first_step"))
    entrant.results.append({"steps_per_s": found["steps_per_s"], "first_step_s": first, "peak_rss_mib": mib, "raw": found})


def measure(contests, rounds, environment, folder):
    for contest in contests:
        for number in range(rounds):
            for entrant in contest.entrants:
                if not entrant.failure:
                    print(f"{contest.workload} batch {contest.batch}, round {number + 1}: {entrant.name}", file=sys.stderr)
                    run(entrant, environment, folder)


def median(entrant, key, results=None):
    return statistics.median(result[key] for result in (results or entrant.results))


def row(contest, entrant, ours):
    """A line of the table, as a dictionary."""
    cells = {"workload": contest.workload, "batch": contest.batch, "entrant": entrant.name}
    if not entrant.results:
        return {**cells, "failure": entrant.failure or "it was not run"}
    rates = [result["steps_per_s"] for result in entrant.results]
    rate = statistics.median(rates)
    cells.update(steps_per_s=rate, images_per_s=rate * contest.batch, spread=(max(rates) - min(rates)) / rate)
    # Round by round, so that a machine that becomes slower slows both.
    pairs = list(zip(ours.results, entrant.results)) if not entrant.is_degrain else []
    if pairs and len(ours.results) == len(entrant.results):
        cells["times_as_fast"] = statistics.median(a["steps_per_s"] / b["steps_per_s"] for a, b in pairs)
    cells.update(first_step_cold_s=entrant.results[0]["first_step_s"], peak_rss_mib=max(r["peak_rss_mib"] for r in entrant.results))
    if len(entrant.results) > 1:
        cells["first_step_warm_s"] = median(entrant, "first_step_s", entrant.results[1:])
    return cells


def table(rows):
    yield "| workload | batch | | steps/s | images/s | spread | degrain is | first step cold, warm | peak memory |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for r in rows:
        head = f"| {r['workload']} | {r['batch']} | {r['entrant']} "
        if "failure" in r:
            yield head + f"| failed: {r['failure']} | | | | | |"
            continue
        times = f"{r['times_as_fast']:.2f}x" if "times_as_fast" in r else ""
        warm = f", {r['first_step_warm_s']:.2f} s" if "first_step_warm_s" in r else ""
        yield head + (
            f"| {r['steps_per_s']:.4g} | {r['images_per_s']:.4g} | {100 * r['spread']:.0f} % | {times} "
            f"| {r['first_step_cold_s']:.2f}{warm} | {r['peak_rss_mib']:.0f} MiB |"
        )


def main():
    args = options()
    missing = absent(args)
    kind = cuda_contests if args.cuda else processor_contests if args.device == "cpu" else vulkan_contests
    contests = [c for c in kind(args, missing) if not args.workload or c.workload in args.workload]
    with tempfile.TemporaryDirectory(prefix="degrain-peers-", ignore_cleanup_errors=True) as folder:
        caches = ("XDG_CACHE_HOME", "MESA_SHADER_CACHE_DIR", "CUDA_CACHE_PATH", "TORCHINDUCTOR_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH")
        environment = dict(os.environ)
        if not args.keep_caches:
            environment.update({"HOME": folder, **{name: folder for name in caches}})
            environment.pop("DEGRAIN_CACHE", None)
        try:
            measure(contests, args.rounds, environment, folder)
        except KeyboardInterrupt:
            print("stopped: what follows is what was measured until then", file=sys.stderr)
    rows = [row(contest, entrant, contest.entrants[0]) for contest in contests for entrant in contest.entrants]
    print("\n".join(table(rows)))
    for name, reason in missing.items():
        print(f"\nabsent: {name} ({reason})")
    if args.json:
        raw = [
            {"workload": c.workload, "batch": c.batch, "entrant": e.name, "command": e.command, "results": e.results, "failure": e.failure}
            for c in contests
            for e in c.entrants
        ]
        args.json.write_text(json.dumps({"device": args.device, "rows": rows, "absent": missing, "runs": raw}, indent=1) + "\n")
    return 1 if any(entrant.failure for contest in contests for entrant in contest.entrants) else 0


if __name__ == "__main__":
    sys.exit(main())
