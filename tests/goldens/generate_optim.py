"""Writes crates/trainer/goldens/optim.json: PyTorch's optimisers, learning-rate schedules, clipping by norm and
averages of weights.

    pip install torch==2.15.0
    python tests/goldens/generate_optim.py        # from the repository's root

All in float64. `values[s]` are the parameters after step s + 1; `rates[s]` is the learning rate that step s (from 0) uses.
"""

import json
import math
import warnings
from pathlib import Path

import torch

warnings.simplefilter("ignore")  # schedules are stepped here without an optimiser step
torch.manual_seed(0)
torch.set_num_threads(1)
STEPS, RATES = 6, 20
SHAPES = {"weight": (2, 3), "bias": (3,)}


def numbers(tensor):
    return [float(f"{v:.12g}") for v in tensor.flatten().tolist()]


def tensor(values):
    return {"shape": list(values.shape), "data": numbers(values)}


def draw():
    return {name: torch.randn(shape, dtype=torch.float64).mul(1000).round() / 1000 for name, shape in SHAPES.items()}


START, GRADIENTS = draw(), [draw() for _ in range(STEPS)]


def optimiser(name, kind, **options):
    values = {n: torch.nn.Parameter(v.clone()) for n, v in START.items()}
    step = getattr(torch.optim, kind)(values.values(), **options)
    trace = []
    for gradients in GRADIENTS:
        for n, value in values.items():
            value.grad = gradients[n].clone()
        step.step()
        trace.append({n: numbers(v.detach()) for n, v in values.items()})
    return {"name": name, "optimiser": kind, "options": options, "values": trace}


def schedule(name, kind, lr, **options):
    # Momentum is not part of the schedule here: torch's OneCycleLR would cycle it too.
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = getattr(torch.optim.lr_scheduler, kind)(sgd, **options)
    rates = []
    for step in range(RATES):
        rates.append(float(f"{sgd.param_groups[0]['lr']:.12g}"))
        if step + 1 < RATES:
            scheduler.step()
    return {"name": name, "schedule": kind, "lr": lr, "options": options, "rates": rates}


def clip(name, max_norm):
    values = {n: torch.nn.Parameter(v.clone()) for n, v in START.items()}
    for n, value in values.items():
        value.grad = GRADIENTS[0][n].clone()
    norm = torch.nn.utils.clip_grad_norm_(values.values(), max_norm)
    clipped = {n: tensor(v.grad) for n, v in values.items()}
    return {"name": name, "max_norm": max_norm, "norm": float(f"{norm:.12g}"), "clipped": clipped}


def average(name, **options):
    """The average after each of the steps whose weights are GRADIENTS."""
    model = torch.nn.ParameterDict({n: torch.nn.Parameter(v.clone()) for n, v in START.items()})
    averaged = torch.optim.swa_utils.AveragedModel(model, **options)
    trace = []
    for weights in GRADIENTS:
        for n, value in weights.items():
            model[n].data.copy_(value)
        averaged.update_parameters(model)
        trace.append({n: numbers(averaged.module[n].detach()) for n in SHAPES})
    return {"name": name, "values": trace}


def main():
    total = math.sqrt(sum(g.square().sum().item() for g in GRADIENTS[0].values()))
    golden = {
        "generator": {"script": "tests/goldens/generate_optim.py", "torch": torch.__version__.split("+")[0]},
        "start": {n: tensor(v) for n, v in START.items()},
        "gradients": [{n: numbers(g) for n, g in step.items()} for step in GRADIENTS],
        "optimisers": [
            optimiser("sgd", "SGD", lr=0.1),
            optimiser("sgd_momentum_decay", "SGD", lr=0.1, momentum=0.9, weight_decay=0.01),
            optimiser("sgd_nesterov", "SGD", lr=0.1, momentum=0.9, nesterov=True),
            optimiser("sgd_nesterov_decay", "SGD", lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
            optimiser("adamw", "AdamW", lr=0.001, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.01),
            optimiser("adamw_decay", "AdamW", lr=0.01, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.1),
        ],
        "schedules": [
            schedule("cosine", "CosineAnnealingLR", 0.1, T_max=RATES, eta_min=0.0),
            schedule("cosine_floor", "CosineAnnealingLR", 0.1, T_max=RATES, eta_min=0.01),
            schedule("step", "StepLR", 0.1, step_size=6, gamma=0.5),
            schedule(
                "one_cycle", "OneCycleLR", 0.1, max_lr=0.1, total_steps=RATES,
                pct_start=0.3, anneal_strategy="cos", div_factor=25.0, final_div_factor=1e4, cycle_momentum=False,
            ),
            schedule("linear_warmup", "LinearLR", 0.1, start_factor=0.1, end_factor=1.0, total_iters=5),
        ],
        "averages": [
            average("ema", multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.7)),
            average("swa"),
        ],
        "clip_grad_norm": [clip("clips", 1.0), clip("below_the_limit", math.ceil(total) + 1.0)],
    }
    Path("crates/trainer/goldens/optim.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
