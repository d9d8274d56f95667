"""Writes tests/goldens/sam.json: three steps of sharpness-aware minimisation.

    pip install torch==2.15.0 pytorch_optimizer==4.1.0
    python tests/goldens/generate_sam.py          # from the repository's root

`pytorch_optimizer.SAM` over `torch.optim.SGD`, all rows in one batch, in float64; the second pass of a step leaves the
running statistics of batch normalisation alone, as the paper's authors advise.
"""

import json
from importlib.metadata import version
from pathlib import Path

import torch
from pytorch_optimizer import SAM, disable_running_stats, enable_running_stats
from torch import nn

torch.manual_seed(3)
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

NAMES = {"0": "backbone.conv.conv", "1": "backbone.conv.bn", "2": "heads.class"}


def numbers(t):
    return [float(f"{v:.10g}") for v in t.flatten().tolist()]


def rounded(*shape):
    return (torch.randn(shape) * 1e3).round() / 1e3


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(3, 2)])
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(rounded(*p.shape))

    def forward(self, x):
        conv, bn, head = self.layers
        return head(torch.relu(bn(conv(x))).mean((2, 3)))


def tensors(net):
    state = {k.removeprefix("layers."): v for k, v in net.state_dict().items() if v.is_floating_point()}
    return {NAMES[k[0]] + k[1:]: {"shape": list(v.shape), "values": numbers(v)} for k, v in state.items()}


X, Y = rounded(6, 2, 4, 4), torch.tensor([0, 1, 1, 0, 1, 0])
START = Net().state_dict()


def case(rho, adaptive, momentum, weight_decay):
    net = Net()
    net.load_state_dict(START)
    # Biases and scales do not decay, as everywhere in Transplant.
    decayed = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = SAM(groups, torch.optim.SGD, rho=rho, adaptive=adaptive, lr=0.1, momentum=momentum)
    after = []
    for _ in range(3):
        optimiser.zero_grad()
        enable_running_stats(net)
        nn.functional.cross_entropy(net(X), Y).backward()

        def closure():
            optimiser.zero_grad()
            disable_running_stats(net)
            loss = nn.functional.cross_entropy(net(X), Y)
            loss.backward()
            return loss

        optimiser.step(closure)
        after.append(tensors(net))
    options = {"rho": rho, "adaptive": adaptive, "momentum": momentum, "weight_decay": weight_decay}
    return options | {"after": after}


def main():
    start = Net()
    start.load_state_dict(START)
    versions = {"torch": torch.__version__.split("+")[0], "pytorch_optimizer": version("pytorch_optimizer")}
    golden = {
        "generator": {"script": "tests/goldens/generate_sam.py"} | versions,
        "inputs": {"shape": list(X.shape), "values": numbers(X)},
        "classes": Y.tolist(),
        "start": tensors(start),
        "cases": [case(0.5, False, 0.9, 0.01), case(1.0, True, 0.0, 0.0)],
    }
    Path("tests/goldens/sam.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
