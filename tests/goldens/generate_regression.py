"""Writes crates/metrics/goldens/numbers.json and crates/tasks/goldens/ridge.json: metrics of numbers and ridge regression by
scikit-learn.

    pip install numpy==2.4.6 scikit-learn==1.9.1
    python tests/goldens/generate_regression.py      # from the repository's root

Numbers are multiples of 1/64, so single precision holds them exactly.
"""

import json
from pathlib import Path

import numpy as np
import sklearn
from sklearn import metrics as sk
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(0)


def grid(values):
    return np.round(np.asarray(values, dtype=float) * 64) / 64


def metric_case(name, labels, values):
    labels, values = grid(labels), grid(values)
    return {
        "name": name,
        "labels": labels.tolist(),
        "values": values.tolist(),
        "mae": sk.mean_absolute_error(labels, values),
        "rmse": sk.root_mean_squared_error(labels, values),
        "r2": sk.r2_score(labels, values),
    }


def metric_cases():
    labels = rng.normal(3, 2, 30)
    yield metric_case("good", labels, labels + rng.normal(0, 0.5, 30))
    yield metric_case("worse_than_the_mean", labels, rng.normal(-5, 1, 30))
    yield metric_case("far_from_zero", 10_000 + labels, 10_000 + labels + rng.normal(0, 0.5, 30))
    yield metric_case("constant_and_right", [2.5] * 6, [2.5] * 6)
    yield metric_case("constant_and_wrong", [2.5] * 6, [2.5, 2.5, 3, 2, 2.5, 2.5])


def scaler(x, kind):
    if kind == "none":
        return np.zeros(x.shape[1]), np.ones(x.shape[1])
    s = StandardScaler().fit(x)
    if kind == "standard":
        return s.mean_, s.scale_
    return s.mean_, np.full(x.shape[1], np.sqrt(x.var(0).mean()))


def ridge_case(rows, width, alpha, kind):
    x, queries = grid(rng.normal(1, 2, (rows, width))), grid(rng.normal(1, 2, (5, width)))
    y = grid(x[:, : min(3, width)].sum(1) * 3 + 40 + rng.normal(0, 1, rows))
    mean, std = scaler(x, kind)
    model = Ridge(alpha[0]) if len(alpha) == 1 else RidgeCV(sorted(alpha, reverse=True))
    model.fit((x - mean) / std, y)
    return {
        "alpha": alpha,
        "scaling": kind,
        "x": x.tolist(),
        "y": y.tolist(),
        "queries": queries.tolist(),
        "values": model.predict((queries - mean) / std).tolist(),
    }


def write(path, what):
    generator = {"script": "tests/goldens/generate_regression.py", **{m.__name__: m.__version__ for m in (np, sklearn)}}
    Path(path).write_text(json.dumps({"generator": generator, **what}, separators=(",", ":")) + "\n")


strengths = [0.01, 1.0, 30.0, 1000.0]
ridge = [ridge_case(20, 4, [a], kind) for kind in ("none", "shared", "standard") for a in (0.5, 50.0)]
ridge += [ridge_case(8, 12, [2.0], "none"), ridge_case(8, 12, strengths, "none")]
ridge += [ridge_case(20, 4, strengths, "none"), ridge_case(20, 15, strengths, "standard")]
write("crates/metrics/goldens/numbers.json", {"cases": list(metric_cases())})
write("crates/tasks/goldens/ridge.json", {"ridge": ridge})
