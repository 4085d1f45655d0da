"""The same systems in PyTorch, for the README's table: one JSON line each.

    python systems.py mnist-dae --data FOLDER            # MNIST's IDX files, unzipped; digits 0 and 5
    python systems.py pokemon-mlp --data FOLDER --weights last.safetensors [--epochs 500]

Needs torch, numpy and safetensors; pokemon-mlp also pillow, on the unpacked pictures, and begins with the weights of a run.
The held-out part is the engine's own: its seeded split is written out below.
"""

import argparse
import json
import pathlib
import time

import numpy as np
import torch
from torch import nn

MASK = (1 << 64) - 1


def mix(z):
    z = (z + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def split(groups, fraction, seed=1):
    """Rows to train on and held out; rows of one group stay together, and all groups are of one size."""
    names = sorted(set(groups))
    order = sorted(names, key=lambda g: (mix(mix(seed) ^ g), g))
    wanted = round(len(names) * fraction)
    out = set(order[:wanted])
    held = np.array([g in out for g in groups])
    return np.flatnonzero(~held), np.flatnonzero(held)


def idx(path):
    raw = path.read_bytes()
    dims = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dims)


class Tied(nn.Module):
    """784-300-100-50 and back, the decoder with the encoder's kernels; batch norm behind each hidden activation."""

    def __init__(self):
        super().__init__()
        sizes = [784, 300, 100, 50]
        self.kernels = nn.ParameterList(nn.Parameter(torch.empty(a, b)) for a, b in zip(sizes, sizes[1:]))
        for kernel in self.kernels:
            nn.init.xavier_uniform_(kernel)
        self.down = nn.ParameterList(nn.Parameter(torch.zeros(n)) for n in sizes[1:])
        self.up = nn.ParameterList(nn.Parameter(torch.zeros(n)) for n in sizes[2::-1])
        # Keras's constants: the weight of the new value is .01, epsilon .001.
        self.norms = nn.ModuleList(nn.BatchNorm1d(n, eps=1e-3, momentum=0.01) for n in [300, 100, 50, 100, 300])

    def forward(self, x):
        norms = iter(self.norms)
        for kernel, bias in zip(self.kernels, self.down):
            x = next(norms)(torch.relu(x @ kernel + bias))
        for i, (kernel, bias) in enumerate(zip(list(self.kernels)[::-1], self.up)):
            x = x @ kernel.T + bias
            x = next(norms)(torch.relu(x)) if i < 2 else x
        return x


def linear_denoiser(train, held, noisy):
    """Test MSE of the best linear map for noise of variance 1: C (C + I)^-1 around the mean."""
    mean = train.mean(0)
    cov = np.cov((train - mean).T, bias=True)
    w = np.linalg.solve(cov + np.eye(len(cov)), cov)
    return float((((noisy - mean) @ w + mean - held) ** 2).mean())


def mnist_dae(args):
    folder = next(pathlib.Path(args.data).rglob("train-images-idx3-ubyte")).parent
    parts = [(idx(folder / f"{p}-images-idx3-ubyte"), idx(folder / f"{p}-labels-idx1-ubyte")) for p in ("t10k", "train")]
    images = np.concatenate([i for i, _ in parts]).reshape(-1, 784) / 255.0
    labels = np.concatenate([l for _, l in parts])
    images = images[np.isin(labels, [0, 5])].astype(np.float32)
    train, held = split(range(len(images)), 0.1)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.tensor(images[train]), torch.tensor(images[held])
    noisy = y + torch.randn(y.shape, generator=generator)
    torch.manual_seed(args.seed)
    net = Tied()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-8)
    best, best_state, without, begin = np.inf, None, 0, time.time()
    for epoch in range(1, 151):
        net.train()
        for rows in torch.randperm(len(x)).split(50):
            clean = x[rows]
            loss = ((net(clean + torch.randn_like(clean)) - clean) ** 2).mean()
            loss = loss + 1e-5 * sum((k**2).sum() / 2 for k in net.kernels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            test = ((net(noisy) - y) ** 2).mean().item()
        if test < best:
            best, best_state, without = test, epoch, 0
        else:
            without += 1
            if without == 5:
                break
    linear = linear_denoiser(images[train].astype(np.float64), y.numpy(), noisy.numpy())
    seconds = round(time.time() - begin, 1)
    return {"test_mse": best, "best_epoch": best_state, "epochs": epoch, "linear": linear, "noisy": ((noisy - y) ** 2).mean().item(), "seconds": seconds}


def pokemon_mlp(args):
    from PIL import Image
    from safetensors.numpy import load_file

    pictures = []
    for path in sorted(pathlib.Path(args.data).rglob("*.png")):
        rgba = Image.open(path).convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        pictures.append(np.asarray(Image.alpha_composite(white, rgba).convert("RGB"), np.float32) / 255)
    rows = np.stack(pictures).transpose(0, 3, 1, 2).reshape(-1, 1600)
    train, _ = split([i // 3 for i in range(len(rows))], 0.1)
    x = torch.tensor(rows[train])
    saved = load_file(args.weights)
    names = [f"{side}.dense_{i}" for side in ("encoder", "decoder") for i in (1, 2, 3)]
    weights = [(torch.tensor(saved[f"{n}.weight"]).requires_grad_(), torch.tensor(saved[f"{n}.bias"]).requires_grad_()) for n in names]
    parameters = [p for pair in weights for p in pair]
    squares = [torch.ones_like(p) for p in parameters]
    torch.manual_seed(args.seed)
    begin = time.time()
    for _ in range(args.epochs):
        total = 0.0
        for batch in torch.randperm(len(x)).split(36):
            clean = x[batch]
            h = clean
            for w, b in weights:
                h = torch.sigmoid(h @ w + b)
            loss = ((h - clean) ** 2).mean()
            gradients = torch.autograd.grad(loss, parameters)
            total += loss.item() * len(batch)
            with torch.no_grad():
                # TensorFlow 1's RMSProp: the mean square begins at 1, and epsilon stands under the root.
                for p, g, s in zip(parameters, gradients, squares):
                    s.mul_(0.9).addcmul_(g, g, value=0.1)
                    p.addcdiv_(g, (s + 1e-10).sqrt(), value=-1e-3)
    return {"train_mse": total / len(x), "epochs": args.epochs, "seconds": round(time.time() - begin, 1)}


parser = argparse.ArgumentParser()
parser.add_argument("system", choices=["mnist-dae", "pokemon-mlp"])
parser.add_argument("--data", required=True)
parser.add_argument("--weights")
parser.add_argument("--epochs", type=int, default=500)
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()
found = {"mnist-dae": mnist_dae, "pokemon-mlp": pokemon_mlp}[args.system](args)
print(json.dumps({"system": args.system, **found}))
