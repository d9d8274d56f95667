//! `config.json` and the files of a tokenizer, as the library that opens an export reads them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use transplant_core::{Filter, Fit, Invalid, Result};

use super::Exported;
use super::form::{Form, Library, object};
use crate::run::description::Pixels;

/// The configuration of a network.
pub(super) fn config(e: &Exported<'_>) -> Value {
    match e.form.library {
        Library::Transformers => of_transformers(e),
        Library::Timm | Library::Torchvision => of_timm(e),
    }
}

/// As timm reads it; torchvision reads none, and the same keys then tell a reader.
fn of_timm(e: &Exported<'_>) -> Value {
    let [channels, height, width] = e.image.unwrap_or_default();
    let (mean, std) = match &e.pixels {
        Pixels::Normalised { mean, std } => (each(mean, channels), each(std, channels)),
        _ => (vec![0.0; channels], vec![1.0; channels]),
    };
    let frame = e.manifest.frame.as_ref();
    let crop = match frame.map(|f| f.fit) {
        Some(Fit::Crop) => "center",
        Some(Fit::Pad) => "border",
        Some(Fit::Stretch) | None => "squash",
    };
    let filter = match frame.map(|f| f.filter).unwrap_or_default() {
        Filter::Nearest => "nearest",
        Filter::Box => "box",
        Filter::Bilinear => "bilinear",
        Filter::Bicubic => "bicubic",
        Filter::Lanczos => "lanczos",
    };
    let mut out = json!({
        "architecture": e.form.architecture, "num_classes": e.outputs, "pretrained_cfg": {
            "num_classes": e.outputs, "input_size": [channels, height, width], "interpolation": filter, "crop_pct": 1.0,
            "crop_mode": crop, "mean": mean, "std": std, "classifier": e.form.head,
            "fixed_input_size": e.form.arguments.contains_key("img_size"),
        },
    });
    if !e.classes.is_empty() {
        out["label_names"] = e.classes.clone().into();
    }
    if !e.form.arguments.is_empty() {
        out["model_args"] = e.form.arguments.clone().into();
    }
    if e.form.library == Library::Torchvision {
        out["library"] = "torchvision".into();
    }
    out
}

/// A number for each channel.
fn each(numbers: &[f64], channels: usize) -> Vec<f64> {
    numbers.iter().copied().cycle().take(channels).collect()
}

fn of_transformers(e: &Exported<'_>) -> Value {
    let mut out = object(json!({
        "architectures": [e.form.architecture], "vocab_size": e.vocabulary, "num_labels": e.outputs,
        "problem_type": "single_label_classification", "torch_dtype": "float32",
    }));
    if e.classes.is_empty() {
        out.insert("problem_type".to_owned(), "regression".into());
    } else {
        let numbered = e.classes.iter().enumerate();
        let to: Map<String, Value> = numbered.clone().map(|(i, c)| (i.to_string(), c.as_str().into())).collect();
        let from: Map<String, Value> = numbered.map(|(i, c)| (c.clone(), i.into())).collect();
        out.extend(object(json!({ "id2label": to, "label2id": from })));
    }
    out.extend(e.form.arguments.clone());
    out.into()
}

/// Marks of tokenizers: their key in a configuration, and what they look like.
const MARKS: [(&str, [&str; 2]); 5] = [
    ("pad_token", ["[PAD]", "<pad>"]),
    ("unk_token", ["[UNK]", "<unk>"]),
    ("cls_token", ["[CLS]", "<s>"]),
    ("sep_token", ["[SEP]", "</s>"]),
    ("mask_token", ["[MASK]", "<mask>"]),
];

/// The files beside a `tokenizer.json` of this content, by name.
///
/// # Errors
/// When the rules are not JSON.
pub(super) fn of_tokenizer(rules: &[u8], max_tokens: u64, form: &Form) -> Result<BTreeMap<&'static str, Vec<u8>>> {
    let rules: Value = serde_json::from_slice(rules).map_err(|e| Invalid::new(format!("tokenizer.json: {e}")))?;
    let tokens = rules["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    let there = |mark: &&&str| tokens.iter().any(|t| t["content"] == **mark);
    let mut config = object(json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_tokens, "padding_side": "right",
        "truncation_side": "right", "clean_up_tokenization_spaces": false,
    }));
    for (key, forms) in MARKS {
        if let Some(mark) = forms.iter().find(there) {
            config.insert(key.to_owned(), (*mark).into());
        }
    }
    // A network without a table of types refuses them.
    let mut inputs = vec!["input_ids", "attention_mask"];
    if form.arguments.contains_key("type_vocab_size") {
        inputs.insert(1, "token_type_ids");
    }
    config.insert("model_input_names".to_owned(), inputs.into());
    let mut out = BTreeMap::from([("tokenizer_config.json", super::pretty(&config.into()))]);
    if let ("WordPiece", Some(list)) = (rules["model"]["type"].as_str().unwrap_or("WordPiece"), vocabulary(&rules)) {
        out.insert("vocab.txt", list.into_bytes());
    }
    Ok(out)
}

/// The pieces in the order of their numbers, one a line; `None` when numbers have gaps.
fn vocabulary(rules: &Value) -> Option<String> {
    let pieces = rules["model"]["vocab"].as_object()?;
    let mut list: Vec<(u64, &str)> = pieces.iter().filter_map(|(p, n)| Some((n.as_u64()?, p.as_str()))).collect();
    list.sort_unstable();
    let whole = list.iter().zip(0..).all(|((number, _), i)| *number == i);
    whole.then(|| list.into_iter().map(|(_, piece)| format!("{piece}\n")).collect())
}
