"""Cases of the optimisers: one update at t = 1 and at t = 3, by PyTorch or from the definition."""

import numpy as np
import torch
from torch_numbers import TORCH, Random, f32, stored

FORMULA = "numpy, from the definition"


# Optimisers: the state by name as a case has it. Each update is seen at t = 1 and t = 3.

def optimizer_cases(cases, name, op, attributes, state, update, shape=(3, 5), origin=FORMULA):
    """`update(t, param, grad, state)` gives the new parameter and state; what `attributes` is may depend on t."""
    random = Random(name)
    param = random.normal(*shape, scale=0.1)
    for t in (1, 2, 3):
        grad = random.normal(*shape)
        if t == 2:
            grad[0] = 0.0
        new_param, new_state = update(t, param, grad, state)
        if t != 2:
            given = attributes(t) if callable(attributes) else attributes
            cases.write(
                f"{name}-t{t}", op, {**given, "t": t},
                {"param": stored(param), "grad": stored(grad), **{k: stored(v) for k, v in state.items()}},
                {"param": stored(new_param), **{k: stored(v) for k, v in new_state.items()}},
                rtol=1e-5, atol=1e-6, origin=origin)
        param, state = new_param, new_state


def torch_update(make, names, product=None):
    """One step of a PyTorch optimiser from the state given; `names` are its names of ours. `product(t)` is the product
    of NAdam's first t mu."""
    def update(t, param, grad, state):
        leaf = param.clone().requires_grad_()
        optimizer = make([leaf])
        if t > 1:
            extra = {} if product is None else {"mu_product": torch.tensor(product(t - 1))}
            before = {theirs: state[ours].clone() for ours, theirs in names.items()}
            optimizer.state[leaf] = {"step": torch.tensor(float(t - 1)), **before, **extra}
        leaf.grad = grad.clone()
        optimizer.step()
        after = optimizer.state[leaf]
        return leaf.detach(), {ours: after[theirs].clone() for ours, theirs in names.items()}
    return update


def optimizers(cases):
    lr, b1, b2, eps = f32(0.05), f32(0.9), f32(0.999), f32(1e-7)
    zeros = torch.zeros(3, 5)
    betas = {"lr": lr, "beta1": b1, "beta2": b2, "eps": eps}

    def adam_keras(t, param, grad, s):
        m, v = b1 * s["m"] + (1 - b1) * grad, b2 * s["v"] + (1 - b2) * grad**2
        rate = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
        return param - rate * m / (v.sqrt() + eps), {"m": m, "v": v}

    def adamax_keras(t, param, grad, s):
        m, u = b1 * s["m"] + (1 - b1) * grad, torch.maximum(b2 * s["u"], grad.abs())
        return param - lr / (1 - b1**t) * m / (u + eps), {"m": m, "u": u}

    moments = {"m": zeros, "v": zeros}
    for convention in ("keras", "tf1"):
        optimizer_cases(cases, f"adam-{convention}", "adam", {**betas, "convention": convention}, moments, adam_keras)
    optimizer_cases(cases, "adam-torch", "adam", {**betas, "convention": "torch"}, moments,
                    torch_update(lambda p: torch.optim.Adam(p, lr=lr, betas=(b1, b2), eps=eps),
                                 {"m": "exp_avg", "v": "exp_avg_sq"}), origin=TORCH)
    # With an epsilon this large the conventions differ in the first digit.
    large = {**betas, "eps": 0.25}
    optimizer_cases(cases, "adam-torch-large-eps", "adam", {**large, "convention": "torch"}, moments,
                    torch_update(lambda p: torch.optim.Adam(p, lr=lr, betas=(b1, b2), eps=0.25),
                                 {"m": "exp_avg", "v": "exp_avg_sq"}), origin=TORCH)
    maxima = {"m": zeros, "u": zeros}
    optimizer_cases(cases, "adamax-keras", "adamax", {**betas, "convention": "keras"}, maxima, adamax_keras)
    for label, attributes in (("", betas), ("-large-eps", large)):
        optimizer_cases(cases, f"adamax-torch{label}", "adamax", {**attributes, "convention": "torch"}, maxima,
                        torch_update(lambda p: torch.optim.Adamax(p, lr=lr, betas=(b1, b2), eps=attributes["eps"]),
                                     {"m": "exp_avg", "u": "exp_inf"}), origin=TORCH)

    # Nadam: the product of the mu is an attribute at t = 3 and left out at t = 1, where it is one.
    def mu(t, psi):
        return b1 * (1 - 0.5 * 0.96 ** (psi * t))

    def with_product(attributes, psi):
        product = lambda t: float(np.prod([mu(i, psi) for i in range(1, t + 1)]))
        return product, lambda t: attributes if t == 1 else {**attributes, "mu_product": product(t - 1)}

    psi = f32(0.004)
    product, attributes = with_product({**betas, "convention": "torch", "psi": psi}, psi)
    optimizer_cases(cases, "nadam-torch", "nadam", attributes, moments,
                    torch_update(lambda p: torch.optim.NAdam(p, lr=lr, betas=(b1, b2), eps=eps, momentum_decay=psi),
                                 {"m": "exp_avg", "v": "exp_avg_sq"}, product), origin=TORCH)

    product_keras, attributes = with_product({**betas, "convention": "keras", "psi": 1.0}, 1.0)

    def nadam_keras(t, param, grad, s):
        m, v = b1 * s["m"] + (1 - b1) * grad, b2 * s["v"] + (1 - b2) * grad**2
        now, after = mu(t, 1.0), mu(t + 1, 1.0)
        p = product_keras(t)
        estimate = after * m / (1 - p * after) + (1 - now) * grad / (1 - p)
        return param - lr * estimate / ((v / (1 - b2**t)).sqrt() + eps), {"m": m, "v": v}

    optimizer_cases(cases, "nadam-keras", "nadam", attributes, moments, nadam_keras)

    rho = f32(0.9)
    for label, tiny in (("", f32(1e-7)), ("-large-eps", 0.25)):
        decays = {"lr": lr, "rho": rho, "eps": tiny}

        def inside(t, param, grad, s):
            mean = rho * s["s"] + (1 - rho) * grad**2
            return param - lr * grad / (mean + tiny).sqrt(), {"s": mean}

        optimizer_cases(cases, f"rmsprop-keras{label}", "rmsprop", {**decays, "convention": "keras"}, {"s": zeros}, inside)
        optimizer_cases(cases, f"rmsprop-tf1{label}", "rmsprop", {**decays, "convention": "tf1"},
                        {"s": torch.ones(3, 5)}, inside)
        optimizer_cases(cases, f"rmsprop-torch{label}", "rmsprop", {**decays, "convention": "torch"}, {"s": zeros},
                        torch_update(lambda p: torch.optim.RMSprop(p, lr=lr, alpha=rho, eps=tiny), {"s": "square_avg"}),
                        origin=TORCH)

    for nesterov in (False, True):
        label = "-nesterov" if nesterov else ""
        momentum = {"lr": lr, "momentum": b1, "nesterov": nesterov}

        def sgd_keras(t, param, grad, s):
            m = b1 * s["m"] - lr * grad
            return param + (b1 * m - lr * grad if nesterov else m), {"m": m}

        optimizer_cases(cases, f"sgd-keras{label}", "sgd", {**momentum, "convention": "keras"}, {"m": zeros}, sgd_keras)
        optimizer_cases(cases, f"sgd-torch{label}", "sgd", {**momentum, "convention": "torch"}, {"m": zeros},
                        torch_update(lambda p: torch.optim.SGD(p, lr=lr, momentum=b1, nesterov=nesterov),
                                     {"m": "momentum_buffer"}), origin=TORCH)
    optimizer_cases(cases, "sgd-plain", "sgd", {"lr": lr}, {},
                    torch_update(lambda p: torch.optim.SGD(p, lr=lr), {}), origin=TORCH)
    # One parameter, and as many as make the kernels take more than one workgroup.
    for label, shape in (("scalar", (1,)), ("many", (7, 83))):
        blank = {"m": torch.zeros(*shape), "v": torch.zeros(*shape)}
        optimizer_cases(cases, f"adam-{label}", "adam", {**betas, "convention": "keras"}, blank, adam_keras, shape=shape)
