"""Makes runs.json: what PyTorch, or a formula written out below, gives for the same weights and data.

    python make.py          # needs torch and numpy; double precision throughout
"""

import json
import math

import numpy as np
import torch

torch.set_default_dtype(torch.float64)
ROWS, PIXELS, CODE, STEPS = 12, 4, 3, 50


def single(values):
    """Numbers that single precision holds."""
    return np.float32(values).astype(np.float64)


def wave(shape, scale, phase):
    n = math.prod(shape)
    return single(scale * np.sin(1.7 * np.arange(n) + phase)).reshape(shape)


DATA = single(0.5 + 0.45 * np.sin(0.9 * np.arange(ROWS)[:, None] + 1.9 * np.arange(PIXELS)[None, :] ** 1.5))
WEIGHTS = {
    "encoder.dense_1.weight": wave((PIXELS, CODE), 0.6, 0.3),
    "encoder.dense_1.bias": wave((CODE,), 0.2, 1.0),
    "decoder.dense_1.weight": wave((CODE, PIXELS), 0.7, 2.0),
    "decoder.dense_1.bias": wave((PIXELS,), 0.1, 3.0),
}


def loss_of(weights):
    x = torch.tensor(DATA)
    code = torch.tanh(x @ weights["encoder.dense_1.weight"] + weights["encoder.dense_1.bias"])
    y = code @ weights["decoder.dense_1.weight"] + weights["decoder.dense_1.bias"]
    return ((y - x) ** 2).mean()


def by_torch(make):
    """The weights after 50 steps of a PyTorch optimiser, and all losses."""
    weights = {name: torch.tensor(values, requires_grad=True) for name, values in WEIGHTS.items()}
    optimizer = make(list(weights.values()))
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(weights)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {name: w.detach().numpy().ravel().tolist() for name, w in weights.items()}, losses


def by_formula(update):
    """As by_torch, with update(theta, g, state, t) written out; it returns the new theta and changes the state."""
    weights = {name: torch.tensor(values, requires_grad=True) for name, values in WEIGHTS.items()}
    states = {name: {} for name in weights}
    losses = []
    for t in range(1, STEPS + 1):
        loss = loss_of(weights)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        losses.append(loss.item())
        for name, g in zip(list(weights), gradients):
            theta = update(weights[name].detach().numpy(), g.numpy(), states[name], t)
            weights[name] = torch.tensor(theta, requires_grad=True)
    return {name: w.detach().numpy().ravel().tolist() for name, w in weights.items()}, losses


def moments(state, g, b1=0.9, b2=0.999):
    state["m"] = b1 * state.get("m", 0 * g) + (1 - b1) * g
    state["v"] = b2 * state.get("v", 0 * g) + (1 - b2) * g * g
    return state["m"], state["v"]


def keras_adam(lr, eps, b1=0.9, b2=0.999):
    def update(theta, g, state, t):
        m, v = moments(state, g)
        return theta - lr * math.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)

    return update


def keras_adamax(lr, eps, b1=0.9, b2=0.999):
    def update(theta, g, state, t):
        state["m"] = b1 * state.get("m", 0 * g) + (1 - b1) * g
        state["u"] = np.maximum(b2 * state.get("u", 0 * g), np.abs(g))
        return theta - lr / (1 - b1**t) * state["m"] / (state["u"] + eps)

    return update


def keras_nadam(lr, eps, psi, b1=0.9, b2=0.999):
    def mu(t):
        return b1 * (1 - 0.5 * 0.96 ** (psi * t))

    def update(theta, g, state, t):
        m, v = moments(state, g)
        state["P"] = state.get("P", 1.0) * mu(t)
        p = state["P"]
        m_hat = mu(t + 1) * m / (1 - p * mu(t + 1)) + (1 - mu(t)) * g / (1 - p)
        return theta - lr * m_hat / (np.sqrt(v / (1 - b2**t)) + eps)

    return update


def inner_rmsprop(lr, eps, start, rho=0.9):
    def update(theta, g, state, t):
        state["s"] = rho * state.get("s", start + 0 * g) + (1 - rho) * g * g
        return theta - lr * g / np.sqrt(state["s"] + eps)

    return update


def keras_momentum(lr, mu, nesterov):
    def update(theta, g, state, t):
        state["m"] = mu * state.get("m", 0 * g) - lr * g
        return theta + (mu * state["m"] - lr * g if nesterov else state["m"])

    return update


def settings(optimizer, convention, lr, eps, **more):
    keys = {"optimizer": optimizer, "convention": convention, "lr": lr, "eps": eps, **more}
    return [f"train.{key}={str(value).lower()}" for key, value in keys.items()]


O = torch.optim
# RMSProp with a larger rate swings around the minimum, and single precision is felt more the longer it does.
RUNS = [
    (settings("adam", "torch", 0.01, 1e-8), by_torch(lambda p: O.Adam(p, lr=0.01, eps=1e-8))),
    (settings("adamax", "torch", 0.01, 1e-8), by_torch(lambda p: O.Adamax(p, lr=0.01, eps=1e-8))),
    (settings("nadam", "torch", 0.01, 1e-8), by_torch(lambda p: O.NAdam(p, lr=0.01, eps=1e-8))),
    (settings("rmsprop", "torch", 0.002, 1e-8), by_torch(lambda p: O.RMSprop(p, lr=0.002, alpha=0.9, eps=1e-8))),
    (settings("sgd", "torch", 0.1, 1e-8), by_torch(lambda p: O.SGD(p, lr=0.1))),
    (settings("sgd", "torch", 0.1, 1e-8, momentum=0.9), by_torch(lambda p: O.SGD(p, lr=0.1, momentum=0.9))),
    (
        settings("sgd", "torch", 0.1, 1e-8, momentum=0.9, nesterov=True),
        by_torch(lambda p: O.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
    ),
    (settings("adam", "keras", 0.01, 1e-7), by_formula(keras_adam(0.01, 1e-7))),
    (settings("adamax", "keras", 0.01, 1e-8), by_formula(keras_adamax(0.01, 1e-8))),
    (settings("nadam", "keras", 0.01, 1e-7, psi=0.004), by_formula(keras_nadam(0.01, 1e-7, 0.004))),
    (settings("nadam", "keras", 0.01, 1e-7, psi=1.0), by_formula(keras_nadam(0.01, 1e-7, 1.0))),
    (settings("rmsprop", "keras", 0.002, 1e-7), by_formula(inner_rmsprop(0.002, 1e-7, 0.0))),
    (settings("rmsprop", "tf1", 0.002, 1e-10), by_formula(inner_rmsprop(0.002, 1e-10, 1.0))),
    (settings("sgd", "keras", 0.1, 1e-7, momentum=0.9), by_formula(keras_momentum(0.1, 0.9, False))),
    (settings("sgd", "keras", 0.1, 1e-7, momentum=0.9, nesterov=True), by_formula(keras_momentum(0.1, 0.9, True))),
]

# A variational autoencoder: 4-5-3 and back, one batch of all rows. The noise is what the engine draws for the first step
# of seed 1, which the test holds against it first.
NOISE = json.load(open("noise.json"))
VAE = {
    "encoder.dense_1.weight": wave((PIXELS, 5), 0.6, 0.1),
    "encoder.dense_1.bias": wave((5,), 0.2, 0.5),
    "encoder.mean.weight": wave((5, CODE), 0.7, 0.9),
    "encoder.mean.bias": wave((CODE,), 0.3, 1.3),
    "encoder.log_variance.weight": wave((5, CODE), 0.5, 1.7),
    "encoder.log_variance.bias": wave((CODE,), 0.4, 2.1),
    "decoder.dense_1.weight": wave((CODE, 5), 0.6, 2.5),
    "decoder.dense_1.bias": wave((5,), 0.2, 2.9),
    "decoder.dense_2.weight": wave((5, PIXELS), 0.7, 3.3),
    "decoder.dense_2.bias": wave((PIXELS,), 0.3, 3.7),
}


def vae():
    """Reconstruction and divergence, summed over a picture, mean over the batch, and the weights after one step of SGD."""
    w = {name: torch.tensor(values, requires_grad=True) for name, values in VAE.items()}
    x, noise = torch.tensor(DATA), torch.tensor(NOISE).reshape(ROWS, CODE)
    hidden = torch.relu(x @ w["encoder.dense_1.weight"] + w["encoder.dense_1.bias"])
    mean = hidden @ w["encoder.mean.weight"] + w["encoder.mean.bias"]
    log_variance = hidden @ w["encoder.log_variance.weight"] + w["encoder.log_variance.bias"]
    code = mean + torch.exp(log_variance / 2) * noise
    hidden = torch.relu(code @ w["decoder.dense_1.weight"] + w["decoder.dense_1.bias"])
    logits = hidden @ w["decoder.dense_2.weight"] + w["decoder.dense_2.bias"]
    bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / ROWS
    normal = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    own = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
    divergence = torch.distributions.kl_divergence(own, normal).sum() / ROWS
    (bce + divergence).backward()
    after = {name: (t - 0.1 * t.grad).detach().numpy().ravel().tolist() for name, t in w.items()}
    return {"reconstruction": bce.item(), "code_penalty": divergence.item(), "after": after}


runs = [{"settings": s, "weights": weights, "losses": losses} for s, (weights, losses) in RUNS]
start = {name: values.ravel().tolist() for name, values in WEIGHTS.items()}
made = {
    "rows": ROWS,
    "data": DATA.ravel().tolist(),
    "start": start,
    "runs": runs,
    "vae": {"start": {name: v.ravel().tolist() for name, v in VAE.items()}, "noise": NOISE, **vae()},
}
json.dump(made, open("runs.json", "w"), separators=(",", ":"))
