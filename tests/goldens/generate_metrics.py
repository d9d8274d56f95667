"""Writes crates/metrics/goldens/metrics.json: metrics by scikit-learn, Holm's correction by statsmodels, the corrected t test by SciPy.

    pip install numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 statsmodels==0.15.0
    python tests/goldens/generate_metrics.py      # from the repository's root

Scores are probabilities in 64ths, so single precision holds them exactly and ties are real ties. The predicted class is the
first of the highest. `log_loss` is that of single-precision scores: clipped to [eps, 1 - eps] with eps = 2**-23.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import scipy
import sklearn
import statsmodels
from scipy import stats
from sklearn import metrics as sk
from statsmodels.stats.multitest import multipletests

warnings.simplefilter("ignore")  # on classes that are predicted but never a label, and on clipped rows that do not sum to 1
rng = np.random.default_rng(0)
EPSILON = 2.0**-23


def labelled_scores(rows, shares, skill):
    """Labels drawn with the given shares, and scores in 64ths that know the label a little."""
    classes = len(shares)
    labels = rng.choice(classes, rows, p=shares)
    wish = rng.dirichlet(np.ones(classes), rows) + skill * np.eye(classes)[labels]
    scores = np.floor(wish / wish.sum(1, keepdims=True) * 64)
    scores[:, -1] += 64 - scores.sum(1)
    return labels, scores / 64


def ranking(score, labels, scores):
    """Of two classes the second one's, of more the mean over those that some rows are of and some are not; None if there is none."""
    classes = range(scores.shape[1])
    ranked = [k for k in (classes if len(classes) != 2 else [1]) if 0 < (labels == k).sum() < len(labels)]
    value = float(np.mean([score(labels == k, scores[:, k]) for k in ranked])) if ranked else None
    if score is sk.roc_auc_score and len(ranked) == len(classes):
        assert abs(value - score(labels, scores, multi_class="ovr", average="macro")) < 1e-12
    return value


def case(name, labels, scores):
    labels, scores = np.asarray(labels), np.asarray(scores)
    classes = np.arange(scores.shape[1])
    predicted = scores.argmax(1)
    if len(classes) == 2:  # scikit-learn knows one score a row here
        assert not (scores[:, 0] == scores[:, 1]).any()
        top_k = [sk.top_k_accuracy_score(labels, scores[:, 1], k=1), 1.0, 1.0]
    else:
        top_k = [sk.top_k_accuracy_score(labels, scores, k=k, labels=classes) for k in (1, 2, 3)]
    log_loss = sk.log_loss(labels, scores.clip(EPSILON, 1 - EPSILON), labels=classes)
    assert abs(log_loss - sk.log_loss(labels, scores.astype(np.float32), labels=classes)) < 1e-6
    return {
        "name": name,
        "labels": labels.tolist(),
        "scores": scores.tolist(),
        "accuracy": sk.accuracy_score(labels, predicted),
        "top_k": dict(zip("123", top_k)),
        "f1_micro": sk.f1_score(labels, predicted, average="micro"),
        "f1_macro": sk.f1_score(labels, predicted, average="macro"),
        "f1_weighted": sk.f1_score(labels, predicted, average="weighted"),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
        "matthews_corrcoef": sk.matthews_corrcoef(labels, predicted),
        "log_loss": log_loss,
        "roc_auc": ranking(sk.roc_auc_score, labels, scores),
        "average_precision": ranking(sk.average_precision_score, labels, scores),
        "confusion": sk.confusion_matrix(labels, predicted, labels=classes).tolist(),  # [label][predicted]
    }


def cases():
    yield case("three_classes", *labelled_scores(24, [0.3, 0.4, 0.3], 0.25))
    yield case("five_classes", *labelled_scores(40, [0.2] * 5, 0.15))

    labels, scores = labelled_scores(20, [0.4, 0.6], 0.5)
    scores[(scores == 0.5).all(1)] = [0.25, 0.75]
    yield case("binary", labels, scores)

    # Class 2 is never a label, though sometimes predicted; class 4 is neither.
    labels, scores = labelled_scores(36, [0.75, 0.15, 0.0, 0.1, 0.0], 0.4)
    scores[:, 3] += scores[:, 4]
    scores[:, 4] = 0
    assert (scores.argmax(1) == 2).any() and (labels != 2).all()
    yield case("imbalanced_absent_classes", labels, scores)

    grid = np.array([[2, 1, 1, 0], [1, 1, 1, 1], [0, 2, 2, 0], [2, 0, 0, 2], [4, 0, 0, 0], [1, 1, 2, 0]]) / 4
    yield case("ties_and_certainty", rng.integers(0, 4, 12), np.tile(grid, (2, 1)))

    yield case("one_class_alone", [1] * 12, labelled_scores(12, [0.3, 0.4, 0.3], 0)[1])


def corrected_t(differences, train_rows, test_rows):
    """Nadeau and Bengio 2003: t = mean / sqrt((1/runs + test/train) * var), with runs - 1 degrees of freedom, two-sided."""
    runs = len(differences)
    variance = np.var(differences, ddof=1)
    t = np.mean(differences) / np.sqrt((1 / runs + test_rows / train_rows) * variance)
    return {
        "differences": differences,
        "train_rows": train_rows,
        "test_rows": test_rows,
        "t": t,
        "p": 2 * stats.t.sf(abs(t), runs - 1),
    }


def main():
    holm = [[0.01, 0.04, 0.03, 0.005], [0.2, 0.0004, 0.02, 0.02, 0.9], [0.6, 0.3]]
    resampled = [
        ([0.031, 0.012, 0.044, -0.006, 0.027], 900, 100),
        ([0.01, -0.02, 0.015, 0.004, -0.011, 0.009, 0.002, -0.003, 0.006, 0.001], 800, 200),
        ([-0.21, -0.19, -0.24, -0.2, -0.17, -0.22, -0.18, -0.23, -0.2], 20, 901),
    ]
    golden = {
        "generator": {
            "script": "tests/goldens/generate_metrics.py",
            **{m.__name__: m.__version__ for m in (np, scipy, sklearn, statsmodels)},
        },
        "cases": list(cases()),
        "holm": [{"p": p, "adjusted": multipletests(p, method="holm")[1].tolist()} for p in holm],
        "corrected_t": [corrected_t(*r) for r in resampled],
    }
    Path("crates/metrics/goldens/metrics.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
