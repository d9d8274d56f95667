"""Writes crates/metrics/goldens/validators.json: scores without labels, by NumPy, PyTorch and scikit-learn.

    pip install numpy==2.4.6 torch==2.15.0 scikit-learn==1.9.1
    python tests/goldens/generate_validators.py      # from the repository's root

`information_maximisation` is checked against scikit-learn's mutual information where rows are certain. `snd` follows
https://github.com/VisionLearningGroup/SND (compute_metric.py) except for the diagonal, which is left out as in the paper; there it has
the cosine -1, which adds some exp(-20). Probabilities are 64ths, so that single precision holds them exactly.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import mutual_info_score

rng = np.random.default_rng(0)


def scores(rows, classes, concentration):
    wish = rng.dirichlet(np.full(classes, concentration), rows)
    p = np.floor(wish * 64)
    p[np.arange(rows), p.argmax(1)] += 64 - p.sum(1)
    return p / 64


def entropy(p, axis=-1):
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(axis)


def snd(p, temperature=0.05):
    x = F.normalize(torch.tensor(p, dtype=torch.float64))
    mat = x @ x.t() / temperature
    mat = mat[~torch.eye(len(p), dtype=bool)].reshape(len(p), len(p) - 1)
    return entropy(F.softmax(mat, 1).numpy()).mean()


cases = []
for name, p in {
    "sure": scores(20, 4, 0.1),
    "unsure": scores(20, 3, 5.0),
    "wide": scores(9, 12, 0.5),
    "certain": np.eye(3)[rng.integers(0, 3, 30)],
}.items():
    information = entropy(p.mean(0)) - entropy(p).mean()
    if name == "certain":
        labels = p.argmax(1)
        assert abs(information - mutual_info_score(labels, labels)) < 1e-12
    cases.append({
        "name": name,
        "probabilities": p.tolist(),
        "entropy": -entropy(p).mean(),
        "information_maximisation": information,
        "snd": snd(p),
    })
Path("crates/metrics/goldens/validators.json").write_text(json.dumps({"cases": cases}) + "\n")
