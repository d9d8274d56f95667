"""Writes crates/backbones/goldens/positions.json: tables of positions of vision transformers, resized by timm.

    pip install torch==2.15.0 timm==1.0.31
    python tests/goldens/generate_positions.py     # from the repository's root

The table `[1, from * from + 1, width]` is `sin(0.37 i)`, rounded to float32; `values` are those of
`timm.layers.resample_abs_pos_embed` for a grid of `to` x `to`.
"""

import json
from pathlib import Path

import torch
from timm.layers import resample_abs_pos_embed

torch.set_num_threads(1)

out = []
for size, to, width in [(2, 5, 2), (7, 4, 2), (3, 3 * 2, 1), (14, 3, 1), (1, 2, 3)]:
    count = (size * size + 1) * width
    table = torch.sin(torch.arange(count, dtype=torch.float64) * 0.37).float().reshape(1, -1, width)
    values = resample_abs_pos_embed(table, [to, to], [size, size]).flatten().tolist()
    out.append({"from": size, "to": to, "width": width, "values": values})
Path("crates/backbones/goldens/positions.json").write_text(json.dumps(out) + "\n")
