"""Writes crates/backbones/goldens/{texts,text_gru}.json: what networks make of rows of tokens, and gradients.

    pip install torch==2.15.0 transformers==5.24.0
    python tests/goldens/generate_texts.py     # from the repository's root

Nothing is downloaded. Parameters are filled by `value` of generate_networks.py, which the test computes, too, and a tensor is
written as its `digest`; everything is computed in float64. `tokens` are the rows, filled up with 0 to the length of the longest
plus some, `lengths` say how many of each are there. `layers` are the hidden states after the embeddings and after each layer,
zero where a row is filled up. `poolings` holds for every pooling the features, and gradients of the sum of
`features * wave("upstream")`. Mean and first piece are taken from the last hidden state, `cls_pooler` is the network's own
pooler, and `attention` is written out in torch: a softmax over `score(tanh(dense(hidden)))`.

text_gru.json is small enough to hold all values, parameters included, in the order of memory. Its `texts` are rows of tokens
without filling; torch packs them, so that nothing is read beyond their ends.
"""

import ast
import json
import math
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

torch.set_num_threads(1)

# The functions that fill and sum up tensors are those of the other networks.
source = ast.parse(Path("tests/goldens/generate_networks.py").read_text())
wanted = [f for f in source.body if isinstance(f, ast.FunctionDef) and f.name in ("wave", "value", "digest")]
exec(compile(ast.Module(wanted, []), "generate_networks.py", "exec"))

LENGTH, VOCABULARY, WIDTH = 24, 37, 32
LENGTHS = [17, 5, 1]


def filled(model, also=()):
    with torch.no_grad():
        for n, t in [*model.named_parameters(), *also]:
            t.copy_(value(n, t.shape))


def pooled(name, model, out, mask, extra):
    hidden, m = out.last_hidden_state, mask[:, :, None].double()
    if name == "mean":
        return (hidden * m).sum(1) / m.sum(1)
    if name == "cls":
        return hidden[:, 0]
    if name == "cls_pooler":
        return out.pooler_output
    score = (torch.tanh(hidden @ extra["dense.weight"].T + extra["dense.bias"]) @ extra["score.weight"].T)[..., 0]
    weights = score.masked_fill(mask == 0, -torch.inf).softmax(1)
    return (weights[:, :, None] * hidden).sum(1)


def network(name, model, poolings, grads):
    model = model.double().eval()
    filled(model)
    tokens = torch.zeros(len(LENGTHS), LENGTH, dtype=torch.long)
    for r, n in enumerate(LENGTHS):
        tokens[r, :n] = torch.tensor([(r * 7 + i * 11) % (VOCABULARY - 1) + 1 for i in range(n)])
    mask = (torch.arange(LENGTH)[None] < torch.tensor(LENGTHS)[:, None]).long()
    entry = {
        "name": name,
        "length": LENGTH,
        "vocabulary": VOCABULARY,
        "lengths": LENGTHS,
        "tokens": tokens.tolist(),
        "tensors": len([n for n, _ in model.named_parameters() if not n.startswith("pooler.")]),
        "poolings": {},
    }
    for pooling in poolings:
        shapes = {"dense.weight": (WIDTH, WIDTH), "dense.bias": (WIDTH,), "score.weight": (1, WIDTH)}
        extra = {n: value(f"pooling.{n}", s).requires_grad_() for n, s in shapes.items()}
        model.zero_grad()
        out = model(input_ids=tokens, attention_mask=mask, output_hidden_states=True)
        entry["layers"] = [digest(h * mask[:, :, None]) for h in out.hidden_states]
        features = pooled(pooling, model, out, mask, extra)
        (features * torch.from_numpy(wave("upstream", features.numel())).reshape(features.shape)).sum().backward()
        named = dict(model.named_parameters())
        wanted = {n: named[n].grad for n in grads}
        if pooling == "attention":
            wanted |= {f"pooling.{n}": t.grad for n, t in extra.items()}
        if pooling == "cls_pooler":
            wanted |= {n: named[n].grad for n in ("pooler.dense.weight", "pooler.dense.bias")}
        entry["poolings"][pooling] = {"features": digest(features), "grads": {n: digest(g) for n, g in wanted.items()}}
    return entry


NETWORKS = [
    network(
        "bert",
        BertModel(
            BertConfig(
                vocab_size=VOCABULARY,
                hidden_size=WIDTH,
                num_hidden_layers=3,
                num_attention_heads=4,
                intermediate_size=48,
                max_position_embeddings=30,
                attn_implementation="eager",
            )
        ),
        ["mean", "cls", "cls_pooler", "attention"],
        ["embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"]
        + ["embeddings.token_type_embeddings.weight", "embeddings.LayerNorm.weight"]
        + [f"encoder.layer.0.attention.self.{n}" for n in ("query.weight", "key.weight", "value.bias")]
        + ["encoder.layer.1.attention.output.dense.weight", "encoder.layer.1.attention.output.LayerNorm.bias"]
        + ["encoder.layer.1.intermediate.dense.weight", "encoder.layer.2.output.dense.weight"],
    ),
    network(
        "distilbert",
        DistilBertModel(
            DistilBertConfig(
                vocab_size=VOCABULARY,
                dim=WIDTH,
                n_layers=3,
                n_heads=4,
                hidden_dim=48,
                max_position_embeddings=30,
                attn_implementation="eager",
            )
        ),
        ["mean", "cls", "attention"],
        ["embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"]
        + [f"transformer.layer.0.attention.{n}" for n in ("q_lin.weight", "k_lin.weight", "v_lin.bias")]
        + ["transformer.layer.1.attention.out_lin.weight", "transformer.layer.1.sa_layer_norm.bias"]
        + ["transformer.layer.1.ffn.lin1.weight", "transformer.layer.2.ffn.lin2.weight"],
    ),
]


def gru(vocabulary=9, width=3, hidden=2):
    layers = {
        "embeddings": torch.nn.Embedding(vocabulary, width),
        "gru": torch.nn.GRU(width, hidden, batch_first=True, bidirectional=True),
    }
    model = torch.nn.ModuleDict(layers).double()
    filled(model)
    texts = [[(r * 5 + i * 3) % (vocabulary - 1) + 1 for i in range(n)] for r, n in enumerate(LENGTHS)]
    upstream = torch.from_numpy(wave("upstream", len(texts) * 2 * hidden)).reshape(len(texts), 2 * hidden)

    def flat(tensor):
        return [float(f"{x:.12g}") for x in tensor.detach().flatten().tolist()]

    entry = {
        "texts": texts,
        "upstream": upstream.flatten().tolist(),
        "parameters": {n: t.flatten().tolist() for n, t in model.named_parameters()},
        "poolings": {},
    }
    for pooling in ["mean", "max", "last"]:
        model.zero_grad()
        words = torch.nn.utils.rnn.pack_sequence([model["embeddings"](torch.tensor(t)) for t in texts], False)
        states, last = model["gru"](words)
        rows = torch.nn.utils.rnn.unpack_sequence(states)
        features = {
            "mean": torch.stack([row.mean(0) for row in rows]),
            "max": torch.stack([row.max(0).values for row in rows]),
            "last": torch.cat(list(last), 1),
        }[pooling]
        (features * upstream).sum().backward()
        gradients = {n: flat(t.grad) for n, t in model.named_parameters()}
        entry["poolings"][pooling] = {"features": flat(features), "gradients": gradients}
    return entry


lines = ",\n".join(json.dumps(n) for n in NETWORKS)
Path("crates/backbones/goldens/texts.json").write_text(f"[\n{lines}\n]\n")
Path("crates/backbones/goldens/text_gru.json").write_text(json.dumps(gru()) + "\n")
