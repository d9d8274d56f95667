//! How an export is opened in Python, and what it cannot say.

use std::path::Path;

use transplant_core::Field;

use super::Exported;
use super::form::Library;
use crate::run::artefact::Artefact;

/// Python that opens what was written at `to`, a file when `alone`.
pub(super) fn usage(e: &Exported<'_>, to: &Path, alone: bool) -> String {
    let place = format!("{:?}", to.display().to_string());
    match (e.form.library, alone) {
        (Library::Transformers, true) => String::new(),
        (Library::Transformers, false) => {
            let trust = if e.form.needs_code() { ", trust_remote_code=True" } else { "" };
            format!(
                "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\
                 model = AutoModelForSequenceClassification.from_pretrained({place}{trust})\n\
                 tokenizer = AutoTokenizer.from_pretrained({place}{trust})\n\
                 logits = model(**tokenizer(texts, truncation=True, padding=True, return_tensors=\"pt\")).logits\n"
            )
        }
        (Library::Timm, false) => format!(
            "import timm\n\
             model = timm.create_model({:?}, pretrained=True).eval()\n\
             transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))\n\
             logits = model(transform(picture).unsqueeze(0))\n",
            format!("local-dir:{}", to.display())
        ),
        (Library::Timm, true) => {
            let [channels, ..] = e.image.unwrap_or_default();
            let more: String = e.form.arguments.iter().map(|(key, value)| format!(", {key}={value}")).collect();
            let (name, classes) = (&e.form.architecture, e.outputs);
            format!(
                "import timm\n\
                 model = timm.create_model({name:?}, num_classes={classes}, in_chans={channels}{more}, \
                 checkpoint_path={place}).eval()\n"
            )
        }
        (Library::Torchvision, _) => torchvision(e, &if alone { to.to_owned() } else { to.join(super::WEIGHTS) }),
    }
}

fn torchvision(e: &Exported<'_>, file: &Path) -> String {
    let changes: String = e.form.changes.iter().map(|line| format!("{line}\n")).collect();
    let (name, classes, file) = (&e.form.architecture, e.outputs, file.display().to_string());
    format!(
        "import torch, torchvision\n\
         from safetensors.torch import load_file\n\
         model = torchvision.models.{name}(num_classes={classes})\n\
         {changes}model.load_state_dict(load_file({file:?}))\n\
         model.eval()\n"
    )
}

/// `README.md` of a folder.
pub(super) fn readme(e: &Exported<'_>, artefact: &Artefact) -> Vec<u8> {
    let m = e.manifest;
    let library = match e.form.library {
        Library::Timm => "timm",
        Library::Torchvision => "torchvision",
        Library::Transformers => "transformers",
    };
    let mut out = format!(
        "# {}\n\nA `{}` that Transplant {} trained, for {library}. In this folder:\n\n```python\n{}```\n",
        m.cell,
        m.architecture.tag,
        m.transplant,
        usage(e, Path::new("."), false)
    );
    if e.form.library == Library::Timm && e.form.architecture.starts_with("resnet") {
        out.push_str(&format!(
            "\nor, in torchvision:\n\n```python\n{}```\n",
            torchvision(e, Path::new(super::WEIGHTS))
        ));
    }
    if e.form.needs_code() {
        out.push_str(
            "\nThe vector that the classifier reads is pooled as transformers' own classes do not, so the class is that of \
             `transplant_text.py`; without `trust_remote_code` transformers refuses to open it.\n",
        );
    }
    match e.classes.is_empty() {
        true => out.push_str("\nThe output is a number.\n"),
        false => out.push_str(&format!(
            "\nThe outputs are the logits of {} classes; `config.json` has their names.\n",
            e.outputs
        )),
    }
    for note in notes(e, artefact, false) {
        out.push_str(&format!("\n{}{}.\n", note[..1].to_uppercase(), &note[1..]));
    }
    if !m.licences.is_empty() {
        out.push_str(&format!("\nData and weights that shaped it: {}.\n", m.licences.join("; ")));
    }
    out.into_bytes()
}

/// What an export cannot say.
pub(super) fn notes(e: &Exported<'_>, artefact: &Artefact, alone: bool) -> Vec<String> {
    let m = e.manifest;
    let mut out = Vec::new();
    if m.test_views > 0 {
        out.push(format!(
            "predictions here are the mean over a row and {} views of it; the exported network sees the row alone",
            m.test_views
        ));
    }
    let in_use = artefact.transforms.in_use();
    let acts = |i: usize| in_use.iter().any(|key| *key == format!("transforms.{i}"));
    let tags = m.transforms.iter().enumerate().filter(|(i, _)| acts(*i)).map(|(_, t)| t.tag.as_str());
    let others: Vec<&str> = tags.filter(|tag| !["normalise", "tokenise"].contains(tag)).collect();
    if !others.is_empty() {
        let (size, tags) = (size(e), others.join("`, `"));
        out.push(format!("inputs went through `{tags}` first, which no configuration says: give the network {size}"));
    } else if m.frame.is_none() && e.image.is_some() {
        out.push(format!("give the network {}: it was trained on pictures of one size", size(e)));
    }
    if alone && e.vocabulary.is_some() {
        let why = "a file holds no configuration and no tokenizer, and transformers opens folders";
        out.push(format!("{why}: name a folder instead"));
    }
    out
}

fn size(e: &Exported<'_>) -> String {
    match (e.image, e.manifest.raw_inputs.values().next()) {
        (Some([channels, height, width]), _) => format!("pictures of {channels} × {height} × {width}"),
        (None, Some(Field::Text)) => "texts that went through the same".to_owned(),
        _ => "the same".to_owned(),
    }
}
