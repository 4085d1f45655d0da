"""The degrain binary for the scripts of this folder, and what they share."""

import json
import pathlib
import subprocess
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent
BINARY = HERE.parent.parent / "target/release/degrain"
LIMIT = 1e-5


def degrain(*words):
    """Runs a command and returns what it prints as JSON."""
    command = [str(BINARY), *map(str, words), "--json", "-q"]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{ended.stderr}")
    return json.loads(ended.stdout)


def pictures(count, height, width, channels, offset=0.0, seed=1):
    """Random pictures (N, height, width, channels), normalised as in training."""
    generator = np.random.default_rng(seed)
    return (generator.random((count, height, width, channels), dtype=np.float32) + offset).astype(np.float32)


def codes_and_pictures(run, x, folder, *flags):
    """What degrain makes of pictures: codes (N, code) and pictures (N, height, width, channels)."""
    np.save(folder / "x.npy", x)
    degrain("encode", run, "--data", folder / "x.npy", "-o", folder / "codes.npy", *flags)
    degrain("denoise", run, folder / "x.npy", "-o", folder / "y.npy", *flags)
    return np.load(folder / "codes.npy"), np.load(folder / "y.npy")


class Report:
    """The largest differences, one line each; `end` exits with 1 if one is over the limit."""

    def __init__(self):
        self.failed = []

    def compare(self, name, got, wanted):
        assert got.shape == wanted.shape, f"{name}: {got.shape} is not {wanted.shape}"
        worst = float(np.abs(got.astype(np.float64) - wanted).max())
        size = float(np.abs(wanted).max())
        verdict = "ok" if worst <= LIMIT else "FAILED"
        print(f"{name:44} {worst:.2e} (values up to {size:.2f})  {verdict}", flush=True)
        if not worst <= LIMIT:
            self.failed.append(name)

    def end(self):
        sys.exit(f"failed: {', '.join(self.failed)}" if self.failed else 0)
