"""Seeded numbers, and how results are stored."""

import zlib

import numpy as np
import torch

torch.set_default_dtype(torch.float64)
TORCH = f"PyTorch {torch.__version__.split('+')[0]}"


def f32(value):
    """The nearest float32, as a Python number."""
    return float(np.float32(value))


class Random:
    """Numbers that depend on the case's name alone, exact in float32; multiples of 1/64, which pack well."""

    def __init__(self, name):
        self.generator = np.random.default_rng(zlib.crc32(name.encode()))

    def normal(self, *shape, scale=1.0):
        return torch.tensor(np.round(self.generator.standard_normal(shape) * scale * 64) / 64)

    def integers(self, low, high, *shape):
        return torch.tensor(self.generator.integers(low, high, shape).astype(np.float64))

    def uniform(self, *shape):
        return torch.tensor(np.round(self.generator.random(shape) * 64) / 64)


def stored(tensor):
    """As float32, contiguous."""
    return np.ascontiguousarray(tensor.detach().numpy().astype(np.float32)).reshape(tuple(tensor.shape))
