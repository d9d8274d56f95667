"""Writes crates/datasets/goldens/transforms.json: what PyTorch and torchvision, and for one filter Pillow, make of small
images.

    pip install torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 numpy==2.4.6
    python tests/goldens/generate_transforms.py          # from the repository's root

Images are [channels, height, width] in float32 from 0 to 1; a case's name says what is done, its numbers are the pixels that
come out. Turns, shears and shifts are read bilinearly with zeros outside.
"""

import json
from pathlib import Path

import numpy
import PIL
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode, RandAugment, TrivialAugmentWide
from torchvision.transforms.v2 import functional as T

torch.manual_seed(0)
torch.set_num_threads(1)


def image(*shape):
    return (torch.rand(shape) * 1e4).round() / 1e4


images = {"small": image(3, 7, 9), "grey": image(1, 5, 6), "large": image(1, 19, 27)}
images["small"][:, 0, 0] = 0.25  # no colour
images["small"][:, 0, 1] = torch.tensor([0.0, 1.0, 1.0])
images["small"][:, 0, 2] = torch.tensor([1.0, 0.5, 1.0])


def pixels(t):
    return [round(v, 7) for v in t.flatten().tolist()]


def resized():
    for size in [(3, 4), (14, 18), (10, 5), (1, 1)]:
        for filter, antialias in [
            ("nearest", False),
            ("bilinear", False),
            ("bilinear", True),
            ("bicubic", False),
            ("bicubic", True),
            ("lanczos", True),
        ]:
            kind = {} if filter == "nearest" else {"align_corners": False, "antialias": antialias}
            out = F.interpolate(images["small"][None], size=size, mode=filter, **kind)
            again = T.resize(images["small"], list(size), InterpolationMode(filter), antialias=antialias)
            assert torch.equal(out[0], again)
            yield f"{filter}/{str(antialias).lower()}/{size[0]}/{size[1]}", pixels(out)
        # PyTorch has no such filter; Pillow computes it in float32 for images of one float channel.
        planes = [Image.fromarray(p.numpy()).resize(size[::-1], Image.Resampling.BOX) for p in images["small"]]
        yield f"box/true/{size[0]}/{size[1]}", pixels(torch.from_numpy(numpy.stack([numpy.asarray(p) for p in planes])))


def cropped():
    for top, left, h, w, to_h, to_w in [(1, 2, 5, 6, 7, 9), (0, 0, 7, 9, 3, 3), (2, 1, 4, 8, 8, 4), (3, 4, 1, 1, 2, 2)]:
        out = T.resized_crop(images["small"], top, left, h, w, [to_h, to_w], antialias=True)
        yield f"{top}/{left}/{h}/{w}/{to_h}/{to_w}", pixels(out)


def blurred():
    for size, sigma in [(3, 0.5), (5, 1.3), (7, 2.0)]:
        yield f"{size}/{sigma}", pixels(T.gaussian_blur(images["small"], [size, size], [sigma, sigma]))


def coloured():
    strengths = {
        "brightness": (T.adjust_brightness, [0.4, 1.7]),
        "contrast": (T.adjust_contrast, [0.0, 0.3, 1.6]),
        "saturation": (T.adjust_saturation, [0.0, 0.5, 1.9]),
        "hue": (T.adjust_hue, [-0.5, -0.17, 0.08, 0.4]),
        "sharpness": (T.adjust_sharpness, [0.0, 0.4, 1.9]),
        "posterise": (T.posterize, [1, 3, 7]),
        "solarise": (T.solarize, [0.25, 0.7]),
    }
    for name in ["small", "grey"]:
        for change, (f, all) in strengths.items():
            for strength in all:
                yield f"{name}/{change}/{strength}", pixels(f(images[name], strength))
        yield f"{name}/greyscale/0", pixels(T.rgb_to_grayscale(images[name], images[name].shape[0]))
        yield f"{name}/autocontrast/0", pixels(T.autocontrast(images[name]))
        yield f"{name}/equalise/0", pixels(T.equalize(images[name]))
    yield "large/equalise/0", pixels(T.equalize(images["large"]))


OPERATIONS = {
    "Identity": "Identity",
    "ShearX": "ShearX",
    "ShearY": "ShearY",
    "TranslateX": "TranslateX",
    "TranslateY": "TranslateY",
    "Rotate": "Rotate",
    "Brightness": "Brightness",
    "Color": "Colour",
    "Contrast": "Contrast",
    "Sharpness": "Sharpness",
    "Posterize": "Posterise",
    "Solarize": "Solarise",
    "AutoContrast": "Autocontrast",
    "Equalize": "Equalise",
}


def moved():
    t = RandAugment(interpolation="bilinear")
    for name, all in {
        "ShearX": [0.3, -0.99],
        "ShearY": [-0.21, 0.7],
        "TranslateX": [2.9, -3.2],
        "TranslateY": [1.0, -2.7],
        "Rotate": [11.0, -40.0, 130.0],
        "Brightness": [-0.9, 0.4],
        "Color": [-0.5, 0.9],
        "Contrast": [-0.9, 0.3],
        "Sharpness": [-0.7, 0.9],
        "Posterize": [4, 2],
        "Solarize": [0.4],
        "AutoContrast": [0.0],
        "Equalize": [0.0],
        "Identity": [0.0],
    }.items():
        for strength in all:
            out = t._apply_image_or_video_transform(images["small"], name, strength, InterpolationMode.BILINEAR, t._fill)
            yield f"{OPERATIONS[name]}/{strength}", pixels(out)


def strengths(kind):
    assert list(kind._AUGMENTATION_SPACE) == list(OPERATIONS)
    for name, (f, signed) in kind._AUGMENTATION_SPACE.items():
        all = f(31, 20, 40)
        all = [0.0] * 31 if all is None else [round(float(v), 6) for v in all]
        yield f"{OPERATIONS[name]}/{'signed' if signed else 'plain'}", all


golden = {
    "generator": {
        "script": "tests/goldens/generate_transforms.py",
        "torch": torch.__version__.split("+")[0],
        "torchvision": torchvision.__version__.split("+")[0],
        "pillow": PIL.__version__,
    },
    "images": {n: {"shape": list(i.shape), "pixels": pixels(i)} for n, i in images.items()},
    "resize": dict(resized()),
    "resized_crop": dict(cropped()),
    "gaussian_blur": dict(blurred()),
    "colour": dict(coloured()),
    "geometry": dict(moved()),
    "rand_strengths": dict(strengths(RandAugment)),
    "trivial_strengths": dict(strengths(TrivialAugmentWide)),
}
out = Path("crates/datasets/goldens/transforms.json")
out.parent.mkdir(exist_ok=True)
out.write_text(json.dumps(golden, separators=(",", ":")).replace('},"', '},\n"') + "\n")
print(out.stat().st_size)
