"""Makes tests/vectors/torch.tgz: forward and backward of every op as PyTorch computes them in float64.

    python make_torch.py [torch.tgz]

Inputs are rounded to float32 first, so that they are stored exactly; outputs and gradients are rounded at the end.
PyTorch's own operators get SAME and asymmetric padding by padding the picture first. Keras's and TensorFlow 1's
conventions of the optimisers are computed from their definitions, which `origin` in `case.json` says. Every case is
seeded by its own name.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from case_files import pack, write_case
from torch_numbers import TORCH, Random, f32, stored
from torch_optimizers import optimizers

# Values are of the order of one, and sums have a few hundred terms at most.
RTOL, ATOL = 1e-5, 1e-5

# From PyTorch's order of axes to that of the `nhwc` layout, by what the array is.
AXES = {"picture": (0, 2, 3, 1), "kernel": (2, 3, 1, 0), "dense": (1, 0)}
ROLES = {"x": "picture", "y": "picture", "weight": "kernel", "argmax": "picture"}


def in_layout(array, role, layout):
    if layout == "nhwc" and role in AXES and array.ndim == len(AXES[role]):
        return np.ascontiguousarray(array.transpose(AXES[role]))
    return array


class Cases:
    def __init__(self, root):
        self.root = Path(root)
        self.count = 0

    def write(self, name, *args, **kwargs):
        write_case(self.root / name, *args, **kwargs)
        self.count += 1

    def differentiable(self, name, op, attributes, inputs, forward, *, wrt=None, roles=None, layouts=("nchw", "nhwc"),
                       extra=None, upstream=None, rtol=RTOL, atol=ATOL, origin=TORCH, convert=None):
        """Runs `forward` on `inputs`, back-propagates a random upstream gradient, and writes one case a layout."""
        roles = ROLES if roles is None else roles
        leaves = {key: value.clone().requires_grad_() for key, value in inputs.items()}
        y = forward(**leaves)
        wrt = list(inputs) if wrt is None else wrt
        if upstream is None:
            upstream = Random(name + " upstream").normal(*y.shape)
        grads = torch.autograd.grad(y, [leaves[key] for key in wrt], upstream, allow_unused=False)
        outputs = {"y": stored(y), **{key: np.asarray(value) for key, value in (extra or {}).items()}}
        for layout in layouts:
            put = lambda array, key: in_layout(array, roles.get(key), layout)
            arrays = {key: put(stored(value), key) for key, value in inputs.items()}
            if convert:
                arrays = {key: convert(array) for key, array in arrays.items()}
            self.write(
                f"{name}-{layout}" if len(layouts) > 1 else name, op, attributes, arrays,
                {key: put(value, key) for key, value in outputs.items()},
                gradients={key: put(stored(grad), key) for key, grad in zip(wrt, grads)},
                upstream=put(stored(upstream), "y"), layout=layout, rtol=rtol, atol=atol, origin=origin)


def same_sides(size, kernel, stride, dilation=(1, 1)):
    """Padding [top, bottom, left, right] of SAME, as TensorFlow defines it."""
    sides = []
    for n, k, s, d in zip(size, kernel, stride, dilation):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        sides += [total // 2, total - total // 2]
    return sides


def sides_of(padding, size, kernel, stride, dilation=(1, 1)):
    if padding == "same":
        return same_sides(size, kernel, stride, dilation)
    return [0, 0, 0, 0] if padding == "valid" else padding


def padded(x, sides, value=0.0):
    top, bottom, left, right = sides
    return F.pad(x, (left, right, top, bottom), value=value)


def convolutions(cases):
    # name, (batch, height, width), channels in and out, kernel, stride, padding, dilation, bias
    for name, (n, h, w), cin, cout, kernel, stride, padding, dilation, bias in [
        ("one-pixel", (1, 1, 1), 1, 1, (1, 1), (1, 1), "valid", (1, 1), False),
        ("one-pixel-same", (2, 1, 1), 3, 2, (3, 3), (2, 2), "same", (1, 1), True),
        ("same-3x3", (2, 5, 7), 3, 4, (3, 3), (1, 1), "same", (1, 1), True),
        ("same-stride-2-even", (1, 8, 6), 4, 8, (3, 3), (2, 2), "same", (1, 1), True),
        ("same-stride-2-odd", (2, 7, 9), 2, 5, (3, 3), (2, 2), "same", (1, 1), False),
        ("same-stride-3-kernel-2", (1, 10, 7), 3, 3, (2, 2), (3, 3), "same", (1, 1), True),
        ("same-uneven", (1, 9, 11), 2, 3, (2, 5), (3, 1), "same", (1, 1), True),
        ("valid-5x3", (2, 9, 8), 3, 4, (5, 3), (2, 3), "valid", (1, 1), True),
        ("stride-beyond-kernel", (1, 11, 11), 2, 2, (2, 1), (3, 4), "valid", (1, 1), False),
        ("explicit-symmetric", (1, 6, 5), 4, 4, (3, 3), (2, 2), [1, 1, 1, 1], (1, 1), True),
        ("explicit-asymmetric", (2, 6, 5), 3, 5, (3, 4), (1, 2), [2, 0, 1, 3], (1, 1), True),
        ("explicit-after-only", (1, 4, 4), 1, 2, (3, 3), (2, 2), [0, 1, 0, 1], (1, 1), False),
        ("padding-beyond-kernel", (1, 3, 4), 2, 3, (1, 2), (1, 1), [2, 3, 3, 2], (1, 1), True),
        ("wide-channels", (1, 4, 3), 9, 33, (3, 3), (1, 1), "same", (1, 1), True),
        ("whole-picture", (3, 4, 5), 2, 6, (4, 5), (1, 1), "valid", (1, 1), True),
        ("dilation-2", (1, 9, 8), 3, 4, (3, 3), (1, 1), "same", (2, 2), True),
        ("dilation-uneven", (2, 10, 12), 2, 3, (3, 2), (2, 1), "valid", (1, 3), False),
        ("dilation-explicit", (1, 7, 7), 4, 4, (2, 3), (2, 2), [1, 2, 0, 3], (3, 2), True),
    ]:
        name = f"conv2d-{name}"
        random = Random(name)
        inputs = {"x": random.normal(n, cin, h, w), "weight": random.normal(cout, cin, *kernel, scale=0.5)}
        if bias:
            inputs["bias"] = random.normal(cout)
        sides = sides_of(padding, (h, w), kernel, stride, dilation)
        attributes = {"stride": stride if stride[0] != stride[1] else stride[0], "padding": padding}
        if dilation != (1, 1):
            attributes["dilation"] = dilation
        cases.differentiable(name, "conv2d", attributes, inputs, lambda x, weight, bias=None: F.conv2d(
            padded(x, sides), weight, bias, stride=stride, dilation=dilation))


def transposed_convolutions(cases):
    def full_window(stride, dilation, top, left, size):
        """The window of the full output that begins at (top, left), zero beyond the full output; then the bias."""
        def forward(x, weight, bias=None):
            full = F.conv_transpose2d(x, weight, stride=stride, dilation=dilation)[:, :, top:, left:]
            full = full[:, :, :size[0], :size[1]]
            y = F.pad(full, (0, size[1] - full.shape[3], 0, size[0] - full.shape[2]))
            return y if bias is None else y + bias.reshape(1, -1, 1, 1)
        return forward

    def gradient_of_same(stride, size):
        """The gradient of the SAME convolution of a picture of this size with the same kernel and stride."""
        def forward(x, weight, bias=None):
            picture = torch.zeros(x.shape[0], weight.shape[1], *size, requires_grad=True)
            made = F.conv2d(padded(picture, same_sides(size, weight.shape[2:], stride)), weight, stride=stride)
            assert made.shape == x.shape, (made.shape, x.shape)
            y, = torch.autograd.grad(made, picture, x, create_graph=True)
            return y if bias is None else y + bias.reshape(1, -1, 1, 1)
        return forward

    # name, (batch, height, width), channels in and out, kernel, stride, padding, output size, dilation, bias
    for name, (n, h, w), cin, cout, kernel, stride, padding, output, dilation, bias in [
        ("one-pixel", (1, 1, 1), 1, 1, (1, 1), (1, 1), "valid", None, (1, 1), False),
        ("same-3x3", (2, 4, 5), 3, 2, (3, 3), (1, 1), "same", None, (1, 1), True),
        ("same-stride-2", (2, 3, 4), 4, 3, (3, 3), (2, 2), "same", None, (1, 1), True),
        ("same-stride-2-kernel-2", (1, 3, 5), 2, 4, (2, 2), (2, 2), "same", None, (1, 1), False),
        ("same-stride-2-kernel-5", (1, 4, 3), 2, 3, (5, 5), (2, 2), "same", None, (1, 1), True),
        ("same-stride-beyond-kernel", (1, 3, 2), 2, 2, (2, 1), (3, 2), "same", None, (1, 1), True),
        ("same-odd-output", (1, 4, 3), 3, 2, (3, 3), (2, 2), "same", (7, 5), (1, 1), True),
        ("valid-stride-2", (2, 3, 4), 3, 4, (3, 3), (2, 2), "valid", None, (1, 1), True),
        ("valid-uneven", (1, 4, 3), 2, 3, (2, 4), (3, 1), "valid", None, (1, 1), False),
        ("torch-padding-1", (2, 4, 5), 3, 2, (3, 3), (2, 2), [1, 1, 1, 1], None, (1, 1), True),
        ("torch-output-padding-1", (1, 4, 5), 2, 3, (3, 3), (2, 2), [1, 1, 1, 1], (8, 10), (1, 1), True),
        ("torch-output-padding-stride-3", (1, 3, 3), 2, 2, (3, 3), (3, 3), [0, 0, 1, 1], (11, 9), (1, 1), True),
        ("asymmetric", (1, 4, 4), 3, 3, (4, 3), (2, 2), [2, 1, 0, 2], None, (1, 1), True),
        ("window-inside", (1, 5, 4), 2, 2, (3, 3), (2, 1), [3, 0, 1, 0], (4, 3), (1, 1), True),
        ("window-beyond", (1, 2, 3), 2, 3, (2, 2), (2, 2), [1, 0, 2, 0], (6, 8), (1, 1), True),
        ("wide-channels", (1, 3, 2), 17, 9, (3, 3), (2, 2), "valid", None, (1, 1), True),
        ("dilation-2", (1, 4, 3), 2, 3, (3, 2), (2, 2), [1, 1, 0, 1], None, (2, 3), True),
    ]:
        name = f"conv_transpose2d-{name}"
        random = Random(name)
        inputs = {"x": random.normal(n, cin, h, w), "weight": random.normal(cin, cout, *kernel, scale=0.5)}
        if bias:
            inputs["bias"] = random.normal(cout)
        attributes = {"stride": stride if stride[0] != stride[1] else stride[0], "padding": padding}
        if output:
            attributes["output_size"] = output
        if dilation != (1, 1):
            attributes["dilation"] = dilation
        if padding == "same":
            forward = gradient_of_same(stride, output or (h * stride[0], w * stride[1]))
        else:
            top, bottom, left, right = sides_of(padding, (h, w), kernel, stride)
            size = output or (
                (h - 1) * stride[0] + (kernel[0] - 1) * dilation[0] + 1 - top - bottom,
                (w - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1 - left - right)
            forward = full_window(stride, dilation, top, left, size)
        cases.differentiable(name, "conv_transpose2d", attributes, inputs, forward)


def max_pools(cases):
    # name, (batch, channels, height, width), size, stride, padding, values, type of the stored argmax
    for name, shape, size, stride, padding, values, kind in [
        ("2x2", (2, 3, 6, 8), (2, 2), None, "valid", "normal", np.int64),
        ("2x2-odd-same", (1, 4, 7, 5), (2, 2), (2, 2), "same", "normal", np.float32),
        ("7-to-4", (1, 1, 7, 7), (2, 2), (2, 2), "same", "normal", np.int32),
        ("3x3-stride-2", (2, 5, 9, 8), (3, 3), (2, 2), "valid", "normal", np.uint32),
        ("3x3-stride-1-same", (1, 3, 4, 6), (3, 3), (1, 1), "same", "normal", np.int64),
        ("stride-beyond-size", (1, 2, 10, 11), (2, 3), (3, 4), "valid", "normal", np.float64),
        ("ties", (2, 4, 6, 7), (3, 2), (2, 1), "same", "ties", np.int64),
        ("all-equal", (1, 3, 4, 4), (2, 2), (2, 2), "valid", "constant", np.int64),
        ("all-negative-same", (1, 3, 5, 5), (3, 3), (2, 2), "same", "negative", np.int64),
        ("all-negative-padded", (2, 2, 5, 4), (3, 3), (2, 2), [1, 1, 1, 1], "negative", np.uint8),
        ("asymmetric", (1, 4, 5, 6), (3, 2), (2, 2), [0, 2, 1, 0], "negative", np.int32),
        ("one-pixel", (3, 1, 1, 1), (1, 1), (1, 1), "valid", "normal", np.int64),
        ("whole-picture", (2, 3, 4, 5), (4, 5), None, "valid", "normal", np.int64),
        ("nine-channels", (1, 9, 6, 6), (2, 2), (2, 2), "valid", "ties", np.int64),
    ]:
        name = f"max_pool2d-{name}"
        random = Random(name)
        x = {
            "normal": lambda: random.normal(*shape),
            "ties": lambda: random.integers(-2, 3, *shape),
            "constant": lambda: torch.full(shape, -0.5),
            "negative": lambda: -5.0 - random.uniform(*shape),
        }[values]()
        step = stride or size
        sides = sides_of(padding, shape[2:], size, step)
        forward = lambda x: F.max_pool2d(padded(x, sides, -torch.inf), size, step)
        _, index = F.max_pool2d(padded(x, sides, -torch.inf), size, step, return_indices=True)
        width = shape[3] + sides[2] + sides[3]
        argmax = (index // width - sides[0]) * shape[3] + index % width - sides[2]
        attributes = {"size": size if size[0] != size[1] else size[0], "padding": padding}
        if stride:
            attributes["stride"] = stride
        cases.differentiable(name, "max_pool2d", attributes, {"x": x}, forward,
                             extra={"argmax": argmax.numpy().astype(kind)})


def dilated_pools(cases):
    shape, size, stride, dilation = (2, 3, 9, 8), (3, 2), (2, 1), (2, 3)
    for padding in ("valid", "same", [2, 1, 0, 2]):
        sides = sides_of(padding, shape[2:], size, stride, dilation)
        attributes = {"size": size, "stride": stride, "padding": padding, "dilation": dilation}
        label = padding if isinstance(padding, str) else "explicit"
        x = Random(f"dilated-{label}").normal(*shape)
        cases.differentiable(f"max_pool2d-dilated-{label}", "max_pool2d", attributes, {"x": x}, lambda x: F.max_pool2d(
            padded(x, sides, -torch.inf), size, stride, dilation=dilation))
        one = torch.ones(shape[1], 1, *size)
        total = lambda x: F.conv2d(padded(x, sides), one, stride=stride, dilation=dilation, groups=shape[1])
        cases.differentiable(f"avg_pool2d-dilated-{label}", "avg_pool2d", attributes, {"x": x},
                             lambda x: total(x) / total(torch.ones(shape)))


def average_pools(cases):
    # name, (batch, channels, height, width), size, stride, padding, whether padding counts
    for name, shape, size, stride, padding, counts in [
        ("2x2", (2, 3, 6, 8), (2, 2), None, "valid", False),
        ("3x3-stride-2", (1, 4, 9, 7), (3, 3), (2, 2), "valid", False),
        ("same-odd", (2, 2, 7, 5), (2, 2), (2, 2), "same", False),
        ("same-3x3-stride-1", (1, 3, 4, 5), (3, 3), (1, 1), "same", False),
        ("asymmetric", (1, 5, 6, 5), (3, 2), (2, 3), [2, 1, 0, 1], False),
        ("stride-beyond-size", (1, 2, 10, 9), (2, 3), (3, 5), "valid", False),
        ("whole-picture", (3, 4, 3, 5), (3, 5), None, "valid", False),
        ("one-pixel", (1, 1, 1, 1), (1, 1), None, "same", False),
        ("count-include-pad", (2, 3, 5, 6), (3, 3), (2, 2), [1, 1, 1, 1], True),
    ]:
        name = f"avg_pool2d-{name}"
        step = stride or size
        sides = sides_of(padding, shape[2:], size, step)

        def forward(x):
            total = F.avg_pool2d(padded(x, sides), size, step)
            return total if counts else total / F.avg_pool2d(padded(torch.ones(shape), sides), size, step)

        attributes = {"size": size if size[0] != size[1] else size[0], "padding": padding}
        if stride:
            attributes["stride"] = stride
        if counts:
            attributes["count_include_pad"] = True
        cases.differentiable(name, "avg_pool2d", attributes, {"x": Random(name).normal(*shape)}, forward)


def upsampling(cases):
    for name, shape, factor in [("2", (2, 3, 4, 5), (2, 2)), ("3x1", (1, 2, 3, 4), (3, 1)),
                                ("1x4", (1, 5, 1, 3), (1, 4)), ("one-pixel", (3, 1, 1, 1), (2, 3))]:
        name = f"upsample2d-{name}"
        forward = lambda x: x.repeat_interleave(factor[0], dim=2).repeat_interleave(factor[1], dim=3)
        attributes = {"factor": factor if factor[0] != factor[1] else factor[0]}
        cases.differentiable(name, "upsample2d", attributes, {"x": Random(name).normal(*shape)}, forward)


def products(cases):
    for name, n, k, m, bias in [("1x1x1", 1, 1, 1, True), ("3x5x7", 3, 5, 7, True), ("no-bias", 4, 9, 3, False),
                                ("wide", 2, 130, 33, True), ("tall", 65, 3, 17, True)]:
        name = f"dense-{name}"
        random = Random(name)
        inputs = {"x": random.normal(n, k), "weight": random.normal(m, k, scale=0.5)}
        if bias:
            inputs["bias"] = random.normal(m)
        cases.differentiable(name, "dense", {}, inputs, lambda x, weight, bias=None: F.linear(x, weight, bias),
                             roles={"weight": "dense"})
    for n, k, m in [(3, 4, 5), (1, 7, 1), (33, 17, 9)]:
        for ta in (False, True):
            for tb in (False, True):
                name = f"matmul-{n}x{k}x{m}-{'t' if ta else 'n'}{'t' if tb else 'n'}"
                random = Random(name)
                inputs = {"a": random.normal(*((k, n) if ta else (n, k))), "b": random.normal(*((m, k) if tb else (k, m)))}
                forward = lambda a, b: (a.T if ta else a) @ (b.T if tb else b)
                cases.differentiable(name, "matmul", {"transpose_a": ta, "transpose_b": tb}, inputs, forward,
                                     roles={}, layouts=("nhwc",))


def activations(cases):
    extremes = torch.tensor([0.0, 1e-3, -1e-3, 20.0, -20.0, 88.0, -88.0, 100.0, -100.0])
    for name, op, attributes, function in [
        ("relu", "relu", {}, F.relu),
        ("elu", "elu", {}, F.elu),
        ("elu-alpha-1", "elu", {"alpha": 1.0}, F.elu),
        ("elu-alpha", "elu", {"alpha": 0.5}, lambda x: F.elu(x, 0.5)),
        ("sigmoid", "sigmoid", {}, torch.sigmoid),
        ("tanh", "tanh", {}, torch.tanh),
        ("softplus", "softplus", {}, lambda x: F.softplus(x, threshold=1e9)),
        ("leaky_relu", "leaky_relu", {"slope": f32(0.2)}, lambda x: F.leaky_relu(x, f32(0.2))),
    ]:
        for label, shape in [("scalar", ()), ("vector", (7,)), ("matrix", (5, 13)), ("cube", (3, 4, 5)),
                             ("picture", (2, 3, 5, 4)), ("five-axes", (2, 1, 3, 2, 4))]:
            # Axes are never moved: the layout of an element-wise op means nothing.
            layout = ("nchw",) if label == "picture" else ("nhwc",)
            random = Random(f"{name}-{label}")
            cases.differentiable(f"{name}-{label}", op, attributes, {"x": random.normal(*shape, scale=2.0)},
                                 lambda x: function(x), roles={}, layouts=layout)
        if name != "relu" and name != "leaky_relu":
            kinks = extremes[1:]
        else:
            kinks = extremes
        cases.differentiable(f"{name}-extremes", op, attributes, {"x": kinks}, lambda x: function(x), roles={}, layouts=("nhwc",))


def losses(cases):
    for label, shape in [("one", (1,)), ("vector", (257,)), ("picture", (2, 3, 5, 4))]:
        random = Random(f"losses-{label}")
        x, target = random.normal(*shape), random.normal(*shape)
        # Loss gradients are of the order of 1/N: the absolute part must not hide them.
        tight = {"rtol": RTOL, "atol": 1e-7, "roles": {}, "layouts": ("nhwc",)}
        for scalar in ((), (1,)):
            suffix = "" if scalar == () else "-1"
            upstream = torch.full(scalar, 1.75)
            cases.differentiable(f"mse-{label}{suffix}", "mse", {}, {"x": x, "target": target},
                                 lambda x, target: F.mse_loss(x, target).reshape(scalar), upstream=upstream, **tight)
            cases.differentiable(f"bce_logits-{label}{suffix}", "bce_logits", {}, {"x": 3 * x, "target": random.uniform(*shape)},
                                 lambda x, target: F.binary_cross_entropy_with_logits(x, target).reshape(scalar),
                                 wrt=["x"], upstream=upstream, **tight)
    logits = torch.tensor([100.0, 100.0, -100.0, -100.0, 0.0, 0.0, 30.0, -30.0, 1e-3, 88.0, -88.0])
    targets = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.25, 0.75, 0.5, 1.0, 0.0])
    cases.differentiable("bce_logits-extremes", "bce_logits", {}, {"x": logits, "target": targets},
                         lambda x, target: F.binary_cross_entropy_with_logits(x, target), wrt=["x"],
                         upstream=torch.tensor(-2.0), rtol=RTOL, atol=1e-7, roles={}, layouts=("nhwc",))


def batch_norms(cases):
    for name, shape, epsilon, momentum, spread in [
        ("picture", (2, 3, 4, 5), 1e-3, 0.99, 1.0), ("one-channel", (3, 1, 5, 5), 1e-5, 0.9, 1.0),
        ("matrix", (7, 5), 1e-3, 0.9, 2.0), ("cube", (3, 4, 6), 1e-3, 0.99, 1.0),
        ("flat-channel", (2, 5, 3, 3), 1e-3, 0.5, 0.05), ("many-channels", (2, 37, 3, 2), 1e-3, 0.99, 1.0),
    ]:
        epsilon, momentum = f32(epsilon), f32(momentum)
        channels = shape[1]
        axes = [0, *range(2, len(shape))]
        for training in (True, False):
            label = f"batch_norm-{name}-{'training' if training else 'inference'}"
            random = Random(label)
            x = random.normal(*shape, scale=spread) + 0.5
            weight, bias = random.normal(channels), random.normal(channels)
            mean, variance = random.normal(channels), 0.5 + random.uniform(channels)
            inputs = {"x": x, "weight": weight, "bias": bias}

            def forward(x, weight, bias):
                if training:
                    return F.batch_norm(x, None, None, weight, bias, True, 0.0, epsilon)
                return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, epsilon)

            # PyTorch's running variance is unbiased: the biased one is computed here.
            outputs = {}
            if training:
                batch_mean, batch_variance = x.mean(dim=axes), x.var(dim=axes, unbiased=False)
                outputs = {"running_mean": momentum * mean + (1 - momentum) * batch_mean,
                           "running_var": momentum * variance + (1 - momentum) * batch_variance}
            leaves = {key: value.clone().requires_grad_() for key, value in inputs.items()}
            y = forward(**leaves)
            upstream = Random(label + " upstream").normal(*y.shape)
            grads = torch.autograd.grad(y, list(leaves.values()), upstream)
            last = (0, *range(2, len(shape)), 1)
            for layout in ("nchw", "nhwc"):
                put = lambda t: stored(t.permute(last) if layout == "nhwc" and t.ndim == len(shape) and t.ndim > 2 else t)
                cases.write(
                    f"{label}-{layout}", "batch_norm",
                    {"momentum": momentum, "epsilon": epsilon, "training": training},
                    {**{key: put(value) for key, value in inputs.items()}, "running_mean": stored(mean),
                     "running_var": stored(variance)},
                    {"y": put(y), **{key: stored(value) for key, value in outputs.items()}},
                    gradients={key: put(grad) for key, grad in zip(inputs, grads)}, upstream=put(upstream),
                    layout=layout, rtol=1e-4 if name == "flat-channel" else RTOL, atol=ATOL, origin=TORCH)


def encodings(cases):
    """The same numbers in every type, byte order and memory order that a file may have."""
    for label, convert in [
        ("f64", lambda a: a.astype(np.float64)),
        ("big-endian", lambda a: a.astype(">f4")),
        ("big-endian-f64", lambda a: a.astype(">f8")),
        ("fortran", np.asfortranarray),
    ]:
        name = f"encoding-{label}"
        random = Random("encoding")
        inputs = {"x": random.normal(2, 3, 4, 5), "weight": random.normal(4, 3, 2, 3), "bias": random.normal(4)}
        cases.differentiable(name, "conv2d", {}, inputs, lambda x, weight, bias: F.conv2d(x, weight, bias), convert=convert)


def main():
    archive = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("torch.tgz")
    with tempfile.TemporaryDirectory() as root:
        cases = Cases(root)
        for make in (convolutions, transposed_convolutions, max_pools, average_pools, dilated_pools, upsampling, products, activations,
                     losses, batch_norms, optimizers, encodings):
            make(cases)
        pack(root, archive)
        print(f"{archive}: {cases.count} cases, {archive.stat().st_size} bytes")


if __name__ == "__main__":
    main()
