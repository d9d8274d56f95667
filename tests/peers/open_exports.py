"""Opens exports in the library that each is for, and compares with what Transplant predicts: `open_exports.py FOLDER`.

FOLDER has a folder for each export, and in it `export/`, what `transplant export` wrote; `rows.safetensors`, the logits of rows and
for pictures the pixels before they were normalised; for texts `texts.json`. Prints a line for each export and fails when a logit
differs by more than 1e-4 or a hundredth of what rows differ by, or a class has another name. Run with torch 2.15.0,
torchvision 0.29.2, timm 1.0.31 and transformers 5.24.0, and with transformers 4.57.6.
"""
import json, os, sys

os.environ["HF_HUB_OFFLINE"] = "1"
# Where transformers copies the code of exports.
os.environ["HF_MODULES_CACHE"] = os.path.join(sys.argv[1], ".modules")
import torch
from safetensors.torch import load_file

LIMIT = 1e-4
# Nor may it be more than this share of what logits differ by from row to row: otherwise any two networks could agree.
SHARE = 0.01


def normalised(pixels, config):
    to = lambda numbers: torch.tensor(numbers).view(1, -1, 1, 1)
    return (pixels - to(config["mean"])) / to(config["std"])


def in_timm(folder, rows):
    import timm

    model = timm.create_model("local-dir:" + folder, pretrained=True).eval()
    config = timm.data.resolve_model_data_config(model)
    # The whole preprocessing of timm, on a picture of the right size.
    transform = timm.data.create_transform(**config)
    from torchvision.transforms.functional import to_pil_image

    eighths = (rows["pixels"][0] * 255).round() / 255
    picture = transform(to_pil_image(eighths))
    assert torch.allclose(picture, normalised(eighths[None], config)[0], atol=1e-5), "timm prepares pictures otherwise"
    return model(normalised(rows["pixels"], config)), list(model.pretrained_cfg.get("label_names") or [])


def in_torchvision(folder, rows, config):
    import torchvision

    model = getattr(torchvision.models, config["architecture"])(num_classes=config["num_classes"])
    channels = config["pretrained_cfg"]["input_size"][0]
    readme = open(os.path.join(folder, "README.md")).read()
    code = readme.split("(num_classes=%d)\n" % config["num_classes"])[-1].split("model.load_state_dict")[0]
    exec(code, {"torch": torch, "model": model})
    model.load_state_dict(load_file(os.path.join(folder, "model.safetensors")), strict=True)
    model.eval()
    assert rows["pixels"].shape[1] == channels
    return model(normalised(rows["pixels"], config["pretrained_cfg"])), config.get("label_names", [])


def in_transformers(folder, texts):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    config = json.load(open(os.path.join(folder, "config.json")))
    more = {}
    if "auto_map" in config:
        try:
            AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False)
            raise SystemExit(f"{folder} was opened without its own code")
        except ValueError as e:
            assert "trust_remote_code" in str(e), e
        more["trust_remote_code"] = True
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True, **more)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[key], (key, info[key])
    tokenizer = AutoTokenizer.from_pretrained(folder, **more)
    model.eval()
    logits = []
    # Some rows at a time, so that most are filled up.
    for start in range(0, len(texts), 16):
        batch = tokenizer(texts[start : start + 16], truncation=True, padding=True, return_tensors="pt")
        logits.append(model(**batch).logits)
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    assert all(model.config.label2id[name] == i for i, name in enumerate(names))
    return torch.cat(logits), names


def compare(name, library, version, logits, names, rows, wanted):
    difference = (logits - rows["logits"]).abs().max().item()
    spread = rows["logits"].std(0).max().item()
    ok = difference <= min(LIMIT, SHARE * spread) and names == wanted and logits.shape == rows["logits"].shape
    print(json.dumps({"export": name, "library": library, "version": version, "rows": len(logits), "difference": difference,
                      "spread": spread, "ok": ok}), flush=True)
    return ok


@torch.no_grad()
def main(root):
    failed = []
    for name in sorted(os.listdir(root)):
        folder = os.path.join(root, name, "export")
        if not os.path.isdir(folder):
            continue
        config = json.load(open(os.path.join(folder, "config.json")))
        rows = load_file(os.path.join(root, name, "rows.safetensors"))
        wanted = json.load(open(os.path.join(root, name, "classes.json")))
        if "architectures" in config:
            import transformers

            texts = json.load(open(os.path.join(root, name, "texts.json")))
            opened = [("transformers", transformers.__version__, *in_transformers(folder, texts))]
        else:
            import timm, torchvision

            opened = []
            if config.get("library") != "torchvision":
                opened.append(("timm", timm.__version__, *in_timm(folder, rows)))
            if config["architecture"].startswith("resnet") or config.get("library"):
                opened.append(("torchvision", torchvision.__version__, *in_torchvision(folder, rows, config)))
        for library, version, logits, names in opened:
            if not compare(name, library, version, logits, names, rows, wanted):
                failed.append(f"{name} in {library}")
    if failed:
        raise SystemExit("other answers: " + ", ".join(failed))


main(sys.argv[1])
