"""Writes crates/ops/goldens/ops.json: outputs and gradients of PyTorch's operations on small shapes.

    pip install torch==2.15.0
    python tests/goldens/generate_ops.py          # from the repository's root

Computed in float64 and written with nine significant digits. In a case, `inputs` are the operands, `upstream` is the gradient
that the output receives, `outputs` are the results (`out` first) and `grads` are the gradients of the inputs of the same name.
Shapes are [batch, channels, height, width], weights [out, in / groups, height, width] or [out, in].
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(1)


def draw(*shape):
    """Values in 256ths: nine digits hold them exactly."""
    return torch.randn(shape, dtype=torch.float64).mul(256).round() / 256


def distinct(*shape):
    """Values without ties, so that a maximum is reached once."""
    size = torch.Size(shape).numel()
    return (torch.randperm(size).to(torch.float64) - size // 2).reshape(shape) / 32


def written(tensor):
    tensor = tensor.detach()
    whole = not tensor.is_floating_point()
    data = tensor.flatten().tolist()
    return {"shape": list(tensor.shape), "data": data if whole else [float(f"{v:.9g}") for v in data]}


def case(name, op, function, inputs, attrs, fixed=(), more=()):
    """Runs `function(**inputs)` and its gradient; `fixed` inputs get none, `more` names tensors that it changes in place."""
    given = {n: written(v) for n, v in inputs.items()}
    for n, v in inputs.items():
        v.requires_grad_(n not in fixed)
    out = function(**inputs)
    upstream = draw(*out.shape)
    out.backward(upstream)
    return {
        "name": name,
        "op": op,
        "inputs": given,
        "attrs": attrs,
        "upstream": written(upstream),
        "outputs": {"out": written(out), **{n: written(inputs[n]) for n in more}},
        "grads": {n: written(v.grad) for n, v in inputs.items() if n not in fixed},
    }


def conv2d(name, x, weight, bias=True, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    inputs = {"x": draw(*x), "weight": draw(*weight)} | ({"bias": draw(weight[0])} if bias else {})
    run = lambda x, weight, bias=None: F.conv2d(x, weight, bias, **attrs)
    return case(f"conv2d_{name}", "conv2d", run, inputs, attrs)


def conv1d(name, x, weight, **attrs):
    inputs = {"x": draw(*x), "weight": draw(*weight), "bias": draw(weight[0])}
    run = lambda x, weight, bias: F.conv1d(x, weight, bias, **attrs)
    return case(f"conv1d_{name}", "conv1d", run, inputs, attrs)


def conv_transpose(name, op, x, weight, **attrs):
    inputs = {"x": draw(*x), "weight": draw(*weight), "bias": draw(weight[1] * attrs["groups"])}
    run = lambda x, weight, bias: getattr(F, op)(x, weight, bias, **attrs)
    return case(f"{op}_{name}", op, run, inputs, attrs)


def attention(name, batch, positions, width, heads, mask=None):
    """Queries, keys and values side by side; `mask` is 0 where nobody looks."""
    inputs = {"qkv": draw(batch, positions, 3 * width)}
    if mask is not None:
        inputs["mask"] = torch.tensor(mask)

    def run(qkv, mask=None):
        q, k, v = qkv.reshape(batch, positions, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        seen = None if mask is None else mask.bool()[:, None, None, :]
        return F.scaled_dot_product_attention(q, k, v, seen).transpose(1, 2).reshape(batch, positions, width)

    return case(f"attention_{name}", "attention", run, inputs, {"heads": heads}, fixed=("mask",))


def linear(name, x, weight, bias=True):
    inputs = {"x": draw(*x), "weight": draw(*weight)} | ({"bias": draw(weight[0])} if bias else {})
    return case(f"linear_{name}", "linear", lambda x, weight, bias=None: F.linear(x, weight, bias), inputs, {})


def pool(op, name, x, **attrs):
    run = lambda x: getattr(F, op)(x, **attrs)
    return case(f"{op}_{name}", op, run, {"x": distinct(*x)}, attrs)


def batch_norm(name, x, train):
    channels = x[1]
    inputs = {
        "x": draw(*x),
        "weight": draw(channels),
        "bias": draw(channels),
        "running_mean": draw(channels),
        "running_var": draw(channels).abs() + 0.5,
    }
    attrs = {"training": train, "momentum": 0.1, "eps": 1e-5}
    run = lambda x, weight, bias, running_mean, running_var: F.batch_norm(
        x, running_mean, running_var, weight, bias, train, attrs["momentum"], attrs["eps"]
    )
    running = ("running_mean", "running_var")
    return case(f"batch_norm_{name}", "batch_norm", run, inputs, attrs, fixed=running, more=running)


def cross_entropy(name, rows, classes, smoothing=0.0, weighted=False, ignore=None, reduction="none"):
    labels = torch.arange(rows) * 3 % classes
    if ignore is not None:
        labels[1::3] = ignore
    inputs = {"logits": draw(rows, classes) * 2, "labels": labels} | ({"weights": draw(classes).abs() + 0.25} if weighted else {})
    attrs = {"label_smoothing": smoothing, "ignore_index": ignore, "reduction": reduction}
    run = lambda logits, labels, weights=None: F.cross_entropy(
        logits, labels, weights, ignore_index=-100 if ignore is None else ignore, label_smoothing=smoothing, reduction=reduction
    )
    return case(f"cross_entropy_{name}", "cross_entropy", run, inputs, attrs, fixed=("labels", "weights"))


def cases():
    yield conv2d("1x1", (2, 3, 5, 4), (4, 3, 1, 1))
    yield conv2d("3x3_padding", (2, 3, 6, 6), (4, 3, 3, 3), bias=False, padding=(1, 1))
    yield conv2d("3x3_stride_2_odd", (2, 2, 7, 5), (3, 2, 3, 3), stride=(2, 2), padding=(1, 1))
    yield conv2d("3x3_stride_2_even", (1, 2, 6, 8), (3, 2, 3, 3), bias=False, stride=(2, 2), padding=(1, 1))
    yield conv2d("1x1_stride_2", (2, 3, 5, 5), (2, 3, 1, 1), bias=False, stride=(2, 2))
    yield conv2d("5x3_uneven", (1, 2, 9, 8), (3, 2, 5, 3), stride=(2, 1), padding=(2, 0))
    yield conv2d("dilation", (1, 2, 9, 8), (2, 2, 3, 3), padding=(2, 2), dilation=(2, 2))
    yield conv2d("dilation_stride", (1, 2, 9, 7), (2, 2, 3, 2), stride=(2, 2), padding=(1, 1), dilation=(2, 3))
    yield conv2d("groups", (2, 4, 5, 5), (6, 2, 3, 3), padding=(1, 1), groups=2)
    yield conv2d("depthwise", (2, 4, 5, 6), (4, 1, 3, 3), bias=False, padding=(1, 1), groups=4)
    yield conv2d("depthwise_5x5_stride_2", (1, 3, 9, 7), (3, 1, 5, 5), stride=(2, 2), padding=(2, 2), groups=3)
    yield conv2d("depthwise_doubled", (1, 3, 6, 5), (6, 1, 3, 3), padding=(1, 1), groups=3)
    yield conv2d("7x7_stride_2", (1, 2, 11, 10), (2, 2, 7, 7), bias=False, stride=(2, 2), padding=(3, 3))
    yield linear("bias", (5, 4), (3, 4))
    yield linear("no_bias", (5, 4), (3, 4), bias=False)
    yield linear("three_dims", (2, 3, 4), (5, 4))
    yield pool("max_pool2d", "3x3_stride_2_padding", (2, 2, 7, 8), kernel_size=[3, 3], stride=[2, 2], padding=[1, 1])
    yield pool("max_pool2d", "2x2_odd", (2, 2, 7, 5), kernel_size=[2, 2], stride=[2, 2], padding=[0, 0])
    yield pool("avg_pool2d", "2x2_odd", (2, 2, 7, 5), kernel_size=[2, 2], stride=[2, 2], padding=[0, 0])
    yield pool("avg_pool2d", "3x3_overlapping", (1, 2, 6, 7), kernel_size=[3, 3], stride=[2, 2], padding=[0, 0])
    yield batch_norm("train", (3, 4, 3, 2), True)
    yield batch_norm("train_rows", (6, 3), True)
    yield batch_norm("eval", (3, 4, 3, 2), False)
    x = draw(3, 7)
    x[0, :2] = 0  # the gradient at 0 is 0
    yield case("relu", "relu", lambda x: F.relu(x), {"x": x}, {})
    yield cross_entropy("plain", 6, 5)
    yield cross_entropy("smoothing", 6, 5, smoothing=0.1)
    yield cross_entropy("weights", 6, 5, weighted=True)
    yield cross_entropy("smoothing_weights", 6, 5, smoothing=0.2, weighted=True)
    yield cross_entropy("ignore", 7, 4, ignore=3)
    yield cross_entropy("everything", 8, 4, smoothing=0.1, weighted=True, ignore=255)
    yield cross_entropy("everything_mean", 8, 4, smoothing=0.1, weighted=True, ignore=255, reduction="mean")
    yield from activations()
    yield pool("adaptive_avg_pool2d", "uneven", (1, 2, 5, 4), output_size=[3, 2])
    unpadded = {"kernel_size": [3, 3], "stride": [2, 2], "padding": [1, 1], "count_include_pad": False}
    yield pool("avg_pool2d", "padding_not_counted", (1, 2, 5, 4), **unpadded)
    yield pool("max_pool2d", "ceil", (1, 2, 6, 5), kernel_size=[3, 3], stride=[2, 2], padding=[0, 0], ceil_mode=True)
    yield layer_norm("bias", (2, 3, 4))
    yield layer_norm_channels("image", (2, 3, 2, 2))
    yield rms_norm("rows", (3, 5))
    yield group_norm("image", (2, 4, 3, 2), 2)
    yield group_norm("one_group", (2, 3, 4), 1)
    yield resize("nearest", (1, 2, 3, 4), (5, 3), mode="nearest")
    yield resize("bilinear_larger", (1, 2, 3, 4), (5, 7), mode="bilinear", align_corners=False)
    yield resize("bilinear_smaller", (1, 2, 5, 4), (2, 3), mode="bilinear", align_corners=False)
    yield resize("bilinear_corners", (1, 2, 3, 4), (5, 1), mode="bilinear", align_corners=True)
    indices = torch.tensor([[2, 0, 2], [1, 2, 0]])
    inputs = {"indices": indices, "weight": draw(4, 3)}
    look_up = lambda indices, weight: F.embedding(indices, weight)
    yield case("embedding_repeated", "embedding", look_up, inputs, {}, fixed=("indices",))
    yield from losses()
    # New cases stand at the end, so that the draws of the others stay what they were.
    yield conv1d("stride", (2, 3, 9), (4, 3, 3), stride=2, padding=1, dilation=1, groups=1)
    yield conv1d("dilation_groups", (1, 4, 8), (6, 2, 2), stride=1, padding=2, dilation=3, groups=2)
    yield conv1d("depthwise_single", (1, 3, 5), (3, 1, 5), stride=1, padding=2, dilation=1, groups=3)
    plain = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}
    yield conv_transpose("stride", "conv_transpose1d", (2, 3, 4), (3, 2, 3), **plain | {"stride": 2, "padding": 1, "output_padding": 1})
    pairs = {n: (v, v) for n, v in plain.items() if n != "groups"} | {"groups": 1}
    yield conv_transpose("plain", "conv_transpose2d", (2, 3, 3, 2), (3, 4, 3, 3), **pairs)
    uneven = {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2), "dilation": (1, 2), "groups": 2}
    yield conv_transpose("uneven_groups", "conv_transpose2d", (1, 4, 3, 2), (4, 3, 3, 2), **uneven)
    twice = pairs | {"stride": (2, 2), "padding": (1, 1), "output_padding": (1, 1), "groups": 3}
    yield conv_transpose("depthwise", "conv_transpose2d", (1, 3, 3, 4), (3, 1, 3, 3), **twice)
    yield attention("heads", 2, 5, 6, 2)
    yield attention("one_row_mask", 1, 7, 4, 1, mask=[[1, 1, 0, 1, 0, 0, 1]])
    yield attention("mask", 2, 3, 8, 4, mask=[[1, 1, 1], [0, 1, 0]])
    yield resize("nearest_rounding", (1, 1, 3, 2), (123, 1), mode="nearest")
    yield case("log_softmax", "log_softmax", lambda x: F.log_softmax(x, -1), {"x": draw(2, 7) * 4}, {})


def activations():
    def over(name, function, **attrs):
        x = draw(2, 7) * 4
        return case(f"{name}_{attrs['approximate']}" if attrs else name, name, function, {"x": x}, attrs)

    yield over("gelu", lambda x: F.gelu(x), approximate="none")
    yield over("gelu", lambda x: F.gelu(x, approximate="tanh"), approximate="tanh")
    yield over("silu", lambda x: F.silu(x))
    yield over("relu6", lambda x: F.relu6(x))
    yield over("hardswish", lambda x: F.hardswish(x))
    yield over("softmax", lambda x: F.softmax(x, -1))


def layer_norm(name, x):
    inputs = {"x": draw(*x), "weight": draw(x[-1]), "bias": draw(x[-1])}
    run = lambda x, weight, bias: F.layer_norm(x, weight.shape, weight, bias, 1e-5)
    return case(f"layer_norm_{name}", "layer_norm", run, inputs, {"eps": 1e-5})


def layer_norm_channels(name, x):
    inputs = {"x": draw(*x), "weight": draw(x[1]), "bias": draw(x[1])}
    run = lambda x, weight, bias: F.layer_norm(x.movedim(1, -1), weight.shape, weight, bias, 1e-6).movedim(-1, 1)
    return case(f"layer_norm_channels_{name}", "layer_norm_channels", run, inputs, {"eps": 1e-6})


def rms_norm(name, x):
    run = lambda x, weight: F.rms_norm(x, weight.shape, weight, 1e-5)
    return case(f"rms_norm_{name}", "rms_norm", run, {"x": draw(*x), "weight": draw(x[-1])}, {"eps": 1e-5})


def group_norm(name, x, groups):
    inputs = {"x": draw(*x), "weight": draw(x[1]), "bias": draw(x[1])}
    run = lambda x, weight, bias: F.group_norm(x, groups, weight, bias, 1e-5)
    return case(f"group_norm_{name}", "group_norm", run, inputs, {"groups": groups, "eps": 1e-5})


def resize(name, x, size, **attrs):
    run = lambda x: F.interpolate(x, size, **attrs)
    return case(f"resize_{name}", "resize", run, {"x": draw(*x)}, {"size": size, **attrs})


def losses():
    """One value a row each; what PyTorch gives for each element is reduced here as the operation does it."""
    rows, classes = 3, 4
    probabilities = lambda: draw(rows, classes).softmax(-1).mul(1024).round() / 1024
    fixed = ("targets", "weights", "labels")

    def bce(logits, targets, weights=None):
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none").mean(1)

    inputs = {"logits": draw(rows, classes) * 2, "targets": probabilities()}
    yield case("bce_with_logits_plain", "bce_with_logits", bce, inputs, {}, fixed=fixed)
    inputs = {"logits": draw(rows, classes) * 2, "targets": probabilities(), "weights": draw(classes).abs() + 0.25}
    yield case("bce_with_logits_weights", "bce_with_logits", bce, inputs, {}, fixed=fixed)

    def focal(logits, labels, weights):
        cross = F.cross_entropy(logits, labels, reduction="none")  # -ln p
        return weights[labels] * (1 - torch.exp(-cross)) ** 2 * cross

    labels = torch.tensor([2, 0, 3])
    inputs = {"logits": draw(rows, classes) * 2, "labels": labels, "weights": draw(classes).abs() + 0.25}
    yield case("focal_weights", "focal", focal, inputs, {"gamma": 2.0}, fixed=fixed)

    huber = lambda a, b: F.huber_loss(a, b, delta=0.75, reduction="none").mean((1, 2))
    yield case("huber", "huber", huber, {"a": draw(2, 3, 2), "b": draw(2, 3, 2)}, {"delta": 0.75})

    inputs = {"logits": draw(rows, classes) * 2, "targets": probabilities()}
    soft = lambda logits, targets: F.cross_entropy(logits, targets, reduction="none")
    yield case("soft_cross_entropy", "soft_cross_entropy", soft, inputs, {}, fixed=fixed)

    targets = probabilities()
    targets[0, 1] = 0  # counts nothing
    inputs = {"logits": draw(rows, classes) * 2, "targets": targets}
    divergence = lambda logits, targets: F.kl_div(F.log_softmax(logits, -1), targets, reduction="none").sum(1)
    yield case("kl_div", "kl_div", divergence, inputs, {}, fixed=fixed)

    cosine = lambda a, b: 1 - F.cosine_similarity(a, b, dim=1)
    yield case("cosine", "cosine", cosine, {"a": draw(3, 4), "b": draw(3, 4)}, {})


def main():
    golden = {
        "generator": {"script": "tests/goldens/generate_ops.py", "torch": torch.__version__.split("+")[0]},
        "cases": list(cases()),
    }
    Path("crates/ops/goldens/ops.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
