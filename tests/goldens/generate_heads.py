"""Writes crates/tasks/goldens/heads.json: what scikit-learn and SciPy say about the fitted heads.

Run from the repository's root with NumPy, SciPy and scikit-learn 1.9.1: python tests/goldens/generate_heads.py
"""
import json

import numpy as np
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_distances
from sklearn.model_selection import LeaveOneOut
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(0)
CLASSES, WIDTH = 3, 5
centres = rng.normal(size=(CLASSES, WIDTH)) * 1.2


def rows(n):
    y = np.arange(n) % CLASSES
    x = (centres[y] + rng.normal(size=(n, WIDTH))).round(3)
    x[:, 3] = 0.25  # a constant feature
    return x, y


x, y = rows(30)
queries, _ = rows(12)
queries[:, 3] = np.linspace(0, 1, 12).round(3)


def with_ones(a):
    return np.c_[a, np.ones(len(a))]


def scaled(kind):
    if kind == "none":
        return np.zeros(WIDTH), np.ones(WIDTH)
    s = StandardScaler().fit(x)  # a constant feature gets scale 1
    if kind == "standard":
        return s.mean_, s.scale_
    return s.mean_, np.full(WIDTH, np.sqrt(x.var(0).mean()))


def classifier(c, **options):
    return LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000, **options)


def logits(m, a):
    """Of two classes scikit-learn has one score, which two logits share with either sign."""
    scores = a @ m.coef_.T + m.intercept_
    return scores if scores.shape[1] > 1 else np.c_[-scores / 2, scores / 2]


def sklearn_logits(c, kind, classes=CLASSES):
    mean, std = scaled(kind)
    m = classifier(c).fit(((x - mean) / std)[y < classes], y[y < classes])
    return logits(m, (queries - mean) / std)


def penalised_logits(c, classes):
    """The penalty is on the bias too: a column of ones instead of scikit-learn's own intercept."""
    m = classifier(c, fit_intercept=False).fit(with_ones(x)[y < classes], y[y < classes])
    return logits(m, with_ones(queries))


def scipy_logits(c, kind, weight, bias):
    mean, std = scaled(kind)
    a = with_ones((x - mean) / std)
    towards = np.c_[weight * std, bias + weight @ mean]
    one_hot = np.eye(CLASSES)[y]

    def f(t):
        t = t.reshape(towards.shape)
        z = a @ t.T
        z = z - np.log(np.exp(z).sum(1, keepdims=True))
        d = t - towards
        return -(z * one_hot).sum() + (d**2).sum() / (2 * c), ((np.exp(z) - one_hot).T @ a + d / c).ravel()

    t = minimize(f, towards.ravel(), jac=True, method="BFGS", options={"gtol": 1e-10}).x.reshape(towards.shape)
    return with_ones((queries - mean) / std) @ t.T


def leave_one_out(c):
    total = 0.0
    for train, test in LeaveOneOut().split(x):
        total += classifier(c).fit(x[train], y[train]).predict_log_proba(x[test])[0, y[test][0]]
    return total


def balanced_logits(c):
    keep = (y == 0) | (np.arange(len(y)) % 2 == 0)  # ten rows of class 0, five of each other
    m = classifier(c, class_weight="balanced").fit(x[keep], y[keep])
    return {"c": c, "rows": np.flatnonzero(keep).tolist(), "logits": logits(m, queries).tolist()}


def wide_logits(c):
    """Of 384 features three do not vary; they do in the queries, and must not matter there."""
    i, j = np.indices((48, 384))
    a = ((i * 384 + j) * 2654435761 % 2**32 // 2**16) / 2**16 - 0.5
    labels = np.arange(48) % 2
    a[:, ::7] += labels[:, None] / 4
    a[:40, [5, 100, 300]] = np.float32([0.1, 0, -7.25])
    s = StandardScaler().fit(a[:40])
    assert (s.scale_[[5, 100, 300]] == 1).all()
    m = classifier(c).fit(s.transform(a[:40]), labels[:40])
    return {"c": c, "logits": logits(m, s.transform(a[40:])).tolist()}


def neighbours(k, distance, weights):
    m = KNeighborsClassifier(k, metric=distance, weights=weights, algorithm="brute").fit(x, y)
    return {"options": {"k": k, "distance": distance, "weights": weights}, "probabilities": m.predict_proba(queries).tolist()}


prior_weight, prior_bias = rng.normal(size=(CLASSES, WIDTH)).round(3), rng.normal(size=CLASSES).round(3)
prior = {"prior_weight": prior_weight.tolist(), "prior_bias": prior_bias.tolist()}
logistic = [{"c": c, "scaling": s, "logits": sklearn_logits(c, s).tolist()} for s in ("none", "shared", "standard") for c in (0.1, 10.0)]
logistic += [
    {"c": c, "scaling": s, **prior, "logits": scipy_logits(c, s, prior_weight, prior_bias).tolist()}
    for s in ("none", "shared", "standard")
    for c in (0.1, 10.0)
]
grid = [0.001, 0.03, 1.0, 300.0]
means = NearestCentroid().fit(x, y)
out = {
    "x": x.tolist(),
    "y": y.tolist(),
    "queries": queries.tolist(),
    "logistic_regression": logistic,
    "two_classes": [{"c": c, "logits": sklearn_logits(c, "none", 2).tolist()} for c in (0.1, 1.0, 10.0)],
    "penalised": [{"c": c, "classes": k, "logits": penalised_logits(c, k).tolist()} for c in (0.1, 10.0) for k in (2, 3)],
    "balanced": [balanced_logits(c) for c in (0.1, 10.0)],
    "wide": [wide_logits(c) for c in (0.01, 1.0)],
    "leave_one_out": {"grid": grid, "best": max(grid, key=leave_one_out)},
    "knn": [neighbours(k, d, w) for k, d, w in ((1, "cosine", "uniform"), (3, "euclidean", "uniform"), (5, "euclidean", "distance"), (4, "cosine", "distance"))],
    "nearest_prototype": [
        {"distance": "euclidean", "predictions": means.predict(queries).tolist()},
        {"distance": "cosine", "predictions": cosine_distances(queries, means.centroids_).argmin(1).tolist()},
    ],
}
with open("crates/tasks/goldens/heads.json", "w") as file:
    json.dump(out, file, indent=1)
    file.write("\n")
