"""Every preset, and two networks of other layers, as ONNX: checked by ONNX's checker, run by onnxruntime, compared with degrain itself.

    pip install numpy safetensors onnx onnxruntime
    cargo build --release
    python tests/interop/onnx_check.py [PRESET|FILE.toml...]

Biases, factors and statistics are drawn at random after one step of training, so that none is as a layer begins with it.
"""

import pathlib
import sys
import tempfile
import tomllib

import numpy as np
import onnx
import onnxruntime
import safetensors.numpy

from degrain import HERE, Report, codes_and_pictures, degrain, pictures

DEVICE = ("--device", "cpu")


def trained(preset, folder, shape, offset):
    """A run of one step, its vectors then drawn at random."""
    np.save(folder / "train.npy", pictures(24, *shape, offset))
    run = folder / "run"
    degrain("train", preset, "--data", folder / "train.npy", "--steps", 1, "--batch", 8, "--no-pca",
            "--set", "train.pretrain_epochs=0", "--set", "data.labels_kept=",
            "--set", "data.channel_rows=false", "--out", run, *DEVICE)
    path = run / "last.safetensors"
    tensors = safetensors.numpy.load_file(path)
    generator = np.random.default_rng(2)
    for name, tensor in tensors.items():
        if tensor.ndim == 1:
            centre = 1.0 if name.endswith((".weight", ".running_var")) else 0.0
            tensors[name] = (centre + generator.uniform(-0.5, 0.5, tensor.shape)).astype(np.float32)
    safetensors.numpy.save_file(tensors, path)
    return run


def session(run, part, folder):
    path = folder / f"{part}.onnx"
    degrain("export", run, "--format", "onnx", "--part", part, "--weights", "last", "-o", path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]), model


def check(preset, report):
    name = pathlib.Path(preset).stem
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        shape, offset = shape_of(preset)
        run = trained(preset, folder, shape, offset)
        (whole, model), (encoder, _), (decoder, _) = (session(run, p, folder) for p in ("whole", "encoder", "decoder"))
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        assert float(metadata["offset"]) == offset and metadata["preset"] == name, metadata
        for batch in (1, 5):
            x = pictures(batch, *shape, offset, seed=3)
            codes, restored = codes_and_pictures(run, x, folder, "--weights", "last", *DEVICE)
            code, reconstruction = whole.run(["code", "reconstruction"], {"input": x})
            report.compare(f"{name} batch {batch} code", code, codes)
            report.compare(f"{name} batch {batch} reconstruction", reconstruction, restored)
            report.compare(f"{name} batch {batch} encoder", encoder.run(None, {"input": x})[0], codes)
            degrain("decode", run, folder / "codes.npy", "-o", folder / "decoded.npy", "--weights", "last", *DEVICE)
            decoded = np.load(folder / "decoded.npy")
            report.compare(f"{name} batch {batch} decoder", decoder.run(None, {"code": codes})[0], decoded)


def shape_of(preset):
    """Height, width and channels, and the offset of a preset or preset file."""
    path = pathlib.Path(preset) if preset.endswith(".toml") else HERE.parent.parent / f"data/presets/{preset}.toml"
    data = tomllib.loads(path.read_text())["data"]
    return (data["height"], data["width"], data["channels"]), float(data.get("offset", 0.0))


def main():
    presets = [preset["name"] for preset in degrain("presets")["presets"]]
    names = sys.argv[1:] or [*presets, str(HERE / "kinds.toml"), str(HERE / "tied.toml")]
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
    report = Report()
    for name in names:
        check(name, report)
    report.end()


main()
