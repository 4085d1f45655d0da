#!/usr/bin/env python3
"""Runs scikit-learn's brute force and degrain's exact search in turn on this processor, and compares what they find.

    CARGO_INCREMENTAL=1 cargo bench --bench search --no-run         # prints the program's name
    V/bin/python benches/search.py target/release/deps/search-... [--codes codes.npy]

100,000 seeded codes of 128 dimensions (or those of a file), 1,000 queries, k = 10. Needs numpy and scikit-learn. Every round
runs both once; a ratio is the median of the rounds' ratios. Both are told to use as many threads as there are processors.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
from sklearn.neighbors import NearestNeighbors


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program", help="what `cargo bench --bench search --no-run` built")
    p.add_argument("--codes", help=".npy file (N, D)")
    p.add_argument("--count", type=int, default=100_000)
    p.add_argument("--dim", type=int, default=128)
    p.add_argument("--queries", type=int, default=1000)
    p.add_argument("-k", type=int, default=10)
    p.add_argument("--rounds", type=int, default=7)
    return p.parse_args()


def main():
    o = options()
    rng = np.random.default_rng(1)
    codes = np.load(o.codes).astype(np.float32) if o.codes else rng.standard_normal((o.count, o.dim), np.float32)
    queries = codes[rng.choice(len(codes), o.queries, replace=False)] + rng.normal(0, 0.1, (o.queries, codes.shape[1]))
    queries = queries.astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        files = [str(pathlib.Path(folder) / name) for name in ("codes.npy", "queries.npy")]
        np.save(files[0], codes)
        np.save(files[1], queries)
        ours = subprocess.Popen([o.program, *files, str(o.k)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        peer = NearestNeighbors(n_neighbors=o.k, algorithm="brute", n_jobs=-1).fit(codes)
        times = {"scikit-learn": [], "degrain": []}
        # The first round warms up caches and threads.
        for round in range(o.rounds + 1):
            started = time.perf_counter()
            _, theirs = peer.kneighbors(queries)
            seconds = time.perf_counter() - started
            ours.stdin.write("search\n")
            ours.stdin.flush()
            found = json.loads(ours.stdout.readline())
            if round:
                times["scikit-learn"].append(seconds)
                times["degrain"].append(found["seconds"])
        ours.stdin.close()
        ours.wait()
    same = float((np.asarray(found["indices"]) == theirs).mean())
    for name, seconds in times.items():
        low, high = min(seconds) * 1e3, max(seconds) * 1e3
        print(f"{name:13} {statistics.median(seconds) * 1e3:8.1f} ms  ({low:.1f} to {high:.1f})")
    ratio = statistics.median(a / b for a, b in zip(times["scikit-learn"], times["degrain"]))
    print(f"degrain is {ratio:.2f} times as fast; {same:.4%} of the indices are the same")


if __name__ == "__main__":
    main()
