//! Which cargo features a build needs: a table from `type` tags to features, and what the machine offers.

use std::collections::BTreeSet;
use std::str::FromStr;

use toml_edit::{DocumentMut, Item, TableLike, Value};

use crate::Wrong;
use crate::machine::Machine;

/// The tags whose component stands behind a feature of `transplant-cli`, because its dependencies take long to build.
/// A new component with heavy dependencies gets a line here.
const GATED: &[(&str, &str)] = &[("cifar10_binary", "candle-datasets"), ("mnist_idx", "candle-datasets")];

/// The catalogue of assets: those that are asked of the model hub first need its client, tables may need their reader.
const CATALOGUE: &str = include_str!("../../crates/assets/src/catalogue.toml");
const HUB: &str = "hub";

/// Files whose name ends so need a reader that stands behind a feature.
const PARQUET: &str = "parquet";
const PARQUET_FILES: [&str; 2] = [".parquet", ".parquet.brotli"];

/// Where a run computes: the value of `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Device {
    /// The best this machine has.
    #[default]
    Auto,
    /// The CPU, and no GPU code is built.
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(Option<usize>),
    /// An Apple GPU.
    Metal,
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(None)),
            "metal" => Ok(Self::Metal),
            _ => match text.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(number)) => Ok(Self::Cuda(Some(number))),
                _ => Err("expected auto, cpu, cuda, cuda:N or metal".into()),
            },
        }
    }
}

/// The features to build for `tags` on `machine`, sorted; an error when `device` asks for what the machine lacks.
pub(crate) fn choose(tags: &Tags, device: Device, machine: &Machine) -> Result<Vec<&'static str>, Wrong> {
    let mut features = tags.features();
    match device {
        Device::Cuda(_) => machine.require_cuda()?,
        Device::Metal if !machine.macos => return Err(Wrong("--device metal needs macOS".into())),
        _ => {}
    }
    if machine.macos {
        features.push("accelerate");
    }
    if device != Device::Cpu {
        if machine.macos {
            features.push("metal");
        } else if machine.has_cuda() {
            features.push("cuda");
            if machine.cudnn.is_some() {
                features.push("cudnn");
            }
        }
    }
    features.sort_unstable();
    Ok(features)
}

/// Names of the assets that have a file of which the hub is asked first.
fn hub_assets() -> Vec<String> {
    assets_with(|file| {
        let first = file.get("sources").and_then(Item::as_array).and_then(|s| s.get(0)?.as_inline_table());
        first.and_then(|s| s.get("type")?.as_str()) == Some(HUB)
    })
}

/// Names of the assets that have a table in Parquet.
fn parquet_assets() -> Vec<String> {
    assets_with(|file| file.get("name").and_then(Item::as_str).is_some_and(is_parquet))
}

fn is_parquet(name: &str) -> bool {
    let name = name.to_lowercase();
    PARQUET_FILES.iter().any(|ending| name.ends_with(ending))
}

/// Names of the assets that have a file like this.
fn assets_with(is_meant: impl Fn(&toml_edit::Table) -> bool) -> Vec<String> {
    let Ok(catalogue) = CATALOGUE.parse::<DocumentMut>() else { return Vec::new() };
    let assets = catalogue.get("asset").and_then(Item::as_array_of_tables).into_iter().flatten();
    let meant =
        assets.filter(|a| a.get("files").and_then(Item::as_array_of_tables).into_iter().flatten().any(&is_meant));
    meant.filter_map(|a| Some(a.get("name")?.as_str()?.to_owned())).collect()
}

/// Whether the catalogue has an asset of this name.
pub(crate) fn is_asset(name: &str) -> bool {
    assets_with(|_| true).iter().any(|asset| asset == name)
}

/// The words of a pipeline that may be `type` tags.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    words: BTreeSet<String>,
    /// What the file itself names, as `scans` in `[datasets.scans]`: a reference to one of these is no tag.
    names: BTreeSet<String>,
    /// Whether a repository of the hub is named.
    on_hub: bool,
}

impl Tags {
    /// Adds one tag.
    pub(crate) fn add(&mut self, tag: &str) {
        self.words.insert(tag.to_owned());
    }

    /// Adds the tags of a pipeline file: every `type`, and every string that may stand for a table with that `type`
    /// (`strategy = "lora"`, also in lists). A file that does not parse adds nothing; the runner will say why.
    pub(crate) fn add_file(&mut self, text: &str) {
        let Ok(document) = text.parse::<DocumentMut>() else { return };
        for (_, section) in document.iter() {
            if let Some(section) = section.as_table_like() {
                self.names.extend(section.iter().map(|(name, _)| name.to_owned()));
            }
        }
        self.add_table(document.as_table());
    }

    /// Adds the tags of a model: every quoted word of `model.json` may be one.
    pub(crate) fn add_json(&mut self, text: &str) {
        text.split('"').skip(1).step_by(2).for_each(|word| self.add(word));
    }

    /// Adds the name of an asset whose files are fetched, but not read.
    pub(crate) fn add_fetched(&mut self, name: &str) {
        self.on_hub |= hub_assets().iter().any(|asset| asset == name);
    }

    /// Adds the tags of a value from the environment or `--set`: TOML, or a bare string.
    pub(crate) fn add_value(&mut self, raw: &str) {
        match raw.trim().parse::<Value>() {
            Ok(value) => self.add_item("", &Item::Value(value)),
            Err(_) => self.add(raw.trim()),
        }
    }

    /// The features that the tags ask for.
    pub(crate) fn features(&self) -> Vec<&'static str> {
        let gated = GATED.iter().filter(|(tag, _)| self.words.contains(*tag)).map(|(_, feature)| *feature);
        let hub = (self.on_hub || hub_assets().iter().any(|name| self.words.contains(name))).then_some(HUB);
        let mut tables = parquet_assets().into_iter();
        let parquet = self.words.iter().any(|word| is_parquet(word)) || tables.any(|name| self.words.contains(&name));
        gated.chain(hub).chain(parquet.then_some(PARQUET)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn add_table(&mut self, table: &dyn TableLike) {
        for (key, item) in table.iter() {
            self.add_item(key, item);
        }
    }

    fn add_item(&mut self, key: &str, item: &Item) {
        if let Some(table) = item.as_table_like() {
            self.add_table(table);
        } else if let Some(tables) = item.as_array_of_tables() {
            tables.iter().for_each(|table| self.add_table(table));
        } else if let Some(array) = item.as_array() {
            for value in array {
                self.add_item(key, &Item::Value(value.clone()));
            }
        } else if key == "hub" {
            self.on_hub = true;
        } else if let Some(text) = item.as_str()
            && (key == "type" || (key != "name" && !self.names.contains(text)))
        {
            self.add(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn features(file: &str) -> Vec<&'static str> {
        let mut tags = Tags::default();
        tags.add_file(file);
        tags.features()
    }

    fn machine(cuda: bool, cudnn: bool, macos: bool) -> Machine {
        Machine {
            macos,
            nvcc: cuda.then(|| "/usr/local/cuda/bin/nvcc".into()),
            driver: cuda,
            cudnn: cudnn.then(|| PathBuf::from("/usr/lib")),
        }
    }

    #[test]
    fn tags_are_found_wherever_they_stand() {
        for file in [
            "[datasets.a]\ntype = \"mnist_idx\"\nfolder = \"x\"",
            "[datasets]\na = { type = \"cifar10_binary\" }",
            "[steps.a]\nsweep = { dataset = [\"b\", { type = \"mnist_idx\" }] }",
            "[[steps]]\ntype = \"train\"\ndataset = \"mnist_idx\"",
            "[steps.a.sweep]\ndataset = [\"mnist_idx\"]",
        ] {
            assert_eq!(features(file), ["candle-datasets"], "{file}");
        }
    }

    #[test]
    fn a_tokenizer_needs_nothing() {
        let file = "[datasets.a]\ntype = \"csv\"\ntransforms = [{ type = \"tokenise\", asset = \"all_minilm_l6_v2\" }]";
        assert!(features(file).is_empty());
    }

    #[test]
    fn a_repository_of_the_hub_needs_its_client() {
        let file = "[weights.w]\nhub = \"us/thing\"\n[steps.a]\nbackbone = ";
        assert_eq!(features(&format!("{file}\"resnet\"")), ["hub"]);
        assert_eq!(features(&format!("{file}\"bert\"")), ["hub"]);
    }

    #[test]
    fn names_and_broken_files_ask_for_nothing() {
        for file in [
            "name = \"mnist_idx\"",
            "[datasets.mnist_idx]\ntype = \"mnist_5k\"\n[steps.a]\ndataset = \"mnist_idx\"",
            "[datasets.a]\ntype = \"mnist_5k\"  # not mnist_idx",
            "[datasets.a\ntype = \"mnist_idx\"",
        ] {
            assert!(features(file).is_empty(), "{file}");
        }
    }

    #[test]
    fn values_are_toml_or_bare() {
        for raw in ["mnist_idx", "\"mnist_idx\"", "[\"a\", \"mnist_idx\"]", "{ type = \"mnist_idx\", folder = \"x\" }"]
        {
            let mut tags = Tags::default();
            tags.add_value(raw);
            assert_eq!(tags.features(), ["candle-datasets"], "{raw}");
        }
    }

    #[test]
    fn the_machine_and_the_device_decide_together() {
        let tags = Tags::default();
        let choose = |device: &str, machine: &Machine| choose(&tags, device.parse().unwrap(), machine).unwrap();
        assert!(choose("auto", &machine(false, false, false)).is_empty());
        assert_eq!(choose("auto", &machine(true, false, false)), ["cuda"]);
        assert_eq!(choose("cuda:1", &machine(true, true, false)), ["cuda", "cudnn"]);
        assert!(choose("cpu", &machine(true, true, false)).is_empty());
        assert_eq!(choose("auto", &machine(false, false, true)), ["accelerate", "metal"]);
        assert_eq!(choose("cpu", &machine(false, false, true)), ["accelerate"]);
    }

    #[test]
    fn an_absent_device_is_the_users_error() {
        let error = choose(&Tags::default(), Device::Cuda(None), &machine(false, false, false)).unwrap_err();
        assert!(error.0.contains("nvcc") && error.0.contains("libcuda.so.1"), "{error}");
        let toolkit_only = Machine { driver: false, ..machine(true, false, false) };
        let error = choose(&Tags::default(), Device::Cuda(None), &toolkit_only).unwrap_err();
        assert!(!error.0.contains("nvcc") && error.0.contains("libcuda.so.1"), "{error}");
        assert!(choose(&Tags::default(), Device::Metal, &machine(true, true, false)).is_err());
        assert!("cuda:x".parse::<Device>().is_err());
    }

    #[test]
    fn the_runner_has_every_feature_named_here() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cli/Cargo.toml");
        let manifest: DocumentMut = std::fs::read_to_string(manifest).unwrap().parse().unwrap();
        let named =
            GATED.iter().map(|(_, feature)| *feature).chain([HUB, PARQUET, "accelerate", "cuda", "cudnn", "metal"]);
        for feature in named {
            assert!(manifest["features"].get(feature).is_some(), "transplant-cli has no feature `{feature}`");
        }
    }

    #[test]
    fn a_table_in_parquet_needs_its_reader() {
        for file in [
            "[datasets.a]\ntype = \"text_table\"\npath = \"data/a.parquet\"",
            "[datasets.a]\ntype = \"text_table\"\npath = \"a.csv\"\ntest_path = \"B.PARQUET.brotli\"",
            "[datasets.a]\ntype = \"text_table\"\nasset = \"womens_clothing_reviews\"",
        ] {
            assert_eq!(features(file), ["parquet"], "{file}");
        }
        assert!(features("[datasets.a]\ntype = \"text_table\"\npath = \"parquet.csv\"").is_empty());
        assert_eq!(parquet_assets(), ["womens_clothing_reviews", "california_housing"]);
    }

    #[test]
    fn an_asset_that_only_the_hub_has_needs_its_client() {
        let mut tags = Tags::default();
        tags.add_file("[weights.a]\nasset = \"efficientnet_lite0\"\n");
        assert!(tags.features().is_empty());
        tags.add_file("[weights.b]\nasset = \"resnet18\"\n");
        assert_eq!(tags.features(), ["hub"]);
        assert_eq!(hub_assets(), ["resnet18"]);
    }
}
