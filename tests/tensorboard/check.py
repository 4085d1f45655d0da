"""Asks TensorBoard itself about a run that `degrain train --tensorboard` made.

    pip install tensorboard pillow
    python tests/tensorboard/check.py RUN

Loads the event files of the folder with TensorBoard's own reader, holds every scalar against steps.csv and metrics.csv,
decodes the pictures, then starts a TensorBoard server on the folder and asks it over HTTP what it serves.
"""

import csv
import io
import json
import math
import socket
import struct
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

COLUMNS = {
    "epoch": "epoch",
    "loss/train": "train_loss",
    "loss/validation": "val_loss",
    "images_per_second": "images_per_second",
    "reconstruction/train": "reconstruction",
    "code_penalty/train": "code_penalty",
    "weight_penalty/train": "weight_penalty",
    "reconstruction/validation": "val_reconstruction",
    "code_penalty/validation": "val_code_penalty",
    "weight_penalty/validation": "val_weight_penalty",
}


def f32(text):
    return struct.unpack("f", struct.pack("f", float(text)))[0]


def same(one, other):
    return one == other or (math.isnan(one) and math.isnan(other))


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def check_points(tag, points, expected):
    """`points` of the reader against (step or None, value) of a table."""
    assert len(points) == len(expected), f"{tag}: {len(points)} points, {len(expected)} rows"
    for point, (step, value) in zip(points, expected):
        assert step is None or point.step == step, f"{tag}: step {point.step}, row of step {step}"
        assert same(point.value, f32(value)), f"{tag} at step {point.step}: {point.value}, in the table {value}"
    assert all(a.step < b.step for a, b in zip(points, points[1:])), f"{tag}: steps do not rise"


def check_files(run):
    loaded = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    loaded.Reload()
    tags = loaded.Tags()
    assert loaded.file_version == 2.0
    steps = [(int(row["step"]), row["loss"]) for row in rows(run / "steps.csv")]
    check_points("loss/train_step", loaded.Scalars("loss/train_step"), steps)
    epochs = rows(run / "metrics.csv")
    checked = {"loss/train_step", "learning_rate"}
    for tag, column in COLUMNS.items():
        expected = [(None, row[column]) for row in epochs if row[column]]
        assert bool(expected) == (tag in tags["scalars"]), tag
        if expected:
            check_points(tag, loaded.Scalars(tag), expected)
        checked.add(tag)
    if (run / "summary.json").exists():
        test = json.loads((run / "summary.json").read_text())["test"] or {}
        for key, value in test.items():
            if key != "count" and value is not None:
                check_points(f"test/{key}", loaded.Scalars(f"test/{key}")[-1:], [(steps[-1][0], value)])
                checked.add(f"test/{key}")
    assert set(tags["scalars"]) <= checked, set(tags["scalars"]) - checked
    for tag in tags["images"]:
        for image in loaded.Images(tag):
            decoded = Image.open(io.BytesIO(image.encoded_image_string))
            decoded.load()
            assert decoded.size == (image.width, image.height), tag
    now = time.time()
    times = [point.wall_time for point in loaded.Scalars("loss/train_step")]
    assert times == sorted(times) and all(0 < now - t < 10 * 365 * 86400 for t in times)
    print(f"{len(steps)} steps, {len(epochs)} epochs; scalars {tags['scalars']}; images {tags['images']}; "
          f"texts {[tag for tag in tags['tensors']]}")
    return tags


def ask(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/{path}", timeout=10) as answer:
        return json.loads(answer.read())


def check_server(run, tags):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run), "--port", str(port), "--host", "127.0.0.1"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        served = {}
        for _ in range(120):
            try:
                served = ask(port, "plugin/scalars/tags")
            except OSError:
                pass
            if served and all(tag in next(iter(served.values())) for tag in tags["scalars"]):
                break
            time.sleep(0.5)
        (name, scalars), = served.items()
        assert set(scalars) == set(tags["scalars"]), scalars
        query = urllib.parse.urlencode({"run": name, "tag": "loss/train_step"})
        points = ask(port, f"plugin/scalars/scalars?{query}")
        steps = rows(run / "steps.csv")
        # The server thins out long curves, and keeps the last point.
        losses = {int(row["step"]): row["loss"] for row in steps}
        assert all(same(float(value), f32(losses[step])) for _, step, value in points), points[:3]
        assert points[-1][1] == int(steps[-1]["step"]), points[-1]
        images, texts = ask(port, "plugin/images/tags"), ask(port, "plugin/text/tags")
        assert set(images.get(name, {})) == set(tags["images"]), images
        assert texts.get(name) == ["config"], texts
        print(f"served as run {name!r}: {sorted(scalars)}, {len(points)} points of loss/train_step, {images}, {texts}")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    check_server(folder, check_files(folder))
