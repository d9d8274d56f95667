//! Weights of a repository of the model hub, and what lies beside them there: how pictures or texts were prepared.

use std::path::{Path, PathBuf};

use serde_json::Value;
use transplant_assets::{Clients, Hub, Interpolation, Preprocessing};
use transplant_core::Result;

use crate::at;
use crate::resolved::WeightsSpec;

/// What a repository has.
pub(super) struct OnHub {
    /// The tensors.
    pub(super) weights: PathBuf,
    /// How images were prepared, where `config.json` (timm) or `preprocessor_config.json` (transformers) tells it.
    pub(super) image: Option<Preprocessing>,
    /// The rules by which texts become tokens.
    pub(super) tokenizer: Option<PathBuf>,
}

impl OnHub {
    /// Downloads what is not in the hub's cache yet. Key paths of errors start at the section.
    pub(super) fn fetch(repo: &str, spec: &WeightsSpec, clients: &Clients) -> Result<Self> {
        let hub = |file: &str| Hub {
            repo: repo.to_owned(),
            revision: spec.revision.clone().unwrap_or_else(|| "main".to_owned()),
            file: file.to_owned(),
        };
        let weights = hub(spec.file.as_deref().unwrap_or("model.safetensors"));
        let weights = weights.fetch(clients).map_err(at("hub"))?;
        for shard in transplant_backbones::weights::shard_names(&weights).map_err(at("hub"))? {
            let folder = spec.file.as_deref().and_then(|f| f.rsplit_once('/')).map(|(folder, _)| folder);
            hub(&folder.map_or_else(|| shard.clone(), |f| format!("{f}/{shard}"))).fetch(clients).map_err(at("hub"))?;
        }
        // What a repository lacks is no error: the pipeline file can say how inputs are prepared.
        let beside = |file: &str| match hub(file).fetch(clients) {
            Ok(path) => Some(path),
            Err(e) => {
                tracing::debug!("{e}");
                None
            }
        };
        let read = |file: &str| -> Option<Value> {
            let path = beside(file)?;
            let text = std::fs::read_to_string(&path).ok()?;
            serde_json::from_str(&text).map_err(|e| tracing::warn!("{repo}, {file}: {e}")).ok()
        };
        let image = read("config.json").as_ref().and_then(of_timm);
        let image = image.or_else(|| read("preprocessor_config.json").as_ref().and_then(of_transformers));
        Ok(Self { weights, image, tokenizer: beside("tokenizer.json") })
    }

    /// The path of the rules, for a transform.
    pub(super) fn tokenizer(&self) -> Option<String> {
        self.tokenizer.as_deref().map(Path::to_string_lossy).map(|p| p.into_owned())
    }
}

/// How timm says that images were prepared.
fn of_timm(config: &Value) -> Option<Preprocessing> {
    let config = config.get("pretrained_cfg").unwrap_or(config);
    preprocessing((&config["mean"], &config["std"]), config["input_size"].get(1), config["interpolation"] == "bicubic")
}

/// How transformers says it.
fn of_transformers(config: &Value) -> Option<Preprocessing> {
    let size = &config["size"];
    // Pillow's number of the bicubic filter.
    preprocessing(
        (&config["image_mean"], &config["image_std"]),
        size.get("height").or(size.get("shortest_edge")).or(Some(size)),
        config["resample"] == 3,
    )
}

fn preprocessing((mean, std): (&Value, &Value), size: Option<&Value>, bicubic: bool) -> Option<Preprocessing> {
    let numbers = |v: &Value| -> Option<Vec<f32>> {
        let numbers = v.as_array()?.iter().map(|x| Some(x.as_f64()? as f32)).collect::<Option<Vec<_>>>()?;
        (!numbers.is_empty()).then_some(numbers)
    };
    let (mean, std) = (numbers(mean)?, numbers(std)?);
    if mean.len() != std.len() || std.iter().any(|s| *s <= 0.0) {
        return None;
    }
    let interpolation = if bicubic { Interpolation::Bicubic } else { Interpolation::Bilinear };
    Some(Preprocessing { size: size?.as_u64()? as usize, mean, std, interpolation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn preparations_are_read_as_timm_and_transformers_write_them() {
        let cfg = json!({"input_size": [3, 224, 224], "interpolation": "bicubic", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]});
        let wanted = Preprocessing {
            size: 224,
            mean: vec![0.5, 0.4, 0.3],
            std: vec![0.2, 0.2, 0.1],
            interpolation: Interpolation::Bicubic,
        };
        assert_eq!(of_timm(&json!({"architecture": "resnet18", "pretrained_cfg": cfg})), Some(wanted.clone()));
        assert_eq!(of_timm(&cfg), Some(wanted.clone()), "as older versions wrote it");
        for size in [json!({"height": 224, "width": 224}), json!({"shortest_edge": 224}), json!(224)] {
            let other =
                json!({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], "resample": 3, "size": size});
            assert_eq!(of_transformers(&other), Some(wanted.clone()), "{size}");
        }
        for none in [json!({}), json!({"mean": [0.5], "std": [0.0], "input_size": [3, 8, 8]}), json!({"mean": "x"})] {
            assert_eq!(of_timm(&none), None, "{none}");
        }
    }
}
