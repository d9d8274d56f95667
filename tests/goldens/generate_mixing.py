"""Writes crates/strategies/goldens/mixing.json: what PyTorch and torchvision make of mixed batches, and their loss.

    pip install torch==2.15.0 torchvision==0.29.2
    python tests/goldens/generate_mixing.py          # from the repository's root

torchvision's CutMix draws the rectangle's middle itself and mixes each row with the one before it; both are given here, and
its own code does the rest. Labels that are missing (`known` is 0) do not count in the mean.
"""

import json
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
import torchvision
from torchvision.transforms.v2 import CutMix, MixUp

torch.manual_seed(0)


def entry(t):
    t = torch.as_tensor(t, dtype=torch.float32)
    t = t.reshape(1) if t.ndim == 0 else t
    return {"shape": list(t.shape), "values": [round(v, 7) for v in t.flatten().tolist()]}


def rounded(*shape):
    return (torch.randn(shape) * 1e3).round() / 1e3


def before(n):
    return [(i - 1) % n for i in range(n)]


SHARE = 0.7265625  # exact in binary

rows = rounded(4, 3)
mixed = MixUp(num_classes=4).transform(rows[..., None, None], {"lam": SHARE, "labels": None, "batch_size": 4})[..., 0, 0]
assert torch.allclose(mixed, SHARE * rows + (1 - SHARE) * rows[before(4)])
mixup = {"rows": rows, "order": before(4), "share": SHARE, "mixed": mixed}

images = rounded(3, 2, 6, 9)
cutmix = {"rows": images, "order": before(3), "share": SHARE}
for case, middle in {"inside": (3, 4), "corner": (0, 8)}.items():
    t = CutMix(num_classes=3)
    t._dist = mock.Mock(sample=lambda _: torch.tensor(SHARE))
    drawn = iter([torch.tensor(middle[1]), torch.tensor(middle[0])])
    with mock.patch("torch.randint", lambda *_, **__: next(drawn)):
        params = t.make_params([images])
    x1, y1, x2, y2 = params["box"]
    params |= {"labels": None, "batch_size": 3}
    cutmix |= {
        f"{case}_middle": middle,
        f"{case}_rectangle": (y1, y2, x1, x2),
        f"{case}_mixed": t.transform(images, params),
    }

logits, classes, known = rounded(5, 3), torch.tensor([0, 2, 1, 1, 0]), torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
order = [3, 0, 4, 1, 2]


def loss(y, known):
    each = F.cross_entropy(logits, y, reduction="none")
    return (each * known).sum() / known.sum()


value = SHARE * loss(classes, known) + (1 - SHARE) * loss(classes[order], known[order])
losses = {"logits": logits, "classes": classes, "known": known, "order": order, "share": SHARE, "loss": value}

golden = {
    "generator": {
        "script": "tests/goldens/generate_mixing.py",
        "torch": torch.__version__.split("+")[0],
        "torchvision": torchvision.__version__.split("+")[0],
    }
}
for name, part in {"mixup": mixup, "cutmix": cutmix, "loss": losses}.items():
    golden[name] = {k: entry(v) for k, v in part.items()}
out = Path("crates/strategies/goldens/mixing.json")
out.parent.mkdir(exist_ok=True)
out.write_text(json.dumps(golden, separators=(",", ":")).replace('},"', '},\n"') + "\n")
print(out.stat().st_size)
