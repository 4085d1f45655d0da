"""Networks of PyTorch with the architectures of presets, imported: degrain's output against PyTorch's.

    pip install numpy safetensors torch
    cargo build --release
    python tests/interop/torch_check.py [--write]

`--write` makes the files in tests/interop/vectors that `cargo test` holds the import against.
"""

import pathlib
import sys
import tempfile

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

from degrain import HERE, Report, codes_and_pictures, degrain, pictures


class SameTransposed(nn.ConvTranspose2d):
    """TensorFlow's transposed convolution with SAME padding: n pixels become n * stride, the surplus cut off after."""

    def forward(self, x):
        full = F.conv_transpose2d(x, self.weight, self.bias, self.stride)
        surplus = max(self.kernel_size[0] - self.stride[0], 0) // 2
        height, width = (n * s for n, s in zip(x.shape[2:], self.stride))
        return full[:, :, surplus:surplus + height, surplus:surplus + width]


def same(inputs, outputs):
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class LfwConv(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [3, 32, 64, 128, 256]
        steps = [[same(i, o), nn.ELU(), nn.MaxPool2d(2)] for i, o in zip(sizes, sizes[1:])]
        self.encoder = nn.Sequential(*sum(steps, []), nn.Flatten(), nn.Linear(1024, 32))
        up = [[SameTransposed(i, o, 3, 2), nn.ELU()] for i, o in [(256, 128), (128, 64), (64, 32)]]
        self.decoder = nn.Sequential(
            nn.Linear(32, 1024), nn.Unflatten(1, (256, 2, 2)), *sum(up, []), SameTransposed(32, 3, 3, 2))

    def forward(self, x):
        code = self.encoder(x)
        return code, self.decoder(code)


class QuickdrawConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = same(1, 16), same(16, 8), same(8, 8), same(8, 8)
        self.conv5, self.conv6, self.conv7 = same(8, 8), nn.Conv2d(8, 16, 3), same(16, 1)

    def forward(self, x):
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(conv(x)), 2, ceil_mode=True)
        code = x
        for conv in (self.conv4, self.conv5, self.conv6):
            x = F.interpolate(F.relu(conv(x)), scale_factor=2)
        # The preset's loss is on logits; its pictures are the sigmoid of them.
        return code.permute(0, 2, 3, 1).flatten(1), torch.sigmoid(self.conv7(x))


class MnistDae(nn.Module):
    """Tied: the decoder has biases of its own alone."""

    def __init__(self):
        super().__init__()
        sizes = [784, 300, 100, 50]
        self.enc = nn.ModuleList(nn.Linear(i, o) for i, o in zip(sizes, sizes[1:]))
        self.enc_norm = nn.ModuleList(nn.BatchNorm1d(o) for o in sizes[1:])
        self.dec_bias = nn.ParameterList(torch.randn(o) * 0.1 for o in sizes[-2::-1])
        self.dec_norm = nn.ModuleList(nn.BatchNorm1d(o) for o in sizes[-2:0:-1])

    def forward(self, x):
        x = x.flatten(1)
        for linear, norm in zip(self.enc, self.enc_norm):
            x = norm(F.relu(linear(x)))
        code = x
        for i, bias in enumerate(self.dec_bias):
            x = F.linear(x, self.enc[2 - i].weight.t(), bias)
            if i < 2:
                x = self.dec_norm[i](F.relu(x))
        return code, x.unflatten(1, (1, 28, 28))


class PokemonConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            same(3, 16), nn.ReLU(), nn.MaxPool2d(2), same(16, 32), nn.ReLU(), nn.MaxPool2d(2))
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 3, padding=1), nn.Sigmoid(), nn.Upsample(scale_factor=2),
            nn.ConvTranspose2d(16, 3, 3, padding=1), nn.Sigmoid(), nn.Upsample(scale_factor=2))

    def forward(self, x):
        code = self.encoder(x)
        return code.permute(0, 2, 3, 1).flatten(1), self.decoder(code)


class Small(nn.Module):
    """vectors/small.toml."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            same(3, 4), nn.ELU(), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2), nn.Tanh(), nn.Flatten(),
            nn.Linear(30, 7), nn.ReLU(), nn.BatchNorm1d(7), nn.Linear(7, 4))
        self.decoder = nn.Sequential(
            nn.Linear(4, 60), nn.LeakyReLU(0.2), nn.BatchNorm1d(60), nn.Unflatten(1, (5, 4, 3)),
            SameTransposed(5, 3, 3, 2), nn.Sigmoid(), nn.ConvTranspose2d(3, 3, 3, padding=1))

    def forward(self, x):
        code = self.encoder(x)
        return code, self.decoder(code)


def randomise(model):
    """Weights that keep values about 1 from layer to layer, and vectors as after a training."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_normal_(module.weight)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 1.5)


def run_torch(model, x):
    """Pictures (N, H, W, C) to codes and pictures (N, H, W, C)."""
    with torch.no_grad():
        code, y = model(torch.from_numpy(x).permute(0, 3, 1, 2))
    return code.numpy(), y.permute(0, 2, 3, 1).numpy()


def check(name, preset, model, x, report):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")
        degrain("import", preset, folder / "model.safetensors", "-o", folder / "run")
        codes, restored = codes_and_pictures(folder / "run", x, folder, "--device", "cpu")
    code, y = run_torch(model, x)
    report.compare(f"{name} code", codes, code)
    report.compare(f"{name} output", restored, y)


def main():
    print(f"torch {torch.__version__}")
    torch.manual_seed(1)
    networks = [
        ("lfw-conv", LfwConv(), (32, 32, 3), -0.5),
        ("quickdraw-conv", QuickdrawConv(), (28, 28, 1), 0.0),
        ("mnist-dae", MnistDae(), (28, 28, 1), 0.0),
        ("pokemon-conv", PokemonConv(), (40, 40, 3), 0.0),
        (HERE / "vectors/small.toml", Small(), (8, 6, 3), 0.0),
    ]
    report = Report()
    for preset, model, shape, offset in networks:
        randomise(model)
        model.eval()
        check(pathlib.Path(preset).stem, preset, model, pictures(5, *shape, offset), report)
    if "--write" in sys.argv:
        model, x = networks[-1][1], pictures(3, 8, 6, 3)
        code, y = run_torch(model, x)
        safetensors.torch.save_file(model.state_dict(), HERE / "vectors/torch.safetensors")
        for name, array in [("input", x), ("code", code), ("output", y)]:
            np.save(HERE / f"vectors/torch_{name}.npy", np.ascontiguousarray(array))
    report.end()


main()
