//! What the user said to a verb of the runner, as far as it decides which features to build.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::features::{Device, Tags, is_asset};
use crate::file_names::{MODEL, MODEL_MANIFEST, MODEL_WEIGHTS, PIPELINE};
use crate::{Wrong, cli};

/// A verb of the runner with its arguments.
pub(crate) struct Request {
    /// The verb and everything after it, as typed.
    pub(crate) args: Vec<OsString>,
    /// The first argument that is no option: a file, a run folder, a tag.
    subject: Option<PathBuf>,
    /// The values of `--set`.
    sets: Vec<String>,
    /// The value of `--device`.
    pub(crate) device: Device,
}

impl Request {
    /// Reads `args`, which start with the verb. Options that only the runner knows are skipped.
    pub(crate) fn read(args: &[OsString]) -> Result<Self> {
        let mut request = Self { args: args.to_vec(), subject: None, sets: Vec::new(), device: Device::Auto };
        let command = cli::command();
        let known = command.find_subcommand(request.verb());
        let takes_value = |name: &str| {
            matches!(name, "set" | "device")
                || known.is_some_and(|verb| {
                    verb.get_arguments().any(|arg| arg.get_long() == Some(name) && arg.get_action().takes_values())
                })
        };
        let mut rest = args.iter().skip(1);
        let mut options = true;
        while let Some(arg) = rest.next() {
            let text = arg.to_string_lossy();
            let Some(option) = text.strip_prefix("--").filter(|_| options) else {
                if request.subject.is_none() && !(options && text.starts_with('-')) {
                    request.subject = Some(arg.into());
                }
                continue;
            };
            if option.is_empty() {
                options = false;
                continue;
            }
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None if takes_value(option) => (option, rest.next().map(|next| next.to_string_lossy().into_owned())),
                None => (option, None),
            };
            match (name, value) {
                ("set", Some(value)) => request.sets.push(value),
                ("device", Some(value)) => {
                    request.device =
                        value.parse().map_err(|error| Wrong(format!("invalid --device {value}: {error}")))?;
                }
                _ => {}
            }
        }
        Ok(request)
    }

    /// The `type` tags that this request may need: from the file or the run's file, the environment and `--set`.
    pub(crate) fn tags(&self) -> Result<Tags> {
        let mut tags = Tags::default();
        let Some(subject) = &self.subject else { return Ok(tags) };
        // `--format parquet`, or a file of that ending to write.
        if self.verb() == "predict" && self.args.iter().any(|arg| arg.to_string_lossy().ends_with("parquet")) {
            tags.add(".parquet");
        }
        match self.verb() {
            "run" | "check" | "data" => {
                let text = std::fs::read(subject)
                    .map_err(|error| Wrong(format!("cannot read the pipeline file {}: {error}", subject.display())))?;
                tags.add_file(&String::from_utf8_lossy(&text));
            }
            "predict" | "export" if !subject.exists() && is_asset(&subject.to_string_lossy()) => {
                tags.add(&subject.to_string_lossy());
                return Ok(tags);
            }
            "predict" | "export" | "evaluate" => {
                if let Some(text) = header_of_export(subject) {
                    tags.add_json(&text);
                    return Ok(tags);
                }
                // A model folder, or that of a cell, may stand alone: it needs no data set, but what its transforms need.
                let alone = [subject.join(MODEL).join(MODEL_MANIFEST), subject.join(MODEL_MANIFEST)];
                let file = alone.into_iter().find(|file| file.is_file()).unwrap_or_else(|| subject.join(PIPELINE));
                let text = std::fs::read(&file).map_err(|error| no_run(subject, &file, &error))?;
                let text = String::from_utf8_lossy(&text);
                match file.extension() {
                    Some(ending) if ending == "json" => tags.add_json(&text),
                    _ => tags.add_file(&text),
                }
            }
            "explain" => {
                let tag = subject.to_string_lossy();
                tags.add(tag.rsplit('.').next().unwrap_or(&tag));
                return Ok(tags);
            }
            "assets" => {
                self.args.iter().for_each(|arg| tags.add_fetched(&arg.to_string_lossy()));
                return Ok(tags);
            }
            _ => return Ok(tags),
        }
        for (_, value) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("TRANSPLANT_")) {
            tags.add_value(&value.to_string_lossy());
        }
        for (_, value) in self.sets.iter().filter_map(|set| set.split_once('=')) {
            tags.add_value(value);
        }
        Ok(tags)
    }

    fn verb(&self) -> &str {
        self.args.first().and_then(|verb| verb.to_str()).unwrap_or_default()
    }
}

/// The header of an export's weights, a file or in a folder, without the marks that stand before quotes within quotes.
fn header_of_export(subject: &Path) -> Option<String> {
    let file = if subject.is_dir() { subject.join(MODEL_WEIGHTS) } else { subject.to_owned() };
    let is_model = subject.join(MODEL_MANIFEST).is_file();
    let mut file = std::fs::File::open(file).ok().filter(|_| !is_model)?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length)).read_to_end(&mut header).ok()?;
    let header = String::from_utf8(header).ok()?.replace('\\', "");
    header.contains("\"manifest\"").then_some(header)
}

fn no_run(run: &Path, file: &Path, error: &std::io::Error) -> Wrong {
    Wrong(format!("{} is not the folder of a run: cannot read {}: {error}", run.display(), file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Request {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Request::read(&args).unwrap()
    }

    #[test]
    fn options_stand_anywhere_and_in_both_forms() {
        let request = read("run --seed 3 --set=a.b=c my.toml --resume --set d=e=f --out x --device cuda:1");
        assert_eq!(request.subject.as_deref(), Some(Path::new("my.toml")));
        assert_eq!(request.sets, ["a.b=c", "d=e=f"]);
        assert_eq!(request.device, Device::Cuda(Some(1)));
        assert_eq!(request.args.len(), 12, "everything is passed on");
    }

    #[test]
    fn unknown_options_hide_nothing_after_the_file() {
        let request = read("run my.toml --brand-new 3 -v --device cpu");
        assert_eq!(request.subject.as_deref(), Some(Path::new("my.toml")));
        assert_eq!(request.device, Device::Cpu);
    }

    #[test]
    fn explain_asks_for_the_tag() {
        assert_eq!(read("explain dataset.mnist_idx").tags().unwrap().features(), ["candle-datasets"]);
        assert!(read("explain strategy.parameter").tags().unwrap().features().is_empty());
    }

    #[test]
    fn to_fetch_a_table_needs_no_reader_of_it() {
        assert!(read("assets fetch womens_clothing_reviews").tags().unwrap().features().is_empty());
        assert_eq!(read("assets fetch womens_clothing_reviews resnet18").tags().unwrap().features(), ["hub"]);
    }

    #[test]
    fn set_brings_its_feature() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let plain = format!("run {}", file.display());
        assert!(read(&plain).tags().unwrap().features().is_empty());
        assert_eq!(
            read(&format!("{plain} --set datasets.a.type=mnist_idx")).tags().unwrap().features(),
            ["candle-datasets"]
        );
    }

    #[test]
    fn a_missing_file_is_the_users_error() {
        let error = read("run there/is/no/such.toml").tags().unwrap_err();
        assert!(error.is::<Wrong>() && error.to_string().contains("there/is/no/such.toml"), "{error}");
        let error = read("evaluate there/is/no/run").tags().unwrap_err();
        assert!(error.is::<Wrong>() && error.to_string().contains("not the folder of a run"), "{error}");
    }
}
