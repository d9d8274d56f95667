"""Writes crates/codecs/goldens/pictures.json: small pictures as files, and what Pillow and torchvision make of them.

    pip install pillow==13.0.0 numpy==2.4.6 torch==2.15.0 torchvision==0.29.2
    python tests/goldens/generate_pictures.py     # from the repository's root

`resized` holds a raw picture (pixel after pixel) and Pillow's `Image.resize` of it for each filter and size; `cropped` what
torchvision's Resize(shorter side) and CenterCrop give; `padded` Pillow's `ImageOps.pad`. `decoded` holds files in base64 with
their pixels: `exif_transpose`d, the first frame, laid over white, as RGB and as grey. `levels` is how far a decoder may be off
in a format with losses.
"""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms import v2

rng = np.random.default_rng(0)
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def drawn(height, width, channels):
    """Edges, slopes and noise, so that filters differ."""
    y, x = np.mgrid[:height, :width]
    planes = []
    for c in range(channels):
        slope = 255 * ((x * (c + 1) + y * 2) % width) / width
        edge = np.where(x + c * 2 > y * width / height, 200, 20)
        planes.append((slope + edge) / 2 + rng.integers(-25, 26, (height, width)))
    pixels = np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def raw(image):
    return {"height": image.height, "width": image.width, "channels": len(image.getbands()), "hex": image.tobytes().hex()}


resized = []
for image, sizes in [(drawn(13, 9, 3), [(5, 4), (13, 4), (9, 12)]), (drawn(10, 17, 1), [(3, 5), (21, 30), (7, 40), (1, 1)])]:
    for name, resample in FILTERS.items():
        outs = [raw(image.resize((w, h), resample)) for h, w in sizes]
        resized.append({"filter": name, "picture": raw(image), "results": outs})

cropped, padded = [], []
for image in [drawn(13, 9, 3), drawn(7, 24, 1), drawn(8, 8, 3)]:
    for name in ["nearest", "bilinear", "bicubic"]:
        for size in [4, 5, 8, 11]:
            resize = v2.Resize(size, interpolation=v2.InterpolationMode(name), antialias=True)
            out = v2.CenterCrop(size)(resize(image))
            cropped.append({"filter": name, "picture": raw(image), "results": [raw(out)]})
        for height, width in [(6, 6), (5, 12), (16, 7)]:
            colour = (250, 3, 90) if image.mode == "RGB" else 255
            out = ImageOps.pad(image, (width, height), FILTERS[name], color=colour)
            padded.append({"filter": name, "picture": raw(image), "results": [raw(out)]})


def encoded(image, form, **more):
    out = io.BytesIO()
    image.save(out, form, **more)
    return out.getvalue()


decoded = []


def file(name, content, levels=0):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if image.mode == "I;16":
        # Pillow cuts 16 bits off; the nearest of 256 levels is meant.
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    white = Image.new("RGBA", image.size, "white")
    rgb = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    results = [raw(rgb), raw(rgb.convert("L"))]
    decoded.append({"name": name, "base64": base64.b64encode(content).decode(), "levels": levels, "results": results})


rgb, grey = drawn(5, 7, 3), drawn(6, 4, 1)
rgba = rgb.copy()
rgba.putalpha(Image.fromarray(rng.integers(0, 256, (5, 7), dtype=np.uint8)))
la = grey.copy()
la.putalpha(Image.fromarray(rng.integers(0, 256, (6, 4), dtype=np.uint8)))
palette = rgb.quantize(5)
for form in ["PNG", "BMP", "TIFF", "PPM"]:
    file(f"rgb {form}", encoded(rgb, form))
    file(f"grey {form}", encoded(grey, form))
file("rgb WEBP", encoded(rgb, "WEBP", lossless=True))
file("rgba WEBP", encoded(rgba, "WEBP", lossless=True, exact=True))
for form in ["PNG", "TIFF"]:
    file(f"rgba {form}", encoded(rgba, form))
for form in ["PNG", "GIF", "BMP"]:
    file(f"palette {form}", encoded(palette, form))
file("grey and alpha PNG", encoded(la, "PNG"))
file("transparent palette PNG", encoded(palette, "PNG", transparency=2))
file("transparent palette GIF", encoded(palette, "GIF", transparency=2))
file("one bit PNG", encoded(grey.convert("1"), "PNG"))
file("one bit PBM", encoded(grey.convert("1"), "PPM"))
file("sixteen bits PNG", encoded(Image.fromarray(rng.integers(0, 65536, (4, 5), dtype=np.uint16)), "PNG"))
file("animated GIF", encoded(palette, "GIF", save_all=True, append_images=[drawn(5, 7, 3).quantize(5)]))
file("animated PNG", encoded(rgb, "PNG", save_all=True, append_images=[drawn(5, 7, 3)]))
file("deflated TIFF", encoded(rgb, "TIFF", compression="tiff_adobe_deflate"))
smooth = Image.fromarray(np.stack(np.mgrid[40:200:20j, 30:220:17j].astype(np.uint8), -1).repeat(2, -1)[..., :3].copy())
file("rgb JPEG", encoded(smooth, "JPEG", quality=95, subsampling=0), 3)
file("progressive JPEG", encoded(smooth, "JPEG", quality=95, subsampling=0, progressive=True), 3)
file("grey JPEG", encoded(smooth.convert("L"), "JPEG", quality=95), 2)
file("cmyk JPEG", encoded(smooth.convert("CMYK"), "JPEG", quality=95), 4)
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file(f"turned {orientation} JPEG", encoded(smooth, "JPEG", quality=95, subsampling=0, exif=exif), 3)
    file(f"turned {orientation} PNG", encoded(rgb, "PNG", exif=exif))

out = Path("crates/codecs/goldens/pictures.json")
out.parent.mkdir(exist_ok=True)
goldens = {"resized": resized, "cropped": cropped, "padded": padded, "decoded": decoded}
lines = (f'"{key}": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]" for key, cases in goldens.items())
out.write_text("{\n" + ",\n".join(lines) + "\n}\n")
