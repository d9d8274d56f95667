"""Checkpoints as others write them, for crates/backbones/tests/others.rs: crates/backbones/tests/weights/others/NAME.pth.

Run with PyTorch 2.15.0 and NumPy 2 in the root of the repository: python tests/goldens/generate_checkpoints.py

All hold the same network of five tensors, whose values are k, k + 1, ... / 8 from k = 0, 108, 112, ... on; averaged weights beside
them are those plus 1000.
"""

import argparse
import collections
import copy
import datetime
import enum
import functools
import os
import pathlib
import random
import types

import numpy as np
import torch
from torch import nn

OUT = pathlib.Path(os.environ.get("OUT", "crates/backbones/tests/weights/others"))
SHAPES = {
    "block1.conv.weight": (4, 3, 3, 3),
    "block1.bn.weight": (4,),
    "block1.bn.bias": (4,),
    "block1.bn.running_mean": (4,),
    "block1.bn.running_var": (4,),
}


class Colour(enum.Enum):
    RED = 1


class Config(dict):
    pass


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.bn(self.conv(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block1 = Block()

    def forward(self, x):
        return self.block1(x)


class Wrapped(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module


def state(plus=0.0):
    out, k = collections.OrderedDict(), 0
    for name, shape in SHAPES.items():
        n = int(np.prod(shape))
        out[name] = torch.arange(k, k + n, dtype=torch.float32).reshape(shape) / 8 + plus
        k += n
    return out


def under(prefix, s=None):
    return collections.OrderedDict((prefix + k, v) for k, v in (s or state()).items())


def net():
    out = Net()
    out.load_state_dict(state(), strict=False)
    return out


def save(name, what, **options):
    torch.save(what, OUT / f"{name}.pth", **options)


def prefixes():
    save("module", under("module."))
    save("orig_mod", under("_orig_mod."))
    save("orig_mod_module", under("_orig_mod.module."))
    save("lightning", {"state_dict": under("model."), "epoch": 3, "pytorch-lightning_version": "2.1.0"})
    save("lightning_compiled", {"state_dict": under("model._orig_mod.module."), "hyper_parameters": {"lr": 0.1}})
    save("backbone", {"state_dict": {**under("backbone."), "fc.weight": torch.ones(10, 4), "fc.bias": torch.ones(10)}})
    save("module_one_extra", {**under("module."), "ema_steps": torch.tensor(3)})
    save("averaged_model", torch.optim.swa_utils.AveragedModel(net()).state_dict())
    save("inner_wrappers", {k.replace("conv.", "_fsdp_wrapped_module.conv._orig_mod."): v for k, v in state().items()})
    save("student_teacher", {"state_dict": {**under("student."), **under("teacher.", state(1000.0))}})
    save("model_and_model_ema", {"state_dict": {**under("model."), **under("model_ema.", state(1000.0))}})
    save("arcface", {**state(), "arcface.weight": torch.ones(10, 4)})
    save("timm_head", {**state(), "head.fc.weight": torch.ones(10, 4), "head.fc.bias": torch.ones(10)})


def dictionaries():
    both = {"state_dict": state(), "state_dict_ema": state(1000.0), "epoch": 1}
    save("ema", both)
    save("model_ema", {"model": state(), "model_ema": state(1000.0), "args": argparse.Namespace(lr=0.1)})
    save("only_ema", {"ema": {"decay": 0.99, "shadow": state(1000.0)}, "epoch": 1})
    save("net_key", {"net": state(), "acc": 91.5, "epoch": 7})
    save("nested_module", {"state_dict": under("module.")})
    save("deep", {"checkpoint": {"model_state_dict": state()}, "step": 10})
    save("tensors_beside", {"epoch": torch.tensor(5), "best": torch.tensor(0.5), "state_dict": state()})
    save("two_networks", {"generator": state(), "discriminator": state(1000.0)})
    optimiser = torch.optim.AdamW(net().parameters())
    save("optimizer", {"model": state(), "optimizer": optimiser.state_dict(), "scaler": {"scale": torch.tensor(65536.0)}})
    save("nan_beside", {"model": state(), "model_ema": {k: v * float("nan") for k, v in state().items()}})


def objects():
    save("namespace", {"state_dict": state(), "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("a/b"))})
    rng = np.random.default_rng(0).bit_generator.state
    numbers = {"best": np.float64(0.5), "kind": np.dtype("float32"), "array": np.arange(3), "rng": rng, "random": random.getstate()}
    save("numpy", {"state_dict": state(), **numbers})
    when = datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc)
    odd = {"path": pathlib.PurePosixPath("a/b"), "set": {1, 2}, "frozen": frozenset([1]), "when": when, "enum": Colour.RED}
    odd |= {"config": Config(a=1), "default": collections.defaultdict(list, a=[1]), "partial": functools.partial(max, 1)}
    odd |= {"simple": types.SimpleNamespace(a=1), "complex": 1j, "slice": slice(1, 2), "bytes": b"abc", "array": bytearray(b"x")}
    odd |= {"device": torch.device("cpu"), "dtype": torch.float32, "size": torch.Size([1, 2]), 5: "a number as a key"}
    for protocol in (2, 3, 4, 5):
        save(f"objects_{protocol}", {"state_dict": state(), **odd}, pickle_protocol=protocol)
    save("objects_old", {"state_dict": state(), **odd}, _use_new_zipfile_serialization=False)
    save("dict_subclass", Config(state()))
    save("numpy_weights", {k: v.numpy() if "bias" in k else v for k, v in state().items()})


def modules():
    save("whole", net())
    save("whole_old", net(), _use_new_zipfile_serialization=False)
    save("whole_wrapped", {"model": Wrapped(net()), "epoch": 1})
    torch.jit.save(torch.jit.script(net()), OUT / "scripted.pth")


def tensors():
    flat = torch.cat([v.flatten() for v in state().values()])
    views, at = {}, 0
    for name, shape in SHAPES.items():
        n = int(np.prod(shape))
        views[name] = flat[at : at + n].view(shape)
        at += n
    save("one_storage", views)
    strided = state()
    strided["block1.conv.weight"] = strided["block1.conv.weight"].to(memory_format=torch.channels_last)
    wide = torch.stack([strided["block1.bn.bias"], torch.zeros(4)], 1)
    strided["block1.bn.bias"] = wide[:, 0]
    save("strided", strided)
    save("expanded", {**state(), "block1.bn.weight": torch.tensor([2.0]).expand(4)})
    save("tied", {**state(), "head.weight": (shared := torch.ones(10, 4)), "classifier.weight": shared})
    save("empty_beside", {**state(), "queue": torch.zeros(0, 128)})
    save("half", {k: v.half() for k, v in state().items()})
    save("bf16", {k: v.bfloat16() for k, v in state().items()})
    save("double", {k: v.double() for k, v in state().items()})
    parameters = {k: nn.Parameter(v) for k, v in state().items()}
    parameters["block1.bn.bias"].tag = "a parameter with an attribute"
    save("parameters", parameters)
    beside = {"mask": torch.tensor([True]), "count": torch.tensor([1], dtype=torch.int32), "z": torch.tensor([1j])}
    beside |= {"short": torch.tensor([1], dtype=torch.uint16), "tiny": torch.ones(2).to(torch.float8_e4m3fn)}
    beside |= {"sparse": torch.eye(2).to_sparse()}
    save("other_types_beside", {**state(), **beside})
    save("int8", {k: v.to(torch.int8) for k, v in state().items()})
    save("float8", {k: v.to(torch.float8_e4m3fn) for k, v in state().items()})
    weight = torch.quantize_per_tensor(state()["block1.conv.weight"], 0.1, 0, torch.qint8)
    save("quantised", {**state(), "block1.conv.weight": weight})
    save("meta", {k: v.to("meta") for k, v in state().items()})
    save("nan", {k: torch.where(v == 1, float("nan"), v) for k, v in state().items()})
    save("infinite", {**state(), "block1.bn.running_var": torch.tensor([1.0, float("inf"), 1.0, 1.0])})
    save("negative", {**state(), "block1.bn.running_var": -state()["block1.bn.running_var"]})
    normed = nn.utils.parametrizations.weight_norm(net().block1.conv)
    save("weight_norm", under("block1.conv.", normed.state_dict()) | {k: v for k, v in state().items() if "bn" in k})


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for part in (prefixes, dictionaries, objects, modules, tensors):
        part()


main()
