"""Writes crates/backbones/goldens/{networks,transformers}.json: features and gradients of published networks.

    pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31
    python tests/goldens/generate_networks.py     # from the repository's root

Nothing is downloaded: every tensor, the input included, is filled by `wave`, which the test computes, too, so that
only results are written. All is computed in float64. A tensor is written as its `digest`: the sum, the sum of
absolute values, the sum of the products with `wave("digest")`, and the first eight values.

In a network, `input` is the shape of the input, `tensors` and `elements` count what the network holds without its
classifier, `eval` and `train` are the features before the classifier, `grads` are gradients in training mode of the
sum of `features * wave("upstream")`, where `input` is the input's, and `buffers` are running statistics after the
step in training mode. Dropout and stochastic depth are off.
"""

import json
import math
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision

torch.set_num_threads(1)


def wave(name, count):
    """Values in -1..1 by name and index, exact in float64 and rounded to float32."""
    h = 0
    for byte in name.encode():
        h = (h * 31 + byte) % 2**32
    x = (np.arange(count, dtype=np.uint64) * 2654435761 + h) % 2**32
    x ^= x >> np.uint64(16)
    x = (x * 73244475) % 2**32
    x ^= x >> np.uint64(16)
    return (x.astype(np.float64) / 2**31 - 1).astype(np.float32).astype(np.float64)


def value(name, shape):
    """What the tensor `name` is filled with."""
    u = wave(name, math.prod(shape))
    if len(shape) in (2, 4):
        # Keeps the size of activations: a convolution is followed by a ReLU, a linear layer often is not.
        v = u * math.sqrt((6 if len(shape) == 4 else 3) / math.prod(shape[1:]))
    elif name.endswith("running_var"):
        v = 1 + (1 + u) / 4
    elif len(shape) == 1 and name.endswith("weight"):
        v = 1 + u / 8
    else:
        v = u / 8
    return torch.from_numpy(v.astype(np.float32).astype(np.float64)).reshape(shape)


def digest(tensor):
    v = tensor.detach().flatten().numpy()
    sums = [v.sum(), np.abs(v).sum(), (v * wave("digest", v.size)).sum()]
    return [float(f"{x:.12g}") for x in [*sums, *v[:8]]]


def features(library, model, x):
    if library == "timm":
        return model.forward_head(model.forward_features(x), pre_logits=True)
    if isinstance(model, torchvision.models.ResNet):
        return torch.nn.Sequential(*list(model.children())[:-1])(x).flatten(1)
    return model.features(x).mean((2, 3))


def network(name, library, classifier, grads, buffers=(), size=(64, 64), **options):
    """One network; `classifier` is the prefix of what comes after the features."""
    if library == "timm":
        model = timm.create_model(name, num_classes=10, drop_rate=0.0, drop_path_rate=0.0, **options)
    else:
        model = getattr(torchvision.models, name)(num_classes=10)
    model = model.double()
    held = {n: t for n, t in model.state_dict().items() if not n.startswith(classifier) and t.is_floating_point()}
    with torch.no_grad():
        for n, t in held.items():
            t.copy_(value(n, t.shape))
    shape = (2, 3, *size)
    x = torch.from_numpy(wave("input", math.prod(shape))).reshape(shape).requires_grad_()
    evaluated = features(library, model.eval(), x).detach()
    trained = features(library, model.train(), x)
    (trained * torch.from_numpy(wave("upstream", trained.numel())).reshape(trained.shape)).sum().backward()
    parameters, state = dict(model.named_parameters()), model.state_dict()
    return {
        "name": name,
        "input": shape,
        "tensors": len(held),
        "elements": sum(t.numel() for t in held.values()),
        "features": list(trained.shape),
        "eval": digest(evaluated),
        "train": digest(trained),
        "grads": {"input": digest(x.grad)} | {n: digest(parameters[n].grad) for n in grads},
        "buffers": {n: digest(state[n]) for n in buffers},
    }


def resnet(name):
    grads = ["conv1.weight", "layer2.0.downsample.0.weight", "layer3.0.bn1.weight", "layer4.1.conv2.weight"]
    return network(name, "torchvision", "fc.", grads, ["bn1.running_mean", "layer4.0.bn1.running_var"])


def efficientnet(name, size=(64, 64)):
    grads = ["conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.3.1.conv_pwl.weight", "blocks.5.0.bn2.weight"]
    buffers = ["bn1.running_mean", "blocks.4.0.bn1.running_var"]
    return network(name, "timm", "classifier.", grads, buffers, size)


def vit(name):
    grads = ["patch_embed.proj.weight", "cls_token", "pos_embed", "blocks.5.attn.qkv.weight", "blocks.6.norm2.weight"]
    return network(name, "timm", "head.", grads, img_size=64)


NETWORKS = [
    resnet("resnet18"),
    resnet("resnet34"),
    resnet("resnet50"),
    efficientnet("efficientnet_lite0"),
    efficientnet("tf_efficientnet_lite0", (48, 80)),
    efficientnet("tf_efficientnet_lite1"),
    efficientnet("tf_efficientnet_lite2"),
    network(
        "convnext_tiny",
        "timm",
        "head.fc.",
        ["stem.0.weight", "stages.1.downsample.0.weight", "stages.2.downsample.1.weight", "head.norm.bias"]
        + [f"stages.2.blocks.4.{n}" for n in ["conv_dw.weight", "norm.weight", "mlp.fc1.weight", "gamma"]],
    ),
    network(
        "mobilenet_v2",
        "torchvision",
        "classifier.",
        [f"features.{n}.weight" for n in ["0.0", "1.conv.0.0", "8.conv.2", "14.conv.1.1"]],
        ["features.0.1.running_mean", "features.9.conv.0.1.running_var"],
    ),
]

TRANSFORMERS = [
    vit("vit_tiny_patch16_224"),
    vit("vit_small_patch16_224"),
    vit("deit_tiny_patch16_224"),
]

for file, networks in [("networks", NETWORKS), ("transformers", TRANSFORMERS)]:
    lines = ",\n".join(json.dumps(n) for n in networks)
    Path(f"crates/backbones/goldens/{file}.json").write_text(f"[\n{lines}\n]\n")
