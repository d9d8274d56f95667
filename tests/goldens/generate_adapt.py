"""Writes crates/strategies/goldens/adapt.json: losses of SHOT and of pseudo-labels in PyTorch, pseudo-labels of SHOT's authors.

    pip install torch==2.15.0 numpy==2.4.6 scipy==1.17.1
    python tests/goldens/generate_adapt.py          # from the repository's root

`obtain_label` is that of https://github.com/tim-learn/SHOT (object/image_target.py, distance "cosine", threshold 0) with its loader
taken away; `entropy` and `concentration` are `Entropy` and the negated `gentropy_loss` of its training loop.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.distance import cdist

torch.manual_seed(0)
EPSILON = 1e-5


def entry(t):
    t = torch.as_tensor(t, dtype=torch.float32)
    return {"shape": list(t.shape), "values": [round(v, 7) for v in t.flatten().tolist()]}


def rounded(t):
    return (t * 1e3).round() / 1e3


def obtain_label(all_fea, all_output):
    all_output = torch.softmax(all_output, dim=1)
    all_fea = torch.cat((all_fea, torch.ones(all_fea.size(0), 1)), 1)
    all_fea = (all_fea.t() / torch.norm(all_fea, p=2, dim=1)).t()
    _, predict = torch.max(all_output, 1)
    all_fea = all_fea.float().cpu().numpy()
    K = all_output.size(1)
    aff = all_output.float().cpu().numpy()
    predict = predict.numpy()
    for _ in range(2):
        initc = aff.transpose().dot(all_fea)
        initc = initc / (1e-8 + aff.sum(axis=0)[:, None])
        cls_count = np.eye(K)[predict].sum(axis=0)
        labelset = np.where(cls_count > 0)[0]
        dd = cdist(all_fea, initc[labelset], "cosine")
        pred_label = dd.argmin(axis=1)
        predict = labelset[pred_label]
        aff = np.eye(K)[predict]
    return predict


logits = rounded(torch.randn(6, 4) * 3)
logits[2] = torch.tensor([40.0, 0, 0, -40])  # a probability that single precision has as 1, and one that it has as 0
x = logits.clone().requires_grad_()
p = torch.softmax(x, 1)
entropy = (-p * torch.log(p + EPSILON)).sum(1).mean()
mean = p.mean(0)
concentration = (mean * torch.log(mean + EPSILON)).sum()
(entropy + concentration).backward()

# Three clusters, of which the head confuses the second with the third.
middles = torch.tensor([[3.0, 0, 0, 1], [0, 3, 0, 1], [0, 0, 3, 1]])
of = torch.arange(30) % 3
features = rounded(middles[of] + 0.5 * torch.randn(30, 4))
outputs = rounded(2 * F.one_hot(of, 4).float() + 1.2 * torch.randn(30, 4))
labels = obtain_label(features, outputs)

said = torch.softmax(logits, 1)
ce = F.cross_entropy(logits, said.argmax(1), reduction="none")
sure = (said.max(1).values >= 0.7).float()
assert 0 < sure.sum() < len(sure)

golden = {
    "shot": {
        "logits": entry(logits),
        "entropy": entropy.item(),
        "concentration": concentration.item(),
        "gradient": entry(x.grad),
        "features": entry(features),
        "outputs": entry(outputs),
        "pseudo_labels": entry(labels),
    },
    "pseudo_label": {"logits": entry(logits), "all": ce.mean().item(), "sure": (ce * sure).mean().item()},
}
Path("crates/strategies/goldens/adapt.json").write_text(json.dumps(golden) + "\n")
print("pseudo-labels apart from the head:", int((labels != outputs.argmax(1).numpy()).sum()), "of", len(labels))
