"""Writes cases as `degrain validate --vectors` reads them, and packs a folder of them with the same bytes each time."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np

ORDER = ["op", "attributes", "layout", "inputs", "outputs", "gradients", "upstream", "rtol", "atol", "origin"]


def write_case(folder, op, attributes, inputs, outputs, *, gradients=None, upstream=None, layout="nhwc",
               rtol=None, atol=None, origin=None):
    """`inputs`, `outputs` and `gradients` are arrays by name, stored in the types that they have."""
    folder = Path(folder)
    assert not folder.exists(), f"two cases are called {folder.name}"
    folder.mkdir(parents=True)
    case = {"op": op, "attributes": attributes, "layout": layout}

    def store(name, array):
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
        return f"{name}.npy"

    case["inputs"] = {name: store(name, array) for name, array in inputs.items()}
    # An optimiser's `param` is an input and an output.
    case["outputs"] = {name: store(f"new_{name}" if name in inputs else name, a) for name, a in outputs.items()}
    if gradients:
        case["gradients"] = {name: store(f"d_{name}", array) for name, array in gradients.items()}
        if upstream is not None:
            case["upstream"] = store("upstream", upstream)
    for key, value in (("rtol", rtol), ("atol", atol), ("origin", origin)):
        if value is not None:
            case[key] = value
    text = json.dumps({key: case[key] for key in ORDER if key in case})
    (folder / "case.json").write_text(text + "\n")


def pack(folder, archive):
    """A .tgz of `folder`'s content whose bytes depend on that content alone."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
            entry = tarfile.TarInfo(str(path.relative_to(folder)))
            entry.size = path.stat().st_size
            entry.mode = 0o644
            with path.open("rb") as file:
                tar.addfile(entry, file)
    with open(archive, "wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        packed.write(raw.getvalue())
