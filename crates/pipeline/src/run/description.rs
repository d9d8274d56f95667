//! What is known of weights beside their tensors: how inputs were prepared, the names of the classes, the network. An
//! export of ours tells it in its file, a run of ours in `model.json` beside it; a folder of timm or transformers, a
//! repository and the catalogue tell it beside the file, too.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use transplant_assets::{Asset, Preprocessing, Role, classes};
use transplant_core::{Field, Spec, Transform};

use super::artefact::Manifest;
use super::hash;
use crate::decimal;

/// The entry of an export's metadata that holds its manifest.
pub(super) const MANIFEST: &str = "manifest";
/// The transform that brings pixels to the scale of weights.
pub(super) const NORMALISE: &str = "normalise";
/// The transform that makes the tokens of weights.
pub(super) const TOKENISE: &str = "tokenise";

/// How the pixels were brought to a scale that weights learned from.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Pixels {
    /// Nobody says it.
    #[default]
    Unknown,
    /// They were left as they are, 0 to 1.
    Plain,
    /// Less `mean`, divided by `std`: one number, or one a channel.
    Normalised {
        /// What is subtracted.
        mean: Vec<f64>,
        /// What the rest is divided by.
        std: Vec<f64>,
    },
}

impl Pixels {
    /// That of pixels which pass through these transforms.
    pub(super) fn after(transforms: &[Spec<dyn Transform>]) -> Self {
        let Some(normalise) = transforms.iter().find(|t| t.tag == NORMALISE) else { return Self::Plain };
        let numbers = |key| normalise.options.get(key).and_then(numbers).unwrap_or_default();
        Self::Normalised { mean: numbers("mean"), std: numbers("std") }
    }
}

/// What is known of weights beside their tensors.
#[derive(Debug, Default)]
pub(super) struct Description {
    /// The scale of the pixels.
    pub(super) pixels: Pixels,
    /// What makes tokens of a text as they learned them.
    pub(super) tokenizer: Option<Spec<dyn Transform>>,
    /// The classes that they tell apart, in the order of the head's rows.
    pub(super) classes: Vec<String>,
    /// What the model that was exported says of itself.
    pub(super) manifest: Option<Box<Manifest>>,
    /// Parts of an attention, where `config.json` tells them: no shape of a tensor does.
    pub(super) attention_heads: Option<u64>,
}

impl Description {
    /// Of weights of the catalogue.
    pub(super) fn of_asset(asset: &Asset) -> Self {
        let list = asset.classes.as_deref().and_then(classes).unwrap_or_default();
        let tokenizer = asset.file(Role::Tokenizer).map(|_| Spec::new(TOKENISE).with("asset", asset.name.clone()));
        Self {
            pixels: asset.image.as_ref().map(pixels).unwrap_or_default(),
            tokenizer,
            classes: list.into_iter().map(str::to_owned).collect(),
            ..Self::default()
        }
    }

    /// Of an export, by the manifest in its metadata; its tokenizer, if it has one, lies in `folder`.
    pub(super) fn of_manifest(manifest: Manifest, folder: &Path) -> Self {
        let pixels = Pixels::after(&manifest.transforms);
        let rules = folder.join("tokenizer.json");
        let same = || manifest.files.get("tokenizer.json") == hash::of_file(&rules).ok().as_ref();
        let tokenizer = manifest.transforms.iter().find(|t| t.tag == TOKENISE).filter(|_| rules.is_file() && same());
        let tokenizer = tokenizer.map(|t| t.clone().with("path", rules.to_string_lossy().into_owned()));
        let target = manifest.targets.values().find_map(|f| match f {
            Field::Class { names } => Some(names.clone()),
            _ => None,
        });
        let (classes, manifest) = (target.unwrap_or_default(), Some(Box::new(manifest)));
        Self { pixels, tokenizer, classes, manifest, attention_heads: None }
    }

    /// By the files that lie beside weights, as timm and transformers write them. `file` finds one by its name.
    pub(super) fn of_files(file: &dyn Fn(&str) -> Option<PathBuf>) -> Self {
        let read = |name: &str| -> Option<Value> {
            let path = file(name)?;
            let text = std::fs::read_to_string(&path).ok()?;
            serde_json::from_str(&text).map_err(|e| tracing::warn!("{}: {e}", path.display())).ok()
        };
        let config = read("config.json");
        let image = config.as_ref().and_then(of_timm);
        let image = image.or_else(|| read("preprocessor_config.json").as_ref().and_then(of_transformers));
        let rules = file("tokenizer.json").map(|p| p.to_string_lossy().into_owned());
        let heads = config.as_ref().and_then(|c| c["num_attention_heads"].as_u64().or(c["n_heads"].as_u64()));
        Self {
            pixels: image.unwrap_or_default(),
            tokenizer: rules.map(|path| Spec::new(TOKENISE).with("path", path)),
            classes: config.as_ref().and_then(class_names).unwrap_or_default(),
            manifest: None,
            attention_heads: heads,
        }
    }
}

/// The scale of an asset's pixels.
fn pixels(image: &Preprocessing) -> Pixels {
    let numbers = |v: &[f32]| v.iter().map(|x| decimal(*x)).collect();
    Pixels::Normalised { mean: numbers(&image.mean), std: numbers(&image.std) }
}

/// The names of the classes in a `config.json` of timm or transformers. Where transformers made them up they say
/// nothing, and classes of tokens are not those of texts.
fn class_names(config: &Value) -> Option<Vec<String>> {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    if let Some(names) = config["label_names"].as_array() {
        return names.iter().map(text).collect();
    }
    let whole = |class: &Value| class.as_str().is_some_and(|c| c.ends_with("Classification") && !c.contains("Token"));
    if !config["architectures"].as_array()?.iter().all(whole) {
        return None;
    }
    let names = config["id2label"].as_object()?;
    let names = (0..names.len()).map(|i| text(&names[i.to_string().as_str()])).collect::<Option<Vec<_>>>()?;
    let made_up = names.iter().enumerate().all(|(i, name)| *name == format!("LABEL_{i}"));
    (!made_up).then_some(names)
}

/// How timm says that images were prepared.
fn of_timm(config: &Value) -> Option<Pixels> {
    let config = config.get("pretrained_cfg").unwrap_or(config);
    normalised(&config["mean"], &config["std"])
}

/// How transformers says it.
fn of_transformers(config: &Value) -> Option<Pixels> {
    normalised(&config["image_mean"], &config["image_std"])
}

/// Pixels from 0 to 1 have no larger mean.
const LARGEST_MEAN: f64 = 1.0;

fn normalised(mean: &Value, std: &Value) -> Option<Pixels> {
    let (mut mean, mut std) = (numbers(mean)?, numbers(std)?);
    // Some say them for pixels from 0 to 255.
    if mean.iter().any(|m| *m > LARGEST_MEAN) {
        [&mut mean, &mut std].into_iter().flatten().for_each(|n| *n /= 255.0);
    }
    if mean.len() != std.len() || std.iter().any(|s| *s <= 0.0) {
        return None;
    }
    let plain = mean.iter().all(|m| *m == 0.0) && std.iter().all(|s| *s == 1.0);
    Some(if plain { Pixels::Plain } else { Pixels::Normalised { mean, std } })
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    let numbers = value.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<_>>>()?;
    (!numbers.is_empty()).then_some(numbers)
}

/// The transform that brings pixels of so many channels to a scale. A network whose first layer was adapted to other
/// channels sees the mean of them.
pub(super) fn normalise(mean: &[f64], std: &[f64], channels: usize) -> Spec<dyn Transform> {
    let of_channels = |v: &[f64]| match v.len() == channels {
        true => v.to_vec(),
        false => vec![decimal((v.iter().sum::<f64>() / v.len() as f64) as f32)],
    };
    Spec::new(NORMALISE).with("mean", json!(of_channels(mean))).with("std", json!(of_channels(std)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preparations_are_read_as_timm_and_transformers_write_them() {
        let cfg = json!({"input_size": [3, 224, 224], "interpolation": "bicubic", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]});
        let wanted = Pixels::Normalised { mean: vec![0.5, 0.4, 0.3], std: vec![0.2, 0.2, 0.1] };
        assert_eq!(of_timm(&json!({"architecture": "resnet18", "pretrained_cfg": cfg})), Some(wanted.clone()));
        assert_eq!(of_timm(&cfg), Some(wanted.clone()), "as older versions wrote it");
        let other = json!({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], "resample": 3, "size": 224});
        assert_eq!(of_transformers(&other), Some(wanted));
        for none in [json!({}), json!({"mean": [0.5], "std": [0.0]}), json!({"mean": "x"})] {
            assert_eq!(of_timm(&none), None, "{none}");
        }
        assert_eq!(of_timm(&json!({"mean": [0, 0, 0], "std": [1, 1, 1]})), Some(Pixels::Plain));
        let bytes = of_transformers(&json!({"image_mean": [127.5], "image_std": [51]}));
        assert_eq!(bytes, Some(Pixels::Normalised { mean: vec![0.5], std: vec![0.2] }), "for pixels to 255");
    }

    #[test]
    fn class_names_are_read_unless_made_up() {
        let names = |config: Value| class_names(&config);
        let wanted = Some(vec!["cat".to_owned(), "dog".to_owned()]);
        assert_eq!(names(json!({"label_names": ["cat", "dog"]})), wanted);
        let of =
            |class: &str, first: &str| names(json!({"architectures": [class], "id2label": {"1": "dog", "0": first}}));
        assert_eq!(of("BertForSequenceClassification", "cat"), wanted);
        assert_eq!(of("BertForTokenClassification", "cat"), None);
        let made_up =
            json!({"architectures": ["ViTForImageClassification"], "id2label": {"0": "LABEL_0", "1": "LABEL_1"}});
        assert_eq!((names(made_up), names(json!({}))), (None, None));
    }

    #[test]
    fn other_channels_are_normalised_by_the_mean() {
        let t = normalise(&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225], 1);
        assert_eq!((&t.options["mean"], &t.options["std"]), (&json!([0.449]), &json!([0.226])));
        assert_eq!(normalise(&[0.1, 0.2], &[1.0, 2.0], 2).options["mean"], json!([0.1, 0.2]));
    }
}
