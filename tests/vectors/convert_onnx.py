"""Turns ONNX's node test vectors of the ops that degrain has into cases for `degrain validate --vectors`.

    python convert_onnx.py NODES [onnx.tgz]

NODES is the folder `onnx/backend/test/data/node` of the Python package `onnx` up to 1.22 (Apache-2.0): it holds
`test_NAME/model.onnx` and `test_NAME/test_data_set_0`. Each model with one node of these ops becomes one or more
cases. Where the node says the same thing in other words, its arrays or attributes are rewritten, and the case's
`origin` says how. What cannot be said is listed in `onnx_left_out.md`, with the reason.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from case_files import pack, write_case
from onnx import numpy_helper


class LeftOut(Exception):
    """The node cannot be expressed; the reason."""


class Node:
    def __init__(self, folder):
        self.name = folder.name.removeprefix("test_")
        self.model = onnx.load(folder / "model.onnx")
        graph = self.model.graph
        self.node = graph.node[0] if len(graph.node) == 1 else None
        self.op = self.node.op_type if self.node is not None else None
        if self.op not in CONVERTERS:
            return
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in self.node.attribute}
        self.attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in self.attributes.items()}
        data = folder / "test_data_set_0"
        given = {value.name: read(data / f"input_{i}.pb") for i, value in enumerate(graph.input)}
        made = {value.name: read(data / f"output_{i}.pb") for i, value in enumerate(graph.output)}
        self.inputs = [given.get(name) for name in self.node.input]
        self.outputs = [made.get(name) for name in self.node.output]

    def get(self, name, default):
        return self.attributes.get(name, default)


def read(path):
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def floats(*arrays):
    for array in arrays:
        if array is not None and array.dtype not in (np.float32, np.float64):
            raise LeftOut(f"elements of type {array.dtype}")


def in_two_axes(x, node):
    """Pictures of one axis get a height of 1; those of three cannot be said."""
    if x.ndim == 3:
        return np.expand_dims(x, 2), "a height of 1 added"
    if x.ndim != 4:
        raise LeftOut(f"{x.ndim - 2} axes")
    return x, None


def per_axis(node, name, default, flat):
    values = list(node.get(name, [default] * (1 if flat else 2)))
    return [default, *values] if flat else values


def window_sides(node, size, reach, stride, output, flat):
    """[top, bottom, left, right], such that the op gives `output`: auto_pad and ceil_mode become plain numbers."""
    auto = node.get("auto_pad", "NOTSET")
    pads = list(node.get("pads", [0] * (2 if flat else 4)))
    befores, ends = ([0, pads[0]], [0, pads[1]]) if flat else (pads[:2], pads[2:])
    sides = []
    for axis in range(2):
        needed = (output[axis] - 1) * stride[axis] + reach[axis] - size[axis]
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            total = max(needed, 0)
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
        else:
            before = befores[axis] if auto == "NOTSET" else 0
        # With floor, pixels past the last window are left over: no padding is needed for them.
        end = max(needed - before, 0)
        if auto == "NOTSET" and not node.get("ceil_mode", 0):
            assert end <= ends[axis], (node.name, end, ends)
        sides += [before, end]
    return sides


def spread(kernel, dilation):
    return [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]


def conv(node):
    x, weight, bias = (node.inputs + [None])[:3]
    floats(x, weight, bias)
    if node.get("group", 1) != 1:
        raise LeftOut(f"group = {node.get('group', 1)}")
    flat = x.ndim == 3
    x, note = in_two_axes(x, node)
    y = node.outputs[0]
    weight, y = (np.expand_dims(weight, 2), np.expand_dims(y, 2)) if flat else (weight, y)
    stride, dilation = per_axis(node, "strides", 1, flat), per_axis(node, "dilations", 1, flat)
    padding = window_sides(node, x.shape[2:], spread(weight.shape[2:], dilation), stride, y.shape[2:], flat)
    inputs = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    attributes = {"stride": stride, "padding": padding} | ({} if dilation == [1, 1] else {"dilation": dilation})
    return [("conv2d", attributes, inputs, {"y": y}, note)]


def conv_transpose(node):
    x, weight, bias = (node.inputs + [None])[:3]
    floats(x, weight, bias)
    if node.get("group", 1) != 1:
        raise LeftOut(f"group = {node.get('group', 1)}")
    flat = x.ndim == 3
    x, note = in_two_axes(x, node)
    y = node.outputs[0]
    weight, y = (np.expand_dims(weight, 2), np.expand_dims(y, 2)) if flat else (weight, y)
    stride, dilation = per_axis(node, "strides", 1, flat), per_axis(node, "dilations", 1, flat)
    extra = per_axis(node, "output_padding", 0, flat)
    reach = spread(weight.shape[2:], dilation)
    auto = node.get("auto_pad", "NOTSET")
    pads = list(node.get("pads", [0] * (2 if flat else 4)))
    befores = [0, pads[0]] if flat else pads[:2]
    if auto != "NOTSET" or "output_shape" in node.attributes:
        # ONNX, ConvTranspose: what the output shape leaves of the full one is cut off, the odd pixel at the end only
        # for SAME_UPPER.
        befores = []
        for axis in range(2):
            total = stride[axis] * (x.shape[2 + axis] - 1) + extra[axis] + reach[axis] - y.shape[2 + axis]
            if total < 0:
                # The output is longer than the full one: nothing is cut off, and zeros follow.
                total = 0
            befores.append(total // 2 if auto == "SAME_UPPER" else total - total // 2)
    inputs = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    attributes = {"stride": stride, "padding": [befores[0], 0, befores[1], 0], "output_size": list(y.shape[2:])}
    if dilation != [1, 1]:
        attributes["dilation"] = dilation
    return [("conv_transpose2d", attributes, inputs, {"y": y}, note)]


def pool(op):
    def convert(node):
        x, y = node.inputs[0], node.outputs[0]
        floats(x)
        flat = x.ndim == 3
        size = node.get("kernel_shape", None)
        if size is None:
            size = x.shape[2:]
        x, note = in_two_axes(x, node)
        y = np.expand_dims(y, 2) if flat else y
        size = [1, *size] if flat else list(size)
        stride, dilation = per_axis(node, "strides", 1, flat), per_axis(node, "dilations", 1, flat)
        padding = window_sides(node, x.shape[2:], spread(size, dilation), stride, y.shape[2:], flat)
        attributes = {"size": size, "stride": stride, "padding": padding}
        if dilation != [1, 1]:
            attributes["dilation"] = dilation
        outputs = {"y": y}
        if op == "avg_pool2d" and node.get("count_include_pad", 0):
            pads = node.get("pads", [0, 0, 0, 0])
            if padding != [pads[0], pads[2], pads[1], pads[3]]:
                raise LeftOut("ceil_mode = 1 with count_include_pad = 1: only part of the padding counts")
            attributes["count_include_pad"] = True
        if len(node.outputs) > 1 and node.outputs[1] is not None:
            height, width = x.shape[2:]
            place = node.outputs[1] % (height * width)
            if node.get("storage_order", 0):
                place = place % height * width + place // height
            outputs["argmax"] = place
            note = "indices taken within the plane of their channel"
        return [(op, attributes, {"x": x}, outputs, note)]
    return convert


def gemm(node):
    a, b, c = (node.inputs + [None])[:3]
    floats(a, b, c)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    notes = []
    if alpha != 1.0:
        b, notes = b.astype(np.float64) * alpha, notes + ["alpha folded into b"]
    if node.get("transA", 0):
        a, notes = np.ascontiguousarray(a.T), notes + ["a stored transposed"]
    layout = "nchw" if node.get("transB", 0) else "nhwc"
    inputs = {"x": a, "weight": b}
    if c is not None:
        columns = node.outputs[0].shape[1]
        if c.ndim == 2 and c.shape[0] != 1:
            raise LeftOut("a bias for each row")
        c = np.ascontiguousarray(np.broadcast_to(c.reshape(-1), (columns,)))
        if beta != 1.0:
            c, notes = c.astype(np.float64) * beta, notes + ["beta folded into c"]
        inputs["bias"] = c
    return [("dense", {}, inputs, {"y": node.outputs[0]}, ", ".join(notes) or None, layout)]


def matmul(node):
    a, b = node.inputs
    floats(a, b)
    y = node.outputs[0]
    notes = []
    if a.ndim == 1:
        a, y, notes = a[None, :], np.expand_dims(y, -1 if b.ndim == 1 else -2), ["a vector as a matrix"]
    if b.ndim == 1:
        b, y, notes = b[:, None], y if y.ndim > 1 and node.inputs[0].ndim == 1 else y[..., None], ["a vector as a matrix"]
    y = y.reshape(y.shape if y.ndim > 1 else (1, *y.shape))
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if stack:
        notes.append("one matrix of the stack")
    a, b = np.broadcast_to(a, stack + a.shape[-2:]), np.broadcast_to(b, stack + b.shape[-2:])
    assert y.shape == stack + (a.shape[-2], b.shape[-1]), (node.name, y.shape)
    put = np.ascontiguousarray
    return [("matmul", {}, {"a": put(a[at]), "b": put(b[at])}, {"y": put(y[at])}, ", ".join(notes) or None)
            for at in np.ndindex(*stack)]


def elementwise(op, **coefficients):
    """`coefficients`: our name of an attribute = (ONNX's name, its default)."""
    def convert(node):
        floats(*node.inputs)
        attributes = {ours: node.get(theirs, default) for ours, (theirs, default) in coefficients.items()}
        return [(op, attributes, {"x": node.inputs[0]}, {"y": node.outputs[0]}, None)]
    return convert


def batch_norm(node):
    x, scale, bias, mean, variance = node.inputs
    floats(x)
    training = bool(node.get("training_mode", 0))
    outputs = {"y": node.outputs[0]}
    if training:
        outputs |= {"running_mean": node.outputs[1], "running_var": node.outputs[2]}
    attributes = {"momentum": node.get("momentum", 0.9), "epsilon": node.get("epsilon", 1e-5), "training": training}
    inputs = {"x": x, "weight": scale, "bias": bias, "running_mean": mean, "running_var": variance}
    return [("batch_norm", attributes, inputs, outputs, None)]


# Coordinate and rounding rules that repeat each pixel for whole factors; every other pair shifts by part of a pixel.
REPEATING = {("half_pixel", "round_prefer_floor"), ("asymmetric", "floor")}


def resize(node):
    x, y = node.inputs[0], node.outputs[0]
    floats(x)
    mode = node.get("mode", "nearest")
    if mode != "nearest":
        raise LeftOut(f"mode = {mode}")
    if node.op == "Resize":
        rules = (node.get("coordinate_transformation_mode", "half_pixel"), node.get("nearest_mode", "round_prefer_floor"))
        if rules not in REPEATING:
            raise LeftOut(f"{rules[0]} coordinates with nearest_mode = {rules[1]}")
    factor = [made / given for made, given in zip(y.shape, x.shape)]
    if factor[:2] != [1, 1] or any(f < 1 or f != int(f) for f in factor[2:]):
        raise LeftOut(f"{x.shape[2]}x{x.shape[3]} to {y.shape[2]}x{y.shape[3]}: not a whole factor")
    return [("upsample2d", {"factor": [int(f) for f in factor[2:]]}, {"x": x}, {"y": y}, None)]


def parameters(node, states):
    """R, T and for each tensor its X, G, states, new X and new states; the L2 term is folded into the gradient."""
    rate, step = float(node.inputs[0]), int(node.inputs[1])
    count = (len(node.inputs) - 2) // (2 + states)
    part = lambda arrays, kind, i: arrays[kind * count + i]
    decay = node.get("norm_coefficient", 0.0)
    for i in range(count):
        x, g = part(node.inputs[2:], 0, i).astype(np.float64), part(node.inputs[2:], 1, i).astype(np.float64)
        yield (rate, step, x, decay * x + g, [part(node.inputs[2:], 2 + s, i) for s in range(states)],
               part(node.outputs, 0, i), [part(node.outputs, 1 + s, i) for s in range(states)])


def adam(node):
    if node.get("norm_coefficient_post", 0.0):
        raise LeftOut("norm_coefficient_post")
    beta1, beta2 = node.get("alpha", 0.9), node.get("beta", 0.999)
    cases = []
    for rate, step, x, g, (m, v), new_x, (new_m, new_v) in parameters(node, 2):
        note = "the L2 term folded into the gradient"
        if step == 0:
            # ONNX leaves the bias correction out at T = 0.
            rate, note = rate * (1 - beta1) / np.sqrt(1 - beta2), note + ", the missing bias correction into lr"
        attributes = {"lr": rate, "beta1": beta1, "beta2": beta2, "eps": node.get("epsilon", 1e-6), "t": max(step, 1),
                      "convention": "keras"}
        cases.append(("adam", attributes, {"param": x, "grad": g, "m": m, "v": v},
                      {"param": new_x, "m": new_m, "v": new_v}, note))
    return cases


def momentum(node):
    mu, beta = node.get("alpha", 0.0), node.get("beta", 1.0)
    nesterov = node.get("mode", "standard") == "nesterov"
    cases = []
    for rate, step, x, g, (v,), new_x, (new_v,) in parameters(node, 1):
        if step > 0 and beta != 1.0:
            raise LeftOut(f"beta = {beta} (dampening)")
        attributes = {"lr": rate, "momentum": mu, "nesterov": nesterov, "convention": "torch"}
        cases.append(("sgd", attributes, {"param": x, "grad": g, "m": v}, {"param": new_x, "m": new_v},
                      "the L2 term folded into the gradient"))
    return cases


CONVERTERS = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": pool("max_pool2d"),
    "GlobalMaxPool": pool("max_pool2d"),
    "AveragePool": pool("avg_pool2d"),
    "GlobalAveragePool": pool("avg_pool2d"),
    "Gemm": gemm,
    "MatMul": matmul,
    "Relu": elementwise("relu"),
    "LeakyRelu": elementwise("leaky_relu", slope=("alpha", 0.01)),
    "Elu": elementwise("elu", alpha=("alpha", 1.0)),
    "Sigmoid": elementwise("sigmoid"),
    "Tanh": elementwise("tanh"),
    "Softplus": elementwise("softplus"),
    "BatchNormalization": batch_norm,
    "Resize": resize,
    "Upsample": resize,
    "Adam": adam,
    "Momentum": momentum,
}


def main():
    nodes = Path(sys.argv[1])
    archive = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).with_name("onnx.tgz")
    written, whole, left_out = 0, 0, []
    with tempfile.TemporaryDirectory() as root:
        for folder in sorted(nodes.glob("test_*")):
            node = Node(folder)
            if node.op not in CONVERTERS:
                continue
            try:
                cases = CONVERTERS[node.op](node)
            except LeftOut as reason:
                left_out.append((node.op, node.name, str(reason)))
                continue
            whole += 1
            for i, (op, attributes, inputs, outputs, note, *layout) in enumerate(cases):
                name = node.name if len(cases) == 1 else f"{node.name}-{i}"
                origin = f"ONNX node test {node.name}" + (f": {note}" if note else "")
                write_case(Path(root) / name, op, attributes, inputs, outputs, layout=(layout or ["nchw"])[0],
                           origin=origin)
                written += 1
        pack(root, archive)
    lines = ["| node | case | what cannot be said |", "|---|---|---|"]
    lines += [f"| {op} | `{name}` | {reason} |" for op, name, reason in sorted(left_out)]
    archive.with_name("onnx_left_out.md").write_text("\n".join(lines) + "\n")
    print(f"{archive}: {whole} of {whole + len(left_out)} node tests as {written} cases, {archive.stat().st_size} bytes")


if __name__ == "__main__":
    main()
