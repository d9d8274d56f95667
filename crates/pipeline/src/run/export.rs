//! `export`: the weights of a model under the names that timm, torchvision and Hugging Face's libraries give them, as one
//! safetensors file for whoever goes on in Python.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use transplant_core::{Error, Field, Invalid, Result, Role, save_safetensors};

use super::artefact::Artefact;
use super::source::BACKBONE;

/// What each network calls the layer that turns features into classes.
const HEADS: [(&str, &str); 7] = [
    ("resnet", "fc"),
    ("vit", "head"),
    ("convnext", "head.fc"),
    ("efficientnet_lite", "classifier"),
    ("mobilenet_v2", "classifier"),
    ("bert", "classifier"),
    ("distilbert", "classifier"),
];

/// Writes the weights of a model: those of the network as they are called here, which is timm's or Hugging Face's way, and the head
/// as that library calls it. Class names, licences and preprocessing go into the file's metadata.
///
/// # Errors
/// When the network is not known elsewhere, it has several heads or one that is no linear layer, or carries adapters.
pub fn export(artefact: &Artefact, to: &Path) -> Result<()> {
    let m = &artefact.manifest;
    let tag = m.architecture.tag.as_str();
    let refused = |why: String| Error::from(Invalid::new(format!("`{}` cannot be exported: {why}", m.cell)));
    let head = HEADS.iter().find(|(network, _)| *network == tag).map(|(_, head)| *head);
    let head = head.ok_or_else(|| refused(format!("no other library knows the network `{tag}`")))?;
    let [task] = m.tasks.keys().collect::<Vec<_>>()[..] else {
        return Err(refused(format!("it has {} heads, and the network has a place for one", m.tasks.len())));
    };
    let below = format!("heads.{task}.");
    if let Some((name, _)) = artefact.model.params().all().iter().find(|(_, p)| p.role == Role::Adapter) {
        let how = "train with what merges them, such as `merge = true` of `lora`";
        return Err(refused(format!("its adapters are not merged into the weights (`{name}`); {how}")));
    }
    let mut tensors = BTreeMap::<String, Tensor>::new();
    for (name, value) in artefact.model.params().snapshot(|_| true)? {
        if let Some(name) = name.strip_prefix(BACKBONE) {
            tensors.insert(name.to_owned(), value);
        } else if let Some(part @ ("weight" | "bias")) = name.strip_prefix(&below) {
            tensors.insert(format!("{head}.{part}"), value);
        } else {
            let what = if name.starts_with(&below) {
                "its head is no linear layer"
            } else {
                "it is more than network and head"
            };
            return Err(refused(format!("{what} (`{name}`)")));
        }
    }
    let text = |value: serde_json::Value| value.to_string();
    let names = m.targets.values().find_map(|f| match f {
        Field::Class { names } => Some(names.clone()),
        _ => None,
    });
    let meta = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("classes".to_owned(), text(serde_json::json!(names.unwrap_or_default()))),
        ("transforms".to_owned(), text(serde_json::json!(m.transforms))),
        ("licences".to_owned(), text(serde_json::json!(m.licences))),
    ]);
    save_safetensors(to, &tensors, &meta)
}
