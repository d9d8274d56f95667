"""Small files as `torch.save` writes them, and what they hold, for crates/backbones/tests/weights.rs.

Run with PyTorch 2.15.0 in the root of the repository: python tests/goldens/generate_weights.py
"""

import collections
import json
import os
import pathlib
import pickle

import torch

OUT = pathlib.Path("crates/backbones/tests/weights")


class Evil:
    def __reduce__(self):
        return (os.system, ("touch /tmp/this-was-run",))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 7
    state = collections.OrderedDict(
        plain=base.clone(),
        transposed=base.t(),
        part=base[1:3, 2:5],
        half=(base - 1).half(),
        brain=(base * 3).bfloat16(),
        double=base.double() ** 2,
        scalar=torch.tensor(5, dtype=torch.int64),
        short=torch.tensor([-2, 300], dtype=torch.int16),
        flags=torch.tensor([True, False, True]),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(torch.tensor([0.5, -0.25])),
    )
    checkpoint = {"epoch": 3, "lr": 0.1, "optimizer": {"momentum": torch.ones(2)}, "state_dict": state}
    for name, what in (("plain", state), ("checkpoint", checkpoint)):
        torch.save(what, OUT / f"{name}.pth")
        torch.save(what, OUT / f"{name}_old.pth", _use_new_zipfile_serialization=False)
    torch.save({"w": torch.ones(2), "evil": Evil()}, OUT / "evil.pth")
    (OUT / "evil_old.pth").write_bytes(pickle.dumps({"w": Evil()}, protocol=2))
    torch.save([1, 2, 3], OUT / "no_tensors.pth")
    values = {k: {"shape": list(v.shape), "values": v.detach().double().flatten().tolist()} for k, v in state.items()}
    (OUT / "expected.json").write_text(json.dumps({"torch": torch.__version__.split("+")[0], "tensors": values}))


main()
