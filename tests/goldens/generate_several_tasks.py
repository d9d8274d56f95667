"""Writes crates/strategies/goldens/several_tasks.json: what weighs the losses of several tasks.

    pip install torch==2.15.0 numpy==2.4.6
    python tests/goldens/generate_several_tasks.py          # from the repository's root

`uncertainty`: PyTorch's gradients of the forms in Kendall, Gal & Cipolla 2018. `pcgrad`: algorithm 1 of Yu et al. 2020
in NumPy, over the weights that two tasks or more reach, for all orders of three tasks. `gradnorm`: algorithm 1 of Chen
et al. 2018, whose weights learn by autograd of the distance of gradient norms from their aims; the network is two
linear layers.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import torch

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)


def numbers(values):
    return [float(f"{v:.12g}") for v in np.asarray(values, dtype=np.float64).reshape(-1)]


def uncertainty(task, loss, s):
    loss, s = (torch.tensor(v, requires_grad=True) for v in (loss, s))
    # Equations (5), (7) and (10), with s = log sigma^2.
    value = torch.exp(-s) * loss / (1 if task == "classification" else 2) + s / 2
    value.backward()
    of = {"value": value, "of_s": s.grad, "of_loss": loss.grad}
    return {"task": task, "loss": loss.item(), "s": s.item()} | {k: numbers(v.detach())[0] for k, v in of.items()}


def pcgrad():
    rng = np.random.default_rng(4)
    tasks = ["a", "b", "c"]
    shapes = {"shared.a": 4, "shared.b": 3}
    gradients = {t: {n: rng.normal(size=k).round(3) for n, k in shapes.items()} for t in tasks}
    for t in tasks:
        gradients[t][f"heads.{t}"] = rng.normal(size=2).round(3)
    # Task c does not reach the second shared weight.
    del gradients["c"]["shared.b"]
    flat = {t: np.concatenate([g.get(n, np.zeros(k)) for n, k in shapes.items()]) for t, g in gradients.items()}
    conflicts = sum(flat[a] @ flat[b] < 0 for a, b in itertools.combinations(tasks, 2))
    assert conflicts >= 2, conflicts
    others = [[j for j in range(3) if j != i] for i in range(3)]
    orders = [list(map(list, o)) for o in itertools.product(*(itertools.permutations(o) for o in others))]
    sums = []
    for order in orders:
        total = np.zeros(7)
        for i, own in enumerate(order):
            g = flat[tasks[i]].copy()
            for j in own:
                h = flat[tasks[j]]
                if g @ h < 0:
                    g -= (g @ h) / (h @ h) * h
            total += g
        heads = {f"heads.{t}": numbers(gradients[t][f"heads.{t}"]) for t in tasks}
        sums.append({"shared.a": numbers(total[:4]), "shared.b": numbers(total[4:])} | heads)
    listed = {t: {n: numbers(v) for n, v in g.items()} for t, g in gradients.items()}
    return {"gradients": listed, "orders": orders, "sums": sums}


def gradnorm(alpha=1.5, lr=0.025, steps=4):
    tasks = ["a", "b", "c"]
    x, scales = torch.randn(8, 4), {"a": 1.0, "b": 5.0, "c": 0.3}
    lower, upper = torch.nn.Linear(4, 5), torch.nn.Linear(5, 3)
    heads = {t: torch.nn.Linear(3, 1) for t in tasks}
    targets = {t: scales[t] * torch.randn(8, 1) for t in tasks}
    network = [p for m in (lower, upper, *heads.values()) for p in m.parameters()]
    weights = torch.ones(3, requires_grad=True)
    shared, first, out = list(upper.parameters()), None, []
    for _ in range(steps):
        features = upper(torch.tanh(lower(x)))
        losses = torch.stack([torch.nn.functional.mse_loss(heads[t](features), targets[t]) for t in tasks])
        first = losses.detach() if first is None else first
        step = {"losses": dict(zip(tasks, numbers(losses.detach()))), "gradients": {}}
        norms = []
        for i, t in enumerate(tasks):
            plain = torch.autograd.grad(losses[i], [*shared, lower.weight], retain_graph=True)
            names = ["backbone.upper.weight", "backbone.upper.bias", "backbone.lower.weight"]
            step["gradients"][t] = {n: numbers(g) for n, g in zip(names, plain)}
            weighted = torch.autograd.grad(weights[i] * losses[i], shared, retain_graph=True, create_graph=True)
            norms.append(torch.cat([g.flatten() for g in weighted]).norm())
        norms = torch.stack(norms)
        shares = losses.detach() / first
        aims = (norms.mean() * (shares / shares.mean()) ** alpha).detach()
        (of_weights,) = torch.autograd.grad((norms - aims).abs().sum(), weights, retain_graph=True)
        updates = torch.autograd.grad((weights.detach() * losses).sum(), network)
        with torch.no_grad():
            weights -= lr * of_weights
            weights *= 3 / weights.sum()
            for p, g in zip(network, updates):
                p -= 0.05 * g
        out.append(step | {"weights": numbers(weights.detach())})
    return {"alpha": alpha, "lr": lr, "steps": out}


def main():
    versions = {"torch": torch.__version__.split("+")[0], "numpy": np.__version__}
    golden = {
        "generator": {"script": "tests/goldens/generate_several_tasks.py"} | versions,
        "uncertainty": [
            uncertainty(task, loss, s)
            for task in ("classification", "regression")
            for loss, s in ((0.7, 0.0), (2.5, 1.25), (0.1, -0.5))
        ],
        "pcgrad": pcgrad(),
        "gradnorm": gradnorm(),
    }
    Path("crates/strategies/goldens/several_tasks.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
